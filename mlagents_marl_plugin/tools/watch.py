"""``marl-watch``: plays exported models in a scene for people to look at, as a page in the browser or as a GIF.

The files are played as Unity would play them, by onnxruntime and the official client; torch is not imported.
"""

import argparse
import io
import sys
import time
import webbrowser
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import onnxruntime
from PIL import Image

from mlagents_marl_plugin.player.canvas import write_gif
from mlagents_marl_plugin.tools.cast import Cast
from mlagents_marl_plugin.tools.episodes import GroupingError
from mlagents_marl_plugin.tools.model_choice import ModelChoice, ModelChoiceError
from mlagents_marl_plugin.tools.onnx_player import ModelError
from mlagents_marl_plugin.tools.performance import Moment, PictureChannel, perform
from mlagents_marl_plugin.tools.scene_arguments import (
    add_scene_arguments,
    port_or_any,
    positive,
    scene_options,
)
from mlagents_marl_plugin.tools.unity import SceneError, SceneLost, advance, open_scene
from mlagents_marl_plugin.tools.watch_page import WatchPage

EXIT_LOST, EXIT_USAGE = 1, 2
_GIF_DECISIONS = 100
_PORT = 8765
_WHY_BLIND = "only the player's scenes do; look at the build's own window"


class WatchError(ValueError):
    """What was asked for cannot be shown; the text says why and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code: 0 (also by Ctrl+C), 1 the scene ended, 2 wrong input."""
    args = parser().parse_args(arguments)
    try:
        _check(args)
        _run(args)
    except KeyboardInterrupt:
        return 0
    except SceneLost as error:
        return _fail(str(error), EXIT_LOST)
    except (WatchError, SceneError, ModelChoiceError, ModelError, GroupingError) as error:
        return _fail(str(error), EXIT_USAGE)
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="marl-watch",
        description="Play exported models (.onnx) in a scene and show it: in the browser, or as a GIF.",
        epilog="Example: marl-watch --env unity_builds/Tennis --model results/tennis_matd3",
    )
    p.add_argument("--gif", type=Path, metavar="FILE", help="write an animation instead of serving the page")
    p.add_argument(
        "--decisions",
        type=positive,
        metavar="N",
        help=f"end after N decisions (default: {_GIF_DECISIONS} for a GIF, the page goes on until Ctrl+C)",
    )
    p.add_argument("--area", type=int, default=0, metavar="K", help="the area to show (default 0)")
    p.add_argument(
        "--agents", type=positive, default=8, metavar="N", help="agents that the page lists (default 8)"
    )
    p.add_argument(
        "--speed", type=float, default=1.0, metavar="X", help="times as fast as life (default %(default)g)"
    )
    p.add_argument(
        "--port",
        type=port_or_any,
        default=_PORT,
        metavar="P",
        help="of the page, 0 takes any that is free (default %(default)s)",
    )
    p.add_argument("--no-browser", action="store_true", help="only say where the page is")
    add_scene_arguments(p, time_scale=1.0)
    return p


def _check(args: argparse.Namespace) -> None:
    if not 0 <= args.area < args.num_areas:
        raise WatchError(
            f"--area: expected 0 to {args.num_areas - 1} (--num-areas {args.num_areas}), got {args.area}; "
            "areas are counted from 0"
        )
    if not args.speed > 0.0:
        raise WatchError(f"--speed: expected a number above 0, got {args.speed:g}; 1 is as fast as life")
    if args.gif is not None and args.gif.suffix.lower() != ".gif":
        raise WatchError(f"--gif: expected a name that ends in .gif, got {args.gif}; rename it")


def _run(args: argparse.Namespace) -> None:
    onnxruntime.set_seed(args.seed)
    choice = ModelChoice(args.model)
    cast = Cast(choice, None, not args.stochastic)
    camera = PictureChannel(args.area)
    if args.env is None:
        _say(f"waiting {args.timeout_wait} s for the Editor: press Play now")
    env = open_scene(scene_options(args), [camera])
    try:
        advance(env, first=True)
        choice.check_names(list(env.behavior_specs))
        moments = _aloud(perform(env, cast, camera, args.group_size, args.num_areas, args.agents))
        if args.gif is not None:
            _film(islice(moments, args.decisions or _GIF_DECISIONS), args.gif, args.speed)
        else:
            _serve(islice(moments, args.decisions), args)
    finally:
        env.close()


def _aloud(moments: Iterator[Moment]) -> Iterator[Moment]:
    """The moments; what is new to know about them is said too."""
    said = ""
    for moment in moments:
        if moment.note != said:
            said = moment.note
            _say(f"Note: {said}")
        yield moment


def _film(moments: Iterator[Moment], path: Path, speed: float) -> None:
    pictures: list[Image.Image] = []
    seconds, why = 0.0, _WHY_BLIND
    for moment in moments:
        why = moment.why_blind or why
        if moment.pictures:
            seconds = moment.seconds / speed
            pictures += [Image.open(io.BytesIO(picture)).convert("RGB") for picture in moment.pictures]
    if not pictures:
        raise WatchError(
            f"--gif: expected a scene that sends pictures, got none; {why}. Leave --gif out for a page that shows "
            "observations, actions and scores"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_gif(pictures, path, seconds)
    _say(f"Wrote {path} ({len(pictures)} pictures)")


def _serve(moments: Iterator[Moment], args: argparse.Namespace) -> None:
    try:
        page = WatchPage(args.port, Path(args.env).name if args.env else "Editor")
    except OSError as error:
        raise WatchError(
            f"--port: expected a free port, got {args.port}, which cannot be used ({error.strerror}); "
            "choose another, or 0 for any that is free"
        ) from error
    # First of all, and flushed: a program that started this one reads the address here.
    print(f"Watch at {page.address} (Ctrl+C stops)", flush=True)
    if not args.no_browser:
        webbrowser.open(page.address)
    why = "stopped"
    try:
        due = time.monotonic()
        for moment in moments:
            page.show(moment, moment.seconds / args.speed)
            # From when it was due, so that what playing costs does not slow the show down.
            due = max(due + moment.duration / args.speed, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))
        why = "the performance is over"
    except SceneLost as error:
        why = str(error)
        raise
    finally:
        page.end(why)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _fail(text: str, code: int) -> int:
    _say(f"marl-watch: {text}")
    return code


if __name__ == "__main__":
    sys.exit(main())
