"""Settings of the MASAC family. Ranges stand under each field and are checked when an object is made."""

from enum import Enum

import attrs

from mlagents_marl_plugin.algorithms.common_config import (
    ReplayConfig,
    RewardConfig,
    Rule,
    StochasticConfig,
    deviation,
    fraction,
    not_negative,
    positive,
)
from mlagents_marl_plugin.core.distributions import GaussianHead, StdType
from mlagents_marl_plugin.core.rewards import RewardSharing
from mlagents_marl_plugin.core.types import ActionLayout


class ActorLoss(Enum):
    """What actors learn by; the values are what users write in YAML."""

    SOFT = "soft"
    ADVANTAGE_WEIGHTED = "advantage_weighted"


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

    actor_loss: ActorLoss = ActorLoss.SOFT
    """What actors learn by: soft (the value of what they would do now, and entropy), or advantage_weighted (repeat
    what is in the replay, the better the more), which is for starting from demonstrations or a saved replay."""

    advantage_temperature: float = 1.0
    """Advantage that makes an action of the replay e times as important to advantage_weighted, > 0, in units of the
    return. Higher imitates more."""

    munchausen: float = 0.0
    """Weight of the log-probability of one's own choices that is added to the reward, 0 <= munchausen < 1; the
    published value is 0.9. Only without continuous actions, and with actor_loss soft."""

    munchausen_floor: float = -1.0
    """Least value of choice temperature times log-probability, <= 0, in units of the reward."""

    initial_std: float = 1.0
    """Standard deviation of continuous values at the start, before tanh, 0 < initial_std <= 7.389 (e^2). With 1, first
    actions fill [-1, 1] nearly evenly."""

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
            "advantage_temperature": positive(self.advantage_temperature, "try 1"),
            "munchausen": Rule(
                0 <= self.munchausen < 1 and (self.munchausen == 0 or self.actor_loss is ActorLoss.SOFT),
                "0 <= munchausen < 1, and 0 unless actor_loss is soft",
                "0 is MASAC, 0.9 as published; advantage_weighted pays no entropy",
            ),
            "munchausen_floor": Rule(self.munchausen_floor <= 0, "a number <= 0", "try -1"),
            "initial_std": deviation("initial_std", self.initial_std, "try 1"),
            "min_std": Rule(
                0 < self.min_std <= self.initial_std,
                f"0 < min_std <= initial_std ({self.initial_std})",
                "try 0.01",
            ),
        }

    def check_layout(self, layout: ActionLayout) -> None:
        """See `CheckedConfig`."""
        if layout.continuous and self.munchausen > 0:
            raise ValueError(
                f"munchausen: expected 0 with continuous actions, got {self.munchausen}; it is paid by the "
                "log-probability of choices, and a density has no bound, so leave it out"
            )

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
