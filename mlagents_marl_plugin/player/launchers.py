"""Launchers that mlagents finds like Unity builds of the player's scenes.

mlagents looks for ``--env=FOLDER/Tennis`` at ``FOLDER/Tennis.x86_64`` on Linux, at
``FOLDER/Tennis.app/Contents/MacOS/Tennis`` on macOS and at ``FOLDER/Tennis.exe`` on Windows. The first two
can be shell scripts; a Windows launcher has to be a real program and is a copy of the installed
``marl-player.exe``, which knows its scene by its own name.
"""

import shutil
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

# What mlagents_envs.env_utils.validate_environment_path deletes from a path.
_MANGLED = (".app", ".exe", ".x86_64", ".x86")
# Counter and Signs are for tests, which install them themselves.
SCENES_FOR_USERS = ("Tennis", "TennisVersus", "Vmas", "Parallel", "Battle", "UdacityTennis", "Recall")

_SCRIPT = """\
#!/bin/sh
# A stand-in for a Unity build: mlagents-learn starts it, and it starts the player of the scene that this file
# is named after. It needs a Python that can import mlagents_marl_plugin, and tries in order:
# MARL_PLAYER_PYTHON, VIRTUAL_ENV, the one it was installed with (if any), .venv beside the folder of the build,
# python3 and python on PATH.
installed_with='{python}'
scene=$(basename "$0" .x86_64)
folder=$(dirname "$0")
case "$folder" in *.app/Contents/MacOS) folder=$folder/../../.. ;; esac
beside=$folder/../.venv/bin/python

can_play() {{
    "$1" -c 'import sys; from importlib.util import find_spec
sys.exit(None in map(find_spec, ("mlagents_marl_plugin", "mlagents_envs", "grpc", "numpy")))' 2>/dev/null
}}

in_venv=${{VIRTUAL_ENV:+$VIRTUAL_ENV/bin/python}}
for python in "$MARL_PLAYER_PYTHON" "$in_venv" "$installed_with" "$beside" python3 python; do
    if [ -n "$python" ] && can_play "$python"; then
        exec "$python" -m mlagents_marl_plugin.player run "$scene" "$@"
    fi
done

message="$scene: found no Python that has mlagents_marl_plugin. Activate the environment in which you \
installed it, or set MARL_PLAYER_PYTHON to its python."
echo "$message" >&2
while [ $# -gt 1 ]; do
    case "$1" in -logfile | -logFile) echo "$message" > "$2" ;; esac
    shift
done
exit 1
"""

_INFO_PLIST = """\
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
    <key>CFBundleName</key>
    <string>{scene}</string>
    <key>CFBundleExecutable</key>
    <string>{scene}</string>
    <key>CFBundleIdentifier</key>
    <string>mlagents-marl-plugin.player.{scene}</string>
    <key>CFBundlePackageType</key>
    <string>APPL</string>
</dict>
</plist>
"""


class InstallError(RuntimeError):
    """A launcher cannot be written."""


def install(
    folder: Path,
    platform: str = sys.platform,
    python: str = sys.executable,
    scenes: Sequence[str] = SCENES_FOR_USERS,
) -> list[Path]:
    """Write this system's launcher of each scene into ``folder``; returns the files that mlagents will start.

    Args:
        platform: as ``sys.platform``.
        python: interpreter to remember in the shell scripts; "" for none.
        scenes: names as in ``SCENES``.

    Raises:
        InstallError: on Windows, if the installed ``marl-player.exe`` is not found.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write = {"win32": _write_exe, "darwin": _write_app}.get(platform, _write_x86_64)
    return [write(folder, scene, python) for scene in scenes]


def mangled_part(folder: Path) -> str | None:
    """The part of the path that mlagents would delete, if any (host contract: paths are mangled anywhere)."""
    return next((part for part in _MANGLED if part in str(folder)), None)


def _write_x86_64(folder: Path, scene: str, python: str) -> Path:
    return _write_script(folder / f"{scene}.x86_64", python)


def _write_app(folder: Path, scene: str, python: str) -> Path:
    contents = folder / f"{scene}.app" / "Contents"
    (contents / "MacOS").mkdir(parents=True, exist_ok=True)
    (contents / "Info.plist").write_text(_INFO_PLIST.format(scene=scene), encoding="utf-8", newline="\n")
    return _write_script(contents / "MacOS" / scene, python)


def _write_script(path: Path, python: str) -> Path:
    for_anyone = _SCRIPT.format(python="")
    # The repository's own launcher stays as it is: it serves every checkout, and finds this Python too.
    if not (path.exists() and path.read_text(encoding="utf-8") == for_anyone):
        quoted = python.replace("'", "'\\''")
        path.write_text(_SCRIPT.format(python=quoted), encoding="utf-8", newline="\n")
    path.chmod(0o755)
    return path


def _write_exe(folder: Path, scene: str, _python: str) -> Path:
    program = _console_script()
    launcher = folder / f"{scene}.exe"
    shutil.copyfile(program, launcher)
    return launcher


def _console_script() -> Path:
    """The ``marl-player.exe`` that pip or uv made for this environment."""
    for folder in (Path(sysconfig.get_path("scripts")), Path(sys.executable).parent):
        program = folder / "marl-player.exe"
        if program.is_file():
            return program
    raise InstallError(
        f"expected marl-player.exe in {sysconfig.get_path('scripts')}, got no such file; "
        "install the package with pip or uv first"
    )
