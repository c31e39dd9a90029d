"""Settings of the QMIX family. Ranges stand under each field and are checked when an object is made."""

from enum import Enum

import attrs
import torch

from mlagents_marl_plugin.algorithms.common_config import (
    ChoicesConfig,
    NetworkConfig,
    ReplayConfig,
    RewardConfig,
    Rule,
    fraction,
    positive,
    share,
    whole,
)
from mlagents_marl_plugin.core.epsilon_greedy import EpsilonGreedy
from mlagents_marl_plugin.core.exploration import ExplorationSchedule
from mlagents_marl_plugin.core.rewards import RewardSharing
from mlagents_marl_plugin.core.types import ActionLayout


class Mixing(Enum):
    """How agents' values make the group's; the values are what users write in YAML."""

    MONOTONIC = "monotonic"
    SUM = "sum"
    NONE = "none"


class InitialMemory(Enum):
    """What agents remember where a sequence begins in the middle of an episode; the values are what users write."""

    STORED = "stored"
    ZERO = "zero"


@attrs.define(slots=False)
class QmixConfig(ReplayConfig, NetworkConfig, ChoicesConfig, RewardConfig):
    """QMIX: a network of action values per agent, mixed into the group's value in training (Rashid et al. 2018)."""

    learning_rate: float = 5e-4
    """Step size of all networks, > 0."""

    tau: float = 0.01
    """Fraction of the way that target networks go to the online ones at each of their updates, 0 < tau <= 1.
    1 with target_update_interval 200 makes hard targets."""

    target_update_interval: int = 1
    """Updates from one update of the target networks to the next, >= 1."""

    double_q: bool = True
    """Whether the online networks choose the next action that the target networks value (against
    over-estimation)."""

    lambd: float = 0.0
    """Weight of what came later in the returns of sequences that are learnt from, 0 <= lambd <= 1; 0: returns go
    over n_step steps."""

    trace_length: int = 8
    """Steps of these sequences, >= 1, where agents have no memory; with one, its sequence_length counts."""

    burn_in: int = 0
    """Steps before a sequence that only bring the memory up to date, >= 0; with network_settings.memory."""

    initial_memory: InitialMemory = InitialMemory.STORED
    """What agents remember where a sequence begins in the middle of an episode: stored (what they did then) or
    zero (nothing); with network_settings.memory."""

    mixing: Mixing = Mixing.MONOTONIC
    """How agents' values make the group's: monotonic (a network that rises with each), sum, or none (every agent
    learns its own return)."""

    mixing_width: int = 32
    """Hidden units of the monotonic mixing network, >= 1."""

    mixing_hidden_units: int = 64
    """Hidden units of the network that reads the state and makes the mixing network's weights, >= 1."""

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

    epsilon_anneal_steps: int = 0
    """Agent steps from the start over which epsilon falls linearly to epsilon_floor instead, >= 0; 0 = by
    epsilon_decay. EPyMARL's epsilon_anneal_time, times the number of agents."""

    random_steps: int = 0
    """Agent steps at the start in which all choices are random, >= 0."""

    reward_sharing: RewardSharing = RewardSharing.GROUP_MEAN
    """Whose reward an agent learns from: individual, group_mean, group_sum, or mixed. A mixed value is that of
    the mean over the agents, whatever stands here."""

    def rules(self) -> dict[str, Rule]:
        """See `CheckedConfig`."""
        return super().rules() | {
            "learning_rate": positive(self.learning_rate, "try 5e-4"),
            "tau": fraction("tau", self.tau, "it is the fraction copied per update, try 0.01"),
            "target_update_interval": whole(self.target_update_interval, 1, "with tau: 1 try 200"),
            "lambd": self._lambda_rule(),
            "trace_length": whole(self.trace_length, 1, "try 8"),
            "burn_in": whole(self.burn_in, 0, "try sequence_length / 2"),
            "mixing_width": whole(self.mixing_width, 1, "try 32"),
            "mixing_hidden_units": whole(self.mixing_hidden_units, 1, "try 64"),
            "munchausen": share("munchausen", self.munchausen, "0 is QMIX, 0.9 as published"),
            "munchausen_temperature": positive(self.munchausen_temperature, "try 0.03"),
            "munchausen_floor": Rule(self.munchausen_floor <= 0, "a number <= 0", "try -1"),
            "epsilon": share("epsilon", self.epsilon, "it is a chance, try 1"),
            "epsilon_floor": Rule(
                0 <= self.epsilon_floor <= self.epsilon,
                f"0 <= epsilon_floor <= epsilon ({self.epsilon})",
                "try 0.05",
            ),
            "epsilon_decay": self._decay_rule(),
            "epsilon_anneal_steps": whole(self.epsilon_anneal_steps, 0, "0 goes by epsilon_decay"),
            "random_steps": whole(self.random_steps, 0, "try 0"),
        }

    def _lambda_rule(self) -> Rule:
        if self.n_step > 1:
            rule = f"0 with n_step: {self.n_step}"
            return Rule(self.lambd == 0, rule, "returns go by n_step or by lambd, set n_step: 1")
        return share("lambd", self.lambd, "0 is the published algorithm, try 0.6")

    def _decay_rule(self) -> Rule:
        if self.epsilon_anneal_steps > 0:
            default = attrs.fields_dict(type(self))["epsilon_decay"].default
            rule = f"no value with epsilon_anneal_steps: {self.epsilon_anneal_steps}"
            return Rule(self.epsilon_decay == default, rule, "epsilon falls by one of them, leave one out")
        return fraction("epsilon_decay", self.epsilon_decay, "1 keeps epsilon as it is, try 0.9999")

    def make_explorer(self, layout: ActionLayout, generator: torch.Generator) -> EpsilonGreedy:
        """How agents with these actions explore; ``generator`` is where they act."""
        schedule = ExplorationSchedule(
            self.epsilon,
            self.epsilon_floor,
            self.epsilon_decay,
            self.random_steps,
            self.epsilon_anneal_steps,
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
