"""Exploration for networks of action values: mostly the best choice, sometimes any."""

from typing import Any

import torch
from torch import Tensor

from mlagents_marl_plugin.core import actions
from mlagents_marl_plugin.core.exploration import ExplorationSchedule
from mlagents_marl_plugin.core.types import ActionLayout


class EpsilonGreedy:
    """The permitted choice with the largest value; in every branch by itself, with chance epsilon any permitted one.

    Continuous values that were cut into choices are branches like others.
    """

    def __init__(
        self,
        layout: ActionLayout,
        schedule: ExplorationSchedule,
        generator: torch.Generator,
        values_per_dimension: int = 0,
    ) -> None:
        """
        Args:
            layout: of the behaviour's actions.
            schedule: its scale is epsilon, in [0, 1].
            generator: its device is where actions are made (``act_device``).
            values_per_dimension: choices that a continuous value was cut into, >= 2 if there is one.
        """
        self.schedule = schedule
        self._layout = layout
        self._generator = generator
        self._cut = max(2, values_per_dimension)
        widths = (*[1] * layout.continuous, *layout.branches)
        columns = [branch for branch, width in enumerate(widths) for _ in range(width)]
        self._num_branches = len(widths)
        self._branch_of_column = torch.tensor(columns, device="cpu").to(generator.device)

    def act(self, raw: Tensor, allowed: Tensor, member: Tensor, step: int) -> Tensor:
        """Actions [R, layout.size] that explore.

        Args:
            raw: [R, layout.size] of the network, see `actions.mode`.
            allowed: [R, num_choices] or [R, 0].
            member: [R], unused: nobody has a process of its own.
            step: see `ExplorationSchedule`.
        """
        chosen = actions.mode(self._layout, raw, allowed)
        epsilon = 1.0 if self.schedule.is_random(step) else self.schedule.scale_at(step)
        if epsilon == 0.0:
            return chosen
        shape = (len(raw), self._num_branches)
        is_random = torch.rand(shape, generator=self._generator, device=raw.device) < epsilon
        random = actions.uniform(self._layout, allowed, (len(raw),), self._generator, raw.device)
        values = random[:, : self._layout.continuous]
        cell = ((values + 1.0) * (0.5 * self._cut)).floor_().clamp_(0, self._cut - 1)
        values.copy_(cell * (2.0 / (self._cut - 1)) - 1.0)
        return torch.where(is_random.index_select(1, self._branch_of_column), random, chosen)

    def reset(self, member: Tensor) -> None:
        """Nothing to forget."""

    def figures(self, step: int) -> dict[str, float]:
        """``epsilon`` at a step."""
        return {"epsilon": self.schedule.scale_at(step)}

    def state_dict(self) -> dict[str, Any]:
        """State of the generator."""
        return {"generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` stopped.

        Raises:
            ValueError: if the entry 'generator' is missing.
        """
        if "generator" not in state:
            raise ValueError(
                "EpsilonGreedy.load_state_dict: expected entry 'generator', got none; the file is incomplete"
            )
        self._generator.set_state(state["generator"].cpu())
