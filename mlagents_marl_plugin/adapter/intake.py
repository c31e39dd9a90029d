"""What the host's agents have lived through on its way in: trajectories, departures, ended episodes."""

import time
from collections import defaultdict
from typing import Any

import torch
from mlagents.trainers.agent_processor import AgentManagerQueue
from mlagents.trainers.behavior_id_utils import get_global_agent_id
from mlagents.trainers.trainer.rl_trainer import RLTrainer
from mlagents.trainers.trajectory import Trajectory
from mlagents_envs.timers import hierarchical_timer

from mlagents_marl_plugin.adapter.acting import Acting
from mlagents_marl_plugin.adapter.assembler import Assembler
from mlagents_marl_plugin.adapter.metrics import Reporter
from mlagents_marl_plugin.adapter.policy import Table
from mlagents_marl_plugin.adapter.roster import Departure
from mlagents_marl_plugin.adapter.saving import Saving
from mlagents_marl_plugin.adapter.scores import ScoreBoard


class Intake(RLTrainer):
    """The part of a trainer that empties the host's queues into the assembler, and tells of what has ended."""

    # What the trainer gives it.
    table: Table
    assembler: Assembler  # from the first agents on
    actings: list[Acting]
    board: ScoreBoard
    reporter: Reporter
    saving: Saving
    self_play: bool
    role = 0  # the behaviour's place among the roles of its groups

    def __init__(self, *arguments: Any):
        """See the host's `RLTrainer`."""
        super().__init__(*arguments)
        # Own and group's, by agent. Only the thread that takes trajectories in may touch them: whom the host's
        # thread cuts short by a reset, `forget` is told of like all who leave.
        self._reward_sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self._left_since: list[Departure] = []  # to be used by the next `advance`

    def _policy_mean_reward(self) -> float | None:
        """Mean return since the last update, which another thread may begin just now."""
        returns = list(self.cumulative_returns_since_policy_update)
        return sum(returns) / len(returns) if returns else None

    def _discard(self) -> None:
        """Empty the queues: the host waits where one is full, and would never ask for the next decision."""
        for queue in self.trajectory_queues:
            while not queue.empty():
                queue.get_nowait()
        time.sleep(0.01)

    def _take_departed(self) -> list[Departure]:
        """Who has left, all of whose trajectories `_drain` finds in the queues."""
        roster = self.table.roster
        if roster is None:
            return []
        departed, roster.departed = roster.departed, []
        if self.threaded and self.self_play:
            # The host's self-play fills our queues from its own before it calls `advance`. Whoever has left since
            # then has a last trajectory that is still in the host's, and comes with the next call.
            departed, self._left_since = self._left_since, departed
        return departed

    def _drain(self) -> None:
        """Take in the trajectories that have come."""
        with hierarchical_timer("process_trajectory"):
            for queue in self.trajectory_queues:
                waiting = queue.qsize()
                for _ in range(waiting):
                    try:
                        self._process_trajectory(queue.get_nowait())
                    except AgentManagerQueue.Empty:
                        break
                if self.threaded and not waiting:
                    time.sleep(0.0001)  # leave the processor to the environment

    def _process_trajectory(self, trajectory: Trajectory) -> None:
        super()._process_trajectory(trajectory)
        sums = self._reward_sums[trajectory.agent_id]
        for step in trajectory.steps:
            sums[0] += float(step.reward)
            sums[1] += float(step.group_reward)
        if self.table.roster is not None:
            with self.table.lock:
                self.assembler.deliver(trajectory, self.role)
        if trajectory.done_reached:
            own, group = self._reward_sums.pop(trajectory.agent_id)
            self.reporter.agent_ended(own, group)
            self.cumulative_returns_since_policy_update.append(own + group)
            self.reward_buffer.appendleft(own + group)  # what lessons with "measure: reward" look at

    def forget(self, departed: list[Departure]) -> None:
        """These agents have ended, some of them without a last trajectory."""
        for gone in departed:
            self._reward_sums.pop(get_global_agent_id(gone.worker, gone.agent), None)

    def _collect(self, departed: list[Departure]) -> None:
        if self.table.roster is None:
            return
        self.assembler.give_up(departed)
        self.forget(departed)
        if departed:
            size = self.table.roster.layout.group_size
            members = [gone.lane * size + gone.slot for gone in departed if gone.lane >= 0]
            for acting in self.actings:
                acting.reset(torch.tensor(members, dtype=torch.int64, device="cpu"))
        self.assembler.flush()
        for episode in self.assembler.episodes:
            was_solved = self.board.solved_at
            self.board.add(episode)
            self.reporter.group_ended(episode)
            if self.board.solved_at != was_solved:
                self.reporter.announce_solved()
            # Against opponents that change, a high score tells of them as much as of the learner.
            if self.is_training and not self.self_play and self.board.improved():
                self.saving.remember_best(self.board.mean)
        self.assembler.episodes.clear()
