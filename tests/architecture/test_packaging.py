"""What a user touches first holds together: packaging, entry points, YAMLs, commands and links of pages."""

import ast
import gc
import importlib
import logging
import os
import pickle
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import attr
import pytest
import yaml
from mlagents.plugins.trainer_type import register_trainer_plugins
from mlagents.trainers.settings import RunOptions
from mlagents_envs import logging_util

from mlagents_marl_plugin.adapter.register import register
from mlagents_marl_plugin.algorithms import ALGORITHMS

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "trainer_configs").glob("*.yaml"))
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")])
TRAINER_TYPES = tuple(ALGORITHMS)

by_name = pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def test_setup_imports_setuptools_only() -> None:
    """An isolated build has nothing else."""
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {
        alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    assert imported == {"setuptools"}


def test_every_entry_point_resolves() -> None:
    ours = [
        entry
        for group in ("mlagents.trainer_type", "console_scripts")
        for entry in metadata.entry_points(group=group)
        if entry.value.startswith("mlagents_marl_plugin.")
    ]
    assert {entry.name for entry in ours} >= {"mlagents_marl_plugin", "marl-player", "marl-evaluate"}
    for entry in ours:
        assert callable(entry.load()), entry


def test_the_host_knows_every_trainer_type() -> None:
    types, settings = register_trainer_plugins()
    for name in TRAINER_TYPES:
        assert types[name].get_trainer_name() == name
        assert name in settings
    assert {"ppo", "sac", "poca"} <= set(types)


def test_a_trainer_type_that_is_broken_does_not_take_the_others_along(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The host swallows what goes wrong in registration, and would then know none of them."""
    monkeypatch.setitem(sys.modules, "mlagents_marl_plugin.adapter.on_policy_trainer", None)
    monkeypatch.setattr(logging_util, "get_logger", logging.getLogger)
    types, settings = register()
    assert "maddpg" in types
    assert "mappo" not in types
    assert types.keys() == settings.keys()
    assert "trainer_type mappo is not available: ModuleNotFoundError" in caplog.text


def test_settings_reach_workers_that_do_not_inherit_them() -> None:
    """On Windows and macOS the host sends its options to environment workers."""
    types, schemas = register_trainer_plugins()
    behaviors = {
        name: {"trainer_type": name} for name in types if schemas[name].__module__.startswith("mlagents_marl")
    }
    assert set(behaviors) >= set(TRAINER_TYPES)
    options = RunOptions.from_dict({"behaviors": behaviors})
    assert pickle.loads(pickle.dumps(options)).as_dict() == options.as_dict()


def test_the_garbage_collector_leaves_alone_what_stays() -> None:
    register()
    assert gc.get_freeze_count() > 50_000


def load(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@by_name
def test_a_yaml_is_accepted_by_the_host(path: Path) -> None:
    register_trainer_plugins()
    options = RunOptions.from_dict(load(path))
    for name, fields in load(path)["behaviors"].items():
        assert options.behaviors[name].trainer_type == fields["trainer_type"]


@by_name
def test_a_yaml_suits_the_editor(path: Path) -> None:
    """It names its run, and Stop and Play again do not end it; the host's own defaults fail on both."""
    register_trainer_plugins()
    options = RunOptions.from_dict(load(path))
    assert options.checkpoint_settings.run_id == path.stem
    assert options.env_settings.max_lifetime_restarts == -1
    assert options.env_settings.restarts_rate_limit_n == -1
    assert options.env_settings.timeout_wait >= 300


@by_name
def test_a_yaml_is_listed_for_readers(path: Path) -> None:
    assert f"({path.name})" in (ROOT / "trainer_configs" / "README.md").read_text(encoding="utf-8")


def test_the_two_commands_start_what_the_readme_says() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for command in (
        "make tennis",
        "make test",
        "uv run mlagents-learn trainer_configs/tennis_maddpg.yaml"
        " --env=unity_builds/Tennis --run-id=tennis_maddpg\n",
        "uv run pytest",
    ):
        assert command in readme


@by_page
def test_a_page_names_only_files_that_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    linked = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    shown = re.findall(r'src="([^":]+)"', text)
    missing = [name for name in linked + shown if name and not (page.parent / name).exists()]
    named = re.findall(r"\btrainer_configs/[a-z0-9_]+\.yaml\b", text)
    missing += [name for name in named if not (ROOT / name).exists()]
    assert missing == []


@by_page
def test_a_page_links_only_headings_that_exist(page: Path) -> None:
    missing = []
    for link in re.findall(r"\]\(([^)\s]*#[^)\s]+)\)", page.read_text(encoding="utf-8")):
        file, anchor = link.split("#", 1)
        if "://" not in link and anchor not in anchors(page.parent / file if file else page):
            missing.append(link)
    assert missing == []


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@by_page
def test_a_page_shows_only_yaml_that_the_host_accepts(page: Path) -> None:
    register_trainer_plugins()
    for block in re.findall(
        r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    ):
        RunOptions.from_dict(yaml.safe_load(block))


@by_page
def test_a_page_names_only_settings_that_exist(page: Path) -> None:
    _, schemas = register_trainer_plugins()
    known = {field.name for name in TRAINER_TYPES for field in attr.fields(schemas[name])}
    named = set(re.findall(r"\bhyperparameters\.([a-z_]+)", page.read_text(encoding="utf-8")))
    assert named - known == set()


def test_commands_of_the_readme_exist() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    scripts = {entry.name for entry in metadata.entry_points(group="console_scripts")}
    run = set(re.findall(r"\buv run ([a-z][a-z-]+)", readme))
    assert run
    assert run - scripts - {"python"} == set()
    targets = set(
        re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    )
    assert set(re.findall(r"`make ([a-z]+)", readme)) - targets == set()


def test_what_is_started_may_be_started() -> None:
    for name in (".ci/run", "unity_builds/Tennis.x86_64", "unity_builds/Tennis.app/Contents/MacOS/Tennis"):
        assert os.access(ROOT / name, os.X_OK), name


def test_the_rooms_ship_in_the_wheel() -> None:
    for room in ("core", "algorithms", "adapter", "player", "player.scenes", "tools"):
        assert importlib.import_module(f"mlagents_marl_plugin.{room}").__file__, f"{room} has no __init__.py"
