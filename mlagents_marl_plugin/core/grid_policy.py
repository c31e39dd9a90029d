"""Policies over choices that act in continuous values cut into choices, see `core.value_grid`."""

import torch
from torch import Tensor, nn

from mlagents_marl_plugin.core.distributions import ActionDistribution
from mlagents_marl_plugin.core.networks import RoleActor
from mlagents_marl_plugin.core.stochastic_actor import StochasticActor
from mlagents_marl_plugin.core.types import GroupSpec
from mlagents_marl_plugin.core.value_grid import (
    GridHead,
    RememberingGrid,
    row_allowed,
    to_choices,
    to_values,
)
from mlagents_marl_plugin.core.value_kinds import ValueKind


class GridDistribution:
    """The distribution of actions [..., A] whose continuous values are among k each."""

    def __init__(self, policy: "GridPolicy", role: int, choices: ActionDistribution) -> None:
        self.choices = choices
        self._layout = policy.spec.roles[role].action
        self._k = policy.k

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """See `ActionDistribution.sample`."""
        return to_values(self._layout, self._k, self.choices.sample(generator))

    def mode(self) -> Tensor:
        """See `ActionDistribution.mode`."""
        return to_values(self._layout, self._k, self.choices.mode())

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-probability [...] of the choices that are nearest to ``action``."""
        return self.choices.log_prob(to_choices(self._layout, self._k, action))


class GridPolicy:
    """A `StochasticActor` of choices, seen as one of continuous values.

    Exported it is greedy: a model file draws continuous values from Gaussians only.
    """

    def __init__(self, spec: GroupSpec, k: int, choices: StochasticActor) -> None:
        """
        Args:
            spec: the group, with its continuous actions.
            choices: the policies, for `value_grid.choices_spec`; shared, not copied.
        """
        self.spec = spec
        self.k = k
        self.choices = choices

    def acting_copy(self, device: torch.device) -> "GridPolicy":
        """See `StochasticActor.acting_copy`."""
        return GridPolicy(self.spec, self.k, self.choices.acting_copy(device))

    def copy_weights(self, other: "GridPolicy") -> None:
        """See `StochasticActor.copy_weights`."""
        self.choices.copy_weights(other.choices)

    @property
    def roles(self) -> list[RoleActor]:
        """An actor per role."""
        return self.choices.roles

    @property
    def value_kind(self) -> ValueKind:
        """See `StochasticActor.value_kind`."""
        return ValueKind.GRID

    @property
    def memory_size(self) -> int:
        """M, numbers that an agent remembers; 0 without a memory."""
        return self.choices.memory_size

    @torch.no_grad()
    def policy_rows(
        self, obs: Tensor, allowed: Tensor, slot: Tensor, memory: Tensor, role: int = 0
    ) -> tuple[GridDistribution, Tensor]:
        """See `StochasticActor.policy_rows`."""
        permitted = row_allowed(self.spec.roles[role].action, self.k, allowed.to(obs.dtype))
        policy, memory = self.choices.policy_rows(obs, permitted, slot, memory, role)
        return GridDistribution(self, role, policy), memory

    def sample_rows(
        self,
        obs: Tensor,
        allowed: Tensor,
        slot: Tensor,
        generator: torch.Generator | None = None,
        role: int = 0,
    ) -> tuple[Tensor, Tensor]:
        """See `StochasticActor.sample_rows`."""
        policy = self._policy(obs, allowed, slot, role)
        action = policy.sample(generator)
        return action, policy.log_prob(action)

    def mode_rows(self, obs: Tensor, allowed: Tensor, slot: Tensor, role: int = 0) -> Tensor:
        """See `StochasticActor.mode_rows`."""
        return self._policy(obs, allowed, slot, role).mode()

    def log_prob_rows(
        self, obs: Tensor, allowed: Tensor, slot: Tensor, action: Tensor, role: int = 0
    ) -> Tensor:
        """See `StochasticActor.log_prob_rows`."""
        return self._policy(obs, allowed, slot, role).log_prob(action)

    def _policy(self, obs: Tensor, allowed: Tensor, slot: Tensor, role: int) -> GridDistribution:
        return self.policy_rows(obs, allowed, slot, obs.new_empty(len(obs), 0), role)[0]

    def slot_module(self, slot: int, role: int = 0) -> nn.Module:
        """One slot of one role for export: [B, O] -> [B, A] raw outputs as of a deterministic actor."""
        layout, device = self.spec.roles[role].action, self.choices.nets[role].parameters.device
        network, head = self.choices.slot_module(slot, role), GridHead(layout.continuous, self.k).to(device)
        return RememberingGrid(network, head) if self.memory_size else nn.Sequential(network, head)
