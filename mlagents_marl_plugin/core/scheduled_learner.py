"""What learners with one schedule for all their learning rates have in common: those that learn from a replay."""

from collections.abc import Mapping

from mlagents_marl_plugin.core.optimiser import StackedAdam
from mlagents_marl_plugin.core.saved_learner import SavedLearner


class ScheduledLearner(SavedLearner):
    """A learner names its optimisers; scaling their rates and telling them follow from that."""

    def _optimisers(self) -> Mapping[str, StackedAdam]:
        """All of them, by the setting that is their learning rate."""
        raise NotImplementedError

    def set_learning_rate_fraction(self, fraction: float) -> None:
        """Scale all learning rates, ``fraction`` in [0, 1]."""
        for optimiser in self._optimisers().values():
            optimiser.set_learning_rate_fraction(fraction)

    def scheduled(self) -> dict[str, float]:
        """What the schedule has made of each learning rate, by the name of the setting."""
        return {name: optimiser.learning_rate for name, optimiser in self._optimisers().items()}
