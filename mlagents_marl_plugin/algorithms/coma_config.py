"""Settings of COMA. Ranges stand under each field and are checked when an object is made."""

import attrs

from mlagents_marl_plugin.algorithms.common_config import (
    ChoicesConfig,
    RewardConfig,
    RolloutConfig,
    Rule,
    StochasticConfig,
    fraction,
    not_negative,
    share,
    whole,
)
from mlagents_marl_plugin.core.rewards import RewardSharing
from mlagents_marl_plugin.core.schedules import Schedule


@attrs.define(slots=False)
class ComaConfig(RolloutConfig, StochasticConfig, ChoicesConfig, RewardConfig):
    """COMA: each choice is judged against what else the agent might have chosen (Foerster et al. 2018)."""

    batch_size: int = 512
    """Agent steps per gradient step of the critics, >= 1."""

    num_epoch: int = 4
    """Passes of the critics over what was played, per update, >= 1. Actors make one step per update."""

    beta: float = 0.01
    """Weight of the entropy bonus, >= 0, in units of the return."""

    beta_schedule: Schedule = Schedule.CONSTANT
    """beta over the run: constant, or linear to 0."""

    lambd: float = 0.8
    """Trace decay of the returns that critics learn, 0 <= lambd <= 1: 0 trusts the next value, 1 only rewards."""

    tau: float = 1.0
    """Fraction of the way that target critics go to the online ones per update, 0 < tau <= 1."""

    reward_sharing: RewardSharing = RewardSharing.GROUP_MEAN

    def rules(self) -> dict[str, Rule]:
        """See `CheckedConfig`."""
        return super().rules() | {
            "batch_size": whole(self.batch_size, 1, "try a quarter of buffer_size"),
            "num_epoch": whole(self.num_epoch, 1, "try 4"),
            "beta": not_negative(self.beta, "try 0.01"),
            "lambd": share("lambd", self.lambd, "try 0.8"),
            "tau": fraction("tau", self.tau, "it is the fraction copied per update, try 1"),
        }
