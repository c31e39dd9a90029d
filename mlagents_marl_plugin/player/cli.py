"""``marl-player``: press Play without Unity, list the scenes, install launchers.

A copy of this program under a scene's name (``Tennis.exe``) is a build of that scene.
"""

import argparse
import os
import re
import sys
from pathlib import Path

_HELP = """\
marl-player stands in for Unity: it plays scenes for mlagents-learn.

  marl-player list                     the scenes, a line each
  marl-player play SCENE [options]     like pressing Play in the Editor: start mlagents-learn without --env
                                       in one terminal and this in another
  marl-player install [FOLDER]         write launchers into FOLDER (default unity_builds), so that
                                       mlagents-learn --env=FOLDER/Tennis finds them like builds
  marl-player play SCENE --help        the options of a scene
  marl-player render Tennis rally.gif  draw a rally (.gif moves, .png is a strip)

The options of a scene also go to a launched one:
  mlagents-learn CONFIG.yaml --env=unity_builds/Tennis --env-args --group-ids
"""
_USAGE_ERROR = 2


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    # numpy's arrays are small here, and several players share a machine: threads would only get in each
    # other's way.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    arguments = sys.argv[1:] if argv is None else argv
    program = Path(sys.argv[0]).name
    if argv is None and not program.lower().startswith(("marl-player", "__main__")):
        return _play(re.sub(r"\.exe$", "", program, flags=re.IGNORECASE), arguments, in_editor=False)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_HELP, end="")
        return 0
    command, *rest = arguments
    if command == "list":
        return _list()
    if command == "install":
        return _install(rest)
    if command == "render":
        return _render(rest)
    if command not in ("play", "run"):
        return _wrong(f"expected one of list, play, install, render, got {command}; see marl-player --help")
    if not rest:
        return _wrong(f"{command}: expected the name of a scene, got none; see marl-player list")
    return _play(rest[0], rest[1:], in_editor=command == "play")


def _wrong(message: str) -> int:
    print(f"marl-player: {message}", file=sys.stderr)
    return _USAGE_ERROR


def _list() -> int:
    from mlagents_marl_plugin.player.scenes import SCENES

    for entry in SCENES.values():
        print(f"{entry.name:<13} {entry.summary}")
    return 0


def _install(arguments: list[str]) -> int:
    from mlagents_marl_plugin.player.launchers import InstallError, install, mangled_part

    parser = argparse.ArgumentParser("marl-player install", description="Write launchers for mlagents-learn.")
    parser.add_argument("folder", nargs="?", default="unity_builds", type=Path, help="default %(default)s")
    folder = parser.parse_args(arguments).folder.resolve()
    try:
        for launcher in install(folder):
            print(f"Wrote {launcher}")
    except InstallError as error:
        print(f"marl-player install: {error}", file=sys.stderr)
        return 1
    part = mangled_part(folder)
    if part:
        print(
            f"Warning: {folder} contains '{part}'. mlagents deletes '.app', '.exe', '.x86_64' and '.x86' "
            "anywhere in the path given to --env, so it would not find these launchers by this path. Change "
            "to the folder and give a path relative to it, or install into another folder.",
            file=sys.stderr,
        )
    return 0


def _render(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("marl-player render", description="Draw a rally of a scripted player.")
    parser.add_argument("scene", choices=["Tennis"])
    parser.add_argument("picture", type=Path, help="ends in .gif (moves) or .png (a strip)")
    parser.add_argument("--seconds", type=float, default=9.0, help="of play (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    from mlagents_marl_plugin.player.render import film_rally, render_rally
    from mlagents_marl_plugin.player.scenes.tennis import TennisWorld
    from mlagents_marl_plugin.player.scenes.tennis_policies import RallyPolicy

    frames = film_rally(TennisWorld(1, options.seed), RallyPolicy(), options.seconds)
    try:
        render_rally(frames, options.picture)
    except ValueError as error:
        return _wrong(str(error))
    print(f"Wrote {options.picture}")
    return 0


def _play(name: str, arguments: list[str], in_editor: bool) -> int:
    from mlagents_marl_plugin.player.options import OptionError, log_file, parse
    from mlagents_marl_plugin.player.runner import open_log, run_player
    from mlagents_marl_plugin.player.scenes import SCENES, find_scene

    entry = find_scene(name)
    try:
        if entry is None:
            raise OptionError(f"expected a scene ({', '.join(SCENES)}), got {name}; see marl-player list")
        options = parse(entry, arguments, in_editor)
    except OptionError as error:
        open_log(log_file(arguments), console=False).error("%s", error)
        return _USAGE_ERROR
    return run_player(entry, options, in_editor)
