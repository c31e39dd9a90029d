"""Completed joint steps, gathered from the staging table into one block for whoever keeps them."""

from typing import NamedTuple, Protocol

import numpy as np
import torch

from mlagents_marl_plugin.adapter.roster import Roster
from mlagents_marl_plugin.adapter.staging import NOT_ENDED, TERMINATED, TRUNCATED


class Steps(NamedTuple):
    """A block of M completed joint steps and P newly seen observations, in host memory.

    ``rows``, ``next_rows`` and the appended rows count from the next row that the store will hand out.
    """

    obs: np.ndarray  # [P, joint] float32
    agent_mask: np.ndarray  # [P, N] float32
    allowed: np.ndarray  # [P, joint choices] float32
    memory: np.ndarray  # [P, N * M] float32, what each slot remembered before it decided
    rows: np.ndarray  # [M] int64, the completed steps
    next_rows: np.ndarray  # [M] int64, where their successors' observations are
    cut: np.ndarray  # [M] bool, the successor is only an observation, the next step is elsewhere
    resumed: np.ndarray  # [M] int64, where it is, if the others play on; else -1
    anew: np.ndarray  # [M, N] bool, the slot is a newcomer's in the next step
    action: np.ndarray  # [M, joint] float32
    log_prob: np.ndarray  # [M, N] float32, of what was decided in this very step
    present: np.ndarray  # [M, N] bool
    decided: np.ndarray  # [M, N] bool; one who is present and did not decide keeps up an earlier action
    value_mask: np.ndarray  # [M, N] bool
    reward: np.ndarray  # [M, N] float32, each agent's own
    group_reward: np.ndarray  # [M] float32, the group's, once
    terminated: np.ndarray  # [M, N] bool, nothing more is earned; of shared fates, by the group's end only
    ended: np.ndarray  # [M, N] bool, the scene ended this very agent, though its group may play on
    joint_obs: np.ndarray  # [M, joint] float32, the completed steps' observations


class Store(Protocol):
    """Who keeps completed steps."""

    @property
    def next_row(self) -> int: ...

    def add(self, steps: Steps) -> None: ...


class Chunk(NamedTuple):
    """Consecutive rows of a lane that are passed on at once, [M] each."""

    lane: int
    rows: list[int]
    at: np.ndarray  # their places in the ring
    broken: np.ndarray  # bool
    ended: np.ndarray  # bool, a member ended
    over: np.ndarray  # bool, all ended
    successor: np.ndarray


class Block:
    """Gathers one flush's rows, so that the tables are read once and the store is called once."""

    def __init__(self, roster: Roster, next_row: int):
        """
        Args:
            next_row: the number of the next row that the store will hand out.
        """
        self.staging = roster.staging
        self.lanes = roster.lanes
        self.posthumous = roster.posthumous
        self.next_row = next_row
        self.sources: list[int] = []  # staging rows whose observations are appended; -1: composed
        self.composed: list[tuple[int, np.ndarray, np.ndarray, np.ndarray]] = []
        self.completed: list[int] = []
        self.rows: list[int] = []
        self.next_rows: list[int] = []
        self.cut: list[bool] = []
        self.resumed: list[int] = []
        self.shared_fate: list[tuple[int, np.ndarray]] = []

    def _append(self, source: int) -> int:
        self.sources.append(source)
        return self.next_row + len(self.sources) - 1

    def complete(self, chunk: Chunk) -> None:
        """Complete rows: store their observations, as far as they are not yet, and their successors'."""
        tail = int(self.lanes.tail[chunk.lane])
        columns = (chunk.rows, chunk.successor.tolist(), chunk.broken.tolist(), chunk.ended.tolist())
        for number, (row, successor, broken, ended) in enumerate(zip(*columns, strict=True)):
            if broken:
                tail = -1
                continue
            self.rows.append(tail if tail >= 0 else self._append(row))
            following = self._append(-1 if ended else successor)
            tail, resumed = following, -1
            if ended:
                over = bool(chunk.over[number])
                self._compose(row, int(chunk.at[number]), -1 if over else successor)
                self._share_fate(int(chunk.at[number]), over)
                # At once, so that it is known where they play on.
                tail = resumed = -1 if over else self._append(successor)
            self.next_rows.append(following)
            self.cut.append(ended)
            self.resumed.append(resumed)
            self.completed.append(row)
        self.lanes.tail[chunk.lane] = tail

    def _share_fate(self, at: int, over: bool) -> None:
        """One who died earns its group's reward until the group ends, or until its place is taken (see `steps`)."""
        if self.posthumous:
            terminated = over and bool((self.staging.end[at] == TERMINATED).any())
            self.shared_fate.append((len(self.completed), self.staging.valued[at] & terminated))

    def _compose(self, row: int, at: int, successor: int) -> None:
        """What the group saw right after a row in which members ended: their last, the others' next."""
        staging, spec = self.staging, self.staging.spec
        ends = staging.end[at]
        if successor >= 0:
            base = np.array([successor])
            obs, allowed = staging.joint(staging.obs, base)[0], staging.joint(staging.allowed, base)[0]
            present = staging.present[successor % staging.capacity] & (ends == NOT_ENDED)
        else:
            obs, allowed = np.zeros(spec.obs_size, np.float32), np.ones(spec.allowed_size, np.float32)
            present = np.zeros(spec.num_slots, bool)
        obs, allowed = obs.copy(), allowed.copy()
        for role in range(len(spec.roles)):
            slots = spec.slots(role)
            view = spec.role_obs(torch.from_numpy(obs), role).numpy()
            permitted = spec.role_allowed(torch.from_numpy(allowed), role).numpy()
            for local, slot in enumerate(range(slots.start, slots.stop)):
                if ends[slot] == TRUNCATED:
                    view[local] = staging.final_obs[row][slot]
                    permitted[local] = 1  # who ends is not told what it could have done
                    present[slot] = True
                elif not present[slot]:
                    view[local] = 0
        self.composed.append((len(self.sources) - 1, obs, present, allowed))

    def steps(self) -> Steps:
        """What was gathered."""
        staging = self.staging
        sources = np.array(self.sources, np.int64)
        taken = np.where(sources >= 0, sources, 0)
        obs = staging.joint(staging.obs, taken)
        allowed = staging.joint(staging.allowed, taken)
        mask = staging.present[taken % staging.capacity].astype(np.float32)
        memory = staging.memory[taken % staging.capacity].reshape(len(taken), -1)
        for index, composed_obs, present, composed_allowed in self.composed:
            obs[index], mask[index], allowed[index] = composed_obs, present, composed_allowed
        rows = np.array(self.completed, np.int64)
        at = rows % staging.capacity
        ended = staging.end[at] == TERMINATED
        terminated = ended.copy()
        for index, together in self.shared_fate:
            terminated[index] = together
        stayed = staging.present[at] & (staging.end[at] == NOT_ENDED)
        successor = staging.successor[at]
        anew = staging.present[successor % staging.capacity] & ~stayed & (successor >= 0)[:, None]
        # Whoever takes a place earns for itself: to the one before nothing more can come, not even its group's reward.
        terminated |= anew & staging.valued[at] & (staging.end[at] != TRUNCATED)
        return Steps(
            obs=obs,
            agent_mask=mask,
            allowed=allowed,
            memory=memory,
            rows=np.array(self.rows, np.int64),
            next_rows=np.array(self.next_rows, np.int64),
            cut=np.array(self.cut, bool),
            resumed=np.array(self.resumed, np.int64),
            anew=anew,
            action=staging.joint(staging.action, rows),
            log_prob=staging.log_prob[at],
            present=staging.present[at],
            decided=staging.decided[at],
            value_mask=staging.valued[at],
            reward=staging.reward[at],
            group_reward=self._group_reward(rows, at),
            terminated=terminated,
            ended=ended,
            joint_obs=staging.joint(staging.obs, rows),
        )

    def _group_reward(self, rows: np.ndarray, at: np.ndarray) -> np.ndarray:
        """The group's reward of each step, once: as told to a member that was asked again right after.

        Else as told to one that ended. A member that decides less often is told the sum over several steps:
        where nobody was told singly, the shortest such sum is spread evenly over its steps.
        """
        staging = self.staging
        decided = staging.decided[at]
        # 2 for those asked again: of one that ended, the group may have earned more before its next step.
        prompt = 2 * (decided & staging.decided[staging.successor[at] % staging.capacity])
        prompt[decided & (staging.end[at] != NOT_ENDED)] = 1
        reward = staging.group_reward[at, prompt.argmax(axis=1)]
        for index in np.flatnonzero(~prompt.any(axis=1)):
            steps, told = min(
                (self._steps_until_told(int(rows[index]), slot), float(staging.group_reward[at[index], slot]))
                for slot in np.flatnonzero(decided[index])
            )
            reward[index] = told / steps
        return reward

    def _steps_until_told(self, row: int, slot: int) -> int:
        """Over how many rows, from this one on, a member's decision was kept up."""
        staging, steps = self.staging, 1
        while True:
            at = row % staging.capacity
            row = int(staging.successor[at])
            if staging.end[at, slot] != NOT_ENDED or row < 0 or staging.decided[row % staging.capacity, slot]:
                return steps
            steps += 1
