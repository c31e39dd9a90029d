"""Fake builds as files that can be started, like a build that was unpacked."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.udacity import fake_build


def write_program(folder: Path, *options: str) -> Path:
    """A program that plays the fake build with ``options``; its diary is ``folder / "diary"``."""
    command = [sys.executable, fake_build.__file__, "--diary", str(folder / "diary"), *options]
    if os.name == "nt":
        program = folder / "FakeTennis.cmd"
        program.write_text(f"@{subprocess.list2cmdline(command)} %*\n")
    else:
        program = folder / "FakeTennis"
        program.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
        program.chmod(0o755)
    return program


def diary(folder: Path) -> list[dict[str, Any]]:
    """What the build heard so far; the first entry says who it is."""
    return [json.loads(line) for line in (folder / "diary").read_text().splitlines()]
