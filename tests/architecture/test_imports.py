"""Imports point one way: tools -> adapter -> algorithms -> core -> torch; the player stands alone.

Checked once by what a fresh interpreter has loaded after importing every module of a room, and once by the
lint rules, which tell a developer before the tests do.
"""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "mlagents_marl_plugin"

IMPORT_ROOM = """
import importlib, pkgutil, sys
room = importlib.import_module(sys.argv[1])
found = pkgutil.walk_packages(room.__path__, room.__name__ + ".")
names = [module.name for module in found if not module.name.endswith("__main__")]
for name in names:
    importlib.import_module(name)
loaded = [name for name in sys.argv[2:] if name in sys.modules]
print(len(names), *loaded)
"""

ALL_OF_OURS = tuple(f"{PACKAGE}.{room}" for room in ("core", "algorithms", "adapter", "player", "tools"))
FORBIDDEN = {
    "core": ("mlagents", "mlagents_envs", *(name for name in ALL_OF_OURS if not name.endswith(".core"))),
    "algorithms": (
        "mlagents",
        "mlagents_envs",
        *(f"{PACKAGE}.{room}" for room in ("adapter", "player", "tools")),
    ),
    "player": ("torch", "mlagents", *(name for name in ALL_OF_OURS if not name.endswith(".player"))),
}


def import_everything(room: str, forbidden: tuple[str, ...]) -> tuple[int, list[str]]:
    """How many modules a fresh interpreter imported, and which of ``forbidden`` came with them."""
    run = subprocess.run(
        [sys.executable, "-c", IMPORT_ROOM, f"{PACKAGE}.{room}", *forbidden],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    num_modules, *loaded = run.stdout.split()
    return int(num_modules), loaded


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_pure_room_loads_nothing_that_it_must_not_know(room: str) -> None:
    num_modules, loaded = import_everything(room, FORBIDDEN[room])
    assert num_modules > 0
    assert loaded == []


def test_the_check_above_notices_what_was_loaded() -> None:
    _, loaded = import_everything("player", ("numpy", "torch"))
    assert loaded == ["numpy"]


def test_registration_does_not_import_torch_before_it_is_called() -> None:
    """The host swallows what goes wrong while it imports an entry point, so nothing much may happen there."""
    code = f"import sys, {PACKAGE}.adapter.register; print('torch' in sys.modules, 'mlagents' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.stdout.split() == ["False", "False"], run.stderr


@pytest.mark.parametrize(
    ("room", "imported"),
    [
        ("core", "mlagents.trainers"),
        ("core", "mlagents_envs"),
        ("core", f"{PACKAGE}.algorithms.maddpg"),
        ("core", f"{PACKAGE}.adapter"),
        ("algorithms", "mlagents.trainers.settings"),
        ("algorithms", f"{PACKAGE}.adapter.settings"),
        ("algorithms", f"{PACKAGE}.player"),
        ("adapter", f"{PACKAGE}.player.session"),
        ("adapter", f"{PACKAGE}.tools"),
        ("player", "torch"),
        ("player", "mlagents.trainers"),
        ("player", f"{PACKAGE}.core.types"),
    ],
)
def test_lint_refuses_an_import_across_a_border(room: str, imported: str) -> None:
    assert "TID251" in lint(room, f"import {imported}\n")


@pytest.mark.parametrize(
    ("room", "imported"),
    [
        ("algorithms", f"{PACKAGE}.core.types"),
        ("adapter", f"{PACKAGE}.algorithms.maddpg"),
        ("adapter", "mlagents.trainers"),
        ("player", "mlagents_envs.communicator_objects"),
        ("tools", f"{PACKAGE}.adapter.settings"),
    ],
)
def test_lint_allows_an_import_along_the_way(room: str, imported: str) -> None:
    assert "TID251" not in lint(room, f"import {imported}\n")


def lint(room: str, code: str) -> str:
    file = ROOT / PACKAGE / room / "example.py"
    return subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--select", "TID251", "--stdin-filename", str(file), "-"],
        input=code,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=False,
    ).stdout
