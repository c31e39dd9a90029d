"""What learners save and go on from."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mlagents_marl_plugin.core import state


class LearnerState:
    """Saves and restores named groups of tensors, a number of updates, and random numbers, all or nothing."""

    def __init__(self, device: torch.device, seed: int) -> None:
        """
        Attributes:
            generator: on ``device``, for everything that the learner draws.
            updates: how many there were.
        """
        self.device = device
        self.generator = torch.Generator(device).manual_seed(seed)
        self.updates = 0
        self._seed = seed

    def save(self, parts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Any]:
        """All that the next update depends on, on the CPU."""
        saved: dict[str, Any] = {name: state.saved(tensors) for name, tensors in parts.items()}
        random = {"device": self.device.type, "state": self.generator.get_state()}
        return {**saved, "updates": self.updates, "random": random}

    def load(self, saved: Mapping[str, Any], parts: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Continue from `save`.

        Random numbers go on where they stopped; on another kind of device, whose numbers differ anyway, they
        start from the seed and the number of updates.

        Raises:
            ValueError: if an entry is missing, too many or of another shape; nothing was changed then.
        """
        updates, random = state.entry(saved, "updates"), state.entry(saved, "random")
        device, random_state = state.entry(random, "device"), state.entry(random, "state")
        self.load_tensors(saved, parts)
        self.updates = updates
        if device == self.device.type:
            self.generator.set_state(random_state.cpu())
        else:
            self.generator.manual_seed(self._seed + updates)

    @staticmethod
    def load_tensors(saved: Mapping[str, Any], parts: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Overwrite the tensors of ``parts`` only.

        Raises:
            ValueError: as `load`.
        """
        for name, tensors in parts.items():
            state.check(tensors, state.entry(saved, name), name)
        for name, tensors in parts.items():
            state.load(tensors, saved[name])
