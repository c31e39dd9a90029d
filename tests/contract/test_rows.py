"""Every row of the replay against the scene's own log, through the real mlagents-learn and real processes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mlagents_marl_plugin.core.rows import RowLayout
from mlagents_marl_plugin.core.types import ActionLayout, GroupSpec, RoleSpec
from tests.contract.host import free_port, launcher, learn, write_config

HYPERPARAMETERS = {
    "buffer_size": 50_000,
    "buffer_init_steps": 10_000_000,
    "save_replay_buffer": True,
    "random_steps": 10_000_000,
}
STEPS = 1_500


class Run:
    """What the scene logged and what the trainer kept of it."""

    def __init__(self, folder: Path, agents: int, obs_size: int = 4):
        self.lines: dict[tuple, list[dict[str, Any]]] = {}
        self.num_lines = 0
        for log in folder.glob("events-*.jsonl"):
            for text in log.read_text().splitlines():
                line = json.loads(text)
                key = (*line["obs"][0], *line["continuous"])
                self.lines.setdefault(key, []).append(line)
                self.num_lines += 1
        saved = torch.load(folder / "results/run/Counter/last_replay_buffer.pt", weights_only=True)
        self.spec = GroupSpec((RoleSpec("Counter", agents, ((obs_size,),), ActionLayout(2)),))
        columns = RowLayout.of(self.spec)
        rows = saved["rows"].numpy()
        self.successor = saved["successor"].numpy()
        self.obs = rows[:, columns.obs].reshape(-1, agents, obs_size)
        self.action = rows[:, columns.action].reshape(-1, agents, 2)
        self.reward = rows[:, columns.reward]
        self.terminated = rows[:, columns.terminated] > 0
        self.value_mask = rows[:, columns.value_mask] > 0
        self.present = rows[:, columns.agent_mask] > 0
        self.complete = np.flatnonzero(self.successor >= 0)

    def check(self, posthumous: bool = False) -> int:
        """Every complete row says what the scene says; returns how many decisions were compared."""
        compared = 0
        for row in self.complete:
            for slot in np.flatnonzero(self.present[row]):
                key = (*self.obs[row, slot].tolist(), *self.action[row, slot].tolist())
                found = self.lines.get(key)
                assert found, f"row {row} slot {slot}: the scene knows no decision {key}"
                assert len(found) == 1
                line = found[0]
                assert self.reward[row, slot] == pytest.approx(
                    line["reward"] + line["group_reward"], rel=1e-6
                )
                ended = line["done"] and not line["interrupted"]
                if not posthumous:
                    assert self.terminated[row, slot] == ended
                if not ended:
                    following = self.obs[self.successor[row], slot].tolist()
                    assert following == line["next_obs"][0]
                compared += 1
        return compared

    def check_mates(self) -> None:
        """Agents of one row are of one area, at one step of one episode."""
        for row in self.complete:
            identity = self.obs[row][self.present[row]]
            assert len(np.unique(identity[:, [0, 2, 3]], axis=0)) == 1
            assert len(np.unique(identity[:, 1])) == len(identity)


def run(
    folder: Path,
    hyperparameters: dict,
    *options: str,
    scene: tuple[str, ...] = (),
    agents: int = 2,
    behavior: dict | None = None,
) -> Run:
    """One short training run on the Counter scene."""
    config = write_config(
        folder,
        "Counter",
        "maddpg",
        {**HYPERPARAMETERS, **hyperparameters},
        {"max_steps": STEPS, **(behavior or {})},
    )
    build = launcher(folder, "Counter")
    learn(
        folder,
        str(config),
        f"--env={build}",
        f"--base-port={free_port()}",
        *options,
        "--env-args",
        "--event-log",
        str(folder / "events.jsonl"),
        *scene,
    )
    return Run(folder, agents)


@pytest.mark.parametrize("time_horizon", [1, 5, 64])
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


def test_groups_by_id(tmp_path: Path) -> None:
    result = run(tmp_path, {}, "--num-areas=3", scene=("--group-ids", "--agents=3"), agents=3)
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


@pytest.mark.parametrize("workers", [1, 2])
def test_a_player_that_is_killed(tmp_path: Path, workers: int) -> None:
    result = run(
        tmp_path,
        {"group_size": 2},
        f"--num-envs={workers}",
        "--timeout-wait=10",  # the host looks after its players every tenth of that
        behavior={"max_steps": 12_000},
        scene=("--crash-after", "100", "--crash-once", str(tmp_path / "crashed")),
    )
    assert (tmp_path / "crashed").exists()
    assert len(list(tmp_path.glob("events-*.jsonl"))) == workers + 1
    assert result.check() > 0.8 * result.num_lines
    result.check_mates()


def test_two_behaviour_ids_feed_one_trainer(tmp_path: Path) -> None:
    result = run(tmp_path, {"group_size": 2}, "--num-areas=3", scene=("--teams",))
    assert result.check() > 0.8 * result.num_lines
    result.check_mates()
