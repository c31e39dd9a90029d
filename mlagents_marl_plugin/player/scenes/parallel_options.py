"""What can be asked of the scene of PettingZoo environments."""

import ast
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

GROUPS = ("none", "area", "behavior")


@dataclass(frozen=True)
class ParallelOptions:
    """What the scene shows.

    Attributes:
        parallel_env: ``module:factory``; the factory is called once per area and returns an environment.
        factory_options: keyword arguments of the factory.
        max_steps: steps after which an episode is interrupted for everyone; 0 is never.
        groups: who forms a multi-agent group: ``none``, everyone of an ``area``, or those of an area who share
            a ``behavior`` name.
        group_reward: pay a group the mean reward of the members that acted, and nothing to each agent.
    """

    parallel_env: str
    factory_options: Mapping[str, Any] = field(default_factory=dict)
    max_steps: int = 0
    groups: str = GROUPS[0]
    group_reward: bool = False

    def __post_init__(self) -> None:
        module, colon, factory = self.parallel_env.partition(":")
        if not (module and colon and factory):
            raise ValueError(
                f"--parallel-env: expected module:factory, got {self.parallel_env or 'nothing'}; "
                "for example pettingzoo.mpe.simple_spread_v2:parallel_env"
            )
        if self.max_steps < 0:
            raise ValueError(
                f"Parallel.max_steps: expected a whole number >= 0, got {self.max_steps}; 0 never"
            )
        if self.group_reward and self.groups == GROUPS[0]:
            raise ValueError(
                "Parallel.group_reward: expected --groups area or behavior, got none; "
                "say who is paid together, or leave --group-reward out"
            )


def add_options(parser: ArgumentParser, _arguments: Sequence[str]) -> None:
    """Declare what a user may change about the scene."""
    options = parser.add_argument_group("options of Parallel")
    options.add_argument(
        "--parallel-env",
        default="",
        metavar="MODULE:FACTORY",
        help="what makes the environment; modules in the current folder are found too",
    )
    options.add_argument(
        "--set",
        dest="factory_options",
        type=_setting,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a keyword argument of the factory; give it again for more",
    )
    options.add_argument(
        "--max-steps",
        type=int,
        default=0,
        metavar="N",
        help="cut episodes short after N steps (default never)",
    )
    options.add_argument(
        "--groups",
        choices=GROUPS,
        default=GROUPS[0],
        help="who forms a SimpleMultiAgentGroup: all of an area, or its agents with the same behaviour name "
        "(default %(default)s)",
    )
    options.add_argument(
        "--group-reward", action="store_true", help="pay the mean reward to the group instead of each agent"
    )


def options_from(arguments: Namespace) -> ParallelOptions:
    """The scene's options from the command line.

    Raises:
        ValueError: if one is out of range.
    """
    return ParallelOptions(
        arguments.parallel_env,
        dict(arguments.factory_options),
        arguments.max_steps,
        arguments.groups,
        arguments.group_reward,
    )


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name.isidentifier() and equals):
        raise ArgumentTypeError(f"expected NAME=VALUE, got {text}")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value
