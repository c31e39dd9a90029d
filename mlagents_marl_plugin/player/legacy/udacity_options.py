"""What can be asked of the bridge to a build of ML-Agents 0.4."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlagents_marl_plugin.player.legacy.build_path import find_program

# Below the 60 s that mlagents-learn waits, so that the bridge says what happened before the trainer gives up.
DEFAULT_TIMEOUT = 50.0


@dataclass(frozen=True)
class UdacityOptions:
    """How the build is started.

    Attributes:
        program: the build's program.
        timeout: seconds to wait for each of its calls, the first included.
        watch: play at the speed of the clock in a large window, as 0.4 does when it is not training.
        graphics: show a window; builds with cameras need it.
        log_file: for the build's own log; None leaves that to the build.
    """

    program: Path
    timeout: float = DEFAULT_TIMEOUT
    watch: bool = False
    graphics: bool = True
    log_file: Path | None = None

    def __post_init__(self) -> None:
        if not self.timeout > 0:
            raise ValueError(f"--build-timeout: expected seconds > 0, got {self.timeout:g}; try 50")

    def command(self, port: int) -> list[str]:
        """The command line that makes the build call ``port``."""
        command = [str(self.program)]
        if not self.graphics:
            command += ["-nographics", "-batchmode"]
        if self.log_file is not None:
            command += ["-logFile", str(self.log_file)]
        return [*command, "--port", str(port)]


def add_options(parser: ArgumentParser, _arguments: Sequence[str]) -> None:
    """Declare what a user may say about the build."""
    options = parser.add_argument_group("options of UdacityTennis")
    options.add_argument(
        "--build", default="", metavar="PATH", help="the course's build, such as Tennis_Linux/Tennis.x86_64"
    )
    options.add_argument(
        "--build-timeout",
        type=float,
        default=DEFAULT_TIMEOUT,
        metavar="SECONDS",
        help="how long to wait for the build, at its start and at each step (default %(default)g)",
    )
    options.add_argument(
        "--watch", action="store_true", help="play at the clock's speed, in a window, even with --no-graphics"
    )


def options_from(arguments: Namespace) -> UdacityOptions:
    """The scene's options from the command line.

    Raises:
        ValueError: if there is no such build, or a value is out of range.
    """
    log_file = None
    if arguments.log_file not in (None, "-"):
        own = Path(arguments.log_file).absolute()
        log_file = own.with_name(f"{own.stem}-build{own.suffix}")
    return UdacityOptions(
        find_program(arguments.build),
        arguments.build_timeout,
        arguments.watch,
        graphics=arguments.watch or not arguments.nographics,
        log_file=log_file,
    )
