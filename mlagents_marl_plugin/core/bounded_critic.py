"""A critic whose values tanh keeps within a bound."""

import torch
from torch import Tensor

from mlagents_marl_plugin.core.sequences import Recurrence
from mlagents_marl_plugin.core.value_critics import ValueCritic


class BoundedCritic:
    """Says ``bound * tanh(v / bound)`` of what another critic says: the same near 0, never beyond +-bound.

    Attributes:
        bound: > 0, in the units that the critic learns.
    """

    def __init__(self, critic: ValueCritic, bound: float) -> None:
        self.bound = bound
        self.nets = critic.nets
        self.slots_of_outputs = critic.slots_of_outputs
        self.pool = critic.pool
        self.memory_shape = critic.memory_shape
        self.learnt = critic.learnt
        self._critic = critic
        self._last: Tensor | None = None  # share of the bound that was said last

    def __call__(self, joint: Tensor, recurrence: Recurrence | None = None) -> Tensor:
        self._last = torch.tanh(self._critic(joint, recurrence) / self.bound)
        return self._last * self.bound

    def memories(self) -> Tensor:
        return self._critic.memories()

    def backward(self, gradient: Tensor) -> None:
        assert self._last is not None, "BoundedCritic: expected a call before"
        self._critic.backward(gradient * (1.0 - self._last.square()))
