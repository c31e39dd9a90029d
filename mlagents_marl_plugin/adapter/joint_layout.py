"""How agents of several behaviour names form groups, decided once from the first agents of all of them."""

from collections.abc import Mapping, Sequence

import numpy as np
from mlagents.trainers.exception import UnityTrainerException
from mlagents_envs.logging_util import get_logger

from mlagents_marl_plugin.adapter.grouping import FirstAgents, Grouping, Layout

logger = get_logger(__name__)

Seen = Mapping[str, Sequence[FirstAgents]]


def decide_joint_layout(
    joint_name: str,
    seen: Seen,
    grouping: Grouping,
    group_sizes: Mapping[str, int | None],
    max_group_size: int,
) -> Layout:
    """The slots of a group, member by member and within each by behaviour id.

    Args:
        seen: per member in order, its behaviour ids (one per team) with their agents at a process's first step
            in which all members have some.
        grouping: as asked for; not ``consecutive``.
        group_sizes: per member, the most of its agents in one group; None if nothing was said.
        max_group_size: the most agents of a process that ``auto`` takes for one group without being told.

    Raises:
        UnityTrainerException: if the scene contradicts the settings, or too little was said to be sure.
    """
    total = sum(len(agents.agent_ids) for ids in seen.values() for agents in ids)
    chosen = grouping
    if grouping == Grouping.AUTO:
        chosen = _choose(seen, group_sizes, total, max_group_size)
    if chosen == Grouping.GROUP_ID:
        _check_mixed(joint_name, seen)
    slots = {name: _slots(name, ids, chosen, group_sizes[name]) for name, ids in seen.items()}
    shown = " + ".join(f"{sum(counts)} {name}" for name, counts in slots.items())
    layout = Layout(chosen, tuple(count for counts in slots.values() for count in counts))
    logger.info(
        f"joint '{joint_name}': grouping '{chosen.value}', {layout.group_size} agents in a group ({shown})."
    )
    return layout


def _choose(seen: Seen, group_sizes: Mapping[str, int | None], total: int, max_group_size: int) -> Grouping:
    if any((agents.group_ids > 0).any() for ids in seen.values() for agents in ids):
        return Grouping.GROUP_ID
    said = all(size is not None for size in group_sizes.values())
    if said or total <= max_group_size:
        return Grouping.WORKER
    raise UnityTrainerException(
        f"behaviors.{next(iter(seen))}.hyperparameters.joint: expected agents in groups, got {total} agents of "
        f"{', '.join(seen)} in one process without group ids; register those that act together in a "
        f"SimpleMultiAgentGroup, or run one area per process with grouping: worker"
    )


def _check_mixed(joint_name: str, seen: Seen) -> None:
    """Each kind in groups of its own would give the one critic nothing to join."""
    names_in: dict[int, set[str]] = {}
    for name, ids in seen.items():
        for agents in ids:
            for group in np.unique(agents.group_ids[agents.group_ids > 0]).tolist():
                names_in.setdefault(group, set()).add(name)
    if all(len(names) < 2 for names in names_in.values()):
        raise UnityTrainerException(
            f"behaviors.{next(iter(seen))}.hyperparameters.joint: expected groups with agents of "
            f"{' and '.join(seen)} (joint '{joint_name}'), got each behavior in groups of its own; register "
            f"agents that act together in one SimpleMultiAgentGroup"
        )


def _slots(
    name: str, ids: Sequence[FirstAgents], grouping: Grouping, group_size: int | None
) -> tuple[int, ...]:
    """Slots of one member's behaviour ids."""
    where = f"behaviors.{name}.hyperparameters.group_size"
    if grouping == Grouping.WORKER:
        counts = tuple(len(agents.agent_ids) for agents in ids)
        if group_size not in (None, sum(counts)):
            raise UnityTrainerException(
                f"{where}: expected the {sum(counts)} agents of {name} in one process (grouping is 'worker'), "
                f"got {group_size}; set {sum(counts)}, or register agents in a SimpleMultiAgentGroup"
            )
        return counts
    most = tuple(_most_in_a_group(agents) for agents in ids)
    if group_size is None:
        return most
    if group_size < sum(most) or group_size % len(ids):
        raise UnityTrainerException(
            f"{where}: expected at least the {sum(most)} agents of {name} that a group of the scene has, the "
            f"same number in each of its {len(ids)} teams, got {group_size}; it is the largest number of "
            f"agents of {name} in one group"
        )
    return (group_size // len(ids),) * len(ids)


def _most_in_a_group(agents: FirstAgents) -> int:
    grouped = agents.group_ids[agents.group_ids > 0]
    return int(np.unique(grouped, return_counts=True)[1].max()) if len(grouped) else 1
