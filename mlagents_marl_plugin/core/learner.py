"""What a trainer needs to know of a learner."""

from typing import Any, Protocol

from torch import Tensor

from mlagents_marl_plugin.core.networks import DecentralisedActor
from mlagents_marl_plugin.core.types import Batch


class OffPolicyLearner(Protocol):
    """Learns from batches drawn from a replay. Everything that it holds lives on one device.

    Not thread-safe: whoever updates, observes, saves or copies the actor in another thread holds one lock
    around each.
    """

    @property
    def actor(self) -> DecentralisedActor:
        """The actors that are being trained; act with a copy (`DecentralisedActor.acting_copy`)."""

    @property
    def discount(self) -> float:
        """Discount per step, with which the batches are to be drawn."""

    def observe(self, joint_obs: Tensor, agent_mask: Tensor) -> None:
        """Show newly collected observations, each once, to the normalisers.

        Args:
            joint_obs: [B, joint].
            agent_mask: [B, N] 0/1.
        """

    def update(self, batch: Batch) -> None:
        """One gradient step. Never waits for the device."""

    def metrics(self) -> dict[str, Tensor]:
        """Figures of the last update, 0-d or [N], on the learner's device; empty before the first."""

    def set_learning_rate_fraction(self, fraction: float) -> None:
        """Scale every configured learning rate, as a schedule asks.

        Args:
            fraction: in [0, 1].
        """

    def state_dict(self) -> dict[str, Any]:
        """All that the next update depends on: tensors on the CPU, numbers and plain containers."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`.

        Raises:
            ValueError: if an entry is missing or its shape does not fit; names the entry, and nothing was
                changed.
        """
