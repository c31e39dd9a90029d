"""Finds the program to start from the path that a user gives, and says what is wrong with any other path."""

import os
import sys
from pathlib import Path

_SYSTEM_OF_SUFFIX = {".x86_64": "linux", ".x86": "linux", ".app": "darwin", ".exe": "win32"}
_CALLED = {"linux": "Linux", "darwin": "macOS", "win32": "Windows"}
# What Udacity's archives are called.
_ARCHIVE = {"linux": "Tennis_Linux.zip", "darwin": "Tennis.app.zip", "win32": "Tennis_Windows_x86_64.zip"}


def find_program(text: str, platform: str = sys.platform) -> Path:
    """The absolute path of the program to start.

    Args:
        text: the build's file, with or without its suffix, or on macOS its ``.app``; ``~`` is the home folder.
        platform: as ``sys.platform``.

    Raises:
        ValueError: if there is no such build, or it is another system's or incomplete.
    """
    if not text:
        raise ValueError(
            "--build: expected the path of a build from the course, got none; for example "
            f"'--env-args --build {_example(platform)}'"
        )
    path = _completed(Path(text).expanduser().absolute(), platform)
    if not path.exists():
        raise ValueError(
            f"--build: expected a build, got {path}, which does not exist; {_hint(path.parent, platform)}"
        )
    system = _SYSTEM_OF_SUFFIX.get(path.suffix)
    if system not in (None, platform):
        raise ValueError(
            f"--build: expected a build for {_CALLED.get(platform, platform)}, got {path}, which is one for "
            f"{_CALLED[system]}; the course has {_ARCHIVE.get(platform, 'none')} for this system"
        )
    if path.suffix == ".app":
        path = _inside_bundle(path)
    if path.is_dir():
        raise ValueError(f"--build: expected a build, got the folder {path}; {_hint(path, platform)}")
    _check_file(path, platform)
    return path


def _completed(path: Path, platform: str) -> Path:
    """``path``, or with this system's suffix if only that exists, as mlagents completes ``--env``."""
    if path.exists():
        return path
    names = [path.name + suffix for suffix, system in _SYSTEM_OF_SUFFIX.items() if system == platform]
    return next((path.with_name(name) for name in names if path.with_name(name).exists()), path)


def _inside_bundle(bundle: Path) -> Path:
    folder = bundle / "Contents" / "MacOS"
    programs = sorted(folder.iterdir()) if folder.is_dir() else []
    named = [program for program in programs if program.name == bundle.stem]
    if not programs:
        raise ValueError(
            f"--build: expected a program in {folder}, got none; unpack the course's archive again, whole"
        )
    return (named or programs)[0]


def _check_file(path: Path, platform: str) -> None:
    data = path.with_name(f"{path.stem}_Data")
    if path.suffix in (".x86_64", ".x86", ".exe") and not data.is_dir():
        raise ValueError(
            f"--build: expected the folder {data.name} beside {path}, got none; "
            "unpack the course's archive whole and leave its files together"
        )
    if platform != "win32" and not os.access(path, os.X_OK):
        raise ValueError(
            f"--build: expected a program that may be started, got {path}; run: chmod +x '{path}'"
        )


def _hint(folder: Path, platform: str) -> str:
    suffixes = {suffix for suffix, system in _SYSTEM_OF_SUFFIX.items() if system == platform}
    found = sorted(path for path in folder.iterdir() if path.suffix in suffixes) if folder.is_dir() else []
    if found:
        return f"there is {' and '.join(map(str, found))}"
    return f"give the build's file, such as {_example(platform)}"


def _example(platform: str) -> str:
    return {"darwin": "/path/to/Tennis.app", "win32": r"C:\path\to\Tennis_Windows_x86_64\Tennis.exe"}.get(
        platform, "/path/to/Tennis_Linux/Tennis.x86_64"
    )
