"""Competitive Tennis behind mlagents_envs' own UnityEnvironment, and self-play of the stock trainer on it."""

import numpy as np
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mlagents_marl_plugin.player.scenes.versus import VersusWorld
from tests.contract.host import free_port, launcher, learn
from tests.contract.playing import environment, send

CONFIG = {
    "behaviors": {
        "Tennis": {
            "trainer_type": "ppo",
            "hyperparameters": {"batch_size": 64, "buffer_size": 256, "num_epoch": 1},
            "network_settings": {"hidden_units": 16, "num_layers": 1},
            "max_steps": 2500,
            "time_horizon": 32,
            "summary_freq": 500,
            "self_play": {"save_steps": 500, "team_change": 1000, "swap_steps": 250, "window": 3},
        }
    }
}


def test_points_rewards_and_observations_are_those_of_the_world(tmp_path):
    areas, seed = 3, 11
    world = VersusWorld(areas, seed)
    points = 0
    with environment(tmp_path, "TennisVersus", seed=seed, num_areas=areas) as played:
        played.reset()
        assert list(played.behavior_specs) == ["Tennis?team=0", "Tennis?team=1"]
        obs = world.reset()
        for action in np.random.default_rng(1).uniform(-1, 1, (80, areas, 2, 3)).astype(np.float32):
            for team in (0, 1):
                decisions, _ = played.get_steps(f"Tennis?team={team}")
                np.testing.assert_array_equal(decisions.obs[0], obs[:, team])
                send(played, f"Tennis?team={team}", action[:, team])
            played.step()
            expected = world.step(action)
            obs = expected.obs
            for team in (0, 1):
                _, ended = played.get_steps(f"Tennis?team={team}")
                np.testing.assert_array_equal(ended.reward, expected.reward[expected.terminated, team])
                np.testing.assert_array_equal(ended.obs[0], expected.final_obs[expected.terminated, team])
                assert not ended.interrupted.any()
            points += expected.terminated.sum()
    assert points > areas


def test_stock_ppo_plays_against_its_own_past_and_is_rated(tmp_path):
    (tmp_path / "ppo.yaml").write_text(yaml.safe_dump(CONFIG))
    printed = learn(
        tmp_path,
        "ppo.yaml",
        f"--env={launcher(tmp_path, 'TennisVersus')}",
        "--num-areas=8",
        "--seed=7",
        f"--base-port={free_port(2)}",
    )
    assert "Connected new brain: Tennis?team=1" in printed
    summaries = EventAccumulator(str(tmp_path / "results" / "run" / "Tennis")).Reload()
    ratings = [rating.value for rating in summaries.Scalars("Self-play/ELO")]
    assert len(ratings) >= 2
    assert max(ratings) != min(ratings)
    assert all(0 <= strokes.value < 10 for strokes in summaries.Scalars("Tennis/Strokes"))
    assert (tmp_path / "results" / "run" / "Tennis.onnx").exists()
