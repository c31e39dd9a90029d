"""From per-agent trajectories to joint steps: every reward and end goes to the row whose ticket it carries.

The host gives no order across agents, repeats agent ids after a restart and then delivers one corrupt
experience per agent. So nothing is counted or matched by position: an experience is accepted only if its
ticket names a staged row and the row holds the very observation that the experience shows.
"""

from typing import NamedTuple, Protocol

import numpy as np
from mlagents.trainers.trajectory import Trajectory

from mlagents_marl_plugin.adapter.grouping import Grouping
from mlagents_marl_plugin.adapter.roster import Roster
from mlagents_marl_plugin.adapter.staging import NOT_ENDED, TERMINATED, TRUNCATED, decode_tickets


class Steps(NamedTuple):
    """A block of M completed joint steps and P newly seen observations, in host memory.

    ``rows``, ``next_rows`` and the appended rows count from the next row that the store will hand out.
    """

    obs: np.ndarray  # [P, joint] float32
    agent_mask: np.ndarray  # [P, N] float32
    allowed: np.ndarray  # [P, joint choices] float32
    rows: np.ndarray  # [M] int64, the completed steps
    next_rows: np.ndarray  # [M] int64, where their successors' observations are
    cut: np.ndarray  # [M] bool, the successor is only an observation, the next step is elsewhere
    action: np.ndarray  # [M, joint] float32
    present: np.ndarray  # [M, N] bool
    value_mask: np.ndarray  # [M, N] bool
    reward: np.ndarray  # [M, N] float32, each agent's own
    group_reward: np.ndarray  # [M] float32, the group's, once
    terminated: np.ndarray  # [M, N] bool
    joint_obs: np.ndarray  # [M, joint] float32, the completed steps' observations


class Episode(NamedTuple):
    """A group's episode that has ended, in the scene's own rewards."""

    scores: np.ndarray  # [members] float, each agent's own and group reward, summed over the episode
    discounted: np.ndarray  # [members] float, the same sum discounted from the first step on
    length: int  # group steps
    truncated: bool


class Store(Protocol):
    """Who keeps completed steps."""

    @property
    def next_row(self) -> int: ...

    def add(self, steps: Steps) -> None: ...


class Assembler:
    """Collects outcomes by ticket and passes on whole rows. Not thread-safe: its owner holds a lock."""

    def __init__(self, roster: Roster, store: Store | None, discount: float):
        """
        Args:
            store: keeps the steps; None where nothing is trained.
            discount: for the episodes' discounted returns.
        """
        self.discount = discount
        self.roster = roster
        self.staging = roster.staging
        self.store = store
        self.touched: set[int] = set()
        self.accepted = 0  # agent steps
        self.rejected = 0  # agent steps whose ticket or observation did not fit
        self.dropped = 0  # group steps that could not be completed
        self.episodes: list[Episode] = []
        self._hold = roster.layout.grouping == Grouping.CONSECUTIVE
        self._totals: dict[int, _Total] = {}

    def deliver(self, trajectory: Trajectory, role: int) -> int:
        """Take in one agent's trajectory; returns how many of its steps were accepted."""
        steps, staging = trajectory.steps, self.staging
        tickets = np.array([step.action_probs.continuous for step in steps])
        rows, slots = decode_tickets(tickets)
        at = rows % staging.capacity
        obs = _flat_obs([step.obs for step in steps])
        local = slots - staging.spec.slots(role).start
        accept = staging.alive(rows) & (local >= 0) & (local < staging.spec.roles[role].num_slots)
        local = np.where(accept, local, 0)
        accept &= staging.decided[at, slots] & ~staging.delivered[at, slots]
        accept &= (staging.obs[role][at, local] == obs).all(axis=1)
        last = steps[-1]
        count = int(accept.sum())
        self.accepted += count
        self.rejected += len(steps) - count
        if count == 0:
            return 0
        at, slots, rows = at[accept], slots[accept], rows[accept]
        staging.reward[at, slots] = np.array([step.reward for step in steps], np.float32)[accept]
        staging.group_reward[at, slots] = np.array([step.group_reward for step in steps], np.float32)[accept]
        staging.delivered[at, slots] = True
        if last.done and accept[-1]:
            self._end(int(rows[-1]), int(slots[-1]), last.interrupted, _flat_obs([trajectory.next_obs])[0])
        lane = int(staging.lane[at[-1]])
        delivered = self.roster.lanes.last_delivered
        delivered[lane, slots[-1]] = max(delivered[lane, slots[-1]], int(rows[-1]))
        self.touched.add(lane)
        return count

    def _end(self, row: int, slot: int, interrupted: bool, final_obs: np.ndarray) -> None:
        """Mark an agent's end in its last decision, or in the last row through which that was kept up."""
        staging = self.staging
        following = int(staging.successor[row % staging.capacity])
        while following >= 0:
            at = following % staging.capacity
            if staging.decided[at, slot] or not staging.present[at, slot]:
                break
            row, following = following, int(staging.successor[at])
        staging.end[row % staging.capacity, slot] = TRUNCATED if interrupted else TERMINATED
        staging.final_obs[row, slot] = final_obs

    def give_up(self, departed: list) -> None:
        """Agents left and their last trajectories are all in: what is missing of them will never come."""
        staging = self.staging
        for lane, slot, last_row in departed:
            rows = np.array([row for row in self.roster.lanes.pending[lane] if row <= last_row], np.int64)
            at = rows[staging.alive(rows)] % staging.capacity
            staging.broken[at] |= staging.decided[at, slot] & ~staging.delivered[at, slot]
            self.touched.add(lane)

    def flush(self) -> None:
        """Store every step whose outcome is known for all who took part, lane by lane in order."""
        block = _Block(self)
        waiting = set()
        for lane in sorted(self.touched):
            if not self._flush_lane(lane, block):
                waiting.add(lane)
        self.touched = waiting
        if self.store is not None and (block.sources or block.completed):
            self.store.add(block.steps())

    def _flush_lane(self, lane: int, block: "_Block") -> bool:
        """Pass on what is ready; returns whether nothing of the lane is left to wait for."""
        lanes, staging = self.roster.lanes, self.staging
        pending = lanes.pending[lane]
        if not pending:
            self._release_if_over(lane)
            return True
        rows = np.array(pending, np.int64)
        lost = int((~staging.alive(rows)).sum())
        if lost:
            self.dropped += lost
            lanes.tail[lane] = -1
            self._spoil(lane)
            rows = rows[lost:]
            del pending[:lost]
            if not pending:
                self._release_if_over(lane)
                return True
        at = rows % staging.capacity
        missing = staging.decided[at] & ~staging.delivered[at]
        staging.broken[at] |= (missing & (lanes.last_delivered[lane] > rows[:, None])).any(axis=1)
        ended = staging.end[at] != NOT_ENDED
        remaining = staging.present[at] & ~ended
        over = ended.any(axis=1) & ~remaining.any(axis=1)
        gone = not lanes.present[lane].any()
        successor = staging.successor[at]
        arrived = ~missing.any(axis=1)
        # Dropped by a reset of the host: what came after the last decision was never seen.
        staging.broken[at] |= arrived & gone & ~over & (successor < 0)
        ready = arrived | staging.broken[at]
        if self._hold:
            alone = ended.any(axis=1) & remaining.any(axis=1)
            if not self._confirmed(lane, not bool(ready.all()), alone, bool(over[-1])):
                self._release_if_over(lane)
                return not pending
        complete = self.roster.workers[int(lanes.worker[lane])].complete
        known = (successor >= 0) & (staging.step[successor % staging.capacity] <= complete)
        ready &= known | over | (staging.broken[at] & gone)
        count = len(rows) if ready.all() else int(ready.argmin())
        if count:
            self._pass_on(lane, rows[:count], over[:count], block)
            del pending[:count]
        self._release_if_over(lane)
        return not pending

    def _confirmed(self, lane: int, missing: bool, alone: np.ndarray, over: bool) -> bool:
        """Whether a 'consecutive' group is known to belong together, because its members have ended together.

        Args:
            missing: whether outcomes are still to come.
            alone: [M] bool, a member ended while another played on.
            over: whether all ended in the last row.
        """
        lanes = self.roster.lanes
        if lanes.present[lane].any() or missing:
            return False
        if alone.any():
            self.roster.contradict(
                "agents that were taken for one group did not end together", bool(lanes.generation[lane] == 0)
            )
        elif over:
            return True
        self.dropped += len(lanes.pending[lane])
        lanes.pending[lane].clear()
        return False

    def _release_if_over(self, lane: int) -> None:
        lanes = self.roster.lanes
        if not lanes.present[lane].any() and not lanes.pending[lane] and lanes.row[lane] >= 0:
            lanes.row[lane] = -1
            self._totals.pop(lane, None)
            lanes.release(lane)

    def _pass_on(self, lane: int, rows: np.ndarray, over: np.ndarray, block: "_Block") -> None:
        staging = self.staging
        for row, is_over in zip(rows.tolist(), over.tolist(), strict=True):
            at = row % staging.capacity
            if staging.broken[at]:
                self.dropped += 1
                self.roster.lanes.tail[lane] = -1
                self._spoil(lane)
                continue
            block.complete(lane, row, at, is_over)
            self._score(lane, at, is_over)

    def _spoil(self, lane: int) -> None:
        """The lane's episode is not whole, so it does not count."""
        self._totals.setdefault(lane, _Total(self.roster.layout.group_size)).whole = False

    def _score(self, lane: int, at: int, over: bool) -> None:
        staging = self.staging
        total = self._totals.setdefault(lane, _Total(self.roster.layout.group_size))
        got = staging.reward[at] + staging.group_reward[at]
        total.score += got
        total.discounted += got * self.discount**total.length
        total.members |= staging.present[at]
        total.length += 1
        if over:
            del self._totals[lane]
            if total.whole:
                truncated = not (staging.end[at] == TERMINATED).any()
                members = total.members
                self.episodes.append(
                    Episode(total.score[members], total.discounted[members], total.length, truncated)
                )


class _Total:
    """An episode under way."""

    def __init__(self, num_slots: int):
        self.score = np.zeros(num_slots)
        self.discounted = np.zeros(num_slots)
        self.members = np.zeros(num_slots, bool)
        self.length = 0
        self.whole = True


class _Block:
    """Gathers one flush's rows, so that the tables are read once and the store is called once."""

    def __init__(self, assembler: Assembler):
        self.staging = assembler.staging
        self.lanes = assembler.roster.lanes
        self.posthumous = assembler.roster.posthumous
        self.store = assembler.store
        self.next_row = 0 if assembler.store is None else assembler.store.next_row
        self.sources: list[int] = []  # staging rows whose observations are appended; -1: composed
        self.composed: list[tuple[int, np.ndarray, np.ndarray, np.ndarray]] = []
        self.completed: list[int] = []
        self.rows: list[int] = []
        self.next_rows: list[int] = []
        self.cut: list[bool] = []
        self.terminated: list[np.ndarray] = []

    def _append(self, source: int) -> int:
        self.sources.append(source)
        return self.next_row + len(self.sources) - 1

    def complete(self, lane: int, row: int, at: int, over: bool) -> None:
        """Complete one row: store its observation if it is not yet, and its successor's."""
        if self.store is None:
            return
        staging = self.staging
        tail = int(self.lanes.tail[lane])
        mine = tail if tail >= 0 else self._append(row)
        end = staging.end[at]
        terminated = end == TERMINATED
        successor = int(staging.successor[at])
        if not end.any():
            following, cut = self._append(successor), False
            self.lanes.tail[lane] = following
        else:
            following, cut = self._append(-1), True
            self._compose(row, at, -1 if over else successor)
            self.lanes.tail[lane] = -1
            if self.posthumous:
                # One who died earns its group's reward until the group ends, and then shares its fate.
                lane_terminated = over and bool(terminated.any())
                terminated = (staging.valued[at] & lane_terminated) | (terminated & over)
        self.completed.append(row)
        self.rows.append(mine)
        self.next_rows.append(following)
        self.cut.append(cut)
        self.terminated.append(terminated)

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
        obs, offset = obs.copy(), 0
        for role, role_spec in enumerate(spec.roles):
            slots = spec.slots(role)
            view = obs[offset : offset + role_spec.num_slots * role_spec.obs_size].reshape(
                role_spec.num_slots, -1
            )
            for local, slot in enumerate(range(slots.start, slots.stop)):
                if ends[slot] == TRUNCATED:
                    view[local] = staging.final_obs.pop((row, slot))
                    present[slot] = True
                elif not present[slot]:
                    view[local] = 0
                    staging.final_obs.pop((row, slot), None)
            offset += role_spec.num_slots * role_spec.obs_size
        self.composed.append((len(self.sources) - 1, obs, present, allowed))

    def steps(self) -> Steps:
        staging = self.staging
        sources = np.array(self.sources, np.int64)
        taken = np.where(sources >= 0, sources, 0)
        obs = staging.joint(staging.obs, taken)
        allowed = staging.joint(staging.allowed, taken)
        mask = staging.present[taken % staging.capacity].astype(np.float32)
        for index, composed_obs, present, composed_allowed in self.composed:
            obs[index], mask[index], allowed[index] = composed_obs, present, composed_allowed
        rows = np.array(self.completed, np.int64)
        at = rows % staging.capacity
        return Steps(
            obs=obs,
            agent_mask=mask,
            allowed=allowed,
            rows=np.array(self.rows, np.int64),
            next_rows=np.array(self.next_rows, np.int64),
            cut=np.array(self.cut, bool),
            action=staging.joint(staging.action, rows),
            present=staging.present[at],
            value_mask=staging.valued[at],
            reward=staging.reward[at],
            group_reward=self._group_reward(rows, at),
            terminated=np.array(self.terminated, bool).reshape(len(rows), -1),
            joint_obs=staging.joint(staging.obs, rows),
        )

    def _group_reward(self, rows: np.ndarray, at: np.ndarray) -> np.ndarray:
        """The group's reward of each step, once: as told to a member asked again, or ended, right after.

        A member that decides less often is told the sum over several steps, which others were told singly.
        """
        staging = self.staging
        successor = staging.successor[at] % staging.capacity
        prompt = staging.decided[at] & ((staging.end[at] != NOT_ENDED) | staging.decided[successor])
        told = np.where(prompt.any(axis=1, keepdims=True), prompt, staging.decided[at])
        first = told.argmax(axis=1)
        return staging.group_reward[at, first]


def _flat_obs(steps: list) -> np.ndarray:
    """Observations of T steps, each a list of arrays, as [T, O]."""
    sensors = [np.array(sensor, np.float32).reshape(len(steps), -1) for sensor in zip(*steps, strict=True)]
    return sensors[0] if len(sensors) == 1 else np.concatenate(sensors, axis=1)
