"""``hyperparameters.joint``: behaviours of different names whose agents share a critic."""

from collections.abc import Callable

import attr
from mlagents.trainers.settings import TrainerSettings

from mlagents_marl_plugin.adapter.grouping import Grouping
from mlagents_marl_plugin.algorithms import ALGORITHMS

# What each member says for itself; all else is the one learner's.
OWN_FIELDS = frozenset(
    {
        "hyperparameters.group_size",
        "hyperparameters.state_sensor",
        "summary_freq",
        "keep_checkpoints",
        "init_path",
    }
)


@attr.s(auto_attribs=True)
class Joint:
    """``{name: hunt, members: [Predator, Prey]}``, the same under each member."""

    name: str
    """Tells joint runs of one configuration apart."""

    members: list[str]
    """Behavior names, at least two. The first one's trainer learns for all, saves, and ends the run."""

    def __attrs_post_init__(self) -> None:
        if not self.name:
            raise ValueError("name: expected a name, got an empty one; try the game's name")
        if len(self.members) < 2 or len(set(self.members)) < len(self.members):
            raise ValueError(
                f"members: expected at least two different behavior names, got {self.members}; list all "
                f"behaviors that share a critic, or remove joint"
            )


def check_joint(
    behavior_name: str, settings: TrainerSettings, refuse: Callable[[str, str, object, str], None]
) -> None:
    """Refuse what a joint run cannot have; ``refuse`` is told field, rule, value and remedy, and raises."""
    hyper = settings.hyperparameters
    joint = hyper.joint
    if joint is None:
        return
    if not ALGORITHMS[settings.trainer_type].supports_roles:
        able = ", ".join(name for name, algorithm in ALGORITHMS.items() if algorithm.supports_roles)
        refuse(
            "hyperparameters.joint",
            f"none for {settings.trainer_type}",
            "joint",
            f"use one of {able}, or remove it: each behavior then has a critic of its own",
        )
    if behavior_name not in joint.members:
        refuse(
            "hyperparameters.joint.members",
            "this behavior among them",
            joint.members,
            f"add {behavior_name}, to the letter as in Unity, or remove joint",
        )
    if settings.self_play is not None:
        refuse(
            "self_play",
            "none with hyperparameters.joint",
            "self_play",
            "the host delivers nothing of what opponents did, so no critic could see them; remove one of the two",
        )
    if not hyper.centralised_critic:
        refuse(
            "hyperparameters.centralised_critic",
            "true with joint",
            "false",
            "a joint run is for one critic that sees all members; remove joint, or use maddpg or matd3",
        )
    if hyper.grouping is Grouping.CONSECUTIVE:
        refuse(
            "hyperparameters.grouping",
            "auto, group_id or worker with joint",
            "consecutive",
            "register the agents of both behaviors in one SimpleMultiAgentGroup",
        )
    if hyper.reward_function:
        refuse(
            "hyperparameters.reward_function",
            "none with joint",
            hyper.reward_function,
            "it would get observations of several sizes; shape the reward in the scene",
        )
    if hyper.demonstrations:
        refuse(
            "hyperparameters.demonstrations",
            "none with joint",
            hyper.demonstrations,
            "a recording is of one behavior; remove it",
        )
