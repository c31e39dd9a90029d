"""Completed steps on their way into the replay: rewards shaped, shared and moved to the learner's device."""

import numpy as np
import torch

from mlagents_marl_plugin.adapter.assembler import Steps
from mlagents_marl_plugin.core.learner import OffPolicyLearner
from mlagents_marl_plugin.core.replay import Replay
from mlagents_marl_plugin.core.rewards import RewardShaping, RewardSharing, RewardStep, share_rewards


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
        self.shaped_sum = 0.0  # what the learner was given since last asked, over slots
        self.slot_steps = 0

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
        self.shaped_sum += float(reward[_tensor(steps.value_mask)].sum())
        self.slot_steps += int(steps.value_mask.sum())
        self.replay.complete(
            _tensor(steps.rows),
            _tensor(steps.action),
            reward,
            _tensor(steps.value_mask),
            _tensor(steps.terminated),
            _tensor(steps.next_rows),
            _tensor(steps.cut),
        )

    def take_mean_reward(self) -> float:
        """Mean shaped reward per slot and step since last asked; 0 if there was none."""
        mean = self.shaped_sum / self.slot_steps if self.slot_steps else 0.0
        self.shaped_sum, self.slot_steps = 0.0, 0
        return mean


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
