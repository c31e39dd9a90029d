"""VMAS scenes behind mlagents_envs' own UnityEnvironment, and training on Dispersion."""

import re

import numpy as np
import pytest
from mlagents_envs.base_env import ActionTuple
from mlagents_envs.exception import UnityEnvironmentException

from mlagents_marl_plugin.player.scenes.vmas_options import VmasOptions
from mlagents_marl_plugin.player.scenes.vmas_scene import make_env
from tests.contract.host import free_port, launcher, learn, write_config
from tests.contract.playing import environment, run_player, send

DISPERSION = "Dispersion?team=0"
OPTIONS = ["--scenario", "dispersion", "--n-agents", "3", "--food-radius", "0.2", "--penalise-by-time"]


def test_dispersion_over_the_wire_is_what_vmas_plays(tmp_path):
    areas, seed, limit = 4, 6, 30
    own = {"n_agents": 3, "food_radius": 0.2, "penalise_by_time": True}
    direct = make_env(areas, seed, VmasOptions("dispersion", limit, scenario_options=own))
    obs = direct.reset()
    rng = np.random.default_rng(2)
    ends = []
    with environment(
        tmp_path, "Vmas", *OPTIONS, "--max-steps", str(limit), seed=seed, num_areas=areas
    ) as played:
        played.reset()
        for _ in range(95):
            decisions, _ = played.get_steps(DISPERSION)
            np.testing.assert_array_equal(
                decisions.obs[0].reshape(areas, 3, -1), np.stack([seen.numpy() for seen in obs], axis=1)
            )
            # Outwards, so that goals are found.
            action = np.clip(decisions.obs[0][:, :2] * 3 + rng.normal(size=(12, 2)), -1, 1).astype(np.float32)
            send(played, DISPERSION, action)
            played.step()

            final, reward, terminated, truncated, _ = direct.step(
                list(action.reshape(areas, 3, 2).swapaxes(0, 1))
            )
            over = (terminated | truncated).numpy()
            _, ended = played.get_steps(DISPERSION)
            np.testing.assert_array_equal(
                ended.reward.reshape(-1, 3), np.stack([r.numpy() for r in reward], axis=1)[over]
            )
            np.testing.assert_array_equal(
                ended.obs[0].reshape(-1, 3, 13), np.stack([seen.numpy() for seen in final], axis=1)[over]
            )
            np.testing.assert_array_equal(
                ended.interrupted.reshape(-1, 3)[:, 0], (truncated & ~terminated).numpy()[over]
            )
            ends += ended.interrupted.tolist()
            obs = final
            if over.all():
                obs = direct.reset()
            else:
                for area in np.flatnonzero(over).tolist():
                    obs = direct.reset_at(area)
    assert True in ends


def test_two_kinds_of_agents_with_discrete_actions_in_one_group(tmp_path):
    options = [
        "--scenario=simple_speaker_listener",
        "--actions=multidiscrete",
        "--groups=area",
        "--group-reward",
    ]
    speaker, listener = "SimpleSpeakerListenerSpeaker?team=0", "SimpleSpeakerListenerListener?team=0"
    with environment(tmp_path, "Vmas", *options, num_areas=2) as played:
        played.reset()
        assert list(played.behavior_specs) == [speaker, listener]
        assert played.behavior_specs[speaker].action_spec.discrete_branches == (3, 3, 3)
        assert played.behavior_specs[listener].action_spec.discrete_branches == (3, 3)
        for name, spec in played.behavior_specs.items():
            branches = len(spec.action_spec.discrete_branches)
            played.set_actions(name, ActionTuple(discrete=np.ones((2, branches), np.int32)))
        played.step()
        both = [played.get_steps(name)[0] for name in (speaker, listener)]
        for decisions in both:
            assert list(decisions.group_id) == [1, 2]
            assert not decisions.reward.any()
        np.testing.assert_array_equal(both[0].group_reward, both[1].group_reward)
        assert (both[0].group_reward < 0).all()


def test_a_wrong_scenario_is_explained_where_a_person_looks(tmp_path):
    ended = run_player("play", "Vmas", "--scenario", "dispersal")
    assert ended.returncode == 2
    assert "did you mean dispersion?" in ended.stderr


def test_too_many_areas_are_refused_with_the_number_that_fits(tmp_path):
    options = ["--scenario=simple_spread", "--n-agents=40", "--max-steps=1"]
    with (
        environment(tmp_path, "Vmas", *options, num_areas=400) as played,
        pytest.raises(UnityEnvironmentException, match="return code 1"),
    ):
        played.reset()
    log = (tmp_path / "Player-0.log").read_text()
    fitting = int(re.search("--num-areas: expected at most ([0-9]+), got 400", log).group(1))
    with environment(tmp_path, "Vmas", *options, num_areas=fitting) as played:
        played.reset()
        played.step()  # everybody ends and begins
        decisions, ended = played.get_steps("SimpleSpread?team=0")
        assert len(decisions) == len(ended) == 40 * fitting


def test_matd3_trains_on_dispersion(tmp_path):
    config = write_config(
        tmp_path, "Dispersion", "matd3", {"group_size": 3, "batch_size": 32, "buffer_init_steps": 300}
    )
    printed = learn(
        tmp_path,
        str(config),
        f"--env={launcher(tmp_path, 'Vmas')}",
        "--num-areas=4",
        f"--base-port={free_port(2)}",
        "--env-args",
        *OPTIONS,
    )
    assert "Dispersion. Step: 1000." in printed
    assert (tmp_path / "results" / "run" / "Dispersion.onnx").exists()
