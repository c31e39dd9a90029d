"""What a group's rewards mean for each of its members, and how a user may reshape them before training."""

import importlib
import os
import sys
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

import torch
from torch import Tensor

from mlagents_marl_plugin.core.checks import check_shape


class RewardSharing(Enum):
    """Whose reward an agent learns from; the values are what users write in YAML."""

    INDIVIDUAL = "individual"
    GROUP_MEAN = "group_mean"
    GROUP_SUM = "group_sum"
    MIXED = "mixed"


class RewardStep(NamedTuple):
    """What happened in one step to the slots of one behaviour, M times over. Rows of absent slots hold 0.

    A user's own reward function gets this and returns the new rewards [M, N].
    """

    obs: Tensor  # [M, N, O] float, an agent's observations flattened and concatenated
    action: Tensor  # [M, N, A] float, continuous values in [-1, 1], then a one-hot vector per branch
    reward: Tensor  # [M, N] float, as the scene gave it (AddReward, SetReward), without the group's
    group_reward: Tensor  # [M] float, what AddGroupReward gave
    next_obs: Tensor  # [M, N, O] float; at an end the last observation of the episode
    terminated: Tensor  # [M, N] float 0/1: ended by the scene, not by a limit
    present: Tensor  # [M, N] float 0/1


RewardFunction = Callable[[RewardStep], Tensor]


def share_rewards(
    individual: Tensor, group: Tensor, present: Tensor, sharing: RewardSharing, mix: float = 0.5
) -> Tensor:
    """Each slot's reward, ``own share + group``; the group's reward is counted exactly once.

    The own share is ``r_i`` (INDIVIDUAL), ``mean(r)`` (GROUP_MEAN), ``sum(r)`` (GROUP_SUM) or
    ``mix * mean(r) + (1 - mix) * r_i`` (MIXED), mean and sum over those present. Absent slots have
    ``r_i = 0``, whatever stands there (NaN too), and get what the others share: one who died for its group
    still learns from how it went on. For teams prefer the mean; the sum grows with their size.

    Args:
        individual: [M, N] each slot's own reward.
        group: [M] the group's reward.
        present: [M, N] bool or 0/1.
        mix: weight of the mean in MIXED, in [0, 1].

    Returns:
        [M, N].

    Raises:
        ValueError: if a shape or ``mix`` is wrong.
    """
    check_shape("share_rewards", "group", group, tuple(individual.shape[:1]))
    check_shape("share_rewards", "present", present, tuple(individual.shape))
    if not 0.0 <= mix <= 1.0:
        raise ValueError(
            f"share_rewards: expected 0 <= mix <= 1, got {mix}; 0 is individual, 1 is the group's mean"
        )
    own = individual.masked_fill(~present.bool(), 0.0)
    total = own.sum(-1, keepdim=True)
    if sharing is RewardSharing.GROUP_SUM:
        own = total.expand_as(own)
    elif sharing is not RewardSharing.INDIVIDUAL:
        mean = total / present.bool().sum(-1, keepdim=True).clamp_min(1)
        weight = 1.0 if sharing is RewardSharing.GROUP_MEAN else mix
        own = weight * mean + (1.0 - weight) * own
    return own + group.unsqueeze(-1)  # [M] -> [M, 1]


class RewardShaping:
    """Changes rewards before they are shared and learnt from; scores keep to the scene's own.

    In this order: the user's function replaces the individual rewards; rewards above 0, the group's too, are
    scaled; each slot that is present and does not terminate gets the survival bonus.
    """

    def __init__(
        self, positive_reward_scale: float = 1.0, survival_bonus: float = 0.0, function: str | None = None
    ) -> None:
        """
        Args:
            positive_reward_scale: factor on rewards above 0; at least 0. More than 1 makes rare successes
                count.
            survival_bonus: added per step.
            function: import path ``module:function`` of a `RewardFunction`; modules in the working directory
                are found.

        Raises:
            ValueError: if the scale is negative or the function cannot be loaded.
        """
        if positive_reward_scale < 0.0:
            raise ValueError(
                f"positive_reward_scale: expected at least 0, got {positive_reward_scale}; "
                "1 leaves rewards as they are"
            )
        self._scale = positive_reward_scale
        self._bonus = survival_bonus
        self._path = function
        self._function = None if function is None else load_reward_function(function)

    def __call__(self, step: RewardStep) -> tuple[Tensor, Tensor]:
        """The shaped individual [M, N] and group [M] rewards; those in ``step`` stay as they are.

        Raises:
            ValueError: if the user's function returns something else than finite rewards [M, N].
        """
        individual = step.reward if self._function is None else self._call(step)
        group = step.group_reward
        if self._scale != 1.0:
            individual, group = (torch.where(r > 0, r * self._scale, r) for r in (individual, group))
        if self._bonus:
            individual = individual + self._bonus * (step.present.bool() & ~step.terminated.bool())
        return individual, group

    def _call(self, step: RewardStep) -> Tensor:
        assert self._function is not None
        reward = self._function(step)
        expected = f"a float tensor of shape {tuple(step.reward.shape)}"
        if not isinstance(reward, Tensor) or not reward.is_floating_point():
            got = f"dtype {reward.dtype}" if isinstance(reward, Tensor) else type(reward).__name__
        elif reward.shape != step.reward.shape:
            got = f"shape {tuple(reward.shape)}"
        elif not bool(torch.isfinite(reward.masked_fill(~step.present.bool(), 0.0)).all()):
            got, expected = "NaN or infinity among them", "finite rewards"
        else:
            return reward.detach()
        raise ValueError(
            f"reward function '{self._path}': expected {expected}, got {got}; "
            "return one reward per row and agent, computed from step.reward and the like"
        )


def load_reward_function(path: str) -> RewardFunction:
    """The function at an import path ``module:function``.

    Raises:
        ValueError: if the path is not of that form or nothing callable is found; says which part failed.
    """
    module_name, colon, name = path.partition(":")
    if not (colon and module_name and name):
        raise ValueError(
            f"reward function '{path}': expected the form module:function, got no such pair; "
            "for my_rewards.py in the folder where you start training, write my_rewards:my_function"
        )
    if os.getcwd() not in sys.path:  # a console script has its own folder there, not the user's
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(
            f"reward function '{path}': expected a module {module_name} that can be imported, got '{error}'; "
            f"start training in the folder that holds it ({os.getcwd()} now) or install it"
        ) from error
    function = getattr(module, name, None)
    if callable(function):
        found: RewardFunction = function
        return found
    got = "nothing of that name" if function is None else f"a {type(function).__name__}"
    raise ValueError(
        f"reward function '{path}': expected a function {name} in {module.__file__}, got {got}; "
        "check the spelling"
    )
