"""Who acts with whom: every agent's group, slot and place in time, known before its decision is made.

A *lane* is one life of one group in one environment process: it begins when its first member appears and ends
when its last member has left. Agents are told to have left by the host's AgentProcessor, which clears an
agent's memories as soon as it has processed the agent's end (or has dropped it in a reset).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from mlagents.trainers.exception import UnityTrainerException
from mlagents_envs.logging_util import get_logger

from mlagents_marl_plugin.adapter.grouping import Grouping, Layout
from mlagents_marl_plugin.adapter.lanes import Lanes
from mlagents_marl_plugin.adapter.staging import StagingTable

logger = get_logger(__name__)

LONGEST_DECISION_PERIOD = 64  # Unity's DecisionRequester goes up to 20


class Member(NamedTuple):
    """An agent's place."""

    lane: int  # -1: its group is not known
    slot: int
    since: int  # the worker's clock at its first decision
    team: int  # index of its behaviour id


class Departure(NamedTuple):
    """An agent that has left."""

    worker: int
    agent: int
    lane: int  # -1: its group was not known
    slot: int
    row: int  # its group's row when it left; nothing of it comes after that


@dataclass
class Worker:
    """One environment process as the roster sees it."""

    clock: int = 0  # counts the calls with which the host asks for one step's decisions
    called: set[int] = field(default_factory=set)  # behaviour ids already asked in this step
    complete: int = -1  # the last step for which all were asked
    members: dict[int, Member] = field(default_factory=dict)  # by agent id
    lanes: dict[tuple[int, int], int] = field(default_factory=dict)  # side and group id -> its lane
    # This step's new lanes and their agents' ids, by side.
    cohort: dict[int, list[tuple[int, list[int]]]] = field(default_factory=dict)
    cohorts: int = 0  # generations of agents that were grouped by consecutive ids
    reset_at: int = -1  # the clock of the first step after the last reset
    trusted_from: int = 0  # the clock before which it was not sure who was there


class Roster:
    """Hands out rows and slots for decisions. Not thread-safe: its owner holds a lock."""

    def __init__(
        self,
        behavior_name: str,
        layout: Layout,
        staging: StagingTable,
        posthumous: bool,
        names: Sequence[str] = (),
    ):
        """
        Args:
            behavior_name: whose settings say how agents are grouped.
            names: the behaviour name of each id in the layout, where they differ.
            posthumous: whether one who leaves while its group plays on still earns its group's reward to
                come.
        """
        self.behavior_name = behavior_name
        self.names = names or (behavior_name,) * len(layout.members)
        self.layout = layout
        self.staging = staging
        self.posthumous = posthumous
        self.lanes = Lanes(layout.group_size, staging.memory_size)
        self.workers: dict[int, Worker] = defaultdict(Worker)
        self.departed: list[Departure] = []  # since last asked

    def tick(self, worker_id: int, team: int) -> Worker:
        """Advance the worker's clock where a new step begins; called also for no agents."""
        worker = self.workers[worker_id]
        if team in worker.called:
            worker.complete = worker.clock
            worker.clock += 1
            worker.called.clear()
            worker.cohort.clear()
        worker.called.add(team)
        if len(worker.called) == len(self.layout.members):
            worker.complete = worker.clock
        return worker

    def place(
        self, worker_id: int, team: int, agent_ids: np.ndarray, group_ids: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The staging rows and slots [R] of agents that decide now. A row of -1: its group is not known.

        Args:
            team: index of the behaviour id within the layout.
            agent_ids, group_ids: [R] int, as the scene sent them.
        """
        worker = self.tick(worker_id, team)
        ids = agent_ids.tolist()
        # Consecutive groups are only learnt from once all have ended together, so whoever is missed does no harm.
        if worker.clock == worker.reset_at + 1 and self.layout.grouping != Grouping.CONSECUTIVE:
            self._let_silent_go(worker_id, worker, team, ids)
        if not ids:
            empty = np.zeros(0, np.int64)
            return empty, empty
        if not all(agent in worker.members for agent in ids):
            self._admit(worker_id, worker, team, agent_ids, group_ids)
        places = np.array([worker.members[agent] for agent in ids], np.int64)
        lanes, slots = places[:, 0], places[:, 1]
        known = lanes >= 0
        if known.all():
            return self._rows(worker, lanes), slots
        rows = np.full(len(ids), -1, np.int64)
        rows[known] = self._rows(worker, lanes[known])
        return rows, slots

    def _rows(self, worker: Worker, lanes: np.ndarray) -> np.ndarray:
        table = self.lanes
        fresh = np.unique(lanes[table.step[lanes] != worker.clock])
        if len(fresh):
            rows = self.staging.begin(
                fresh, table.row[fresh], table.present[fresh], table.valued[fresh], worker.clock
            )
            self.staging.memory[rows % self.staging.capacity] = table.memory[fresh]
            if worker.clock < worker.trusted_from:
                self.staging.broken[rows % self.staging.capacity] = True
            table.row[fresh] = rows
            table.step[fresh] = worker.clock
            for lane, row in zip(fresh.tolist(), rows.tolist(), strict=True):
                table.pending[lane].append(row)
        return table.row[lanes]

    def leave(self, worker_id: int, agent_id: int) -> None:
        """An agent has ended, or was dropped by the host in a reset."""
        worker = self.workers[worker_id]
        member = worker.members.pop(agent_id, None)
        if member is None:
            return
        lane, slot, *_ = member
        row = -1 if lane < 0 else int(self.lanes.row[lane])
        self.departed.append(Departure(worker_id, agent_id, lane, slot, row))
        if lane < 0:
            return
        self.lanes.present[lane, slot] = False
        self.lanes.memory[lane, slot] = 0
        if not self.posthumous:
            self.lanes.valued[lane, slot] = False
        if not self.lanes.present[lane].any():
            for group in [group for group, of in worker.lanes.items() if of == lane]:
                del worker.lanes[group]

    def reset(self) -> None:
        """The host has reset all processes: nobody who was there goes on.

        The host itself forgets only agents that have finished an experience. One whose first decision was cut
        off would keep its seat for ever.
        """
        for worker_id, worker in self.workers.items():
            for agent in list(worker.members):
                self.leave(worker_id, agent)
            worker.complete, worker.clock = worker.clock, worker.clock + 1
            worker.reset_at, worker.cohorts = worker.clock, 0
            worker.called.clear()
            worker.cohort.clear()

    def reset_in_order(self) -> None:
        """As `reset`, and the host hands on the first step before the second, so nothing is lost."""
        self.reset()
        for worker in self.workers.values():
            worker.reset_at = -1

    def _let_silent_go(self, worker_id: int, worker: Worker, team: int, ids: list[int]) -> None:
        """Of one that ends in its first step after a process was replaced, the host does not tell.

        So whoever began with the reset and does not ask in the second step is taken to have ended. Should it
        come back (its decision period is longer), nothing that was seen without it may be learnt from. Not for
        consecutive groups, which one who comes back alone could not join again: they keep their seats until the
        next reset.
        """
        there = worker.members.items()
        begun = [agent for agent, m in there if m.since == worker.reset_at and m.team == team]
        for agent in set(begun).difference(ids):
            worker.trusted_from = worker.clock + LONGEST_DECISION_PERIOD
            lane = worker.members[agent].lane
            if lane >= 0:
                self.staging.broken[self.lanes.row[lane] % self.staging.capacity] = True
            self.leave(worker_id, agent)

    def _admit(
        self, worker_id: int, worker: Worker, team: int, agent_ids: np.ndarray, group_ids: np.ndarray
    ) -> None:
        new = [index for index, agent in enumerate(agent_ids.tolist()) if agent not in worker.members]
        new.sort(key=lambda index: agent_ids[index])
        if self.layout.grouping == Grouping.CONSECUTIVE:
            self._admit_consecutive(worker_id, worker, team, agent_ids[new])
            return
        for index in new:
            agent, group = int(agent_ids[index]), 0
            if self.layout.grouping == Grouping.GROUP_ID:
                # One in no group is a group of its own.
                group = int(group_ids[index]) or -agent - 1
            key = (self._side(team), group)
            lane = worker.lanes.get(key)
            if lane is None:
                lane = worker.lanes[key] = self.lanes.new(worker_id, 0)
            self._seat(worker, lane, team, agent)

    def _admit_consecutive(self, worker_id: int, worker: Worker, team: int, new: np.ndarray) -> None:
        size = self.layout.members[team]
        if len(new) % size:
            self.contradict(
                f"{len(new)} agents began together, which is no multiple of {size}", worker.cohorts == 0
            )
            for agent in new.tolist():
                worker.members[agent] = Member(-1, 0, worker.clock, team)
            return
        if not worker.cohort:
            worker.cohorts += 1
        cohort = worker.cohort.setdefault(self._side(team), [])
        for number, first in enumerate(range(0, len(new), size)):
            if number == len(cohort):
                cohort.append((self.lanes.new(worker_id, worker.cohorts - 1), []))
            lane, ids = cohort[number]
            for agent in new[first : first + size].tolist():
                self._seat(worker, lane, team, agent)
                ids.append(agent)
            if len(ids) == self.layout.group_size and max(ids) - min(ids) >= len(ids) * self._num_sides:
                self.contradict(f"agents {sorted(ids)} have no consecutive ids", worker.cohorts == 1)

    def _seat(self, worker: Worker, lane: int, team: int, agent: int) -> None:
        """Give a new member the lowest free slot of its team."""
        slots = self.layout.slots(team)
        free = np.flatnonzero(~self.lanes.present[lane, slots.start : slots.stop])
        if len(free) == 0:
            remedy = "set the largest number of agents that a group of the scene can have"
            if self.layout.grouping == Grouping.WORKER:  # whose size is the number that begin together
                remedy = f"register the agents of a group in a SimpleMultiAgentGroup (grouping: group_id), and {remedy}"
            raise UnityTrainerException(
                f"behaviors.{self.names[team]}.hyperparameters.group_size: expected groups of at most "
                f"{len(slots)} agents, got one more (agent {agent}); {remedy}"
            )
        slot = int(slots.start + free[0])
        self.lanes.seated[lane] += 1
        self.lanes.present[lane, slot] = self.lanes.valued[lane, slot] = True
        worker.members[agent] = Member(lane, slot, worker.clock, team)

    def _side(self, team: int) -> int:
        """Groups of different sides have nothing in common."""
        return team if self.layout.sides else 0

    @property
    def _num_sides(self) -> int:
        """How many sides the ids of a court are spread over."""
        return len(self.layout.members) if self.layout.sides else 1

    def contradict(self, seen: str, first_generation: bool) -> None:
        """Agents did not behave as 'consecutive' says; the first generation, in Unity's order, is waited out.

        Raises:
            UnityTrainerException: from the second generation on.
        """
        if first_generation:
            logger.warning(
                f"{self.behavior_name}: {seen}; their experience is left out, and agents are grouped anew "
                f"when they begin their next episode."
            )
            return
        raise UnityTrainerException(
            f"behaviors.{self.behavior_name}.hyperparameters.grouping: expected groups of "
            f"{self.layout.group_size} agents with consecutive ids that begin and end together "
            f"('consecutive'), but {seen}; register the agents of a court in a SimpleMultiAgentGroup and "
            f"set grouping: group_id, or use one court per process with --num-envs and grouping: worker"
        )
