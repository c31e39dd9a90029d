"""The policy that the host asks for actions: it writes down every decision and acts by the actor's copy."""

import math
import threading
from typing import Any

import numpy as np
import torch
from mlagents.trainers.action_info import ActionInfo
from mlagents.trainers.exception import UnityTrainerException
from mlagents.trainers.policy import Policy
from mlagents.trainers.settings import NetworkSettings
from mlagents.trainers.torch_entities.action_log_probs import LogProbsTuple
from mlagents_envs.base_env import ActionTuple, BehaviorSpec, DecisionSteps
from mlagents_envs.timers import timed

from mlagents_marl_plugin.adapter.acting import Acting, Decision
from mlagents_marl_plugin.adapter.grouping import FirstAgents
from mlagents_marl_plugin.adapter.roster import Roster
from mlagents_marl_plugin.adapter.staging import encode_tickets, no_tickets
from mlagents_marl_plugin.core import actions
from mlagents_marl_plugin.core.types import ActionLayout


class Table:
    """Where all policies of one trainer meet: the roster, and who to tell of agents seen before it exists.

    ``lock`` guards the roster, the staging table and the acting copy. The host's threads hold it only for a
    moment.
    """

    def __init__(self, behavior_name: str):
        self.behavior_name = behavior_name
        self.lock = threading.RLock()
        self.behavior_ids: list[str] = []  # sorted: the order of slots
        self.roster: Roster | None = None
        self.decide: dict[str, Acting] = {}  # by behaviour id; in self-play each side has its own
        self.latest: Acting | None = None  # what the learner's actor was when last swapped in
        self._first_weights: Any = None  # in self-play, what snapshots from before the learner stand for
        self.on_first_agents: Any = None  # called with what a whole first step of a process showed
        self.failure: Exception | None = None  # what ended the trainer's own thread
        self._first: dict[int, dict[str, FirstAgents]] = {}

    def add(self, behavior_id: str) -> None:
        """One more behaviour id has a policy here."""
        self.behavior_ids = sorted({*self.behavior_ids, behavior_id})

    def act_by(self, latest: Acting, decide: dict[str, Acting]) -> None:
        """From now on decide with these.

        Args:
            latest: follows the learner's actor.
            decide: by behaviour id; where they differ from ``latest``, `load` gives them their weights.
        """
        self.latest, self.decide = latest, decide
        self._first_weights = self.snapshot()[0]

    def snapshot(self) -> list:
        """The latest actor, as the host keeps weights; empty if there is none yet."""
        with self.lock:
            return [] if self.latest is None else [self.latest.copy.acting_copy(self.latest.device)]

    def load(self, behavior_id: str, snapshot: list) -> None:
        """Have a side play as a snapshot."""
        with self.lock:
            acting = self.decide.get(behavior_id)
            if acting is not None and acting is not self.latest:
                acting.swap(snapshot[0] if snapshot else self._first_weights)

    def meet(self, worker_id: int, behavior_id: str, steps: DecisionSteps) -> None:
        """Collect the agents of a process's first step; the layout follows when all ids were asked."""
        seen = self._first.setdefault(worker_id, {})
        if behavior_id in seen:
            seen.clear()
        seen[behavior_id] = FirstAgents(behavior_id, np.array(steps.agent_id), np.array(steps.group_id))
        if len(seen) == len(self.behavior_ids) and self._are_enough(seen):
            self.on_first_agents([seen[name] for name in self.behavior_ids])
            self._first.clear()

    def _are_enough(self, seen: dict[str, FirstAgents]) -> bool:
        """Whether a first step, in which all ids were asked, shows who is there."""
        return any(len(agents.agent_ids) for agents in seen.values())


class MarlPolicy(Policy):
    """One behaviour id's policy.

    What it returns under ``log_probs`` are the tickets of the decisions: the host carries them, row by row
    and untouched, into each agent's trajectory.
    """

    def __init__(
        self,
        seed: int,
        behavior_id: str,
        behavior_spec: BehaviorSpec,
        network_settings: NetworkSettings,
        table: Table,
        role: int = 0,
    ):
        """Args: role, the behaviour's place among those of its groups."""
        super().__init__(seed, behavior_spec, network_settings)
        self.use_recurrent = False  # what agents remember is kept by place (`Lanes`), not by the host
        self.behavior_id = behavior_id
        self.table = table
        self.role = role
        self.step = 0
        spec = behavior_spec.action_spec
        self.layout = ActionLayout(spec.continuous_size, tuple(int(size) for size in spec.discrete_branches))
        self._no_previous_action = np.zeros((1, spec.discrete_size), np.int32)
        self._room = 64  # rows of what it looks up

    @timed
    def get_action(self, decision_requests: DecisionSteps, worker_id: int = 0) -> ActionInfo:
        """Decide for all agents that ask; an empty request still tells that the process took a step."""
        table = self.table
        if table.failure is not None:
            raise table.failure
        with table.lock:
            met = table.roster is not None
            if not met:
                table.meet(worker_id, self.behavior_id, decision_requests)
            # Some of several teams were asked before the roster existed: all are followed from the next step.
            follow = met or (table.roster is not None and len(table.behavior_ids) == 1)
            placed = self._place(worker_id, decision_requests) if follow else None
            if len(decision_requests) == 0:
                return ActionInfo.empty()
            return self._act(decision_requests, placed)

    def _place(self, worker_id: int, requests: DecisionSteps) -> tuple[np.ndarray, np.ndarray]:
        roster = self.table.roster
        assert roster is not None
        team = self.table.behavior_ids.index(self.behavior_id)
        return roster.place(worker_id, team, np.asarray(requests.agent_id), np.asarray(requests.group_id))

    def _act(self, requests: DecisionSteps, placed: tuple[np.ndarray, np.ndarray] | None) -> ActionInfo:
        count = len(requests)
        obs = _flatten(requests.obs)
        allowed = self._allowed(requests)
        if placed is None:
            tickets = no_tickets(count)
            permitted = torch.from_numpy(allowed)
            encoded = actions.uniform(self.layout, permitted, (count,), device=torch.device("cpu"))
        else:
            rows, slots = placed
            decision, tickets = self._follow(rows, slots, obs, allowed)
            self._check_finite(decision)
            encoded = decision.action
        continuous, discrete = actions.to_host(self.layout, encoded)
        # The scene gets what it knows; the learner, what was drawn.
        action = ActionTuple(continuous.clamp(-1.0, 1.0).numpy(), discrete.numpy())
        return ActionInfo(
            action=action,
            env_action=action,
            outputs=self._outputs(action, tickets),
            agent_ids=list(requests.agent_id),
        )

    def _check_finite(self, decision: Decision) -> None:
        total = decision.action.sum()
        if decision.log_prob is not None:
            total = total + decision.log_prob.sum()
        if not math.isfinite(total):
            raise UnityTrainerException(
                f"{self.behavior_id}: expected finite actions, got NaN or Inf from the actor; the last "
                f"checkpoint is from before that. Lower learning_rate, or set "
                f"network_settings.normalize: true"
            )

    def _outputs(self, action: ActionTuple, tickets: np.ndarray) -> dict[str, Any]:
        """What the host looks up by row, with room behind the rows.

        After a process was replaced it mixes up two steps, and would look for a row that the smaller of the two
        does not have. There it finds an action without a ticket.
        """
        count = len(tickets)
        self._room = max(self._room, 2 * count)
        continuous = np.zeros((self._room, self.layout.continuous), np.float32)
        discrete = np.zeros((self._room, len(self.layout.branches)), np.int32)
        continuous[:count], discrete[:count] = action.continuous, action.discrete
        tickets = np.concatenate([tickets, no_tickets(self._room - count)])
        return {"action": ActionTuple(continuous, discrete), "log_probs": LogProbsTuple(continuous=tickets)}

    def _follow(
        self, rows: np.ndarray, slots: np.ndarray, obs: np.ndarray, allowed: np.ndarray
    ) -> tuple[Decision, np.ndarray]:
        """Choose actions and write the decisions down; rows of -1 are not followed."""
        roster, decide = self.table.roster, self.table.decide[self.behavior_id]
        assert roster is not None
        staging, known, role = roster.staging, rows >= 0, self.role
        lanes = np.where(known, staging.lane[rows % staging.capacity], 0)
        members = lanes * roster.layout.group_size + slots
        memory = roster.lanes.memory[lanes, slots]  # copied; of those whose group is not known, 0
        memory[~known] = 0
        decision = decide(
            torch.from_numpy(obs),
            torch.from_numpy(allowed),
            torch.from_numpy(slots - staging.spec.slots(role).start).clamp_min(0),
            torch.from_numpy(members),
            torch.from_numpy(memory),
        )
        if decision.memory is not None:
            roster.lanes.memory[lanes[known], slots[known]] = decision.memory.numpy()[known]
        action = decision.action.numpy()
        log_prob = None if decision.log_prob is None else decision.log_prob.numpy()
        if known.all():
            staging.write_decisions(role, rows, slots, obs, allowed)
            staging.write_actions(role, rows, slots, action, log_prob)
            return decision, encode_tickets(rows, slots)
        tickets = no_tickets(len(rows))
        if known.any():
            at = rows[known], slots[known]
            staging.write_decisions(role, *at, obs[known], allowed[known])
            staging.write_actions(role, *at, action[known], None if log_prob is None else log_prob[known])
            tickets[known] = encode_tickets(*at)
        return decision, tickets

    def _allowed(self, requests: DecisionSteps) -> np.ndarray:
        """1 = permitted; the host says True = forbidden."""
        if requests.action_mask is None or not self.layout.branches:
            return np.ones((len(requests), self.layout.num_choices), np.float32)
        return 1.0 - np.concatenate(requests.action_mask, axis=1).astype(np.float32)

    def remove_memories(self, agent_ids: list) -> None:
        """The host's sign that agents have ended, or were dropped in a reset."""
        super().remove_memories(agent_ids)
        with self.table.lock:
            roster = self.table.roster
            if roster is None:
                return
            for global_id in agent_ids:
                worker, agent = global_id[len("agent_") :].split("-", 1)
                roster.leave(int(worker), int(agent))

    # The host's previous action is row 0's for every agent; nothing here reads it.
    def save_previous_action(self, agent_ids: list, action_tuple: ActionTuple) -> None:
        return

    def retrieve_previous_action(self, agent_ids: list) -> np.ndarray:
        return self._no_previous_action

    def remove_previous_action(self, agent_ids: list) -> None:
        return

    def get_current_step(self) -> int:
        return self.step

    def set_step(self, step: int) -> int:
        self.step = step
        return step

    def increment_step(self, n_steps: int) -> int:
        self.step += n_steps
        return self.step

    def load_weights(self, values: Any) -> None:
        """What the host's self-play has this side play as, from `get_weights`."""
        self.table.load(self.behavior_id, values)

    def get_weights(self) -> list:
        return self.table.snapshot()

    def init_load_weights(self) -> None:
        return


def _flatten(obs: list) -> np.ndarray:
    flat = [np.asarray(sensor, np.float32).reshape(len(sensor), -1) for sensor in obs]
    return flat[0] if len(flat) == 1 else np.concatenate(flat, axis=1)
