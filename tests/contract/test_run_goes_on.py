"""One run through the real mlagents-learn that is killed, taken up again, interrupted, continued and watched.

Each fixture is the next stage of it; the tests look at what a stage left behind.
"""

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import yaml

from mlagents_marl_plugin.adapter import checkpoint, run_files
from mlagents_marl_plugin.tools.onnx_player import OnnxPolicy
from tests.contract.host import free_port, interrupt, launcher, learn, read_until, start, write_config
from tests.contract.playing import TIMEOUT, alive, wait_until

HYPERPARAMETERS = {
    "batch_size": 16,
    "buffer_size": 5_000,
    "buffer_init_steps": 100,
    "steps_per_update": 8,
    "group_size": 2,
    "console_episodes": 10,
    "save_replay_buffer": True,
}
MORE_STEPS = 400


class Stage(NamedTuple):
    """What one stage printed, and the step that its checkpoint is of."""

    printed: str
    step: int


class Left(NamedTuple):
    """What a killed run has left: generations of its checkpoint and its list, and its configuration."""

    saved: int
    listed: int
    configuration: str


class Life:
    """The run's folder and command."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.results = folder / "results" / "run"
        behavior = {
            "max_steps": 10_000_000,
            "checkpoint_interval": 200,
            "summary_freq": 200,
            "keep_checkpoints": 2,
        }
        config = write_config(folder, "Counter", "matd3", HYPERPARAMETERS, behavior)
        self.command = [
            str(config),
            f"--env={launcher(folder, 'Counter')}",
            f"--base-port={free_port()}",
            "--num-envs=2",
            "--num-areas=2",
            "--seed=3",
        ]

    def checkpoint(self) -> dict[str, Any]:
        return checkpoint.read(str(self.results / "Counter" / checkpoint.LAST), torch.device("cpu"))

    def stage(self, printed: str) -> Stage:
        return Stage(printed, self.checkpoint()["step"])

    def models(self) -> dict[Path, bytes]:
        found = [path for path in self.results.rglob("*") if path.suffix in (".pt", ".onnx")]
        return {path: path.read_bytes() for path in found}


def descendants(pid: int) -> list[int]:
    """Processes that a process started, and that those started; Linux."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # ended meanwhile
    found, new = [], {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new}
        found += sorted(new)
    return found


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Life:
    return Life(tmp_path_factory.mktemp("life"))


@pytest.fixture(scope="module")
def killed(life: Life) -> Iterator[list[int]]:
    """kill -9 after the first checkpoint; the processes that it had started."""
    with start(life.folder, *life.command) as process:
        read_until(process, "Exported")
        started = descendants(process.pid) if Path("/proc/self").exists() else []
        process.kill()
    yield started
    for pid in filter(alive, started):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def left(life: Life, killed: list[int]) -> Left:
    """Beside the checkpoint, before anybody goes on from it."""
    status = json.loads((life.results / run_files.STATUS).read_text())[run_files.OURS]
    configuration = (life.results / run_files.CONFIGURATION).read_text()
    return Left(life.checkpoint()["generation"], status["generation"], configuration)


@pytest.fixture(scope="module")
def interrupted(life: Life, killed: list[int], left: Left) -> Stage:
    """--resume on the same ports, then Ctrl+C twice."""
    assert wait_until(lambda: not any(map(alive, killed)))
    before = life.checkpoint()["step"]
    with start(life.folder, *life.command, "--resume", start_new_session=True) as process:
        printed = read_until(process, f"Step: {before // 200 * 200 + 400}")
        interrupt(process)
        printed += read_until(process, "Learning was interrupted")
        interrupt(process)
        printed += process.communicate(timeout=TIMEOUT)[0]
    assert process.returncode == 0, printed
    assert f"at step {before}." in printed
    return life.stage(printed)


@pytest.fixture(scope="module")
def finished(life: Life, interrupted: Stage) -> Stage:
    """The run's own configuration.yaml, but for a few steps more, and nothing else on the command line."""
    used = yaml.safe_load((life.results / "configuration.yaml").read_text())
    used["behaviors"]["Counter"]["max_steps"] = interrupted.step + MORE_STEPS
    (life.folder / "again.yaml").write_text(yaml.safe_dump(used))
    return life.stage(learn(life.folder, "again.yaml", seed=None))


@pytest.fixture(scope="module")
def watched(life: Life, finished: Stage) -> tuple[dict[Path, bytes], list[dict[str, Any]]]:
    """--inference: the models before it, and what the scene says was done."""
    before, events = life.models(), life.folder / "events.jsonl"
    arguments = [*life.command, "--resume", "--inference", "--env-args", "--event-log", str(events)]
    with start(life.folder, *arguments, start_new_session=True) as process:
        read_until(process, "Episode")
        interrupt(process)
        printed, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, printed
    logs = sorted(life.folder.glob("events-*.jsonl"))
    return before, [json.loads(line) for log in logs for line in log.read_text().splitlines()]


class TestGoesOn:
    # Windows has no signals to send, and other ways to wait for a process's children.
    __test__ = os.name == "posix"

    def test_a_killed_trainer_leaves_no_worker_and_no_player(self, killed: list[int]) -> None:
        if Path("/proc/self").exists():
            assert len(killed) >= 4
        assert wait_until(lambda: not any(map(alive, killed)))

    def test_a_killed_trainer_leaves_its_list_and_configuration(self, left: Left) -> None:
        assert left.listed in (left.saved, left.saved - 1)
        found = re.match(r"# generation (\d+) of this run\n", left.configuration)
        assert found
        assert int(found[1]) in (left.listed, left.listed - 1)
        assert yaml.safe_load(left.configuration)["behaviors"]["Counter"]["trainer_type"] == "matd3"

    def test_it_is_resumed_from_the_last_checkpoint_before_it_was_killed(self, interrupted: Stage) -> None:
        begun = re.search(r"Resuming from .*checkpoint.pt at step (\d+)", interrupted.printed)
        assert begun
        assert 0 < int(begun[1]) < interrupted.step - 100
        assert "Counter: grouping 'consecutive', 2 agents in a group." in interrupted.printed

    def test_ctrl_c_leaves_a_whole_checkpoint_and_a_model_even_if_pressed_twice(
        self, life: Life, interrupted: Stage
    ) -> None:
        model = life.results / "Counter.onnx"
        assert "Traceback" not in interrupted.printed
        assert f"Counter-{interrupted.step}.onnx to results/run/Counter.onnx" in interrupted.printed
        assert OnnxPolicy(model).observation_shapes == ((4,),)
        assert (life.results / "run_logs" / "timers.json").is_file()
        assert not list(life.results.rglob("*.tmp"))

    def test_its_configuration_is_a_configuration(
        self, life: Life, interrupted: Stage, finished: Stage
    ) -> None:
        assert finished.step >= interrupted.step + MORE_STEPS
        assert f"at step {interrupted.step}." in finished.printed
        used, again = (
            yaml.safe_load(path.read_text())
            for path in (life.folder / "again.yaml", life.results / "configuration.yaml")
        )
        assert again == used

    def test_inference_writes_no_model(
        self, life: Life, watched: tuple[dict[Path, bytes], list[dict[str, Any]]]
    ) -> None:
        before, _ = watched
        assert before
        assert life.models() == before

    def test_inference_plays_what_the_model_says(
        self, life: Life, watched: tuple[dict[Path, bytes], list[dict[str, Any]]]
    ) -> None:
        _, lines = watched
        followed = [line for line in lines if line["decision"] > 0]
        assert len(followed) > 20
        seen = np.array([line["obs"][0] for line in followed], np.float32)
        expected, _ = OnnxPolicy(life.results / "Counter.onnx").act([seen])
        np.testing.assert_allclose([line["continuous"] for line in followed], expected, atol=1e-5)
