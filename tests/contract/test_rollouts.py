"""On-policy trainers through the real mlagents-learn: a run, what it leaves, and its continuation."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.contract.host import free_port, launcher, learn, write_config

HYPERPARAMETERS = {"group_size": 2, "batch_size": 64, "buffer_size": 64, "num_epoch": 2}
# At most twenty trajectories wait for a trainer's own thread: so short, they make no update much larger than asked for,
# and so none fewer, however slow that thread is.
TIME_HORIZON = 4


def run(folder: Path, trainer_type: str, max_steps: int, *options: str) -> str:
    """Counter with continuous and masked discrete actions, three courts in each of two processes."""
    threaded = trainer_type == "ippo_shared"
    settings = {
        "max_steps": max_steps,
        "summary_freq": 200,
        "time_horizon": TIME_HORIZON,
        "threaded": threaded,
    }
    config = write_config(folder, "Counter", trainer_type, HYPERPARAMETERS, settings)
    return learn(
        folder,
        str(config),
        f"--env={launcher(folder, 'Counter')}",
        f"--base-port={free_port()}",
        "--num-envs=2",
        "--num-areas=3",
        *options,
        "--env-args",
        "--branches=3,2",
        "--masks",
    )


@pytest.mark.parametrize("trainer_type", ["mappo", "ippo_shared"])
def test_a_run_and_its_continuation(tmp_path: Path, trainer_type: str) -> None:
    printed = run(tmp_path, trainer_type, 700)
    assert "Counter. Step: 600." in printed
    folder = tmp_path / "results" / "run"
    first = torch.load(folder / "Counter" / "checkpoint.pt", weights_only=True)
    assert first["trainer"] == trainer_type
    assert first["updates"] >= 4

    printed = run(tmp_path, trainer_type, 1_400, "--resume")
    assert f"at step {first['step']}" in printed
    assert "Counter. Step: 1400." in printed
    last = torch.load(folder / "Counter" / "checkpoint.pt", weights_only=True)
    assert last["updates"] >= first["updates"] + 4

    summaries = EventAccumulator(str(folder / "Counter")).Reload()
    for tag in ("Losses/Policy Loss", "Losses/Value Loss", "Policy/Entropy", "Policy/Epsilon", "Policy/Beta"):
        assert all(np.isfinite(point.value) for point in summaries.Scalars(tag)), tag
    assert summaries.Scalars("Data/Rejected Rows")[-1].value == 0
    assert summaries.Scalars("Rollout/Dropped")[-1].value == 0

    session = onnxruntime.InferenceSession(str(folder / "Counter.onnx"), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    feed = {"obs_0": np.ones((200, 4), np.float32), "action_masks": np.tile([1, 0, 1, 1, 0], (200, 1))}
    feed["action_masks"] = feed["action_masks"].astype(np.float32)
    got = dict(zip(names, session.run(None, feed), strict=True))
    assert len(np.unique(got["deterministic_continuous_actions"], axis=0)) == 1
    assert got["continuous_actions"].std() > 0.3
    assert set(np.unique(got["discrete_actions"][:, 0])) == {0, 2}
    assert set(np.unique(got["discrete_actions"][:, 1])) == {0}
