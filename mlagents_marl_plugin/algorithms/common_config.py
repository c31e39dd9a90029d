"""Settings that several families have, each with its range. A family adds its own and may change defaults."""

import math
from enum import Enum
from typing import NamedTuple

import attrs

from mlagents_marl_plugin.core.distributions import MAX_LOG_STD
from mlagents_marl_plugin.core.losses import ValueLoss
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.recurrent_shape import Cell
from mlagents_marl_plugin.core.rewards import RewardSharing
from mlagents_marl_plugin.core.schedules import Schedule
from mlagents_marl_plugin.core.types import ActionLayout


class Rule(NamedTuple):
    """What a field's value must be."""

    holds: bool
    expected: str
    remedy: str


def positive(value: float, remedy: str) -> Rule:
    """A number above 0."""
    return Rule(value > 0, "a number > 0", remedy)


def not_negative(value: float, remedy: str) -> Rule:
    """A number of at least 0."""
    return Rule(value >= 0, "a number >= 0", remedy)


def whole(value: int, least: int, remedy: str) -> Rule:
    """A whole number of at least ``least``."""
    return Rule(value >= least, f"a whole number >= {least}", remedy)


def fraction(field: str, value: float, remedy: str) -> Rule:
    """A number above 0 and up to 1."""
    return Rule(0 < value <= 1, f"0 < {field} <= 1", remedy)


def share(field: str, value: float, remedy: str) -> Rule:
    """A number from 0 to 1."""
    return Rule(0 <= value <= 1, f"0 <= {field} <= 1", remedy)


def deviation(field: str, value: float, remedy: str) -> Rule:
    """A standard deviation that actors can have."""
    most = math.exp(MAX_LOG_STD)
    return Rule(0 < value <= most, f"0 < {field} <= {most:.3f} (e^2)", remedy)


class CheckedConfig:
    """Ranges are checked when an object is made, also those of fields whose default a preset changes."""

    def rules(self) -> dict[str, Rule]:
        """What must hold, by field. A class adds to those of its bases, or replaces theirs."""
        return {}

    def __attrs_post_init__(self) -> None:
        """Raises: ValueError: naming the field, its range and a remedy."""
        for field, rule in self.rules().items():
            if not rule.holds:
                value = getattr(self, field)
                got = value.value if isinstance(value, Enum) else value  # as it is written in YAML
                raise ValueError(f"{field}: expected {rule.expected}, got {got}; {rule.remedy}")

    def check_layout(self, layout: ActionLayout) -> None:
        """Refuse settings that do not go with these actions.

        Raises:
            ValueError: naming the field.
        """


@attrs.define(slots=False)
class ReplayConfig(CheckedConfig):
    """What learners from a replay have."""

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

    n_step: int = 1
    """Steps of reward before the estimate of what follows takes over, >= 1. More spread rare rewards faster."""

    demonstrations: str = ""
    """A .demo file, or a folder of them, that the replay begins with (docs/demonstrations.md); empty = none."""

    demonstration_updates: int = 0
    """Updates from demonstrations alone, made before the first agent step is learnt from, >= 0."""

    non_positive_share: float = 1.0
    """Share of steps without positive reward that is sampled while experience is young, 0 < share <= 1."""

    non_positive_steps: int = 10_000
    """Agent steps for which experience counts as young, >= 0."""

    def rules(self) -> dict[str, Rule]:
        """See `CheckedConfig`."""
        return super().rules() | {
            "batch_size": whole(self.batch_size, 1, "try 256"),
            "buffer_size": Rule(
                self.buffer_size >= max(2, self.batch_size),
                f"at least batch_size ({self.batch_size}) and 2",
                "try 100000",
            ),
            "buffer_init_steps": whole(self.buffer_init_steps, 0, "try 1000"),
            "steps_per_update": positive(self.steps_per_update, "try the number of agents in a group"),
            "n_step": whole(self.n_step, 1, "1 is the published algorithm"),
            "demonstration_updates": Rule(
                self.demonstration_updates == 0
                or (self.demonstration_updates > 0 and self.demonstrations != ""),
                "a whole number >= 0, and 0 without demonstrations",
                "set demonstrations to a .demo file or a folder of them, or leave it out",
            ),
            "non_positive_share": fraction(
                "non_positive_share", self.non_positive_share, "1 samples everything alike"
            ),
            "non_positive_steps": whole(self.non_positive_steps, 0, "try 10000"),
        }


@attrs.define(slots=False)
class RolloutConfig(CheckedConfig):
    """What learners from what was just played have."""

    buffer_size: int = 2_048
    """Agent steps played between two updates, >= 2."""

    update_every_episodes: int = 0
    """Update whenever so many episodes of groups have ended, >= 0; 0 = by buffer_size alone."""

    learning_rate_schedule: Schedule = Schedule.CONSTANT
    """Both step sizes over the run: constant, or linear to 0 at max_steps."""

    memory_cell: Cell = Cell.GRU
    """What remembers, if agents do (network_settings.memory): gru, or lstm, whose layers behind read half of
    memory_size."""

    recurrent_critic: bool = True
    """Whether critics remember as well, if agents do (network_settings.memory)."""

    burn_in: int = 0
    """Steps before each sequence that its networks go through first, >= 0, so that they remember by today's weights
    what those that played remembered; if agents have a memory."""

    def rules(self) -> dict[str, Rule]:
        """See `CheckedConfig`."""
        return super().rules() | {
            "buffer_size": whole(self.buffer_size, 2, "try 2048"),
            "update_every_episodes": whole(self.update_every_episodes, 0, "0 goes by buffer_size"),
            "burn_in": whole(self.burn_in, 0, "0 begins with what was remembered in play"),
        }


@attrs.define(slots=False)
class NetworkConfig(CheckedConfig):
    """What the agents' networks have."""

    share_actor: Sharing = Sharing.SHARED
    """One network for all slots of a role (shared), the same with the slot's id as input (shared_with_id), or
    one each (separate). With shared, agents that see the same do the same."""

    layer_normalisation: LayerNormalisation = LayerNormalisation.NONE
    """What stands before each ReLU of the agents' networks, and of critics: none, layer or batch."""

    observation_clip: float = 5.0
    """Largest absolute value of a normalised observation, > 0; used if network_settings.normalize is true."""

    critic_loss: ValueLoss = ValueLoss.MSE
    """Loss of the values' error: mse or huber."""

    max_gradient_norm: float = 10.0
    """Longest gradient of a network, of all kinds alike, >= 0; 0 = never clipped."""

    def rules(self) -> dict[str, Rule]:
        """See `CheckedConfig`."""
        return super().rules() | {
            "observation_clip": positive(self.observation_clip, "try 5"),
            "max_gradient_norm": not_negative(self.max_gradient_norm, "0 switches clipping off"),
        }


@attrs.define(slots=False)
class ActorCriticConfig(NetworkConfig):
    """What learners with actors and critics have."""

    learning_rate: float = 1e-3
    """Step size of the actors, > 0."""

    critic_learning_rate: float = 1e-3
    """Step size of the critics, > 0."""

    share_critic: Sharing = Sharing.SHARED
    """The same choice as share_actor for critics. A shared centralised critic sees each joint step once from every
    agent's side, that agent first."""

    def rules(self) -> dict[str, Rule]:
        """See `CheckedConfig`."""
        return super().rules() | {
            "learning_rate": positive(self.learning_rate, "try 1e-3"),
            "critic_learning_rate": positive(self.critic_learning_rate, "try 1e-3"),
        }


@attrs.define(slots=False)
class StochasticConfig(ActorCriticConfig):
    """What learners have whose actors are drawn from."""

    layer_normalisation: LayerNormalisation = LayerNormalisation.NONE
    """What stands before each ReLU of actors and critics: none or layer."""

    def rules(self) -> dict[str, Rule]:
        """See `CheckedConfig`."""
        return super().rules() | {
            "layer_normalisation": Rule(
                self.layer_normalisation is not LayerNormalisation.BATCH,
                "none or layer",
                "batch would make the policy that learns another than the one that acted",
            ),
        }


@attrs.define(slots=False)
class ChoicesConfig(CheckedConfig):
    """What learners have that value choices and not numbers."""

    discretise: int = 0
    """Choices that each continuous action is cut into, evenly over [-1, 1]: 0 or >= 2; 0 refuses continuous
    actions."""

    def rules(self) -> dict[str, Rule]:
        """See `CheckedConfig`."""
        return super().rules() | {
            "discretise": Rule(self.discretise == 0 or self.discretise >= 2, "0 or >= 2", "try 3"),
        }


@attrs.define(slots=False)
class RewardConfig(CheckedConfig):
    """What agents are rewarded for; every family has it."""

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

    def rules(self) -> dict[str, Rule]:
        """See `CheckedConfig`."""
        return super().rules() | {
            "reward_mix": share("reward_mix", self.reward_mix, "0 is individual, 1 the mean"),
            "positive_reward_scale": positive(self.positive_reward_scale, "1 leaves rewards as they are"),
        }
