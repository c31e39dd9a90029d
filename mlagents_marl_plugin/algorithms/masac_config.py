"""Settings of the MASAC family. Ranges stand under each field and are checked when an object is made."""

import attrs

from mlagents_marl_plugin.core.distributions import GaussianHead, StdType
from mlagents_marl_plugin.core.losses import ValueLoss
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.rewards import RewardSharing


@attrs.define(slots=False)
class MasacConfig:
    """MASAC: soft actor-critic whose critics see the whole group (Haarnoja et al. 2018, Lowe et al. 2017)."""

    batch_size: int = 256
    """Group steps per update, >= 1. Each holds all agents of the group."""

    buffer_size: int = 100_000
    """Group steps that the replay holds, >= batch_size."""

    buffer_init_steps: int = 1_000
    """Agent steps before the first update, >= 0."""

    steps_per_update: float = 2.0
    """Agent steps per update, > 0. Two agents and 2 make one update per group step."""

    save_replay_buffer: bool = False
    """Whether checkpoints keep the replay, so that a resumed run goes on exactly; large."""

    learning_rate: float = 3e-4
    """Step size of the actors, > 0."""

    critic_learning_rate: float = 1e-3
    """Step size of the critics, > 0."""

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

    n_step: int = 1
    """Steps of reward before the critic's own estimate takes over, >= 1. More spread rare rewards faster."""

    share_actor: Sharing = Sharing.SHARED
    """One actor for all slots of a role (shared), the same with the slot's id as input (shared_with_id), or
    one each (separate)."""

    share_critic: Sharing = Sharing.SHARED
    """The same choice for critics. A shared centralised critic sees each joint step once from every agent's
    side, that agent first."""

    centralised_critic: bool = True
    """Whether critics see everybody's observations and actions (true), or their own agent's only."""

    layer_normalisation: LayerNormalisation = LayerNormalisation.NONE
    """What stands before each ReLU of actors and critics: none or layer."""

    observation_clip: float = 5.0
    """Largest absolute value of a normalised observation, > 0; used if network_settings.normalize is true."""

    critic_loss: ValueLoss = ValueLoss.MSE
    """Loss of the critic's error: mse or huber."""

    max_gradient_norm: float = 10.0
    """Longest gradient of a network, actors and critics alike, >= 0; 0 = never clipped."""

    initial_std: float = 1.0
    """Standard deviation of continuous values at the start, before tanh, > 0. With 1, first actions fill
    [-1, 1] nearly evenly."""

    min_std: float = 0.01
    """The least standard deviation, before tanh, 0 < min_std <= initial_std."""

    non_positive_share: float = 1.0
    """Share of steps without positive reward that is sampled while experience is young, 0 < share <= 1."""

    non_positive_steps: int = 10_000
    """Agent steps for which experience counts as young, >= 0."""

    reward_sharing: RewardSharing = RewardSharing.INDIVIDUAL
    """Whose reward an agent learns from: individual, group_mean, group_sum, or mixed."""

    reward_mix: float = 0.5
    """Weight of the group's mean in mixed, 0 <= reward_mix <= 1."""

    positive_reward_scale: float = 1.0
    """Factor on rewards above 0 in training, > 0; scores stay as the scene gives them."""

    survival_bonus: float = 0.0
    """Added to an agent's reward for each step that it survives, in training."""

    reward_function: str = ""
    """Import path ``module:function`` of your own reward shaping; empty = none."""

    def __attrs_post_init__(self) -> None:
        """Raises: ValueError: naming the field, its range and a remedy."""
        at_least_one = "a whole number >= 1"
        not_negative = "a number >= 0"
        positive = "a number > 0"
        rules: dict[str, tuple[bool, str, str]] = {
            "batch_size": (self.batch_size >= 1, at_least_one, "try 256"),
            "buffer_size": (
                self.buffer_size >= max(2, self.batch_size),
                f"at least batch_size ({self.batch_size}) and 2",
                "try 100000",
            ),
            "buffer_init_steps": (self.buffer_init_steps >= 0, "a whole number >= 0", "try 1000"),
            "steps_per_update": (self.steps_per_update > 0, positive, "try the number of agents in a group"),
            "learning_rate": (self.learning_rate > 0, positive, "try 3e-4"),
            "critic_learning_rate": (self.critic_learning_rate > 0, positive, "try 1e-3"),
            "temperature_learning_rate": (
                self.temperature_learning_rate >= 0,
                not_negative,
                "0 keeps initial_temperature",
            ),
            "initial_temperature": (self.initial_temperature > 0, positive, "try 0.2"),
            "target_value_entropy": (
                self.target_value_entropy < 0.69,
                "a number below 0.69, which no values within [-1, 1] exceed",
                "try -1",
            ),
            "target_choice_entropy": (
                0 <= self.target_choice_entropy < 1,
                "0 <= target_choice_entropy < 1",
                "it is a share of the largest, try 0.2",
            ),
            "tau": (0 < self.tau <= 1, "0 < tau <= 1", "it is the fraction copied per update, try 0.005"),
            "n_step": (self.n_step >= 1, at_least_one, "1 is the published algorithm"),
            "layer_normalisation": (
                self.layer_normalisation is not LayerNormalisation.BATCH,
                "none or layer",
                "statistics of a batch have no place in a policy that is drawn from",
            ),
            "observation_clip": (self.observation_clip > 0, positive, "try 5"),
            "max_gradient_norm": (self.max_gradient_norm >= 0, not_negative, "0 switches clipping off"),
            "initial_std": (self.initial_std > 0, positive, "try 1"),
            "min_std": (
                0 < self.min_std <= self.initial_std,
                f"0 < min_std <= initial_std ({self.initial_std})",
                "try 0.01",
            ),
            "non_positive_share": (
                0 < self.non_positive_share <= 1,
                "0 < non_positive_share <= 1",
                "1 samples everything alike",
            ),
            "non_positive_steps": (self.non_positive_steps >= 0, "a whole number >= 0", "try 10000"),
            "reward_mix": (0 <= self.reward_mix <= 1, "0 <= reward_mix <= 1", "0 is individual, 1 the mean"),
            "positive_reward_scale": (
                self.positive_reward_scale > 0,
                positive,
                "1 leaves rewards as they are",
            ),
        }
        for field, (holds, rule, remedy) in rules.items():
            if not holds:
                raise ValueError(f"{field}: expected {rule}, got {getattr(self, field)}; {remedy}")

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
