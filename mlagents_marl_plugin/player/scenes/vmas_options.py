"""What can be asked of a VMAS scenario, read from its source: VMAS itself (and torch) is not imported for that."""

import ast
import difflib
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

DEFAULT_SCENARIO = "dispersion"
ACTIONS = ("continuous", "discrete", "multidiscrete")
GROUPS = ("none", "area", "behavior")
# Options of scenarios are kept under these names, apart from the player's.
_PREFIX = "scenario_option_"


@dataclass(frozen=True)
class VmasOptions:
    """What the scene shows.

    Attributes:
        scenario: name of one of VMAS's scenarios, e.g. ``dispersion`` or ``simple_spread``.
        max_steps: steps after which an episode is interrupted; 0 is never.
        actions: ``continuous``; ``discrete`` (one branch, all combinations of an agent's choices, as VMAS and
            BenchMARL have it); ``multidiscrete`` (a branch per axis).
        groups: who forms a multi-agent group: ``none``, everyone of an ``area``, or those of an area who share
            a ``behavior`` name.
        group_reward: pay a group its members' mean reward, and nothing to each agent.
        scenario_options: what was set of the scenario's own options.
    """

    scenario: str = DEFAULT_SCENARIO
    max_steps: int = 100
    actions: str = ACTIONS[0]
    groups: str = GROUPS[0]
    group_reward: bool = False
    scenario_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.max_steps < 0:
            raise ValueError(
                f"Vmas.max_steps: expected a whole number >= 0, got {self.max_steps}; 0 never interrupts"
            )
        if self.group_reward and self.groups == GROUPS[0]:
            raise ValueError(
                "Vmas.group_reward: expected --groups area or behavior, got none; "
                "say who is paid together, or leave --group-reward out"
            )


def add_options(parser: ArgumentParser, arguments: Sequence[str]) -> None:
    """Declare the scene's options and those of the scenario that ``arguments`` name.

    Raises:
        ValueError: if there is no such scenario, or VMAS is not installed.
    """
    defaults = VmasOptions()
    options = parser.add_argument_group("options of Vmas")
    options.add_argument(
        "--scenario",
        default=defaults.scenario,
        metavar="NAME",
        help="one of VMAS's scenarios (default %(default)s)",
    )
    options.add_argument(
        "--max-steps",
        type=int,
        default=defaults.max_steps,
        metavar="N",
        help="steps after which an episode is cut short; 0 is never (default %(default)s)",
    )
    options.add_argument(
        "--actions",
        choices=ACTIONS,
        default=defaults.actions,
        help="discrete is one branch with all combinations, multidiscrete a branch per axis "
        "(default %(default)s)",
    )
    options.add_argument(
        "--groups",
        choices=GROUPS,
        default=defaults.groups,
        help="who forms a SimpleMultiAgentGroup: all of an area, or its agents with the same behaviour name "
        "(default %(default)s)",
    )
    options.add_argument(
        "--group-reward", action="store_true", help="pay the mean reward to the group instead of each agent"
    )
    scenario = _named(arguments, "--scenario") or defaults.scenario
    own = parser.add_argument_group(f"options of VMAS's scenario {scenario}")
    for name, default in scenario_options(scenario).items():
        option = f"--{name.replace('_', '-')}"
        if option not in parser._option_string_actions:
            _add(own, option, name, default)


def options_from(arguments: Namespace) -> VmasOptions:
    """The scene's options from the command line.

    Raises:
        ValueError: if one is out of range.
    """
    own = {
        name.removeprefix(_PREFIX): value
        for name, value in vars(arguments).items()
        if name.startswith(_PREFIX) and value is not None
    }
    return VmasOptions(
        arguments.scenario,
        arguments.max_steps,
        arguments.actions,
        arguments.groups,
        arguments.group_reward,
        own,
    )


def scenarios() -> dict[str, Path]:
    """VMAS's scenarios by name, and their files.

    Raises:
        ValueError: if VMAS is not installed.
    """
    package = find_spec("vmas")
    if package is None or package.origin is None:
        raise ValueError(
            "Vmas: expected the package vmas beside this one, got none; "
            "run 'pip install vmas==1.5.1', or 'pip install .[vmas]' in this project's folder"
        )
    root = Path(package.origin).parent / "scenarios"
    return {path.stem: path for path in sorted(root.rglob("*.py")) if path.stem != "__init__"}


def scenario_options(scenario: str) -> dict[str, Any]:
    """Names and defaults of the options of a scenario; the default is None where it is computed.

    Raises:
        ValueError: if there is no such scenario.
    """
    known = scenarios()
    if scenario not in known:
        close = difflib.get_close_matches(scenario, known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ValueError(
            f"--scenario: expected one of VMAS's, got {scenario}; {hint}it has {', '.join(known)}"
        )
    found: dict[str, Any] = {}
    for call in ast.walk(ast.parse(known[scenario].read_text(encoding="utf-8"))):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.args):
            continue
        target, name = call.func.value, call.args[0]
        takes = call.func.attr in ("pop", "get") and isinstance(target, ast.Name) and target.id == "kwargs"
        if takes and isinstance(name, ast.Constant) and isinstance(name.value, str):
            found[name.value] = _literal(call.args[1]) if len(call.args) > 1 else None
    return found


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def _named(arguments: Sequence[str], option: str) -> str | None:
    """The value that a command line gives to ``option``, read without a parser."""
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name.lower() == option:
            return value if equals else next(iter(arguments[place + 1 :]), None)
    return None


def _add(parser: Any, option: str, name: str, default: Any) -> None:
    shown = "computed" if default is None else str(default).replace("%", "%%")
    settings: dict[str, Any] = {"dest": _PREFIX + name, "default": None, "help": f"VMAS's default: {shown}"}
    if isinstance(default, bool):
        parser.add_argument(option, type=_flag, nargs="?", const=True, metavar="true|false", **settings)
    else:
        kind: Callable[[str], Any] = _number if isinstance(default, (int, float)) else _value
        parser.add_argument(option, type=kind, metavar="X", **settings)


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ArgumentTypeError(f"expected true or false, got {text}")
    return text.lower() == "true"


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError as error:
        raise ArgumentTypeError(f"expected a number, got {text}") from error


def _value(text: str) -> Any:
    """A Python literal, such as ``3``, ``0.5``, ``True`` or ``(1, 2)``; anything else is a string."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
