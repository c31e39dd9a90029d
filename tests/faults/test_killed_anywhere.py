"""A trainer that is killed at any moment of its saving: what it leaves, and whether --resume goes on from that.

Each run is a forked copy of this process that ends without a word, as under kill -9, at the n-th rename of a file:
right before it or right after. ``benchmarks/soak.py`` does the same to real processes at random moments.
"""

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from mlagents.trainers.settings import RunOptions

from mlagents_marl_plugin.adapter import checkpoint, run_files
from mlagents_marl_plugin.tools.onnx_player import OnnxPolicy
from tests.unit.conftest import host_state, printed  # noqa: F401
from tests.unit.trainer_runs import build, start

KILLED = 137
BEHAVIOR = {"checkpoint_interval": 60, "keep_checkpoints": 2}
HYPER = {"save_replay_buffer": True}
RENAMES_AT_START = 2  # the host's list, the configuration
RENAMES_PER_CHECKPOINT = 6  # the numbered file, the last, the replay, the model, and those two


def in_a_copy(what: Callable[[], Any]) -> int:
    """Run something in a forked copy of this process; returns its exit status."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            what()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def train_until_rename(folder: Path, trainer_type: str, number: int, after: bool) -> None:
    rename, renamed = os.replace, []

    def replace(source: str, target: str) -> None:
        renamed.append(target)
        if len(renamed) == number and not after:
            os._exit(KILLED)
        rename(source, target)
        if len(renamed) == number:
            os._exit(KILLED)

    os.replace = replace
    start(
        folder,
        trainer_type=trainer_type,
        hyper=hyper(trainer_type),
        behavior={**BEHAVIOR, "max_steps": 10_000},
    )


def hyper(trainer_type: str) -> dict[str, Any]:
    return HYPER if trainer_type == "maddpg" else {}


def steps_saved(folder: Path) -> list[int]:
    names = [re.fullmatch(r"Counter-(\d+)\.pt", path.name) for path in folder.glob("*.pt")]
    return sorted(int(match[1]) for match in names if match)


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a mlagents-learn, which hands them over."""
    run = RunOptions.from_dict({"behaviors": {"Counter": {"trainer_type": "maddpg"}}})
    monkeypatch.setattr(run_files, "_options", [run])


@pytest.mark.usefixtures("host_state", "options")
class TestKilled:
    # Windows cannot copy a process.
    __test__ = hasattr(os, "fork")

    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize("number", range(1, RENAMES_AT_START + 2 * RENAMES_PER_CHECKPOINT + 1))
    def test_while_it_saves(self, tmp_path: Path, printed: Any, number: int, after: bool) -> None:  # noqa: F811
        assert in_a_copy(lambda: train_until_rename(tmp_path, "maddpg", number, after)) == KILLED
        folder = tmp_path / "Counter"
        saved = steps_saved(folder)
        for path in folder.glob("*.pt"):
            checkpoint.load(str(path), torch.device("cpu"))
        for path in folder.glob("*.onnx"):
            assert OnnxPolicy(path).continuous_size == 2
        resumed = build(tmp_path, hyper=HYPER, behavior=BEHAVIOR, load=True)
        if not saved:
            assert resumed.get_step == 0
            assert "has no checkpoint yet; starting at step 0" in printed.text
        else:
            assert resumed.get_step in saved
            assert resumed.get_step >= (saved[-2] if len(saved) > 1 else saved[0])
            assert resumed.learner.is_finite()
        for read, name in ((json.loads, run_files.STATUS), (yaml.safe_load, run_files.CONFIGURATION)):
            assert read((tmp_path / name).read_text())
        assert not [path for path in tmp_path.rglob("*") if path.suffix in (".tmp", ".part")]

    @pytest.mark.parametrize("trainer_type", ["maddpg", "mappo"])
    def test_and_it_goes_on_to_the_end(self, tmp_path: Path, trainer_type: str) -> None:
        assert in_a_copy(lambda: train_until_rename(tmp_path, trainer_type, 10, False)) == KILLED
        before = steps_saved(tmp_path / "Counter")[-1]
        behavior = {**BEHAVIOR, "max_steps": before + 200}
        again = start(
            tmp_path, trainer_type=trainer_type, hyper=hyper(trainer_type), behavior=behavior, load=True
        )
        assert again.trainer.get_step > before + 200
        assert OnnxPolicy(tmp_path / "Counter.onnx").continuous_size == 2
