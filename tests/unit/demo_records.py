"""Demonstrations of the Counter scene, whose every observation says what came before it."""

from pathlib import Path
from typing import Any

import numpy as np
from mlagents.trainers.action_info import ActionInfo
from mlagents_envs.base_env import ActionTuple, BehaviorSpec

from mlagents_marl_plugin.tools.episodes import Episodes
from mlagents_marl_plugin.tools.record import Recording
from tests.unit.simulated_host import SceneManager
from tests.unit.trainer_runs import manager

BEHAVIOR = "Counter?team=0"


def record(
    folder: Path, steps: int = 40, group_size: int = 2, **scene: Any
) -> tuple[list[dict[str, Any]], BehaviorSpec]:
    """Random actions, written down in ``folder``: what really happened, a line per decision, and the behaviour."""
    played: SceneManager = manager(**scene)
    worker, spec = played.workers[0], played.training_behaviors[BEHAVIOR]
    episodes, recording = Episodes(1000, "max", group_size), Recording(folder)
    random = np.random.default_rng(0)
    state = worker.reset()
    for _ in range(steps):
        episodes.observe(state)
        decisions, ends = state[BEHAVIOR]
        recording.ended(BEHAVIOR, spec, ends)
        action = _random(random, spec, decisions)
        recording.decided(BEHAVIOR, spec, decisions, episodes.places(BEHAVIOR, decisions), action)
        state = worker.step({BEHAVIOR: ActionInfo(action, action, {}, decisions.agent_id.tolist())})
    recording.close()
    return worker.lines, spec


def _random(random: np.random.Generator, spec: BehaviorSpec, decisions: Any) -> ActionTuple:
    count, action = len(decisions), spec.action_spec
    continuous = random.uniform(-1, 1, (count, action.continuous_size)).astype(np.float32)
    discrete = np.zeros((count, action.discrete_size), np.int32)
    masks = None if decisions.action_mask is None else np.concatenate(decisions.action_mask, axis=1)
    first = 0
    for branch, size in enumerate(action.discrete_branches):
        permitted = np.ones((count, size)) if masks is None else 1 - masks[:, first : first + size]
        discrete[:, branch] = (random.random((count, size)) * permitted).argmax(axis=1)
        first += size
    return ActionTuple(continuous, discrete)
