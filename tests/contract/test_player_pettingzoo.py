"""mlagents-envs' PettingZoo wrappers on the player."""

import importlib

import numpy as np
import pytest
from mlagents_envs.registry import default_registry

from tests.contract.playing import environment


@pytest.fixture(scope="module")
def wrappers():
    """The wrappers' package, which looks up example scenes on the internet when it is imported."""
    default_registry.clear()
    return {
        name: getattr(importlib.import_module(f"mlagents_envs.envs.{module}"), name)
        for module, name in (("unity_parallel_env", "UnityParallelEnv"), ("unity_aec_env", "UnityAECEnv"))
    }


def test_an_episode_through_the_parallel_wrapper(tmp_path, wrappers):
    with environment(tmp_path, "Tennis", "--max-decisions", "12") as played:
        wrapper = wrappers["UnityParallelEnv"](played, seed=1)
        observations = wrapper.reset()
        assert len(observations) == 2
        scores = dict.fromkeys(wrapper.agents, 0.0)
        steps = 0
        ended = False
        while not ended:
            observations, rewards, dones, _ = wrapper.step(
                {a: wrapper.action_space(a).sample() for a in wrapper.agents}
            )
            steps += 1
            for agent, reward in rewards.items():
                scores[agent] = scores.get(agent, 0.0) + reward
            ended = any(dones.values())
            assert all(np.asarray(seen).shape == (24,) for seen in observations.values())
        assert steps == 12
        wrapper.close()


def test_turns_through_the_aec_wrapper(tmp_path, wrappers):
    with environment(tmp_path, "Tennis", "--max-decisions", "12") as played:
        wrapper = wrappers["UnityAECEnv"](played, seed=1)
        wrapper.reset()
        turns = []
        for agent in wrapper.agent_iter(max_iter=10):
            observation, _, done, _ = wrapper.last()
            assert observation.shape == (24,)
            wrapper.step(None if done else wrapper.action_space(agent).sample())
            turns.append(agent)
        assert turns[:4] == [turns[0], turns[1]] * 2
        assert turns[0] != turns[1]
        wrapper.close()
