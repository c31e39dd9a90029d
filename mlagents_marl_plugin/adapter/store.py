"""Completed steps on their way to the learner: rewards shaped, shared and moved to its device."""

from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from mlagents_marl_plugin.adapter.blocks import Steps
from mlagents_marl_plugin.core.learner import OffPolicyLearner, OnPolicyLearner
from mlagents_marl_plugin.core.replay import Replay
from mlagents_marl_plugin.core.rewards import RewardShaping, RewardSharing, RewardStep, share_rewards
from mlagents_marl_plugin.core.rollout import Rollout
from mlagents_marl_plugin.core.sequence_replay import SequenceReplay
from mlagents_marl_plugin.core.types import GroupSpec, RolloutBatch


class MeanRewards(NamedTuple):
    """Mean reward per step of each slot, the group's included; 0 where there was no step."""

    raw: list[float]  # as the scene gave it
    shaped: list[float]  # as the learner sees it: shaped, shared, times strength


class Rewards:
    """From the scene's rewards to what the learner is to learn."""

    def __init__(
        self, spec: GroupSpec, sharing: RewardSharing, mix: float, strength: float, shaping: RewardShaping
    ):
        """
        Args:
            mix: share of the mean in ``mixed`` rewards.
            strength: the host's ``reward_signals.extrinsic.strength``, a factor on everything.
        """
        self.spec = spec
        self.sharing = sharing
        self.mix = mix
        self.strength = strength
        self.shaping = shaping
        # Since last asked, per slot: what the scene gave, what the learner got, and in how many steps.
        self._raw, self._shaped, self._steps = torch.zeros(
            3, spec.num_slots, dtype=torch.float64, device="cpu"
        )

    def __call__(self, steps: Steps, next_obs: np.ndarray) -> Tensor:
        """Rewards [M, N] of a block of completed steps, whose successors' observations are [M, joint]."""
        spec, present = self.spec, _tensor(steps.present)
        individual, group = self.shaping(
            RewardStep(
                obs=spec.role_obs(_tensor(steps.joint_obs), 0),
                action=spec.role_action(_tensor(steps.action).clamp(-1.0, 1.0), 0),  # as the scene got it
                reward=_tensor(steps.reward),
                group_reward=_tensor(steps.group_reward),
                next_obs=spec.role_obs(_tensor(next_obs), 0),
                terminated=_tensor(steps.ended),
                present=present,
            )
        )
        reward: Tensor = self.strength * share_rewards(individual, group, present, self.sharing, self.mix)
        valued = _tensor(steps.value_mask)
        raw = _tensor(steps.reward) + _tensor(steps.group_reward).unsqueeze(1)
        self._raw += (raw * valued).sum(0)
        self._shaped += (reward * valued).sum(0)
        self._steps += valued.sum(0)
        return reward

    def take_means(self) -> MeanRewards:
        """Since last asked."""
        steps = self._steps.clamp_min(1)
        means = MeanRewards((self._raw / steps).tolist(), (self._shaped / steps).tolist())
        for sums in (self._raw, self._shaped, self._steps):
            sums.zero_()
        return means


class _Memory(Protocol):
    """What a replay and a rollout have in common."""

    device: torch.device

    @property
    def next_id(self) -> int: ...


class _Observer(Protocol):
    """What all learners have in common."""

    def observe(self, joint_obs: Tensor, agent_mask: Tensor) -> None: ...


class _Store:
    """The assembler's store: what is observed is appended, what came of it completed."""

    def __init__(self, memory: _Memory, learner: _Observer, rewards: Rewards):
        """Args: learner, whose normalisers are shown every observation once."""
        self.memory = memory
        self.learner = learner
        self.rewards = rewards

    @property
    def next_row(self) -> int:
        return self.memory.next_id

    def add(self, steps: Steps) -> None:
        """Store a block; see `Steps`."""
        first = self.memory.next_id
        if len(steps.obs):
            obs, mask = _tensor(steps.obs), _tensor(steps.agent_mask)
            self._append(steps, obs, mask)
            self.learner.observe(obs.to(self.memory.device), mask.to(self.memory.device))
        if len(steps.rows):
            self._complete(steps, self.rewards(steps, steps.obs[steps.next_rows - first]))

    def _append(self, steps: Steps, obs: Tensor, mask: Tensor) -> None:
        """Hand on what a block observes."""
        raise NotImplementedError

    def _complete(self, steps: Steps, reward: Tensor) -> None:
        """Hand on what came of a block's completed steps."""
        raise NotImplementedError

    @staticmethod
    def _outcome(steps: Steps, reward: Tensor) -> dict[str, Any]:
        return {
            "rows": _tensor(steps.rows),
            "action": _tensor(steps.action),
            "reward": reward,
            "value_mask": _tensor(steps.value_mask),
            "terminated": _tensor(steps.terminated),
            "next_rows": _tensor(steps.next_rows),
            "cut": _tensor(steps.cut),
        }


class ReplayStore(_Store):
    """Feeds a replay."""

    def __init__(self, replay: Replay, learner: OffPolicyLearner, rewards: Rewards):
        super().__init__(replay, learner, rewards)
        self.replay = replay

    def _append(self, steps: Steps, obs: Tensor, mask: Tensor) -> None:
        self.replay.append(obs, mask, _tensor(steps.allowed))

    def _complete(self, steps: Steps, reward: Tensor) -> None:
        self.replay.complete(**self._outcome(steps, reward))


class SequenceStore(ReplayStore):
    """Feeds a replay of sequences, whose rows also keep who decided and, if asked to, what all remembered."""

    replay: SequenceReplay

    def _append(self, steps: Steps, obs: Tensor, mask: Tensor) -> None:
        memory = _tensor(steps.memory) if self.replay.memory_size else None
        self.replay.append(obs, mask, _tensor(steps.allowed), memory)

    def _complete(self, steps: Steps, reward: Tensor) -> None:
        self.replay.complete(**self._outcome(steps, reward), acted=_tensor(steps.decided))


class RolloutStore(_Store):
    """Feeds a rollout."""

    def __init__(self, rollout: Rollout, learner: OnPolicyLearner, rewards: Rewards):
        super().__init__(rollout, learner, rewards)
        self.rollout = rollout

    @property
    def agent_steps(self) -> int:
        """Decisions whose outcome is known, since the rollout was last taken."""
        return self.rollout.num_decisions

    def _append(self, steps: Steps, obs: Tensor, mask: Tensor) -> None:
        self.rollout.append(obs, mask, _tensor(steps.allowed), _tensor(steps.memory))

    def _complete(self, steps: Steps, reward: Tensor) -> None:
        outcome = self._outcome(steps, reward)
        outcome |= {"resumed": _tensor(steps.resumed), "anew": _tensor(steps.anew)}
        self.rollout.complete(**outcome, log_prob=_tensor(steps.log_prob), acted=_tensor(steps.decided))

    def take(self) -> RolloutBatch:
        """All that is ready; see `Rollout.take`."""
        return self.rollout.take()


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
