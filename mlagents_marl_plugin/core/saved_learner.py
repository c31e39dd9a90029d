"""What all learners have in common: they are saved as named groups of tensors, and go on from them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mlagents_marl_plugin.core import state, value_kinds
from mlagents_marl_plugin.core.grid_policy import GridPolicy
from mlagents_marl_plugin.core.learner_state import LearnerState
from mlagents_marl_plugin.core.learnt import Network
from mlagents_marl_plugin.core.networks import DecentralisedActor
from mlagents_marl_plugin.core.stochastic_actor import StochasticActor

# Not every type has these parts; where actors come from another type they begin as what they follow.
_FOLLOWS = {"target_actor": "actor", "collecting_normaliser": "normaliser"}


class SavedLearner:
    """A learner says what it consists of; saving, loading and looking for broken weights follow from that."""

    actor: DecentralisedActor | StochasticActor | GridPolicy
    _state: LearnerState

    def _learnt(self) -> Sequence[Network]:
        """All networks that are optimised."""
        raise NotImplementedError

    def _weights(self) -> dict[str, dict[str, Tensor]]:
        """What a new run can start from: networks, their targets and normalisers."""
        raise NotImplementedError

    def _tensors(self) -> dict[str, dict[str, Tensor]]:
        """All tensors that the next update depends on."""
        raise NotImplementedError

    def _loaded(self) -> None:
        """The tensors were overwritten."""

    def is_finite(self) -> bool:
        """Whether all weights are finite. Waits for the device."""
        return all(bool(torch.isfinite(net.parameters).all()) for net in self._learnt())

    def state_dict(self) -> dict[str, Any]:
        """All that the next update depends on, on the CPU."""
        return self._state.save(self._tensors()) | {value_kinds.ENTRY: self.actor.value_kind.value}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continue from `state_dict`, see `LearnerState.load`. Schedules want `set_progress` afterwards.

        Raises:
            ValueError: if an entry is missing, too many or of another shape, or actors are of another kind; nothing
                was changed then.
        """
        value_kinds.check(saved, self.actor.value_kind)
        self._state.load(saved, self._tensors())
        self._loaded()

    def load_weights(self, saved: Mapping[str, Any], only_actor: bool = False) -> None:
        """Take over networks and normalisers from a `state_dict`, to start a new run from.

        Args:
            only_actor: take actors and what they read through, and leave all that values things as it is; ``saved`` may
                be of a learner of any type.

        Raises:
            ValueError: as `load_state_dict`.
        """
        value_kinds.check(saved, self.actor.value_kind)
        parts = self._weights()
        if only_actor:
            parts = {name: part for name, part in parts.items() if _is_of_actors(name)}
            saved = {name: state.entry(saved, _FOLLOWS.get(name, name)) for name in parts}
        self._state.load_tensors(saved, parts)
        self._loaded()


def _is_of_actors(part: str) -> bool:
    return "critic" not in part and ("actor" in part or "normaliser" in part)
