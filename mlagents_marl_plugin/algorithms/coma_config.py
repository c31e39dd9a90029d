"""Settings of COMA. Ranges stand under each field and are checked when an object is made."""

import attrs

from mlagents_marl_plugin.core.losses import ValueLoss
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.rewards import RewardSharing
from mlagents_marl_plugin.core.schedules import Schedule


@attrs.define(slots=False)
class ComaConfig:
    """COMA: each choice is judged against what else the agent might have chosen (Foerster et al. 2018)."""

    batch_size: int = 512
    """Agent steps per gradient step of the critics, >= 1."""

    buffer_size: int = 2_048
    """Agent steps played between two updates, >= 2."""

    update_every_episodes: int = 0
    """Update whenever so many episodes of groups have ended, >= 0; 0 = by buffer_size alone."""

    num_epoch: int = 4
    """Passes of the critics over what was played, per update, >= 1. Actors make one step per update."""

    learning_rate: float = 1e-3
    """Step size of the actors, > 0."""

    critic_learning_rate: float = 1e-3
    """Step size of the critics, > 0."""

    learning_rate_schedule: Schedule = Schedule.CONSTANT
    """Both step sizes over the run: constant, or linear to 0 at max_steps."""

    beta: float = 0.01
    """Weight of the entropy bonus, >= 0, in units of the return."""

    beta_schedule: Schedule = Schedule.CONSTANT
    """beta over the run: constant, or linear to 0."""

    lambd: float = 0.8
    """Trace decay of the returns that critics learn, 0 <= lambd <= 1: 0 trusts the next value, 1 only rewards."""

    tau: float = 1.0
    """Fraction of the way that target critics go to the online ones per update, 0 < tau <= 1."""

    share_actor: Sharing = Sharing.SHARED
    """One actor for all slots of a role (shared), the same with the slot's id as input (shared_with_id), or
    one each (separate)."""

    share_critic: Sharing = Sharing.SHARED
    """The same choice for critics. A shared critic sees each joint step once from every agent's side, that
    agent first."""

    layer_normalisation: LayerNormalisation = LayerNormalisation.NONE
    """What stands before each ReLU of actors and critics: none or layer."""

    observation_clip: float = 5.0
    """Largest absolute value of a normalised observation, > 0; used if network_settings.normalize is true."""

    critic_loss: ValueLoss = ValueLoss.MSE
    """Loss of the critic's error: mse or huber."""

    max_gradient_norm: float = 10.0
    """Longest gradient of a network, actors and critics alike, >= 0; 0 = never clipped."""

    discretise: int = 0
    """Choices that each continuous action is cut into, evenly over [-1, 1]: 0 or >= 2; 0 refuses continuous
    actions."""

    reward_sharing: RewardSharing = RewardSharing.GROUP_MEAN
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
            "batch_size": (self.batch_size >= 1, at_least_one, "try a quarter of buffer_size"),
            "buffer_size": (self.buffer_size >= 2, "a whole number >= 2", "try 2048"),
            "update_every_episodes": (
                self.update_every_episodes >= 0,
                "a whole number >= 0",
                "0 goes by buffer_size",
            ),
            "num_epoch": (self.num_epoch >= 1, at_least_one, "try 4"),
            "learning_rate": (self.learning_rate > 0, positive, "try 1e-3"),
            "critic_learning_rate": (self.critic_learning_rate > 0, positive, "try 1e-3"),
            "beta": (self.beta >= 0, not_negative, "try 0.01"),
            "lambd": (0 <= self.lambd <= 1, "0 <= lambd <= 1", "try 0.8"),
            "tau": (0 < self.tau <= 1, "0 < tau <= 1", "it is the fraction copied per update, try 1"),
            "layer_normalisation": (
                self.layer_normalisation is not LayerNormalisation.BATCH,
                "none or layer",
                "batch would make the policy that learns another than the one that acted",
            ),
            "observation_clip": (self.observation_clip > 0, positive, "try 5"),
            "max_gradient_norm": (self.max_gradient_norm >= 0, not_negative, "0 switches clipping off"),
            "discretise": (self.discretise == 0 or self.discretise >= 2, "0 or >= 2", "try 3"),
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
