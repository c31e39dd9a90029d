"""PettingZoo environments behind mlagents_envs' own UnityEnvironment."""

from pathlib import Path

import numpy as np
import pytest
from mlagents_envs.base_env import ActionTuple
from mlagents_envs.exception import UnityEnvironmentException
from pettingzoo.mpe import simple_spread_v2

from tests.contract.playing import PATIENCE, environment

SPREAD = ["--parallel-env", "pettingzoo.mpe.simple_spread_v2:parallel_env", "--set", "max_cycles=6"]


def test_a_pettingzoo_environment_over_the_wire_is_what_it_plays_itself(tmp_path):
    direct = simple_spread_v2.parallel_env(max_cycles=6)
    direct.seed(9)
    obs = direct.reset()
    rng = np.random.default_rng(0)
    ends = 0
    with environment(tmp_path, "Parallel", *SPREAD, "--groups=area", seed=9) as played:
        played.reset()
        (behavior,) = played.behavior_specs
        assert behavior == "Agent?team=0"
        assert played.behavior_specs[behavior].action_spec.discrete_branches == (5,)
        for _ in range(15):
            decisions, _ = played.get_steps(behavior)
            np.testing.assert_array_equal(decisions.obs[0], np.stack([obs[a] for a in direct.agents]))
            assert list(decisions.group_id) == [1, 1, 1]
            choice = rng.integers(0, 5, (3, 1)).astype(np.int32)
            played.set_actions(behavior, ActionTuple(discrete=choice))
            played.step()
            agents = list(direct.agents)
            obs, reward, done, _ = direct.step(dict(zip(agents, choice[:, 0].tolist(), strict=True)))
            decisions, ended = played.get_steps(behavior)
            if all(done.values()):
                ends += 1
                np.testing.assert_array_equal(ended.obs[0], np.stack([obs[a] for a in agents]))
                np.testing.assert_allclose(ended.reward, [reward[a] for a in agents], rtol=1e-6)
                obs = direct.reset()
            else:
                np.testing.assert_allclose(decisions.reward, [reward[a] for a in agents], rtol=1e-6)
    assert ends == 2


def test_cameras_and_masks_arrive(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    options = ["--parallel-env", "tests.unit.parallel_envs:Zoo"]
    with environment(tmp_path, "Parallel", *options, num_areas=2) as played:
        played.reset()
        decisions, _ = played.get_steps("Keeper?team=0")
        shapes = [spec.shape for spec in played.behavior_specs["Keeper?team=0"].observation_specs]
        assert (3, 4, 6) in shapes
        camera = decisions.obs[shapes.index((3, 4, 6))]
        expected = np.arange(72).reshape(4, 6, 3).transpose(2, 0, 1) / 255
        np.testing.assert_allclose(camera, np.stack([expected] * 2), atol=1e-6)
        assert decisions.action_mask[0].tolist() == [[False, True, False]] * 2


def test_an_environment_that_kills_its_player_does_not_keep_the_trainer_waiting(tmp_path, monkeypatch):
    (tmp_path / "dying.py").write_text("import os\n\ndef factory():\n    os._exit(70)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    options = ["--parallel-env", "dying:factory"]
    with (
        pytest.raises(UnityEnvironmentException, match=r"return code 70"),
        environment(tmp_path, "Parallel", *options, timeout_wait=PATIENCE) as played,
    ):
        played.reset()
