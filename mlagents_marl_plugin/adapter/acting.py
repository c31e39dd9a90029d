"""How policies choose actions: a copy of the actor on ``act_device``, with exploration while training."""

from collections.abc import Callable

import torch
from torch import Tensor

from mlagents_marl_plugin.core import actions
from mlagents_marl_plugin.core.exploration import Explorer
from mlagents_marl_plugin.core.networks import DecentralisedActor
from mlagents_marl_plugin.core.types import ActionLayout


class Acting:
    """Decides for rows of agents. The trainer swaps new weights in as a whole (`swap`)."""

    def __init__(
        self,
        actor: DecentralisedActor,
        layout: ActionLayout,
        device: torch.device,
        explorer: Explorer | None,
        generator: torch.Generator,
        step: Callable[[], int],
    ):
        """
        Args:
            actor: the one that learns; a copy of it acts.
            explorer: None to act greedily.
            generator: on ``device``, for the draws of discrete choices.
            step: the trainer's step, which exploration fades by.
        """
        self.device = device
        self.copy = actor.acting_copy(device)
        self.layout = layout
        self.explorer = explorer
        self.generator = generator
        self.step = step

    def swap(self, actor: DecentralisedActor) -> None:
        """Take over the learning actor's weights, in place."""
        self.copy.copy_weights(actor)

    @torch.no_grad()
    def __call__(self, obs: Tensor, allowed: Tensor, slots: Tensor, members: Tensor) -> Tensor:
        obs, allowed = obs.to(self.device), allowed.to(self.device)
        raw = self.copy.forward_rows(obs, slots.to(self.device))
        if self.explorer is None:
            return actions.mode(self.layout, raw, allowed).cpu()
        drawn = actions.sample(self.layout, raw, allowed, self.generator)
        return self.explorer.explore(drawn, allowed, members, self.step()).cpu()
