"""Groups of agents with a memory that play at random: what a trainer would have kept of them."""

from collections.abc import Iterable

import torch
from torch import Tensor

from mlagents_marl_plugin.algorithms.coma import ComaLearner
from mlagents_marl_plugin.algorithms.mappo import MappoLearner
from mlagents_marl_plugin.core.learnt import Network
from mlagents_marl_plugin.core.rollout import Rollout
from mlagents_marl_plugin.core.types import RolloutBatch
from tests.unit.groups import CPU


def with_large_weights(nets: Iterable[Network], seed: int) -> None:
    """Small first weights would hide the memory."""
    generator = torch.Generator().manual_seed(seed)
    for net in nets:
        for part in net.tensors().values():
            part.copy_(torch.randn(part.shape, generator=generator) * 0.4)


class Lanes:
    """Lanes of a one-role group in random scenes, played by a learner's own actors.

    An episode ends with probability 0.12 per step; every second end is a limit. An agent decides with probability
    0.8, else it keeps up its action.
    """

    def __init__(self, learner: MappoLearner | ComaLearner, num_lanes: int = 4, seed: int = 0) -> None:
        assert learner.memory is not None
        self.learner = learner
        self.size = learner.memory.size
        self.spec = learner.spec
        self.num_lanes = num_lanes
        self.generator = torch.Generator().manual_seed(seed)
        self.rollout = Rollout(self.spec, 64, CPU, self.size)
        self.memory = torch.zeros(num_lanes, self.spec.num_slots, self.size)
        self.action = torch.zeros(num_lanes, self.spec.action_size)
        self.obs = self._seen()
        self.rows = self._append(self.obs)

    def play(self, num_steps: int) -> RolloutBatch:
        """All lanes for some steps."""
        for _ in range(num_steps):
            self._step()
        return self.rollout.take()

    def _step(self) -> None:
        actor, role = self.learner.actor.acting_copy(CPU), self.spec.roles[0]
        num_slots, num_lanes = role.num_slots, self.num_lanes
        slot = torch.arange(num_slots).repeat(num_lanes)
        allowed = torch.ones(num_lanes * num_slots, role.action.num_choices)
        policy, memory = actor.policy_rows(
            self.obs.view(-1, role.obs_size), allowed, slot, self.memory.flatten(0, 1)
        )
        drawn = policy.sample(self.generator)
        log_prob = policy.log_prob(drawn).view(num_lanes, num_slots)
        acts = self._chance(0.8, num_lanes, num_slots)
        self.action = torch.where(
            acts.unsqueeze(-1) > 0,
            drawn.view(num_lanes, num_slots, -1),
            self.action.view(num_lanes, num_slots, -1),
        ).flatten(1)
        self.memory = torch.where(acts.unsqueeze(-1) > 0, memory.view_as(self.memory), self.memory)
        ends, limit = self._chance(0.12, num_lanes), self._chance(0.5, num_lanes)
        old, self.obs = self.rows, self._seen()
        following = self._append(self.obs)
        self.rollout.complete(
            old,
            self.action,
            torch.randn(num_lanes, num_slots, generator=self.generator),
            torch.ones(num_lanes, num_slots),
            (ends * (1 - limit)).unsqueeze(1).expand(-1, num_slots),
            following,
            ends,
            log_prob * acts,
            acts,
        )
        self.memory[ends > 0] = 0.0
        self.action[ends > 0] = 0.0
        fresh = self._seen()
        begun = self._append(fresh)
        self.obs = torch.where(ends.unsqueeze(1) > 0, fresh, self.obs)
        self.rows = torch.where(ends > 0, begun, following)

    def _append(self, obs: Tensor) -> Tensor:
        self.learner.observe(obs, torch.ones(len(obs), self.spec.num_slots))
        memory = self.memory.flatten(1)
        first = self.rollout.append(
            obs, torch.ones(len(obs), self.spec.num_slots), self._all_allowed(), memory
        )
        return torch.arange(first, first + len(obs))

    def _all_allowed(self) -> Tensor:
        return torch.ones(self.num_lanes, self.spec.allowed_size)

    def _seen(self) -> Tensor:
        return torch.randn(self.num_lanes, self.spec.obs_size, generator=self.generator)

    def _chance(self, probability: float, *shape: int) -> Tensor:
        return (torch.rand(*shape, generator=self.generator) < probability).float()
