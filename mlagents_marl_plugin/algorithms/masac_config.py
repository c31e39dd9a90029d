"""Settings of the MASAC family. Ranges stand under each field and are checked when an object is made."""

import attrs

from mlagents_marl_plugin.algorithms.common_config import (
    ReplayConfig,
    RewardConfig,
    Rule,
    StochasticConfig,
    fraction,
    not_negative,
    positive,
)
from mlagents_marl_plugin.core.distributions import GaussianHead, StdType
from mlagents_marl_plugin.core.rewards import RewardSharing


@attrs.define(slots=False)
class MasacConfig(ReplayConfig, StochasticConfig, RewardConfig):
    """MASAC: soft actor-critic whose critics see the whole group (Haarnoja et al. 2018, Lowe et al. 2017)."""

    learning_rate: float = 3e-4

    temperature_learning_rate: float = 1e-3
    """Step size of the temperatures' logarithms, >= 0; 0 leaves them at initial_temperature."""

    initial_temperature: float = 0.2
    """What a nat of entropy is worth at the start, > 0, in units of the reward."""

    target_value_entropy: float = -1.0
    """Entropy in nats per continuous value that the temperature aims at. Even over [-1, 1] is 0.69; each
    nat less makes noise 2.7 times smaller; -1 is as published."""

    target_choice_entropy: float = 0.2
    """Entropy of choices that their temperature aims at, as a share of the largest that the permitted choices
    can have, 0 <= target_choice_entropy < 1."""

    tau: float = 0.005
    """Fraction of the way that target critics go to the online ones per update, 0 < tau <= 1."""

    centralised_critic: bool = True
    """Whether critics see everybody's observations and actions (true), or their own agent's only."""

    initial_std: float = 1.0
    """Standard deviation of continuous values at the start, before tanh, > 0. With 1, first actions fill
    [-1, 1] nearly evenly."""

    min_std: float = 0.01
    """The least standard deviation, before tanh, 0 < min_std <= initial_std."""

    def rules(self) -> dict[str, Rule]:
        """See `CheckedConfig`."""
        return super().rules() | {
            "learning_rate": positive(self.learning_rate, "try 3e-4"),
            "temperature_learning_rate": not_negative(
                self.temperature_learning_rate, "0 keeps initial_temperature"
            ),
            "initial_temperature": positive(self.initial_temperature, "try 0.2"),
            "target_value_entropy": Rule(
                self.target_value_entropy < 0.69,
                "a number below 0.69, which no values within [-1, 1] exceed",
                "try -1",
            ),
            "target_choice_entropy": Rule(
                0 <= self.target_choice_entropy < 1,
                "0 <= target_choice_entropy < 1",
                "it is a share of the largest, try 0.2",
            ),
            "tau": fraction("tau", self.tau, "it is the fraction copied per update, try 0.005"),
            "initial_std": positive(self.initial_std, "try 1"),
            "min_std": Rule(
                0 < self.min_std <= self.initial_std,
                f"0 < min_std <= initial_std ({self.initial_std})",
                "try 0.01",
            ),
        }

    @property
    def head(self) -> GaussianHead:
        """How continuous values are drawn."""
        return GaussianHead(StdType.STATE_DEPENDENT, self.initial_std, self.min_std, squashed=True)


@attrs.define(slots=False)
class MasacSharedConfig(MasacConfig):
    """MASAC whose agents all learn from the group's mean reward."""

    reward_sharing: RewardSharing = RewardSharing.GROUP_MEAN


@attrs.define(slots=False)
class IsacConfig(MasacConfig):
    """Independent soft actor-critic: every agent for itself; it shows what a centralised critic brings."""

    centralised_critic: bool = False


@attrs.define(slots=False)
class IsacSharedConfig(IsacConfig):
    """Independent soft actor-critic on the group's mean reward."""

    reward_sharing: RewardSharing = RewardSharing.GROUP_MEAN
