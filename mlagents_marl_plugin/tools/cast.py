"""Which policy acts for which agent of a running scene."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mlagents_envs.base_env import ActionTuple, BehaviorSpec, DecisionSteps

from mlagents_marl_plugin.tools.model_choice import ModelChoice, behavior_name
from mlagents_marl_plugin.tools.onnx_player import OnnxPolicy


def is_scored(behavior_id: str, only: str | None) -> bool:
    """Whether a behaviour counts, if ``only`` this one (a name or a full id) shall."""
    return only in (None, behavior_id, behavior_name(behavior_id))


class Cast:
    """The policies of a scene's agents, by behaviour and slot, opened when first needed.

    Args:
        choice: what the user said.
        only: the one behaviour that is evaluated; others without a model then do nothing.
        deterministic: greedy.
    """

    def __init__(self, choice: ModelChoice, only: str | None, deterministic: bool) -> None:
        self._choice = choice
        self._only = only
        self._deterministic = deterministic
        self._policies: dict[Path, OnnxPolicy] = {}
        self.files: dict[str, Path] = {}

    def act(
        self, behavior_id: str, spec: BehaviorSpec, decisions: DecisionSteps, slots: Sequence[int]
    ) -> ActionTuple:
        """The actions of all agents that ask for one; zeros for a behaviour not evaluated and without a file.

        Args:
            decisions: of B agents.
            slots: [B], the agents' places in their groups.

        Raises:
            ModelChoiceError, ModelError: there is no file for a slot, or it does not fit the behaviour.
        """
        num_agents = len(decisions)
        action = spec.action_spec.empty_action(num_agents)
        if not is_scored(behavior_id, self._only) and not self._choice.has_own(behavior_id):
            return action
        masks = None
        if decisions.action_mask is not None:
            # Unity marks what is forbidden, its models read what is permitted.
            masks = 1.0 - np.concatenate(decisions.action_mask, axis=1).astype(np.float32)
        continuous, discrete = action.continuous.copy(), action.discrete.copy()
        rows_of: dict[OnnxPolicy, list[int]] = {}
        for row, slot in enumerate(slots):
            rows_of.setdefault(self._policy(behavior_id, spec, slot), []).append(row)
        for policy, rows in rows_of.items():
            continuous[rows], discrete[rows] = policy.act(
                [obs[rows] for obs in decisions.obs],
                None if masks is None else masks[rows],
                self._deterministic,
                decisions.agent_id[rows].tolist(),
            )
        return ActionTuple(continuous, discrete)

    def has_slots(self, behavior_id: str) -> bool:
        """Whether the members of a behaviour's groups have files of their own."""
        return self._choice.has_slots(behavior_id)

    def forget(self, agent_ids: Sequence[int]) -> None:
        """Drops what recurrent models remember of agents whose episode ended."""
        for policy in self._policies.values():
            policy.forget(agent_ids)

    def _policy(self, behavior_id: str, spec: BehaviorSpec, slot: int) -> OnnxPolicy:
        key = f"{behavior_id} slot {slot}"
        if key not in self.files:
            path = self._choice.path(behavior_id, slot)
            if path not in self._policies:
                self._policies[path] = OnnxPolicy(path)
            self._policies[path].check_fits(behavior_id, spec)
            self.files[key] = path
        return self._policies[self.files[key]]
