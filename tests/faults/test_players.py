"""Players that fail in every way that the wire allows; ``benchmarks/soak.py players`` does it for longer.

Those that are replaced through the real mlagents-learn are in ``tests/contract/test_rows.py``.
"""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from mlagents_envs.exception import (
    UnityCommunicatorStoppedException,
    UnityEnvironmentException,
    UnityObservationException,
    UnityTimeOutException,
)

from tests.contract.playing import PATIENCE, environment, listening
from tests.contract.row_runs import run

AFTER = 3
LINUX = sys.platform == "linux"
# mlagents-learn, but that it does not wait ten seconds for the good-bye of a worker that has failed and is gone.
IMPATIENT = """
from mlagents.trainers import learn, subprocess_env_manager
subprocess_env_manager.WORKER_SHUTDOWN_TIMEOUT_S = 1
learn.main()
"""


def test_a_scene_that_sends_nan_stops_the_run_and_what_was_learnt_is_saved(tmp_path: Path) -> None:
    options = ("--fault", "nan", "--fault-after", "80")
    program = [sys.executable, "-c", IMPATIENT]
    result = run(tmp_path, {"group_size": 2}, scene=options, expect=1, program=program)
    assert result.printed.splitlines()[-1].startswith(
        "scene: expected finite observations and rewards, got NaN"
    )
    assert (tmp_path / "results/run/Counter.onnx").is_file()
    assert result.check() > 100
    result.check_mates()


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("drop", UnityTimeOutException, "took too long to respond"),
        ("quit", UnityCommunicatorStoppedException, "Communicator has exited"),
        ("cut", UnityEnvironmentException, "shut down with return code 0"),
        ("shape", UnityObservationException, r"Expected shape \(4,\) but got \(5,\)"),
        ("statistics", UnityEnvironmentException, "unexpectedly short"),
    ],
)
def test_the_host_notices(tmp_path: Path, kind: str, error: type[Exception], message: str) -> None:
    """A hung player differs from one whose connection is gone in nothing that the host sees."""
    options = ("--fault", kind, "--fault-after", str(AFTER))
    with environment(tmp_path, "Counter", *options) as played:
        played.reset()
        for _ in range(AFTER - 1):
            played.step()
        # From here on, so that no step before is too slow for it.
        played._communicator.timeout_wait = played._timeout_wait = 1 if kind == "drop" else PATIENCE
        with pytest.raises(error, match=message):
            played.step()


@pytest.mark.parametrize("kind", ["hello", "stranger"])
def test_messages_out_of_order_are_a_step_in_which_nobody_is_asked(tmp_path: Path, kind: str) -> None:
    options = ("--fault", kind, "--fault-after", str(AFTER), "--fault-once", str(tmp_path / "failed"))
    with environment(tmp_path, "Counter", *options) as played:
        played.reset()
        if LINUX:
            assert listening(os.getpid()), "the host's server"
            assert not listening(played._process.pid)
        seen = []
        for _ in range(2 * AFTER):
            played.step()
            decision, _ = played.get_steps("Counter?team=0")
            seen += decision.obs[0][:, [2, 3]].tolist()
    assert (tmp_path / "failed").exists()
    order = [tuple(time) for time in seen[::2]]
    assert order == sorted(order)
    assert len(np.unique(seen[::2], axis=0)) == len(seen) / 2
