"""How policies choose actions: a copy of the actor on ``act_device``, which draws or explores while training."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from mlagents_marl_plugin.core import actions
from mlagents_marl_plugin.core.epsilon_greedy import EpsilonGreedy
from mlagents_marl_plugin.core.exploration import Explorer
from mlagents_marl_plugin.core.networks import DecentralisedActor
from mlagents_marl_plugin.core.stochastic_actor import StochasticActor
from mlagents_marl_plugin.core.types import ActionLayout


class Decision(NamedTuple):
    """What R agents do."""

    action: Tensor  # [R, A] encoded, on the CPU; continuous values as drawn, which may lie outside [-1, 1]
    log_prob: Tensor | None  # [R] of these actions; None from actors that draw nothing
    memory: Tensor | None = None  # [R, M], what they remember from now on, on the CPU; None without a memory


class Acting(Protocol):
    """Decides for rows of agents. The trainer swaps new weights in as a whole."""

    device: torch.device
    copy: Any  # the actor that acts

    def __call__(
        self,
        obs: Tensor,
        allowed: Tensor,
        slots: Tensor,
        members: Tensor,
        memory: Tensor | None = None,
    ) -> Decision:
        """
        Args:
            obs: [R, O] as observed.
            allowed: [R, choices] 0/1.
            slots: [R] int64, within their role.
            members: [R] int64, who keeps a noise process of its own: one agent in one area.
            memory: [R, M], what they remember; None or of width 0 without a memory.
        """

    def swap(self, actor: Any) -> None:
        """Take over the learning actor's weights, in place."""

    def reset(self, members: Tensor) -> None:
        """The episodes of members [M] have ended."""

    def state_dict(self) -> dict[str, Any]:
        """What the next decision depends on, but for the weights."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` stopped.

        Raises:
            ValueError: if an entry is missing.
        """


class ExploringActing:
    """Deterministic actors and action values: what they choose, with exploration on top while training."""

    def __init__(
        self,
        actor: DecentralisedActor,
        layout: ActionLayout,
        device: torch.device,
        explorer: Explorer | EpsilonGreedy | None,
        step: Callable[[], int],
        role: int = 0,
    ):
        """
        Args:
            actor: the one that learns; a copy of it acts.
            explorer: None to act greedily.
            step: the trainer's step, which exploration fades by.
            role: whose agents it decides for.
        """
        self.device = device
        self.copy = actor.acting_copy(device)
        self.layout = layout
        self.explorer = explorer
        self.step = step
        self.role = role

    def swap(self, actor: DecentralisedActor) -> None:
        """See `Acting`."""
        self.copy.copy_weights(actor)

    @torch.no_grad()
    def __call__(
        self,
        obs: Tensor,
        allowed: Tensor,
        slots: Tensor,
        members: Tensor,
        memory: Tensor | None = None,
    ) -> Decision:
        """See `Acting`."""
        obs, allowed, slots = obs.to(self.device), allowed.to(self.device), slots.to(self.device)
        kept = None
        if memory is None or memory.shape[1] == 0:
            raw = self.copy.forward_rows(obs, slots, self.role)
        else:
            raw, after = self.copy.remembering_rows(obs, slots, memory.to(self.device), self.role)
            kept = after.cpu()
        if self.explorer is None:
            return Decision(actions.mode(self.layout, raw, allowed).cpu(), None, kept)
        return Decision(self.explorer.act(raw, allowed, members, self.step()).cpu(), None, kept)

    def reset(self, members: Tensor) -> None:
        """See `Acting`."""
        if self.explorer is not None:
            self.explorer.reset(members)

    def state_dict(self) -> dict[str, Any]:
        """See `Acting`."""
        return {} if self.explorer is None else self.explorer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Acting`."""
        if self.explorer is not None and state:
            self.explorer.load_state_dict(state)


class SamplingActing:
    """Stochastic actors: a draw from the policy, or its mode."""

    def __init__(
        self,
        actor: StochasticActor,
        device: torch.device,
        generator: torch.Generator,
        greedy: bool,
        role: int = 0,
    ):
        """
        Args:
            actor: the one that learns; a copy of it acts.
            generator: on ``device``, for the draws.
            greedy: whether to play the mode.
            role: whose agents it decides for.
        """
        self.device = device
        self.copy = actor.acting_copy(device)
        self.generator = generator
        self.greedy = greedy
        self.role = role

    def swap(self, actor: StochasticActor) -> None:
        """See `Acting`."""
        self.copy.copy_weights(actor)

    @torch.no_grad()
    def __call__(
        self,
        obs: Tensor,
        allowed: Tensor,
        slots: Tensor,
        members: Tensor,
        memory: Tensor | None = None,
    ) -> Decision:
        """See `Acting`."""
        device = self.device
        memory = obs.new_empty(len(obs), 0) if memory is None else memory
        given = (obs.to(device), allowed.to(device), slots.to(device), memory.to(device))
        policy, remembered = self.copy.policy_rows(*given, self.role)
        action = policy.mode() if self.greedy else policy.sample(self.generator)
        kept = remembered.cpu() if remembered.shape[1] else None
        return Decision(action.cpu(), policy.log_prob(action).cpu(), kept)

    def reset(self, members: Tensor) -> None:
        """Nobody has a process of its own."""

    def state_dict(self) -> dict[str, Any]:
        """See `Acting`."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Acting`."""
        if "generator" not in state:
            raise ValueError("acting: expected entry 'generator', got none; the file is incomplete")
        self.generator.set_state(state["generator"].cpu())
