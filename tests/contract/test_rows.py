"""Every row of the replay against the scene's own log, through the real mlagents-learn and real processes."""

from pathlib import Path

import pytest

from tests.contract.playing import PATIENCE
from tests.contract.row_runs import STEPS, run


@pytest.mark.parametrize("time_horizon", [1, 5])  # all others run with 16, longer than any episode
def test_one_court_per_process(tmp_path: Path, time_horizon: int) -> None:
    result = run(tmp_path, {}, behavior={"time_horizon": time_horizon})
    compared = result.check()
    result.check_mates()
    assert compared > 0.9 * STEPS


def test_many_courts_and_processes(tmp_path: Path) -> None:
    result = run(tmp_path, {"group_size": 2}, "--num-envs=2", "--num-areas=5")
    compared = result.check()
    result.check_mates()
    assert compared > 0.8 * result.num_lines


# Those that no other test gives, or that are the host's and the scene's business.
FLAGS = "--debug --no-graphics-monitor --width=100 --height=80 --quality-level=2 --time-scale=5 --target-frame-rate=30 "
FLAGS += "--capture-frame-rate=30 --torch --max-lifetime-restarts=3 --restarts-rate-limit-n=2 "
FLAGS += "--restarts-rate-limit-period-s=30"


def test_groups_by_id(tmp_path: Path) -> None:
    scene = ("--group-ids", "--agents=3")
    result = run(tmp_path, {}, "--num-areas=3", *FLAGS.split(), scene=scene, agents=3)
    assert result.check() > 0.8 * result.num_lines
    result.check_mates()


def test_threaded(tmp_path: Path) -> None:
    result = run(tmp_path, {}, "--num-areas=3", scene=("--group-ids",), behavior={"threaded": True})
    assert result.check() > 0.7 * result.num_lines
    result.check_mates()


def test_agents_that_die_alone(tmp_path: Path) -> None:
    result = run(tmp_path, {}, "--num-areas=3", scene=("--group-ids", "--agents=3", "--deaths"), agents=3)
    assert result.check(posthumous=True) > 0.8 * result.num_lines
    result.check_mates()


@pytest.mark.parametrize(("fault", "workers", "steps"), [("crash", 1, STEPS), ("garbage", 2, 8_000)])
def test_a_player_that_is_replaced(tmp_path: Path, fault: str, workers: int, steps: int) -> None:
    """The other of two players plays on until the host notices, which takes most of the steps."""
    result = run(
        tmp_path,
        {"group_size": 2},
        f"--num-envs={workers}",
        f"--timeout-wait={PATIENCE}",
        behavior={"max_steps": steps},
        scene=("--fault", fault, "--fault-after", "100", "--fault-once", str(tmp_path / "failed")),
    )
    assert (tmp_path / "failed").exists()
    assert len(list(tmp_path.glob("events-*.jsonl"))) == workers + 1
    assert result.check() > 0.8 * result.num_lines
    result.check_mates()


def test_two_behaviour_ids_feed_one_trainer(tmp_path: Path) -> None:
    result = run(tmp_path, {"group_size": 2}, "--num-areas=3", scene=("--teams",))
    assert result.check() > 0.8 * result.num_lines
    result.check_mates()
