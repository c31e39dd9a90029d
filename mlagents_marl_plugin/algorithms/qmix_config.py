"""Settings of the QMIX family. Ranges stand under each field and are checked when an object is made."""

from enum import Enum

import attrs
import torch

from mlagents_marl_plugin.core.epsilon_greedy import EpsilonGreedy
from mlagents_marl_plugin.core.exploration import ExplorationSchedule
from mlagents_marl_plugin.core.losses import ValueLoss
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.rewards import RewardSharing
from mlagents_marl_plugin.core.types import ActionLayout


class Mixing(Enum):
    """How agents' values make the group's; the values are what users write in YAML."""

    MONOTONIC = "monotonic"
    SUM = "sum"
    NONE = "none"


@attrs.define(slots=False)
class QmixConfig:
    """QMIX: a network of action values per agent, mixed into the group's value in training (Rashid et al. 2018)."""

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

    learning_rate: float = 5e-4
    """Step size of all networks, > 0."""

    tau: float = 0.01
    """Fraction of the way that target networks go to the online ones at each of their updates, 0 < tau <= 1.
    1 with target_update_interval 200 makes hard targets."""

    target_update_interval: int = 1
    """Updates from one update of the target networks to the next, >= 1."""

    n_step: int = 1
    """Steps of reward before the networks' own estimate takes over, >= 1. More spread rare rewards faster."""

    double_q: bool = True
    """Whether the online networks choose the next action that the target networks value (against
    over-estimation)."""

    mixing: Mixing = Mixing.MONOTONIC
    """How agents' values make the group's: monotonic (a network that rises with each), sum, or none (every agent
    learns its own return)."""

    mixing_width: int = 32
    """Hidden units of the monotonic mixing network, >= 1."""

    mixing_hidden_units: int = 64
    """Hidden units of the network that reads the state and makes the mixing network's weights, >= 1."""

    share_actor: Sharing = Sharing.SHARED
    """One network for all slots of a role (shared), the same with the slot's id as input (shared_with_id), or
    one each (separate). With shared, agents that see the same do the same."""

    layer_normalisation: LayerNormalisation = LayerNormalisation.NONE
    """What stands before each ReLU of the agents' networks: none, layer or batch."""

    observation_clip: float = 5.0
    """Largest absolute value of a normalised observation, > 0; used if network_settings.normalize is true."""

    critic_loss: ValueLoss = ValueLoss.MSE
    """Loss of the values' error: mse or huber."""

    max_gradient_norm: float = 10.0
    """Longest gradient of a network, agents' and mixing alike, >= 0; 0 = never clipped."""

    munchausen: float = 0.0
    """Weight of the log-probability of one's own choice that is added to the reward, 0 <= munchausen <= 1; the
    published value is 0.9. Above 0 the next value is a soft maximum, and double_q is not used."""

    munchausen_temperature: float = 0.03
    """Temperature of the policy that these log-probabilities belong to, > 0, in units of the values."""

    munchausen_floor: float = -1.0
    """Least value of temperature times log-probability, <= 0, in units of the reward."""

    epsilon: float = 1.0
    """Chance at the start of a random choice in each branch, 0 <= epsilon <= 1."""

    epsilon_floor: float = 0.05
    """Chance that it falls to, 0 <= epsilon_floor <= epsilon."""

    epsilon_decay: float = 0.9999
    """Factor on epsilon per agent step, 0 < epsilon_decay <= 1; 0.9999 takes it from 1 to 0.05 in 30,000 steps."""

    random_steps: int = 0
    """Agent steps at the start in which all choices are random, >= 0."""

    discretise: int = 0
    """Choices that each continuous action is cut into, evenly over [-1, 1]: 0 or >= 2; 0 refuses continuous
    actions."""

    non_positive_share: float = 1.0
    """Share of steps without positive reward that is sampled while experience is young, 0 < share <= 1."""

    non_positive_steps: int = 10_000
    """Agent steps for which experience counts as young, >= 0."""

    reward_sharing: RewardSharing = RewardSharing.GROUP_MEAN
    """Whose reward an agent learns from: individual, group_mean, group_sum, or mixed. A mixed value is that of
    the mean over the agents, whatever stands here."""

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
            "learning_rate": (self.learning_rate > 0, positive, "try 5e-4"),
            "tau": (0 < self.tau <= 1, "0 < tau <= 1", "it is the fraction copied per update, try 0.01"),
            "target_update_interval": (self.target_update_interval >= 1, at_least_one, "with tau: 1 try 200"),
            "n_step": (self.n_step >= 1, at_least_one, "1 is the published algorithm"),
            "mixing_width": (self.mixing_width >= 1, at_least_one, "try 32"),
            "mixing_hidden_units": (self.mixing_hidden_units >= 1, at_least_one, "try 64"),
            "observation_clip": (self.observation_clip > 0, positive, "try 5"),
            "max_gradient_norm": (self.max_gradient_norm >= 0, "a number >= 0", "0 switches clipping off"),
            "munchausen": (0 <= self.munchausen <= 1, "0 <= munchausen <= 1", "0 is QMIX, 0.9 as published"),
            "munchausen_temperature": (self.munchausen_temperature > 0, positive, "try 0.03"),
            "munchausen_floor": (self.munchausen_floor <= 0, "a number <= 0", "try -1"),
            "epsilon": (0 <= self.epsilon <= 1, "0 <= epsilon <= 1", "it is a chance, try 1"),
            "epsilon_floor": (
                0 <= self.epsilon_floor <= self.epsilon,
                f"0 <= epsilon_floor <= epsilon ({self.epsilon})",
                "try 0.05",
            ),
            "epsilon_decay": (
                0 < self.epsilon_decay <= 1,
                "0 < epsilon_decay <= 1",
                "1 keeps epsilon as it is, try 0.9999",
            ),
            "random_steps": (self.random_steps >= 0, "a whole number >= 0", "try 0"),
            "discretise": (self.discretise == 0 or self.discretise >= 2, "0 or >= 2", "try 3"),
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

    def make_explorer(self, layout: ActionLayout, generator: torch.Generator) -> EpsilonGreedy:
        """How agents with these actions explore; ``generator`` is where they act."""
        schedule = ExplorationSchedule(
            self.epsilon, self.epsilon_floor, self.epsilon_decay, self.random_steps
        )
        return EpsilonGreedy(layout, schedule, generator, self.discretise)


@attrs.define(slots=False)
class VdnConfig(QmixConfig):
    """VDN: the group's value is the sum of its agents' (Sunehag et al. 2018)."""

    mixing: Mixing = Mixing.SUM


@attrs.define(slots=False)
class IqlConfig(QmixConfig):
    """Independent Q-learning: every agent for itself; the baseline that shows what mixing brings."""

    mixing: Mixing = Mixing.NONE
    reward_sharing: RewardSharing = RewardSharing.INDIVIDUAL


@attrs.define(slots=False)
class IqlSharedConfig(IqlConfig):
    """Independent Q-learning on the group's mean reward."""

    reward_sharing: RewardSharing = RewardSharing.GROUP_MEAN
