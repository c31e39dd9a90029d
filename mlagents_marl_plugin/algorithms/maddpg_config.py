"""Settings of the MADDPG family. Ranges stand under each field and are checked when an object is made."""

import attrs
import torch

from mlagents_marl_plugin.algorithms.common_config import (
    ActorCriticConfig,
    ReplayConfig,
    RewardConfig,
    Rule,
    fraction,
    not_negative,
    positive,
    share,
    whole,
)
from mlagents_marl_plugin.core.exploration import ExplorationSchedule, Explorer, NoiseType
from mlagents_marl_plugin.core.rewards import RewardSharing
from mlagents_marl_plugin.core.types import ActionLayout


@attrs.define(slots=False)
class MaddpgConfig(ReplayConfig, ActorCriticConfig, RewardConfig):
    """MADDPG as published: a deterministic actor and a centralised critic per agent (Lowe et al. 2017)."""

    tau: float = 0.01
    """Fraction of the way that target networks go to the online ones per update, 0 < tau <= 1."""

    policy_delay: int = 1
    """Critic updates per update of actors and targets, >= 1."""

    twin_critics: bool = False
    """Two critics per agent, the smaller estimate counts (against over-estimation)."""

    target_noise: float = 0.0
    """Standard deviation of noise on the target actors' continuous actions, >= 0, in units of [-1, 1]."""

    target_noise_clip: float = 0.5
    """Largest absolute value of that noise, >= 0."""

    centralised_critic: bool = True
    """Whether critics see everybody's observations and actions (true), or their own agent's only."""

    logit_regularisation: float = 1e-3
    """Weight of the mean square of outputs before tanh or softmax, >= 0. Keeps tanh from saturating."""

    gumbel_temperature: float = 1.0
    """Temperature of choices in the actor's loss, > 0. Lower is closer to a real choice, and noisier."""

    max_gradient_norm: float = 0.5
    noise_type: NoiseType = NoiseType.GAUSSIAN
    """Exploration noise on continuous actions: gaussian or ornstein_uhlenbeck."""

    noise_scale: float = 0.3
    """Its standard deviation at the start, >= 0, in units of [-1, 1]."""

    noise_floor: float = 0.05
    """Standard deviation that it falls to, 0 <= noise_floor <= noise_scale."""

    noise_decay: float = 1.0
    """Factor on the noise per agent step, 0 < noise_decay <= 1; 0.99999 halves it in 69,000 steps."""

    noise_anneal_steps: int = 0
    """Agent steps from the start over which the noise falls linearly to noise_floor instead, >= 0; 0 = by
    noise_decay."""

    noise_theta: float = 0.15
    """How fast Ornstein-Uhlenbeck noise forgets, 0 < noise_theta <= 1; unused by gaussian."""

    epsilon: float = 0.0
    """Chance at the start of a random discrete choice, 0 <= epsilon <= 1; fades like the noise, or to 0 if there is
    none (by noise_decay or over noise_anneal_steps)."""

    random_steps: int = 0
    """Agent steps at the start in which actions are uniformly random, >= 0."""

    saturation_nudge: float = 0.0
    """Added to the noise's scale, >= 0, while an actor gets no usable gradient; 0 only warns."""

    def rules(self) -> dict[str, Rule]:
        """See `CheckedConfig`."""
        return super().rules() | {
            "tau": fraction("tau", self.tau, "it is the fraction copied per update, try 0.01"),
            "policy_delay": whole(self.policy_delay, 1, "1 updates actors every time, matd3 uses 2"),
            "target_noise": not_negative(self.target_noise, "matd3 uses 0.2"),
            "target_noise_clip": not_negative(self.target_noise_clip, "matd3 uses 0.5"),
            "logit_regularisation": not_negative(self.logit_regularisation, "try 1e-3"),
            "gumbel_temperature": positive(self.gumbel_temperature, "try 1"),
            "noise_scale": not_negative(self.noise_scale, "try 0.3"),
            "noise_floor": Rule(
                0 <= self.noise_floor <= self.noise_scale,
                f"0 <= noise_floor <= noise_scale ({self.noise_scale})",
                "try a tenth of noise_scale",
            ),
            "noise_decay": self._decay_rule(),
            "noise_anneal_steps": whole(self.noise_anneal_steps, 0, "0 goes by noise_decay"),
            "noise_theta": fraction("noise_theta", self.noise_theta, "the usual value is 0.15"),
            "epsilon": share("epsilon", self.epsilon, "it is a chance, try 0.05"),
            "random_steps": whole(self.random_steps, 0, "try 0"),
            "saturation_nudge": not_negative(self.saturation_nudge, "0 only warns"),
        }

    def _decay_rule(self) -> Rule:
        if self.noise_anneal_steps > 0:
            rule = f"1 with noise_anneal_steps: {self.noise_anneal_steps}"
            return Rule(self.noise_decay == 1, rule, "the noise falls by one of them, leave one out")
        return fraction("noise_decay", self.noise_decay, "1 keeps the noise as it is")

    def make_explorer(self, layout: ActionLayout, generator: torch.Generator) -> Explorer:
        """How agents with these actions explore; ``generator`` is where they act."""
        schedule = ExplorationSchedule(
            self.noise_scale,
            self.noise_floor,
            self.noise_decay,
            self.random_steps,
            self.noise_anneal_steps,
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
