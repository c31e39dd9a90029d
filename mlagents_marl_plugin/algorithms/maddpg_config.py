"""Settings of the MADDPG family. Ranges stand under each field and are checked when an object is made."""

import attrs
import torch

from mlagents_marl_plugin.core.exploration import ExplorationSchedule, Explorer, NoiseType
from mlagents_marl_plugin.core.losses import ValueLoss
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.rewards import RewardSharing
from mlagents_marl_plugin.core.types import ActionLayout


@attrs.define(slots=False)
class MaddpgConfig:
    """MADDPG as published: a deterministic actor and a centralised critic per agent (Lowe et al. 2017)."""

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

    learning_rate: float = 1e-3
    """Step size of the actors, > 0."""

    critic_learning_rate: float = 1e-3
    """Step size of the critics, > 0."""

    tau: float = 0.01
    """Fraction of the way that target networks go to the online ones per update, 0 < tau <= 1."""

    n_step: int = 1
    """Steps of reward before the critic's own estimate takes over, >= 1. More spread rare rewards faster."""

    policy_delay: int = 1
    """Critic updates per update of actors and targets, >= 1."""

    twin_critics: bool = False
    """Two critics per agent, the smaller estimate counts (against over-estimation)."""

    target_noise: float = 0.0
    """Standard deviation of noise on the target actors' continuous actions, >= 0, in units of [-1, 1]."""

    target_noise_clip: float = 0.5
    """Largest absolute value of that noise, >= 0."""

    share_actor: Sharing = Sharing.SHARED
    """One actor for all slots of a role (shared), the same with the slot's id as input (shared_with_id), or
    one each (separate)."""

    share_critic: Sharing = Sharing.SHARED
    """The same choice for critics. A shared centralised critic sees each joint step once from every agent's
    side, that agent first."""

    centralised_critic: bool = True
    """Whether critics see everybody's observations and actions (true), or their own agent's only."""

    layer_normalisation: LayerNormalisation = LayerNormalisation.NONE
    """What stands before each ReLU of actors and critics: none, layer or batch."""

    observation_clip: float = 5.0
    """Largest absolute value of a normalised observation, > 0; used if network_settings.normalize is true."""

    logit_regularisation: float = 1e-3
    """Weight of the mean square of outputs before tanh or softmax, >= 0. Keeps tanh from saturating."""

    gumbel_temperature: float = 1.0
    """Temperature of choices in the actor's loss, > 0. Lower is closer to a real choice, and noisier."""

    critic_loss: ValueLoss = ValueLoss.MSE
    """Loss of the critic's error: mse or huber."""

    max_gradient_norm: float = 0.5
    """Longest gradient of a network, actors and critics alike, >= 0; 0 = never clipped."""

    noise_type: NoiseType = NoiseType.GAUSSIAN
    """Exploration noise on continuous actions: gaussian or ornstein_uhlenbeck."""

    noise_scale: float = 0.3
    """Its standard deviation at the start, >= 0, in units of [-1, 1]."""

    noise_floor: float = 0.05
    """Standard deviation that it falls to, 0 <= noise_floor <= noise_scale."""

    noise_decay: float = 1.0
    """Factor on the noise per agent step, 0 < noise_decay <= 1; 0.99999 halves it in 69,000 steps."""

    noise_theta: float = 0.15
    """How fast Ornstein-Uhlenbeck noise forgets, 0 < noise_theta <= 1; unused by gaussian."""

    epsilon: float = 0.0
    """Chance at the start of a random discrete choice, 0 <= epsilon <= 1; fades like the noise."""

    random_steps: int = 0
    """Agent steps at the start in which actions are uniformly random, >= 0."""

    saturation_nudge: float = 0.0
    """Added to the noise's scale, >= 0, while an actor gets no usable gradient; 0 only warns."""

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
            "learning_rate": (self.learning_rate > 0, positive, "try 1e-3"),
            "critic_learning_rate": (self.critic_learning_rate > 0, positive, "try 1e-3"),
            "tau": (0 < self.tau <= 1, "0 < tau <= 1", "it is the fraction copied per update, try 0.01"),
            "n_step": (self.n_step >= 1, at_least_one, "1 is the published algorithm"),
            "policy_delay": (
                self.policy_delay >= 1,
                at_least_one,
                "1 updates actors every time, matd3 uses 2",
            ),
            "target_noise": (self.target_noise >= 0, not_negative, "matd3 uses 0.2"),
            "target_noise_clip": (self.target_noise_clip >= 0, not_negative, "matd3 uses 0.5"),
            "observation_clip": (self.observation_clip > 0, positive, "try 5"),
            "logit_regularisation": (self.logit_regularisation >= 0, not_negative, "try 1e-3"),
            "gumbel_temperature": (self.gumbel_temperature > 0, positive, "try 1"),
            "max_gradient_norm": (self.max_gradient_norm >= 0, not_negative, "0 switches clipping off"),
            "noise_scale": (self.noise_scale >= 0, not_negative, "try 0.3"),
            "noise_floor": (
                0 <= self.noise_floor <= self.noise_scale,
                f"0 <= noise_floor <= noise_scale ({self.noise_scale})",
                "try a tenth of noise_scale",
            ),
            "noise_decay": (0 < self.noise_decay <= 1, "0 < noise_decay <= 1", "1 keeps the noise as it is"),
            "noise_theta": (0 < self.noise_theta <= 1, "0 < noise_theta <= 1", "the usual value is 0.15"),
            "epsilon": (0 <= self.epsilon <= 1, "0 <= epsilon <= 1", "it is a chance, try 0.05"),
            "random_steps": (self.random_steps >= 0, "a whole number >= 0", "try 0"),
            "saturation_nudge": (self.saturation_nudge >= 0, not_negative, "0 only warns"),
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

    def make_explorer(self, layout: ActionLayout, generator: torch.Generator) -> Explorer:
        """How agents with these actions explore; ``generator`` is where they act."""
        schedule = ExplorationSchedule(
            self.noise_scale, self.noise_floor, self.noise_decay, self.random_steps
        )
        return Explorer(layout, self.noise_type, schedule, generator, self.epsilon, self.noise_theta)


@attrs.define(slots=False)
class Matd3Config(MaddpgConfig):
    """MATD3: MADDPG with TD3's three remedies against over-estimation (Ackermann et al. 2019)."""

    tau: float = 0.005
    twin_critics: bool = True
    policy_delay: int = 2
    target_noise: float = 0.2


@attrs.define(slots=False)
class IddpgConfig(MaddpgConfig):
    """Independent DDPG: every agent for itself; the baseline that shows what a centralised critic brings."""

    centralised_critic: bool = False


@attrs.define(slots=False)
class MaddpgSharedConfig(MaddpgConfig):
    """MADDPG whose agents all learn from the group's mean reward."""

    reward_sharing: RewardSharing = RewardSharing.GROUP_MEAN


@attrs.define(slots=False)
class Matd3SharedConfig(Matd3Config):
    """MATD3 whose agents all learn from the group's mean reward."""

    reward_sharing: RewardSharing = RewardSharing.GROUP_MEAN
