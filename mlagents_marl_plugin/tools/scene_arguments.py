"""The part of a command line that says which models play in which scene; the same for every tool that plays."""

import argparse

from mlagents_marl_plugin.tools.unity import HIGHEST_PORT, SceneOptions

_SEEDS = 2**31


def add_scene_arguments(parser: argparse.ArgumentParser, time_scale: float) -> None:
    """Declare them; ``time_scale`` is the default of ``--time-scale``."""
    p = parser
    p.add_argument(
        "--model",
        action="append",
        required=True,
        metavar="[NAME=]PATH",
        help="a .onnx file or a run's folder; NAME= (Tennis, Tennis?team=0, Tennis-slot1) says whom it plays",
    )
    p.add_argument("--env", metavar="PATH", help="the build; without it the Editor is awaited")
    p.add_argument(
        "--seed", type=seed, default=0, help="of the scene and of random actions (default %(default)s)"
    )
    p.add_argument(
        "--num-areas", type=positive, default=1, metavar="N", help="areas side by side (default 1)"
    )
    p.add_argument(
        "--group-size",
        type=positive,
        metavar="K",
        help="agents that play together, where the scene has no group ids (default: by --num-areas, or all)",
    )
    p.add_argument(
        "--stochastic", action="store_true", help="play what Unity plays without Deterministic Inference"
    )
    p.add_argument("--base-port", type=port, metavar="P", help="default 5005 with --env, 5004 for the Editor")
    p.add_argument(
        "--time-scale",
        type=float,
        default=time_scale,
        metavar="X",
        help="how much faster than life the build runs (default %(default)g; 1 to watch)",
    )
    p.add_argument("--no-graphics", action="store_true", help="run the build without a window")
    p.add_argument(
        "--timeout-wait", type=positive, default=60, metavar="S", help="seconds to wait (default 60)"
    )
    p.add_argument(
        "--env-args", nargs=argparse.REMAINDER, default=[], help="all that follows goes to the build"
    )


def scene_options(args: argparse.Namespace) -> SceneOptions:
    """How to open the scene that the arguments name."""
    return SceneOptions(
        env=args.env,
        seed=args.seed,
        num_areas=args.num_areas,
        base_port=args.base_port,
        time_scale=args.time_scale,
        no_graphics=args.no_graphics,
        timeout_wait=args.timeout_wait,
        env_args=args.env_args,
    )


def port(text: str, lowest: int = 1) -> int:
    """The number of a port."""
    if not text.isdecimal() or not lowest <= int(text) <= HIGHEST_PORT:
        raise argparse.ArgumentTypeError(
            f"expected a port from {lowest} to {HIGHEST_PORT}, got {text}; leave the option out for the usual one"
        )
    return int(text)


def port_or_any(text: str) -> int:
    """The number of a port, or 0 for any that is free."""
    return port(text, lowest=0)


def seed(text: str) -> int:
    """A whole number that Unity takes for a seed."""
    number = int(text)
    if not -_SEEDS <= number < _SEEDS:
        raise argparse.ArgumentTypeError(
            f"expected a whole number from {-_SEEDS} to {_SEEDS - 1}, got {text}; Unity's seeds have 32 bits"
        )
    return number


def positive(text: str) -> int:
    """A whole number from 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number >= 1, got {text}")
    return number
