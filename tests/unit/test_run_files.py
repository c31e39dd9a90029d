"""What the trainers of a run write together."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from mlagents.trainers.policy.checkpoint_manager import ModelCheckpoint, ModelCheckpointManager
from mlagents.trainers.settings import RunOptions
from mlagents.trainers.training_status import GlobalTrainingStatus

from mlagents_marl_plugin.adapter import checkpoint, run_files
from tests.unit.conftest import host_state  # noqa: F401
from tests.unit.trainer_runs import build, manager, start

pytestmark = pytest.mark.usefixtures("host_state")


@pytest.fixture(autouse=True)
def no_options():
    before = list(run_files._options)
    run_files._options.clear()
    yield
    run_files._options[:] = before


def number(folder: Path) -> int:
    return json.loads((folder / run_files.STATUS).read_text())[run_files.OURS]["generation"]


def test_one_generation_over_the_checkpoint_the_list_and_the_configuration(tmp_path: Path) -> None:
    options = RunOptions.from_dict({"behaviors": {"Counter": {"trainer_type": "maddpg", "max_steps": 77}}})
    assert run_files.remember_options(options) == []
    start(tmp_path, behavior={"max_steps": 300, "checkpoint_interval": 100})
    last = checkpoint.read(str(tmp_path / "Counter" / checkpoint.LAST), torch.device("cpu"))
    configuration = (tmp_path / run_files.CONFIGURATION).read_text()
    assert last["generation"] == number(tmp_path) > 2
    assert configuration.startswith(f"# generation {last['generation']} of this run\n")
    again = RunOptions.from_dict(yaml.safe_load(configuration))
    assert again.behaviors["Counter"].max_steps == 77
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_run_that_goes_on_counts_on(tmp_path: Path) -> None:
    start(tmp_path, behavior={"max_steps": 300, "checkpoint_interval": 100})
    before = number(tmp_path)
    (tmp_path / run_files.STATUS).write_text(json.dumps({"metadata": {}}))  # older than the checkpoint
    GlobalTrainingStatus.saved_state.clear()
    build(tmp_path, load=True)
    assert run_files.generation() == before
    assert run_files.next_generation() == before + 1


def test_both_are_there_before_the_first_checkpoint_and_again_when_a_run_goes_on(tmp_path: Path) -> None:
    run_files.remember_options(RunOptions.from_dict({"behaviors": {"Counter": {"trainer_type": "maddpg"}}}))
    files = [tmp_path / run_files.STATUS, tmp_path / run_files.CONFIGURATION]
    build(tmp_path)
    assert number(tmp_path) == 0
    assert files[1].read_text().startswith("# generation 0 of this run\n")
    start(tmp_path)
    before = number(tmp_path)
    for path in files:
        path.unlink()
    GlobalTrainingStatus.saved_state.clear()
    build(tmp_path, load=True)
    assert number(tmp_path) == before > 0
    assert files[1].read_text().startswith(f"# generation {before} of this run\n")


def test_a_checkpoint_that_the_list_does_not_know_is_listed_and_pruned(tmp_path: Path) -> None:
    behavior = {"max_steps": 300, "checkpoint_interval": 100, "keep_checkpoints": 2}
    start(tmp_path, behavior=behavior)
    old = {path.stem for path in (tmp_path / "Counter").glob("Counter-*.pt")}
    GlobalTrainingStatus.saved_state.clear()
    build(tmp_path, behavior=behavior, load=True)
    listed = ModelCheckpointManager.get_checkpoints("Counter")
    assert [entry["steps"] for entry in listed] == sorted(int(name.rpartition("-")[2]) for name in old)
    start(tmp_path, behavior={**behavior, "max_steps": 900}, load=True)
    left = {path.stem for path in (tmp_path / "Counter").glob("Counter-*") if path.suffix in (".pt", ".onnx")}
    assert len(left) == 2
    assert not left & old


@pytest.mark.parametrize("keep", [1, 3])
def test_a_run_that_goes_on_and_ends_at_once_keeps_what_it_writes(tmp_path: Path, keep: int) -> None:
    """It saves the step that it began with a second time, so that is listed once."""
    behavior = {"max_steps": 150, "checkpoint_interval": 100, "keep_checkpoints": keep}
    start(tmp_path, behavior=behavior)
    scene = manager()
    scene.stop_after = 1  # Ctrl+C before anything has arrived
    last = start(tmp_path, scene=scene, behavior={**behavior, "max_steps": 900}, load=True).trainer
    listed = ModelCheckpointManager.get_checkpoints("Counter")
    steps = [entry["steps"] for entry in listed]
    assert steps[-1] == last.get_step and len(set(steps)) == len(steps)
    assert all(Path(path).is_file() for e in listed for path in (e["file_path"], *e["auxillary_file_paths"]))
    assert (tmp_path / "Counter.onnx").is_file()


def test_the_list_does_not_change_while_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another trainer's first checkpoint adds a key, over which the host iterates when it writes."""
    locked = []
    for name in ("add_checkpoint", "track_final_checkpoint"):
        monkeypatch.setattr(ModelCheckpointManager, name, lambda *_: locked.append(run_files._lock.locked()))
    saved = ModelCheckpoint(100, "Counter-100.onnx", None, 0.0)
    run_files.enter("Counter", saved, 5)
    run_files.enter_final("Counter", saved)
    assert locked == [True, True]


def test_what_was_half_written_is_removed_when_the_run_goes_on(tmp_path: Path) -> None:
    start(tmp_path)
    for name in (run_files.STATUS, run_files.CONFIGURATION):
        (tmp_path / f"{name}.tmp").write_text("{")
    build(tmp_path, load=True)
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_files.write(tmp_path)
    before = (tmp_path / run_files.STATUS).read_text()

    def full(path: str) -> None:
        Path(path).write_text("{")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(GlobalTrainingStatus, "save_state", staticmethod(full))
    with pytest.raises(OSError, match="No space left"):
        run_files.write(tmp_path)
    assert (tmp_path / run_files.STATUS).read_text() == before
    assert not list(tmp_path.rglob("*.tmp"))
