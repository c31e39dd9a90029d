"""From per-agent trajectories to joint steps: every reward and end goes to the row whose ticket it carries.

The host gives no order across agents, repeats agent ids after a restart and then delivers one corrupt
experience per agent. So nothing is counted or matched by position: an experience is accepted only if its
ticket names a staged row and the row holds the very observation that the experience shows.
"""

from typing import NamedTuple

import numpy as np
from mlagents.trainers.trajectory import Trajectory
from mlagents_envs.logging_util import get_logger

from mlagents_marl_plugin.adapter.blocks import Block, Chunk, Store
from mlagents_marl_plugin.adapter.grouping import Grouping
from mlagents_marl_plugin.adapter.roster import Departure, Roster
from mlagents_marl_plugin.adapter.staging import NOT_ENDED, TERMINATED, TRUNCATED, decode_tickets

logger = get_logger(__name__)


class Episode(NamedTuple):
    """A group's episode that has ended, in the scene's own rewards."""

    scores: np.ndarray  # [members] float, each agent's own and group reward, summed over the episode
    discounted: np.ndarray  # [members] float, the same sum discounted from the first step on
    length: int  # group steps
    truncated: bool


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
        self.rejected = 0  # agent steps that had no ticket, or whose ticket or observation did not fit
        self.dropped = 0  # group steps that could not be completed
        self.episodes: list[Episode] = []
        # Who plays alone belongs to nobody, so there is nothing to wait for.
        self._hold = roster.layout.grouping == Grouping.CONSECUTIVE and roster.layout.group_size > 1
        self._totals: dict[int, _Total] = {}
        self._overrun_told = False

    def deliver(self, trajectory: Trajectory, role: int) -> int:
        """Take in one agent's trajectory; returns how many of its steps were accepted."""
        steps, staging = trajectory.steps, self.staging
        tickets = np.array([step.action_probs.continuous for step in steps])
        rows, slots = decode_tickets(tickets)
        at = rows % staging.capacity
        obs = _flat_obs([step.obs for step in steps])
        local = slots - staging.spec.slots(role).start
        accept = staging.alive(rows) & (local >= 0) & (local < staging.spec.roles[role].num_slots)
        local, slots = np.where(accept, local, 0), np.where(accept, slots, 0)
        # After a restart a ticket can come twice in a row: with its own outcome, then with another step's.
        accept[1:] &= rows[1:] > np.maximum.accumulate(rows)[:-1]
        accept &= staging.decided[at, slots] & ~staging.delivered[at, slots] & ~staging.closed[at]
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
        staging.final_obs.setdefault(row, {})[slot] = final_obs

    def give_up(self, departed: list[Departure]) -> None:
        """Agents left and their last trajectories are all in: what is missing of them will never come."""
        staging = self.staging
        for _, _, lane, slot, last_row in departed:
            if lane < 0:
                continue
            self.roster.lanes.settled[lane] += 1
            rows = np.array([row for row in self.roster.lanes.pending[lane] if row <= last_row], np.int64)
            at = rows[staging.alive(rows)] % staging.capacity
            staging.broken[at] |= staging.decided[at, slot] & ~staging.delivered[at, slot]
            self.touched.add(lane)

    def flush(self) -> None:
        """Store every step whose outcome is known for all who took part, lane by lane in order."""
        if not self.touched:
            return
        block = Block(self.roster, 0 if self.store is None else self.store.next_row)
        self.touched = {lane for lane in sorted(self.touched) if self._flush_lane(lane, block)}
        if self.store is not None and block.completed:
            self.store.add(block.steps())

    def _flush_lane(self, lane: int, block: Block) -> bool:
        """Pass on what is ready; returns whether the lane waits for nothing but its next row."""
        lanes, staging = self.roster.lanes, self.staging
        self._drop_overrun(lane)
        pending = lanes.pending[lane]
        if not pending:
            self._release_if_over(lane)
            return False
        rows = np.array(pending, np.int64)
        at = rows % staging.capacity
        missing = staging.decided[at] & ~staging.delivered[at]
        staging.broken[at] |= (missing & (lanes.last_delivered[lane] > rows[:, None])).any(axis=1)
        ends = staging.end[at] != NOT_ENDED
        ended = ends.any(axis=1)
        remaining = (staging.present[at] & ~ends).any(axis=1)
        over = ended & ~remaining
        gone = lanes.gone(lane)
        successor = staging.successor[at]
        arrived = ~missing.any(axis=1)
        # Dropped by a reset of the host: what came after the last decision was never seen.
        staging.broken[at] |= arrived & gone & ~over & (successor < 0)
        broken = staging.broken[at]
        told = arrived | broken
        if self._hold and not self._confirmed(lane, gone and bool(told.all()), ended & remaining, over[-1]):
            self._release_if_over(lane)
            return False
        complete = self.roster.workers[int(lanes.worker[lane])].complete
        known = (successor >= 0) & (staging.step[successor % staging.capacity] <= complete)
        ready = told & (known | over | (broken & gone))
        count = len(rows) if ready.all() else int(ready.argmin())
        if count:
            columns = (column[:count] for column in (at, broken, ended, over, successor))
            self._pass_on(Chunk(lane, pending[:count], *columns), block)
            del pending[:count]
        self._release_if_over(lane)
        return count < len(rows) and bool(told[count])

    def _confirmed(self, lane: int, whole: bool, alone: np.ndarray, over: bool) -> bool:
        """Whether a 'consecutive' group is known to belong together, because its members have ended together.

        Args:
            whole: whether all have left and nothing is to come.
            alone: [M] bool, a member ended while another played on.
            over: whether all ended in the last row.
        """
        if not whole:
            return False
        if alone.any():
            self.roster.contradict(
                "agents that were taken for one group did not end together",
                bool(self.roster.lanes.generation[lane] == 0),
            )
        elif over:
            return True
        self._drop(lane, len(self.roster.lanes.pending[lane]))
        return False

    def _drop_overrun(self, lane: int) -> None:
        """Give up rows that the ring has overwritten before their outcomes came."""
        pending, oldest = self.roster.lanes.pending[lane], self.staging.head - self.staging.capacity
        if not pending or pending[0] >= oldest:
            return
        if not self._overrun_told and self._is_told_of(lane):
            self._overrun_told = True
            logger.warning(
                f"{self.roster.behavior_name}: {self.staging.capacity} steps of groups were begun before the "
                f"first of them was over, so experience is left out (see Data/Dropped Group Steps); lower "
                f"time_horizon, or run fewer areas and processes."
            )
        self._drop(lane, sum(row < oldest for row in pending))
        self.roster.lanes.tail[lane] = -1
        self._total(lane).whole = False

    def _drop(self, lane: int, count: int) -> None:
        """Give up the lane's first rows."""
        pending = self.roster.lanes.pending[lane]
        self.staging.close(pending[:count])
        del pending[:count]
        self._count_dropped(lane, count)

    def _release_if_over(self, lane: int) -> None:
        lanes = self.roster.lanes
        if lanes.gone(lane) and not lanes.pending[lane] and lanes.row[lane] >= 0:
            self._totals.pop(lane, None)
            lanes.release(lane)

    def _pass_on(self, chunk: Chunk, block: Block) -> None:
        self._score(chunk)
        if self.store is not None:
            block.complete(chunk)
        self._count_dropped(chunk.lane, int(chunk.broken.sum()))
        self.staging.close(chunk.rows)

    def _count_dropped(self, lane: int, count: int) -> None:
        if self._is_told_of(lane):
            self.dropped += count

    def _is_told_of(self, lane: int) -> bool:
        """In self-play the host delivers nothing of opponents, and nothing is missing then."""
        return not self.roster.layout.sides or bool((self.roster.lanes.last_delivered[lane] >= 0).any())

    def _total(self, lane: int) -> "_Total":
        return self._totals.setdefault(lane, _Total(self.roster.layout.group_size))

    def _score(self, chunk: Chunk) -> None:
        staging, total = self.staging, self._total(chunk.lane)
        if chunk.broken.any():
            total.whole = False  # the episode does not count
        got = staging.reward[chunk.at] + staging.group_reward[chunk.at]
        total.score += got.sum(axis=0)
        power = self.discount ** (total.length + np.arange(len(got)))
        total.discounted += power @ got
        total.members |= staging.present[chunk.at].any(axis=0)
        total.length += len(got)
        if chunk.over[-1]:  # all members ended, so the lane ends with them
            del self._totals[chunk.lane]
            if total.whole:
                truncated = not (staging.end[chunk.at[-1]] == TERMINATED).any()
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


def _flat_obs(steps: list) -> np.ndarray:
    """Observations of T steps, each a list of arrays, as [T, O]."""
    sensors = [np.array(sensor, np.float32).reshape(len(steps), -1) for sensor in zip(*steps, strict=True)]
    return sensors[0] if len(sensors) == 1 else np.concatenate(sensors, axis=1)
