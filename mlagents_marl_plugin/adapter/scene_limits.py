"""What a scene may say of itself, since its behaviours' names become files and its sizes become memory.

A scene may come from a stranger. Observations that it announces it has to send, at most 4 MB at a time; actions it only
announces.
"""

import math

from mlagents.trainers.exception import TrainerConfigError, UnityTrainerException
from mlagents_envs.base_env import BehaviorSpec

LONGEST_NAME = 100
LARGEST_OBSERVATION = 1_048_576
"""Numbers that one agent observes; as many as fit into one message of the protocol."""
MOST_ACTIONS = 4_096
"""Continuous actions, and choices of all discrete branches together."""

_NOT_IN_FILE_NAMES = frozenset('/\\:*?"<>|')


def check_name(name: str) -> None:
    """Refuse a behaviour's name that could not be a file's, or would be one in another folder.

    Raises:
        TrainerConfigError: naming it.
    """
    plain = name.isprintable() and not _NOT_IN_FILE_NAMES & set(name) and name.strip(". ") != ""
    if not plain or len(name) > LONGEST_NAME:
        raise TrainerConfigError(
            f"behaviors: expected a name of at most {LONGEST_NAME} characters that a file may have, got "
            f"{name[: LONGEST_NAME + 1]!r}; change Behavior Name in Unity's Behavior Parameters, letters and digits "
            f"are safe"
        )


def check_sizes(name: str, behavior: BehaviorSpec) -> None:
    """Refuse sizes for which no memory would be enough.

    Raises:
        UnityTrainerException: naming what is too large.
    """
    action = behavior.action_spec
    sizes = {
        "observations": (
            sum(math.prod(sensor.shape) for sensor in behavior.observation_specs),
            LARGEST_OBSERVATION,
        ),
        "continuous actions": (action.continuous_size, MOST_ACTIONS),
        "discrete choices": (sum(int(size) for size in action.discrete_branches), MOST_ACTIONS),
    }
    for what, (size, most) in sizes.items():
        if not 0 <= size <= most:
            raise UnityTrainerException(
                f"behaviors.{name}: expected at most {most} {what} of an agent, got {size}; see Behavior Parameters in "
                f"Unity"
            )
