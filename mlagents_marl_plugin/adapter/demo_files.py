"""What Unity's Demonstration Recorder wrote down of one agent, as episodes of observations and actions.

Unity writes a record before the agent decides: what it observes, what it was rewarded since the last record, and the
action that it took *before*. So the action that follows an observation stands in the next record. (The host's
behavioral cloning pairs the two within a record, one decision late.)
"""

from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from google.protobuf.message import DecodeError
from mlagents.trainers.demo_loader import load_demonstration
from mlagents.trainers.exception import UnityTrainerException
from mlagents_envs.base_env import ActionSpec, BehaviorSpec
from mlagents_envs.exception import UnityException
from mlagents_envs.rpc_utils import steps_from_proto

from mlagents_marl_plugin.core import actions
from mlagents_marl_plugin.core.types import ActionLayout

_BROKEN = (DecodeError, IndexError, OSError, RuntimeError, UnityException, ValueError)


class DemoEpisode(NamedTuple):
    """One agent's episode of T decisions."""

    obs: np.ndarray  # [T + 1, O] float32, the last one from its end
    allowed: np.ndarray  # [T + 1, choices] float32, 1 = permitted
    action: np.ndarray  # [T, A] float32, encoded, continuous values within [-1, 1]
    reward: np.ndarray  # [T] float32, its own
    group_reward: np.ndarray  # [T] float32
    terminated: bool  # False: it was interrupted, or the file ends within it


def read_demo(path: Path, behavior: BehaviorSpec) -> list[DemoEpisode]:
    """The episodes of a ``.demo`` file, in order; those without any decision are left out.

    Args:
        behavior: what the scene's agents observe and do.

    Raises:
        UnityTrainerException: if the file cannot be read, or is of agents that observe or do something else.
    """
    try:
        recorded, pairs, _ = load_demonstration(str(path))
        _check_fits(path, recorded, behavior)
        observed, ended = steps_from_proto([pair.agent_info for pair in pairs], behavior)
        action = _encode(behavior.action_spec, pairs)
    except _BROKEN as error:
        raise UnityTrainerException(
            f"demonstrations: expected a file of Unity's Demonstration Recorder, got {path}, which cannot be read "
            f"({error}); record it anew"
        ) from error
    done = np.array([pair.agent_info.done for pair in pairs], bool)
    obs = _in_order(done, _flat(observed.obs), _flat(ended.obs))
    reward = _in_order(done, observed.reward, ended.reward)
    group_reward = _in_order(done, observed.group_reward, ended.group_reward)
    allowed = np.ones((len(pairs), sum(behavior.action_spec.discrete_branches)), np.float32)
    if observed.action_mask is not None:
        allowed[~done] = 1.0 - np.concatenate(observed.action_mask, axis=1).astype(np.float32)
    episodes, first = [], 0
    for last in [*np.flatnonzero(done).tolist(), len(pairs) - 1]:
        if last > first:
            steps, shown = slice(first + 1, last + 1), slice(first, last + 1)
            terminated = bool(done[last]) and not pairs[last].agent_info.max_step_reached
            outcome = (action[steps], reward[steps], group_reward[steps])
            episodes.append(DemoEpisode(obs[shown], allowed[shown], *outcome, terminated))
        first = last + 1
    return episodes


def _check_fits(path: Path, recorded: BehaviorSpec, behavior: BehaviorSpec) -> None:
    got, wanted = _in_words(recorded), _in_words(behavior)
    if got != wanted:
        raise UnityTrainerException(
            f"demonstrations: expected a recording of agents with {wanted}, as the scene has, got {got} in {path}; "
            f"record it in this scene"
        )


def _in_words(behavior: BehaviorSpec) -> str:
    sensors = ", ".join(str(tuple(sensor.shape)) for sensor in behavior.observation_specs)
    branches = tuple(int(size) for size in behavior.action_spec.discrete_branches)
    return f"observations {sensors}, {behavior.action_spec.continuous_size} continuous actions and branches {branches}"


def _flat(sensors: list[np.ndarray]) -> np.ndarray:
    rows = [np.asarray(sensor, np.float32) for sensor in sensors]  # of which there may be none
    return np.concatenate([sensor.reshape(len(sensor), prod(sensor.shape[1:])) for sensor in rows], axis=1)


def _in_order(done: np.ndarray, observed: np.ndarray, ended: np.ndarray) -> np.ndarray:
    """The host sorts records into decisions and ends; as they were recorded."""
    merged = np.zeros((len(done), *observed.shape[1:]), np.float32)
    merged[~done], merged[done] = observed, ended
    return merged


def _encode(spec: ActionSpec, pairs: list[Any]) -> np.ndarray:
    """The action in each record, encoded: [R, A]."""
    continuous = np.zeros((len(pairs), spec.continuous_size), np.float32)
    discrete = np.zeros((len(pairs), spec.discrete_size), np.int64)
    for row, pair in enumerate(pairs):
        info = pair.action_info
        if info.continuous_actions or info.discrete_actions:
            continuous[row], discrete[row] = info.continuous_actions, info.discrete_actions
        else:  # written before actions had two kinds
            (continuous if spec.continuous_size else discrete)[row] = info.vector_actions_deprecated
    layout = ActionLayout(spec.continuous_size, tuple(int(size) for size in spec.discrete_branches))
    if not np.isfinite(continuous).all():
        raise ValueError("an action is NaN or Inf")
    values = torch.from_numpy(continuous).clamp(-1.0, 1.0)
    return actions.encode(layout, values, torch.from_numpy(discrete)).numpy()
