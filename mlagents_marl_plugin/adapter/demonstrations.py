"""A replay that begins with what somebody has shown: recordings of Unity's agents, put together to steps of groups."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from mlagents.trainers.exception import UnityTrainerException
from mlagents_envs.base_env import BehaviorSpec

from mlagents_marl_plugin.adapter.blocks import Steps, Store
from mlagents_marl_plugin.adapter.demo_files import DemoEpisode, read_demo


class Shown(NamedTuple):
    """What demonstrations brought."""

    episodes: int
    steps: int  # of groups
    mean_score: float  # per episode, of the member with the most reward


def load_demonstrations(
    path: Path, behavior: BehaviorSpec, group_size: int, memory_size: int, store: Store, capacity: int
) -> Shown:
    """Hand all demonstrated steps to a store, as if they had just been played.

    Where agents play alone, ``path`` is a file or a folder of files. Where they form groups, a folder with one file
    per member, in the order of the files' names, shows one group; sub-folders show further ones.

    Args:
        behavior: what each of the group's agents observes and does.
        group_size: members of a group.
        memory_size: numbers that an agent remembers, 0 of those shown.
        capacity: rows that the store can hold.

    Raises:
        UnityTrainerException: if files are missing, unreadable, of another scene, do not go together or are too many.
    """
    groups: list[list[DemoEpisode]] = []
    for files in _sessions(path, group_size):
        groups += _put_together(files, [read_demo(file, behavior) for file in files])
    rows = sum(len(members[0].obs) for members in groups)
    if not groups:
        raise UnityTrainerException(
            f"demonstrations: expected recorded decisions, got none in {path}; press Record before you play"
        )
    if rows > capacity:
        raise UnityTrainerException(
            f"buffer_size: expected at least {rows} for what {path} shows, got {capacity}; set buffer_size: {rows} or "
            f"more, or use fewer demonstrations"
        )
    scores = []
    for members in groups:
        store.add(_steps(members, memory_size, store.next_row))
        scores.append(max(float((member.reward + member.group_reward).sum()) for member in members))
    return Shown(len(groups), rows - len(groups), float(np.mean(scores)))


def _sessions(path: Path, group_size: int) -> list[list[Path]]:
    """The files of each recording, a file per member."""
    if not path.exists():
        raise UnityTrainerException(
            f"demonstrations: expected a .demo file or a folder of them, got {path}, which does not exist; paths begin "
            f"in the folder where mlagents-learn was started"
        )
    sessions = [[path]]
    if path.is_dir():
        folders = [path, *sorted(folder for folder in path.rglob("*") if folder.is_dir())]
        sessions = [files for folder in folders if (files := sorted(folder.glob("*.demo")))]
    if not sessions:
        raise UnityTrainerException(
            f"demonstrations: expected .demo files, got none in {path}; Unity's Demonstration Recorder names "
            f"the folder that it writes to"
        )
    if group_size == 1:
        return [[file] for files in sessions for file in files]
    for files in sessions:
        if len(files) != group_size:
            raise UnityTrainerException(
                f"demonstrations: expected {group_size} files, one per member of a group, got {len(files)} in "
                f"{files[0].parent}; record all members at once, and give each recording a folder of its own"
            )
    return sessions


def _put_together(files: list[Path], of_members: list[list[DemoEpisode]]) -> list[list[DemoEpisode]]:
    """Per episode of the group, what each member did in it."""
    lengths = [[len(episode.action) for episode in episodes] for episodes in of_members]
    for file, got in zip(files[1:], lengths[1:], strict=True):
        if got != lengths[0]:
            number = next((i for i, (a, b) in enumerate(zip(lengths[0], got, strict=False)) if a != b), None)
            where = f"{len(lengths[0])} episodes, got {len(got)}"
            if number is not None:
                where = f"{lengths[0][number]} decisions in episode {number + 1}, got {got[number]}"
            raise UnityTrainerException(
                f"demonstrations: expected members who decide, begin and end together, as in {files[0]}: {where} in "
                f"{file}; record all members at once, from the same moment on"
            )
    return [list(members) for members in zip(*of_members, strict=True)]


def _steps(members: list[DemoEpisode], memory_size: int, next_row: int) -> Steps:
    """An episode of a group of N, of T steps, as the assembler would pass it on."""
    num_steps, size = len(members[0].action), len(members)
    everybody = np.ones((num_steps, size), bool)
    ended = np.zeros((num_steps, size), bool)
    ended[-1] = [member.terminated for member in members]
    present = np.ones((num_steps + 1, size), np.float32)
    # Who was interrupted is still seen, and goes on as far as its value is concerned.
    present[-1] = ~ended[-1]
    rows = np.arange(num_steps) + next_row
    cut = np.zeros(num_steps, bool)
    cut[-1] = True
    obs = np.concatenate([member.obs for member in members], axis=1)
    return Steps(
        obs=obs,
        agent_mask=present,
        allowed=np.concatenate([member.allowed for member in members], axis=1),
        memory=np.zeros((num_steps + 1, size * memory_size), np.float32),
        rows=rows,
        next_rows=rows + 1,
        cut=cut,
        resumed=np.full(num_steps, -1),
        anew=np.zeros((num_steps, size), bool),
        action=np.concatenate([member.action for member in members], axis=1),
        log_prob=np.zeros((num_steps, size), np.float32),
        present=everybody,
        decided=everybody,
        value_mask=everybody,
        reward=np.stack([member.reward for member in members], axis=1),
        group_reward=members[0].group_reward,
        terminated=ended,
        ended=ended,
        joint_obs=obs[:-1],
    )
