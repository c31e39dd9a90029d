"""Who shares a critic: how groups are found in a scene, decided once from the first agents seen."""

from enum import Enum
from typing import NamedTuple

import numpy as np
from mlagents.trainers.exception import UnityTrainerException
from mlagents_envs.logging_util import get_logger

logger = get_logger(__name__)


class Grouping(Enum):
    """``hyperparameters.grouping``."""

    AUTO = "auto"
    GROUP_ID = "group_id"  # agents registered in a SimpleMultiAgentGroup
    WORKER = "worker"  # every agent of one environment process
    CONSECUTIVE = "consecutive"  # group_size agents with consecutive ids, as a Tennis court has


class FirstAgents(NamedTuple):
    """The agents of one behaviour id at the first decision of a process."""

    behavior_id: str
    agent_ids: np.ndarray  # [R] int
    group_ids: np.ndarray  # [R] int, 0 = in no group


class Layout(NamedTuple):
    """The decision. Slots of the behaviour ids follow one another in order."""

    grouping: Grouping
    members: tuple[int, ...]  # slots per behaviour id
    sides: bool = False  # in self-play: the agents of each behaviour id form groups of their own

    @property
    def group_size(self) -> int:
        return self.members[0] if self.sides else sum(self.members)

    def slots(self, team: int) -> range:
        """The slots of a group that agents of a behaviour id (by its index) can have."""
        first = 0 if self.sides else sum(self.members[:team])
        return range(first, first + self.members[team])


def decide_layout(
    behavior_name: str,
    seen: list[FirstAgents],
    grouping: Grouping,
    group_size: int | None,
    max_group_size: int,
    sides: bool = False,
) -> Layout:
    """How the agents of a process form groups.

    Args:
        seen: per behaviour id (a behaviour name with its team id), in the order of slots.
        group_size: what the user says of the scene; None if nothing.
        max_group_size: the most agents of a process that are taken for one group without being told.
        sides: self-play, where a group is one side; everything then holds of each side by itself.

    Raises:
        UnityTrainerException: if the scene contradicts the settings, or too little was said to be sure.
    """
    asked = (grouping, group_size, max_group_size)
    layout = (_decide_sides if sides else _decide)(behavior_name, seen, *asked)
    size, teams = layout.group_size, ""
    if sides:
        teams = f", which is one side of {len(seen)}"
    elif len(seen) > 1:
        teams = f" ({' + '.join(str(count) for count in layout.members)} of {len(seen)} teams)"
    logger.info(f"{behavior_name}: grouping '{layout.grouping.value}', {size} agents in a group{teams}.")
    return layout


def _decide(
    behavior_name: str,
    seen: list[FirstAgents],
    grouping: Grouping,
    group_size: int | None,
    max_group_size: int,
) -> Layout:
    where = f"behaviors.{behavior_name}.hyperparameters"
    counts = [len(agents.agent_ids) for agents in seen]
    total = sum(counts)
    chosen = grouping
    if grouping == Grouping.AUTO:
        chosen = _choose(where, seen, total, group_size, max_group_size)
    if chosen == Grouping.GROUP_ID:
        members = _members_by_group_id(where, seen)
        if group_size is not None:
            if sum(members) > group_size:
                raise UnityTrainerException(
                    f"{where}.group_size: expected at least the {sum(members)} agents that a group of the "
                    f"scene has, got {group_size}; it is the largest number of agents in one group, set "
                    f"{sum(members)}"
                )
            members = _split(where, group_size, len(seen)) if len(seen) > 1 else (group_size,)
    elif chosen == Grouping.WORKER:
        if group_size is not None and group_size != total:
            raise UnityTrainerException(
                f"{where}.group_size: expected the {total} agents of one environment process (grouping is "
                f"'worker'), got {group_size}; set group_size: {total}, or grouping: consecutive if the "
                f"process holds several groups"
            )
        members = tuple(counts)
    else:
        if group_size is None:
            raise UnityTrainerException(
                f"{where}.group_size: expected a number for grouping 'consecutive', got nothing; "
                f"set how many agents share a court, e.g. group_size: 2"
            )
        if total % group_size:
            raise UnityTrainerException(
                f"{where}.group_size: expected a divisor of the {total} agents that the scene begins with, "
                f"got {group_size}; set how many agents share a court"
            )
        members = _split(where, group_size, len(seen))
    return Layout(chosen, members)


def _decide_sides(
    behavior_name: str,
    seen: list[FirstAgents],
    grouping: Grouping,
    group_size: int | None,
    max_group_size: int,
) -> Layout:
    """One layout for all sides: the learner plays each in turn, so each has as many slots as the largest."""
    _refuse_mixed_groups(behavior_name, seen)
    layouts = [
        _decide(behavior_name, [side], grouping, group_size, max_group_size)
        for side in seen
        if len(side.agent_ids)
    ]
    kinds = sorted({layout.grouping.value for layout in layouts})
    if len(kinds) > 1:
        raise UnityTrainerException(
            f"behaviors.{behavior_name}.hyperparameters.grouping: expected sides that form groups alike, got "
            f"{' and '.join(kinds)}; say which it is"
        )
    largest = max(layout.group_size for layout in layouts)
    return Layout(layouts[0].grouping, (largest,) * len(seen), sides=True)


def _refuse_mixed_groups(behavior_name: str, seen: list[FirstAgents]) -> None:
    of: dict[int, str] = {}
    for side in seen:
        for group in np.unique(side.group_ids[side.group_ids > 0]).tolist():
            other = of.setdefault(group, side.behavior_id)
            if other != side.behavior_id:
                raise UnityTrainerException(
                    f"behaviors.{behavior_name}.self_play: expected the agents of one side in each group, got "
                    f"group {group} with agents of {other} and {side.behavior_id}; the host delivers nothing "
                    f"of what opponents did, so no critic can see them. Register each side in a "
                    f"SimpleMultiAgentGroup of its own"
                )


def _choose(
    where: str, seen: list[FirstAgents], total: int, group_size: int | None, max_group_size: int
) -> Grouping:
    if any((agents.group_ids > 0).any() for agents in seen):
        return Grouping.GROUP_ID
    if group_size is not None:
        return Grouping.WORKER if group_size == total else Grouping.CONSECUTIVE
    if total <= max_group_size:
        return Grouping.WORKER
    raise UnityTrainerException(
        f"{where}.group_size: expected a number, got nothing, and the scene's {total} agents carry no group "
        f"ids; set how many of them play together (group_size: 2 for Tennis), or register them in a "
        f"SimpleMultiAgentGroup"
    )


def _members_by_group_id(where: str, seen: list[FirstAgents]) -> tuple[int, ...]:
    """Per behaviour id, the most members that any group has at the start."""
    if not any((agents.group_ids > 0).any() for agents in seen):
        raise UnityTrainerException(
            f"{where}.grouping: expected agents in groups for 'group_id', got agents without a group; "
            f"register them in a SimpleMultiAgentGroup in C#, or set grouping: consecutive with a group_size"
        )
    most = []
    for agents in seen:
        grouped = agents.group_ids[agents.group_ids > 0]
        most.append(int(np.unique(grouped, return_counts=True)[1].max()) if len(grouped) else 1)
    return tuple(most)


def _split(where: str, group_size: int, behavior_ids: int) -> tuple[int, ...]:
    if group_size % behavior_ids:
        raise UnityTrainerException(
            f"{where}.group_size: expected a multiple of the {behavior_ids} teams of this behavior, got "
            f"{group_size}; every team has the same number of agents in a group"
        )
    return (group_size // behavior_ids,) * behavior_ids
