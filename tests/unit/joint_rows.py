"""A replay of a group of several roles against the scene's own log."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest
import torch

from mlagents_marl_plugin.core.rows import RowLayout
from mlagents_marl_plugin.core.types import GroupSpec


class JointRows:
    """Complete rows of a replay on the Counter scene (observations begin with area, agent, episode, step)."""

    def __init__(self, spec: GroupSpec, replay: Mapping[str, Any], lines: Iterable[Mapping[str, Any]]):
        self.spec = spec
        columns = RowLayout.of(spec)
        rows: torch.Tensor = replay["rows"]
        obs, action = rows[:, columns.obs], rows[:, columns.action]
        self.obs = [spec.role_obs(obs, role).numpy() for role in range(len(spec.roles))]
        self.action = [spec.role_action(action, role).numpy() for role in range(len(spec.roles))]
        self.reward = rows[:, columns.reward].numpy()
        self.terminated = rows[:, columns.terminated].numpy() > 0
        self.present = rows[:, columns.agent_mask].numpy() > 0
        self.successor = replay["successor"].numpy()
        self.complete = np.flatnonzero(self.successor >= 0)
        self.lines: dict[tuple[float, ...], list[Mapping[str, Any]]] = {}
        for line in lines:
            self.lines.setdefault((*line["obs"], *line["continuous"]), []).append(line)

    def check(self, terminations: bool = True) -> list[int]:
        """Every complete row says what the scene says; returns how many decisions were compared, per role."""
        compared = [0] * len(self.spec.roles)
        for row in self.complete:
            for role in range(len(self.spec.roles)):
                slots = self.spec.slots(role)
                for local, slot in enumerate(range(slots.start, slots.stop)):
                    if self.present[row, slot]:
                        self._check(int(row), role, local, slot, terminations)
                        compared[role] += 1
        return compared

    def _check(self, row: int, role: int, local: int, slot: int, terminations: bool) -> None:
        key = (*self.obs[role][row, local].tolist(), *self.action[role][row, local].tolist())
        assert len(self.lines.get(key, [])) == 1, f"row {row} slot {slot}: {key}"
        (line,) = self.lines[key]
        assert self.reward[row, slot] == pytest.approx(line["reward"] + line["group_reward"], rel=1e-6)
        ended = line["done"] and not line["interrupted"]
        if terminations:
            assert self.terminated[row, slot] == ended
        if not ended:
            assert self.obs[role][self.successor[row], local].tolist() == line["next_obs"]

    def check_mates(self) -> None:
        """Who stands in a row is of one area, at one step of one episode, and each once."""
        for row in self.complete:
            there = np.concatenate(
                [
                    obs[row, :, :4][self.present[row, self.spec.slots(role)]]
                    for role, obs in enumerate(self.obs)
                ]
            )
            assert len(np.unique(there[:, [0, 2, 3]], axis=0)) == 1
            assert len(np.unique(there[:, 1])) == len(there)
