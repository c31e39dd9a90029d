"""The command line of a player: Unity's own arguments, the player's, and the scene's."""

import argparse
import difflib
import math
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

from mlagents_marl_plugin.player.faults import FAULTS
from mlagents_marl_plugin.player.scenes import SceneEntry

EDITOR_PORT = 5004
# A trainer listens before it launches a build; this only covers a slow machine.
_BUILD_WAIT_SECONDS = 5.0

# Arguments of every Unity build that mean nothing without graphics, with the number of values they take.
_UNITY_WITHOUT_EFFECT = {
    "-nographics": 0,
    "-batchmode": 0,
    "-popupwindow": 0,
    "-screen-width": 1,
    "-screen-height": 1,
    "-screen-fullscreen": 1,
    "-screen-quality": 1,
    "-monitor": 1,
}


class OptionError(ValueError):
    """The command line is wrong; the text says how."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise OptionError(f"{self.prog}: {message}")


def parse(entry: SceneEntry, arguments: list[str], in_editor: bool) -> argparse.Namespace:
    """Read a player's arguments.

    Names of options may be written in any case, as Unity takes them.

    Args:
        in_editor: the player stands in for the Editor's Play button (port 5004, waits without limit) and not
            for a build that a trainer launched.

    Raises:
        OptionError: if an option is unknown or a value is wrong.
    """
    parser = _parser(entry, in_editor)
    try:
        entry.add_options(parser, arguments)
    except ValueError as error:
        raise OptionError(f"{parser.prog}: {error}") from error
    names = {name.lower(): name for name in parser._option_string_actions}
    options, unknown = parser.parse_known_args([_canonical(argument, names) for argument in arguments])
    if unknown:
        close = difflib.get_close_matches(unknown[0].lower().split("=")[0], names, n=1)
        hint = f"did you mean {names[close[0]]}? " if close else ""
        raise OptionError(
            f"{parser.prog}: expected options of scene {entry.name}, got {unknown[0]}; "
            f"{hint}'marl-player play {entry.name} --help' lists them"
        )
    if options.port is None:
        raise OptionError(
            f"{parser.prog}: expected --mlagents-port; builds are started by mlagents-learn --env=..., "
            f"to press Play by hand use 'marl-player play {entry.name}'"
        )
    try:
        entry.check_options(options)
    except ValueError as error:
        raise OptionError(f"{parser.prog}: {error}") from error
    return options


def log_file(arguments: list[str]) -> Path | None:
    """Where ``-logFile`` points, read without a parser so that a wrong command line can be reported there."""
    for name, value in pairwise(arguments):
        if name.lower() == "-logfile" and value != "-":
            return Path(value)
    return None


def _parser(entry: SceneEntry, in_editor: bool) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"marl-player play {entry.name}" if in_editor else entry.name,
        description=f"{entry.name}: {entry.summary}.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--mlagents-port",
        dest="port",
        type=_port,
        default=EDITOR_PORT if in_editor else None,
        metavar="N",
        help="port on which the trainer listens (default %(default)s)",
    )
    parser.add_argument(
        "-logFile", dest="log_file", metavar="PATH", help="write the player's log to this file"
    )
    parser.add_argument(
        "--wait",
        type=_seconds,
        default=math.inf if in_editor else _BUILD_WAIT_SECONDS,
        metavar="SECONDS",
        help="how long to wait for the trainer (default: until it comes)" if in_editor else argparse.SUPPRESS,
    )
    parser.add_argument(
        "--statistics",
        action="store_true",
        help="send the scene's statistics to any trainer; mlagents-learn gets them without asking",
    )
    parser.add_argument(
        "--event-log",
        type=Path,
        metavar="FILE",
        help="log every decision as a JSON line; port and process id are put before the file's suffix",
    )
    parser.add_argument(
        "--fault-after", type=_count, metavar="N", help="fail after N steps (to test a trainer)"
    )
    parser.add_argument(
        "--fault",
        choices=sorted(FAULTS),
        default="crash",
        metavar="KIND",
        help="with --fault-after: how; one of %(choices)s (default %(default)s)",
    )
    parser.add_argument(
        "--fault-once",
        type=Path,
        metavar="FILE",
        help="with --fault-after: only if FILE is not there; it is made, so one player of a run fails once",
    )
    for name, num_values in _UNITY_WITHOUT_EFFECT.items():
        if num_values:
            parser.add_argument(name, help=argparse.SUPPRESS)
        else:
            parser.add_argument(name, action="store_true", help=argparse.SUPPRESS)
    return parser


def _canonical(argument: str, names: dict[str, str]) -> str:
    name, equals, value = argument.partition("=")
    return names.get(name.lower(), name) + equals + value


def _port(text: str) -> int:
    port = int(text)
    if not 1 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"expected a port from 1 to 65535, got {text}")
    return port


def _seconds(text: str) -> float:
    seconds = float(text)
    if not seconds >= 0:
        raise argparse.ArgumentTypeError(f"expected seconds >= 0, got {text}")
    return seconds


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number >= 1, got {text}")
    return count
