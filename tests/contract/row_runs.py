"""A short run of the real mlagents-learn on the Counter scene, and its replay, row by row, beside the scene's log."""

import json
from pathlib import Path
from typing import Any

import numpy as np
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

    def __init__(self, folder: Path, agents: int, printed: str = "", obs_size: int = 4):
        self.printed = printed
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
                assert np.isclose(
                    self.reward[row, slot], line["reward"] + line["group_reward"], rtol=1e-6, atol=1e-9
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
    **kwargs: Any,
) -> Run:
    """One short training run on the Counter scene; further arguments are those of `learn`."""
    config = write_config(
        folder,
        "Counter",
        "maddpg",
        {**HYPERPARAMETERS, **hyperparameters},
        {"max_steps": STEPS, **(behavior or {})},
    )
    build = launcher(folder, "Counter")
    printed = learn(
        folder,
        str(config),
        f"--env={build}",
        f"--base-port={free_port()}",
        *options,
        "--env-args",
        "--event-log",
        str(folder / "events.jsonl"),
        *scene,
        **kwargs,
    )
    return Run(folder, agents, printed)
