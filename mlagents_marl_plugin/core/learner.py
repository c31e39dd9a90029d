"""What a trainer needs to know of a learner."""

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

from mlagents_marl_plugin.core.grid_policy import GridPolicy
from mlagents_marl_plugin.core.networks import DecentralisedActor
from mlagents_marl_plugin.core.stochastic_actor import StochasticActor
from mlagents_marl_plugin.core.types import Batch, RolloutBatch


class OffPolicyLearner(Protocol):
    """Learns from batches drawn from a replay. Everything that it holds lives on one device.

    Not thread-safe: whoever updates, observes, saves or copies the actor in another thread holds one lock
    around each.
    """

    @property
    def actor(self) -> DecentralisedActor | StochasticActor:
        """The actors that are being trained; act with a copy (``acting_copy``)."""

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

    def scheduled(self) -> dict[str, float]:
        """What the schedule has come to, by the name of the setting."""

    def state_dict(self) -> dict[str, Any]:
        """All that the next update depends on: tensors on the CPU, numbers and plain containers."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`.

        Raises:
            ValueError: if an entry is missing or its shape does not fit; names the entry, and nothing was
                changed.
        """


class OnPolicyLearner(Protocol):
    """Learns from what its own actors have just played. Everything that it holds lives on one device.

    Not thread-safe, see `OffPolicyLearner`.
    """

    @property
    def actor(self) -> StochasticActor | GridPolicy:
        """The actors that are being trained; act with a copy (``acting_copy``)."""

    @property
    def discount(self) -> float:
        """Discount per step."""

    def observe(self, joint_obs: Tensor, agent_mask: Tensor) -> None:
        """Show newly collected observations, each once, to the normalisers, which use them after the next update.

        Until then policies are learnt under the normalisation that they acted with.

        Args:
            joint_obs: [B, joint].
            agent_mask: [B, N] 0/1.
        """

    def update(self, batch: RolloutBatch) -> None:
        """All gradient steps on what was played: values, advantages, epochs over mini-batches.

        Waits for the device once per epoch where epochs may end early, or sequences fall into several mini-batches;
        with a memory also at its beginning; otherwise not.
        """

    def set_progress(self, step_fraction: float, episodes: int) -> None:
        """Move every schedule (learning rates, clipping, entropy bonus, deviation) to where the run is.

        Args:
            step_fraction: of the run's steps, in [0, 1].
            episodes: that groups have ended since the run began, >= 0.
        """

    def scheduled(self) -> dict[str, float]:
        """What the schedules have come to, by the name of the setting."""

    def metrics(self) -> dict[str, Tensor]:
        """Figures of the last update, 0-d or [N], on the learner's device; empty before the first."""

    def is_finite(self) -> bool:
        """Whether all weights are finite. Waits for the device."""

    def state_dict(self) -> dict[str, Any]:
        """All that the next update depends on: tensors on the CPU, numbers and plain containers."""

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`.

        Raises:
            ValueError: if an entry is missing or its shape does not fit; names the entry, and nothing was
                changed.
        """

    def load_weights(self, saved: Mapping[str, Any], only_actor: bool = False) -> None:
        """Take over networks and normalisers from a `state_dict`, to start a new run from.

        Args:
            only_actor: leave the critics as they are.

        Raises:
            ValueError: as `load_state_dict`.
        """
