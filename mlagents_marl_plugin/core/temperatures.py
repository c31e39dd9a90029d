"""Temperatures of soft actor-critic: what entropy is worth to each agent, learnt so that it keeps a given size."""

import math

import torch
from torch import Tensor

from mlagents_marl_plugin.core.types import GroupSpec

# exp(-10) is worth nothing beside any reward, exp(5) more than most.
_LOG_BOUNDS = (-10.0, 5.0)


class Temperatures:
    """One for the continuous values and one for the choices of every slot, as their logarithms.

    Attributes:
        parameters, gradient: [2, N], for an optimiser. Row 0 belongs to the values, row 1 to the choices.

    Source: Haarnoja et al. 2018, section 5, https://arxiv.org/abs/1812.05905; two of them where an agent has both
    kinds of actions as in Delalleau et al. 2019, https://arxiv.org/abs/1912.11077
    """

    def __init__(
        self, spec: GroupSpec, initial: float, target_entropies: tuple[float, float], device: torch.device
    ):
        """
        Args:
            initial: temperature of everybody at the start, > 0.
            target_entropies: nats per continuous value, below log(2), and for choices a share in [0, 1) of the
                largest entropy that the permitted ones of each branch can have.
            device: where they live.
        """
        self.spec = spec
        self._choice_share = target_entropies[1]
        self.parameters = torch.full((2, spec.num_slots), math.log(initial), device=device)
        self.gradient = torch.zeros_like(self.parameters)
        layouts = [role.action for role in spec.roles for _ in range(role.num_slots)]
        sizes = torch.tensor([layout.continuous for layout in layouts], dtype=torch.float32, device="cpu")
        self._values_target = (sizes * target_entropies[0]).to(device)  # [N]
        exists = [
            [layout.continuous > 0 for layout in layouts],
            [bool(layout.branches) for layout in layouts],
        ]
        self._exists = torch.tensor(exists, device="cpu").to(device)  # [2, N]

    @property
    def of_values(self) -> Tensor:
        """[N], > 0."""
        return self.parameters[0].exp()

    @property
    def of_choices(self) -> Tensor:
        """[N], > 0."""
        return self.parameters[1].exp()

    def shown(self) -> dict[str, Tensor]:
        """``temperature`` of values and ``choice_temperature`` [N], those that there are; 0 for roles without."""
        both = self.parameters.exp() * self._exists
        kinds = {"temperature": 0, "choice_temperature": 1}
        return {name: both[row] for name, row in kinds.items() if self._has(row)}

    def targets(self, allowed: Tensor) -> tuple[Tensor, Tensor]:
        """The wanted entropies of values [N] and of choices [B, N], given what is permitted [B, joint choices]."""
        largest = []
        for i, role in enumerate(self.spec.roles):
            permitted = self.spec.role_allowed(allowed, i)
            branches = permitted.split(list(role.action.branches), -1) if role.action.branches else ()
            counts = [branch.sum(-1).clamp_min(1.0).log() for branch in branches]
            nothing = permitted.new_zeros(permitted.shape[:-1])
            largest.append(sum(counts, nothing))
        return self._values_target, torch.cat(largest, -1) * self._choice_share

    def differentiate(self, values_excess: Tensor, choices_excess: Tensor) -> None:
        """Set the gradient of ``log(temperature) * (entropy - target)``.

        Args:
            values_excess, choices_excess: [N], by how much the mean entropy is above its target.
        """
        torch.stack([values_excess, choices_excess], out=self.gradient)
        self.gradient.mul_(self._exists)

    def bound(self) -> None:
        """Keep them within what can be told from nothing and from everything."""
        self.parameters.clamp_(*_LOG_BOUNDS)

    def tensors(self) -> dict[str, Tensor]:
        """For checkpoints, not copied."""
        return {"log_temperature": self.parameters}

    def _has(self, row: int) -> bool:
        kinds = [
            role.action.continuous > 0 if row == 0 else bool(role.action.branches) for role in self.spec.roles
        ]
        return any(kinds)
