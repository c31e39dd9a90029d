"""Settings of the MAPPO family. Ranges stand under each field and are checked when an object is made."""

import attrs

from mlagents_marl_plugin.core.distributions import StdType
from mlagents_marl_plugin.core.losses import ValueLoss
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.on_policy_samples import AdvantageNormalisation
from mlagents_marl_plugin.core.rewards import RewardSharing
from mlagents_marl_plugin.core.schedules import Schedule
from mlagents_marl_plugin.core.value_critics import ValueOutput
from mlagents_marl_plugin.core.value_normalisation import ValueNormalisation


@attrs.define(slots=False)
class MappoConfig:
    """MAPPO: PPO with decentralised actors and a critic that sees the whole group (Yu et al. 2022)."""

    batch_size: int = 10_240
    """Agent steps per mini-batch, >= 1; at least buffer_size = no split into mini-batches."""

    buffer_size: int = 10_240
    """Agent steps played between two updates, >= 2."""

    update_every_episodes: int = 0
    """Update whenever so many episodes of groups have ended, >= 0; 0 = by buffer_size alone."""

    micro_batch_size: int = 0
    """Agent steps computed at once, >= 0, where memory is short; a mini-batch's gradient is summed up over them
    and stays the same. 0 = the whole mini-batch."""

    num_epoch: int = 10
    """Passes over what was played, per update, >= 1. Fewer are safer with many agents."""

    learning_rate: float = 5e-4
    """Step size of the actors, > 0."""

    critic_learning_rate: float = 5e-4
    """Step size of the critics, > 0."""

    learning_rate_schedule: Schedule = Schedule.CONSTANT
    """Both step sizes over the run: constant, or linear to 0 at max_steps."""

    learning_rate_factor: float = 1.0
    """Factor on both step sizes per episode of a group, 0 < learning_rate_factor <= 1."""

    learning_rate_floor: float = 0.0
    """Step size that neither falls below, >= 0."""

    epsilon: float = 0.2
    """How far the new policy's probability of an action may move from the old one's in one update, >= 0, as a
    share of it; 0 = no clipping."""

    epsilon_schedule: Schedule = Schedule.CONSTANT
    """epsilon over the run: constant, or linear to epsilon_floor."""

    epsilon_factor: float = 1.0
    """Factor on epsilon per episode of a group, 0 < epsilon_factor <= 1."""

    epsilon_floor: float = 0.05
    """Value that epsilon does not fall below, > 0."""

    beta: float = 0.01
    """Weight of the entropy bonus, >= 0."""

    beta_schedule: Schedule = Schedule.CONSTANT
    """beta over the run: constant, or linear to beta_floor."""

    beta_factor: float = 1.0
    """Factor on beta per episode of a group, 0 < beta_factor <= 1."""

    beta_floor: float = 0.0
    """Value that beta does not fall below, >= 0."""

    target_kl: float = 0.0
    """Epochs of an update end once the policy has moved this far (Kullback-Leibler divergence, nats), >= 0;
    0 = never."""

    kl_penalty: float = 0.0
    """Weight, at first, of that divergence in the actors' loss, >= 0; it doubles or halves after each update to
    keep near target_kl, which no longer ends epochs then. With epsilon 0 it takes the place of clipping."""

    lambd: float = 0.95
    """Trace decay of generalised advantage estimation, 0 <= lambd <= 1. Lower trusts the critic more."""

    advantage_normalisation: AdvantageNormalisation = AdvantageNormalisation.BATCH
    """Advantages with mean 0 and deviation 1 over the whole batch (batch), for each agent (agent), or as they
    are (none)."""

    value_normalisation: ValueNormalisation = ValueNormalisation.VALUENORM
    """Critics learn returns with running mean 0 and deviation 1: valuenorm, popart (which moves the last layer
    along, so that a new scale changes no value), or none."""

    value_norm_decay: float = 0.99
    """Share of the old mean and deviation that stays per update, 0 <= value_norm_decay < 1."""

    value_clip: float = 0.2
    """How far a value may move from the old one in one update, >= 0, in units that the critic learns; 0 = any."""

    critic_loss: ValueLoss = ValueLoss.HUBER
    """Loss of the critic's error: mse or huber."""

    huber_threshold: float = 10.0
    """Error beyond which huber grows linearly, > 0, in units that the critic learns."""

    max_gradient_norm: float = 10.0
    """Longest gradient of a network, actors and critics alike, >= 0; 0 = never clipped."""

    share_actor: Sharing = Sharing.SHARED
    """One actor for all slots of a role (shared), the same with the slot's id as input (shared_with_id), or
    one each (separate). With shared, agents that see the same do the same."""

    share_critic: Sharing = Sharing.SHARED
    """The same choice for critics. A shared centralised critic sees each joint step once from every agent's
    side, that agent first."""

    centralised_critic: bool = True
    """Whether critics see everybody's observations (true), or their own agent's only."""

    value_output: ValueOutput = ValueOutput.OWN_VIEW
    """What a centralised critic reads: the joint observation from each agent's side (own_view), or once, with an
    output per agent (per_agent) or one value for the whole group (group)."""

    recurrent_critic: bool = True
    """Whether critics remember as well, if agents do (network_settings.memory)."""

    burn_in: int = 0
    """Steps before each sequence that its networks go through first, >= 0, so that they remember by today's weights
    what those that played remembered; if agents have a memory."""

    std_type: StdType = StdType.LEARNED
    """Standard deviation of continuous actions: learned (the same whatever is seen), state_dependent, fixed or
    annealed (falls linearly to final_std at max_steps)."""

    initial_std: float = 1.0
    """Standard deviation at the start, > 0, in units of [-1, 1]."""

    final_std: float = 0.1
    """Standard deviation at the end, if annealed, > 0."""

    min_std: float = 0.01
    """The least standard deviation, 0 < min_std <= initial_std, and final_std if annealed."""

    tanh_mean: bool = False
    """Whether tanh keeps the mean of continuous actions within [-1, 1]; else only what is played is cut off."""

    layer_normalisation: LayerNormalisation = LayerNormalisation.NONE
    """What stands before each ReLU of actors and critics: none or layer."""

    orthogonal_initialisation: bool = True
    """Whether weights start orthogonal; else uniform, as torch's linear layers."""

    policy_gain: float = 0.01
    """Scale of the actors' last layer at the start, > 0, if orthogonal. Small: all actions nearly alike likely."""

    observation_clip: float = 5.0
    """Largest absolute value of a normalised observation, > 0; used if network_settings.normalize is true."""

    reward_scaling: bool = False
    """Whether rewards are divided by the running deviation of the returns played so far."""

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
        whole = "a whole number >= 0"
        not_negative = "a number >= 0"
        positive = "a number > 0"
        annealed = self.std_type is StdType.ANNEALED
        lowest_std = min(self.initial_std, self.final_std) if annealed else self.initial_std
        rules: dict[str, tuple[bool, str, str]] = {
            "batch_size": (self.batch_size >= 1, at_least_one, "try buffer_size for no mini-batches"),
            "buffer_size": (self.buffer_size >= 2, "a whole number >= 2", "try 10240"),
            "update_every_episodes": (self.update_every_episodes >= 0, whole, "0 goes by buffer_size"),
            "micro_batch_size": (self.micro_batch_size >= 0, whole, "0 computes a mini-batch at once"),
            "num_epoch": (self.num_epoch >= 1, at_least_one, "try 3 to 10"),
            "learning_rate": (self.learning_rate > 0, positive, "try 5e-4"),
            "critic_learning_rate": (self.critic_learning_rate > 0, positive, "try 5e-4"),
            "learning_rate_floor": (self.learning_rate_floor >= 0, not_negative, "0 sets no limit"),
            "epsilon": (self.epsilon >= 0, not_negative, "try 0.2"),
            "epsilon_floor": (self.epsilon_floor > 0, positive, "try 0.05"),
            "beta": (self.beta >= 0, not_negative, "try 0.01"),
            "beta_floor": (self.beta_floor >= 0, not_negative, "try 0"),
            "target_kl": (self.target_kl >= 0, not_negative, "try 0.02, or 0 for no limit"),
            "kl_penalty": (
                self.kl_penalty == 0 or (self.kl_penalty > 0 and self.target_kl > 0),
                "a number >= 0, and target_kl > 0 with it",
                "try kl_penalty 1 with target_kl 0.02, or 0 for clipping alone",
            ),
            "share_critic": (
                self.share_critic is Sharing.SHARED
                or self.value_output is ValueOutput.OWN_VIEW
                or not self.centralised_critic,
                f"shared, since value_output is {self.value_output.value}",
                "use value_output own_view for critics of their own",
            ),
            "burn_in": (self.burn_in >= 0, whole, "0 begins with what was remembered in play"),
            "lambd": (0 <= self.lambd <= 1, "0 <= lambd <= 1", "try 0.95"),
            "value_norm_decay": (0 <= self.value_norm_decay < 1, "0 <= value_norm_decay < 1", "try 0.99"),
            "value_clip": (self.value_clip >= 0, not_negative, "0 switches it off"),
            "huber_threshold": (self.huber_threshold > 0, positive, "try 10"),
            "max_gradient_norm": (self.max_gradient_norm >= 0, not_negative, "0 switches clipping off"),
            "initial_std": (self.initial_std > 0, positive, "try 1"),
            "final_std": (self.final_std > 0, positive, "try 0.1"),
            "min_std": (
                0 < self.min_std <= lowest_std,
                f"0 < min_std <= initial_std, and final_std if annealed ({lowest_std})",
                "try 0.01",
            ),
            "layer_normalisation": (
                self.layer_normalisation is not LayerNormalisation.BATCH,
                "none or layer",
                "batch would make the policy that learns another than the one that acted",
            ),
            "policy_gain": (self.policy_gain > 0, positive, "try 0.01"),
            "observation_clip": (self.observation_clip > 0, positive, "try 5"),
            "reward_mix": (0 <= self.reward_mix <= 1, "0 <= reward_mix <= 1", "0 is individual, 1 the mean"),
            "positive_reward_scale": (
                self.positive_reward_scale > 0,
                positive,
                "1 leaves rewards as they are",
            ),
        }
        for field in ("learning_rate_factor", "epsilon_factor", "beta_factor"):
            rules[field] = (0 < getattr(self, field) <= 1, f"0 < {field} <= 1", "1 leaves it as it is")
        for field, (holds, rule, remedy) in rules.items():
            if not holds:
                raise ValueError(f"{field}: expected {rule}, got {getattr(self, field)}; {remedy}")


@attrs.define(slots=False)
class IppoConfig(MappoConfig):
    """Independent PPO: every agent for itself, all of a role with one policy (de Witt et al. 2020)."""

    centralised_critic: bool = False


@attrs.define(slots=False)
class Maa2cConfig(MappoConfig):
    """MAA2C, also called Central-V: one plain policy gradient step per update, with a centralised critic."""

    buffer_size: int = 2_048
    batch_size: int = 2_048
    num_epoch: int = 1
    epsilon: float = 0.0
    value_clip: float = 0.0


@attrs.define(slots=False)
class Ia2cConfig(Maa2cConfig):
    """IA2C, also called IAC: independent advantage actor-critic."""

    centralised_critic: bool = False


@attrs.define(slots=False)
class MappoSharedConfig(MappoConfig):
    """MAPPO whose agents all learn from the group's mean reward."""

    reward_sharing: RewardSharing = RewardSharing.GROUP_MEAN


@attrs.define(slots=False)
class IppoSharedConfig(IppoConfig):
    """IPPO whose agents all learn from the group's mean reward."""

    reward_sharing: RewardSharing = RewardSharing.GROUP_MEAN


@attrs.define(slots=False)
class Maa2cSharedConfig(Maa2cConfig):
    """MAA2C whose agents all learn from the group's mean reward."""

    reward_sharing: RewardSharing = RewardSharing.GROUP_MEAN


@attrs.define(slots=False)
class Ia2cSharedConfig(Ia2cConfig):
    """IA2C whose agents all learn from the group's mean reward."""

    reward_sharing: RewardSharing = RewardSharing.GROUP_MEAN
