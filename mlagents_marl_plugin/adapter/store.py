"""Completed steps on their way into the replay: rewards shaped, shared and moved to the learner's device."""

from typing import NamedTuple

import numpy as np
import torch

from mlagents_marl_plugin.adapter.blocks import Steps
from mlagents_marl_plugin.core.learner import OffPolicyLearner
from mlagents_marl_plugin.core.replay import Replay
from mlagents_marl_plugin.core.rewards import RewardShaping, RewardSharing, RewardStep, share_rewards


class MeanRewards(NamedTuple):
    """Mean reward per step of each slot, the group's included; 0 where there was no step."""

    raw: list[float]  # as the scene gave it
    shaped: list[float]  # as the learner sees it: shaped, shared, times strength


class ReplayStore:
    """The assembler's store of an off-policy trainer."""

    def __init__(
        self,
        replay: Replay,
        learner: OffPolicyLearner,
        sharing: RewardSharing,
        mix: float,
        strength: float,
        shaping: RewardShaping,
    ):
        """
        Args:
            learner: its normalisers are shown every observation once.
            mix: share of the mean in ``mixed`` rewards.
            strength: the host's ``reward_signals.extrinsic.strength``, a factor on everything.
        """
        self.replay = replay
        self.learner = learner
        self.sharing = sharing
        self.mix = mix
        self.strength = strength
        self.shaping = shaping
        slots = replay.spec.num_slots
        # Since last asked, per slot: what the scene gave, what the learner got, and in how many steps.
        self._raw, self._shaped, self._steps = torch.zeros(3, slots, dtype=torch.float64, device="cpu")

    @property
    def next_row(self) -> int:
        return self.replay.next_id

    def add(self, steps: Steps) -> None:
        """Store a block; see `Steps`."""
        first = self.replay.next_id
        if len(steps.obs):
            obs, mask = _tensor(steps.obs), _tensor(steps.agent_mask)
            self.replay.append(obs, mask, _tensor(steps.allowed))
            self.learner.observe(obs.to(self.replay.device), mask.to(self.replay.device))
        if not len(steps.rows):
            return
        spec = self.replay.spec
        present = _tensor(steps.present)
        individual, group = self.shaping(
            RewardStep(
                obs=spec.role_obs(_tensor(steps.joint_obs), 0),
                action=spec.role_action(_tensor(steps.action), 0),
                reward=_tensor(steps.reward),
                group_reward=_tensor(steps.group_reward),
                next_obs=spec.role_obs(_tensor(steps.obs[steps.next_rows - first]), 0),
                terminated=_tensor(steps.terminated),
                present=present,
            )
        )
        reward = self.strength * share_rewards(individual, group, present, self.sharing, self.mix)
        valued = _tensor(steps.value_mask)
        raw = _tensor(steps.reward) + _tensor(steps.group_reward).unsqueeze(1)
        self._raw += (raw * valued).sum(0)
        self._shaped += (reward * valued).sum(0)
        self._steps += valued.sum(0)
        self.replay.complete(
            _tensor(steps.rows),
            _tensor(steps.action),
            reward,
            _tensor(steps.value_mask),
            _tensor(steps.terminated),
            _tensor(steps.next_rows),
            _tensor(steps.cut),
        )

    def take_mean_rewards(self) -> MeanRewards:
        """Since last asked."""
        steps = self._steps.clamp_min(1)
        means = MeanRewards((self._raw / steps).tolist(), (self._shaped / steps).tolist())
        for sums in (self._raw, self._shaped, self._steps):
            sums.zero_()
        return means


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
