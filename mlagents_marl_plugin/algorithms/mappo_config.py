"""Settings of the MAPPO family. Ranges stand under each field and are checked when an object is made."""

import attrs

from mlagents_marl_plugin.algorithms.common_config import (
    RewardConfig,
    RolloutConfig,
    Rule,
    StochasticConfig,
    deviation,
    fraction,
    not_negative,
    positive,
    share,
    whole,
)
from mlagents_marl_plugin.core.distributions import StdType
from mlagents_marl_plugin.core.losses import ValueLoss
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.on_policy_samples import AdvantageNormalisation, split_size
from mlagents_marl_plugin.core.rewards import RewardSharing
from mlagents_marl_plugin.core.schedules import FallingNumber, Schedule
from mlagents_marl_plugin.core.value_critics import ValueOutput
from mlagents_marl_plugin.core.value_normalisation import ValueNormalisation


@attrs.define(slots=False)
class MappoConfig(RolloutConfig, StochasticConfig, RewardConfig):
    """MAPPO: PPO with decentralised actors and a critic that sees the whole group (Yu et al. 2022)."""

    batch_size: int = 10_240
    """Agent steps per mini-batch, >= 1; 0, or at least buffer_size = no split, however much was played."""

    buffer_size: int = 10_240

    micro_batch_size: int = 0
    """Agent steps computed at once, >= 0, where memory is short; a mini-batch's gradient is summed up over them
    and stays the same. 0 = the whole mini-batch."""

    num_epoch: int = 10
    """Passes over what was played, per update, >= 1. Fewer are safer with many agents."""

    learning_rate: float = 5e-4
    critic_learning_rate: float = 5e-4

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
    0 = never. Needs num_epoch > 1."""

    kl_penalty: float = 0.0
    """Weight, at first, of that divergence in the actors' loss, >= 0; it doubles or halves after each update to
    keep near target_kl, which no longer ends epochs then. With epsilon 0 it takes the place of clipping. Needs
    several gradient steps per update."""

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

    value_bound: float = 0.0
    """Bound that tanh keeps values within, >= 0, in units that the critic learns; 0 = none. For returns known to be
    bounded, best with value_normalisation none; popart cannot move a last layer behind tanh."""

    critic_loss: ValueLoss = ValueLoss.HUBER

    huber_threshold: float = 10.0
    """Error beyond which huber grows linearly, > 0, in units that the critic learns."""

    centralised_critic: bool = True
    """Whether critics see everybody's observations (true), or their own agent's only."""

    value_output: ValueOutput = ValueOutput.OWN_VIEW
    """What a centralised critic reads: the joint observation from each agent's side (own_view), or once, with an
    output per agent (per_agent) or one value for the whole group (group), which comes to the agents' mean where their
    rewards differ."""

    std_type: StdType = StdType.LEARNED
    """Standard deviation of continuous actions: learned (the same whatever is seen), state_dependent, fixed or
    annealed (falls linearly to final_std at max_steps)."""

    initial_std: float = 1.0
    """Standard deviation at the start, 0 < initial_std <= 7.389 (e^2), in units of [-1, 1]."""

    final_std: float = 0.1
    """Standard deviation at the end, if annealed, 0 < final_std <= 7.389 (e^2)."""

    min_std: float = 0.01
    """The least standard deviation, 0 < min_std <= initial_std, and final_std if annealed."""

    tanh_mean: bool = False
    """Whether tanh keeps the mean of continuous actions within [-1, 1]; else only what is played is cut off."""

    orthogonal_initialisation: bool = True
    """Whether weights start orthogonal; else uniform, as torch's linear layers."""

    policy_gain: float = 0.01
    """Scale of the actors' last layer at the start, > 0, if orthogonal. Small: all actions nearly alike likely."""

    reward_scaling: bool = False
    """Whether rewards are divided by the running deviation of the returns played so far, once these differ."""

    def rules(self) -> dict[str, Rule]:
        """See `CheckedConfig`."""
        annealed = self.std_type is StdType.ANNEALED
        lowest_std = min(self.initial_std, self.final_std) if annealed else self.initial_std
        rules = super().rules() | {
            "batch_size": whole(self.batch_size, 0, "0 is no mini-batches"),
            "buffer_size": whole(self.buffer_size, 2, "try 10240"),
            "micro_batch_size": whole(self.micro_batch_size, 0, "0 computes a mini-batch at once"),
            "num_epoch": whole(self.num_epoch, 1, "try 3 to 10"),
            "learning_rate": positive(self.learning_rate, "try 5e-4"),
            "critic_learning_rate": positive(self.critic_learning_rate, "try 5e-4"),
            "learning_rate_floor": not_negative(self.learning_rate_floor, "0 sets no limit"),
            "epsilon": not_negative(self.epsilon, "try 0.2"),
            "epsilon_floor": positive(self.epsilon_floor, "try 0.05"),
            "beta": not_negative(self.beta, "try 0.01"),
            "beta_floor": not_negative(self.beta_floor, "try 0"),
            "target_kl": self._target_kl_rule(),
            "kl_penalty": Rule(
                self.kl_penalty == 0 or (self.kl_penalty > 0 and self.target_kl > 0),
                "a number >= 0, and target_kl > 0 with it",
                "try kl_penalty 1 with target_kl 0.02, or 0 for clipping alone",
            ),
            "value_output": Rule(
                self.centralised_critic or self.value_output is ValueOutput.OWN_VIEW,
                "own_view, since centralised_critic is false",
                "leave it out, or use mappo or maa2c, whose critics see everybody",
            ),
            "share_critic": Rule(
                self.share_critic is Sharing.SHARED or self.value_output is ValueOutput.OWN_VIEW,
                f"shared, since value_output is {self.value_output.value}",
                "use value_output own_view for critics of their own",
            ),
            "lambd": share("lambd", self.lambd, "try 0.95"),
            "value_norm_decay": Rule(0 <= self.value_norm_decay < 1, "0 <= value_norm_decay < 1", "try 0.99"),
            "value_clip": not_negative(self.value_clip, "0 switches it off"),
            "value_bound": Rule(
                self.value_bound == 0.0
                or (self.value_bound > 0.0 and self.value_normalisation is not ValueNormalisation.POPART),
                "a number >= 0, and value_normalisation valuenorm or none with it",
                "try 0 for no bound",
            ),
            "huber_threshold": positive(self.huber_threshold, "try 10"),
            "initial_std": deviation("initial_std", self.initial_std, "try 1"),
            "final_std": deviation("final_std", self.final_std, "try 0.1"),
            "min_std": Rule(
                0 < self.min_std <= lowest_std,
                f"0 < min_std <= initial_std, and final_std if annealed ({lowest_std})",
                "try 0.01",
            ),
            "policy_gain": positive(self.policy_gain, "try 0.01"),
        }
        for field in ("learning_rate_factor", "epsilon_factor", "beta_factor"):
            rules[field] = fraction(field, getattr(self, field), "1 leaves it as it is")
        if self.epsilon == 0:
            remedy = "leave it out, or clip with epsilon: 0.2"
            constant = self.epsilon_schedule is Schedule.CONSTANT
            rules["epsilon_schedule"] = Rule(constant, "constant, since epsilon is 0", remedy)
            rules["epsilon_factor"] = Rule(self.epsilon_factor == 1, "1, since epsilon is 0", remedy)
        return rules

    def _target_kl_rule(self) -> Rule:
        """How far the policy has moved is looked at before the last gradient step for a penalty, and after each epoch
        for an early end; with but one it has not moved yet, or there is nothing left to end.
        """
        whole_batch = split_size(self.batch_size, self.buffer_size) == 0
        if self.num_epoch == 1 and (whole_batch or self.kl_penalty == 0):
            expected = "0 with num_epoch 1" + (" and no mini-batches" if self.kl_penalty else "")
            return Rule(self.target_kl == 0, expected, "try num_epoch 4, or leave it out")
        return not_negative(self.target_kl, "try 0.02, or 0 for no limit")

    def __attrs_post_init__(self) -> None:
        """See `CheckedConfig`. Where nothing is split batch_size becomes buffer_size, which the host compares with the
        length of sequences.
        """
        super().__attrs_post_init__()
        if self.batch_size == 0:
            self.batch_size = self.buffer_size

    def scheduled(self, step_fraction: float, episodes: int) -> dict[str, float]:
        """What all schedules have come to, by the name of the setting; ``std`` if it is annealed.

        Args:
            step_fraction, episodes: see `OnPolicyLearner.set_progress`.
        """
        rate = (self.learning_rate_schedule, self.learning_rate_factor, self.learning_rate_floor)
        numbers = {
            "learning_rate": FallingNumber(self.learning_rate, *rate),
            "critic_learning_rate": FallingNumber(self.critic_learning_rate, *rate),
            "epsilon": FallingNumber(
                self.epsilon, self.epsilon_schedule, self.epsilon_factor, self.epsilon_floor
            ),
            "beta": FallingNumber(self.beta, self.beta_schedule, self.beta_factor, self.beta_floor),
        }
        now = {name: number.at(step_fraction, episodes) for name, number in numbers.items()}
        if self.std_type is StdType.ANNEALED:
            now["std"] = self.initial_std + (self.final_std - self.initial_std) * step_fraction
        return now


@attrs.define(slots=False)
class IppoConfig(MappoConfig):
    """Independent PPO: every agent for itself, all of a role with one policy (de Witt et al. 2020)."""

    centralised_critic: bool = False


@attrs.define(slots=False)
class Maa2cConfig(MappoConfig):
    """MAA2C, also called Central-V: one plain policy gradient step per update, with a centralised critic."""

    buffer_size: int = 2_048
    batch_size: int = 0
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
