"""The unmodified mlagents-learn with its own PPO on the player."""

import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.contract.host import free_port, launcher, learn

CONFIG = {
    "behaviors": {
        "Tennis": {
            "trainer_type": "ppo",
            "hyperparameters": {"batch_size": 64, "buffer_size": 512, "num_epoch": 1},
            "network_settings": {"hidden_units": 16, "num_layers": 1},
            "max_steps": 3000,
            "time_horizon": 32,
            "summary_freq": 1000,
        }
    },
    "environment_parameters": {
        "gravity": 9.5,
        "scale": {"sampler_type": "uniform", "sampler_parameters": {"min_value": 0.25, "max_value": 0.5}},
    },
}


def test_stock_ppo_trains_on_several_players_of_several_areas(tmp_path):
    (tmp_path / "ppo.yaml").write_text(yaml.safe_dump(CONFIG))
    printed = learn(
        tmp_path,
        "ppo.yaml",
        f"--env={launcher(tmp_path, 'Tennis')}",
        "--num-envs=2",
        "--num-areas=8",
        "--seed=7",
        "--time-scale=15",
        f"--base-port={free_port(2)}",
    )
    assert "Connected new brain: Tennis?team=0" in printed
    assert "Tennis. Step: 3000." in printed
    assert "Unknown side channel" not in printed
    for worker in (0, 1):
        log = (tmp_path / "results" / "run" / "run_logs" / f"Player-{worker}.log").read_text()
        assert f"seed {7 + worker}, 8 areas" in log
        assert "Environment parameter gravity = 9.5" in log
        assert "Environment parameter scale: sampler 0 of [0.25, 0.5]" in log
        assert "Time scale 15" in log
        assert "Ending: the trainer closed the connection." in log
    assert (tmp_path / "results" / "run" / "Tennis.onnx").exists()
    summaries = EventAccumulator(str(tmp_path / "results" / "run" / "Tennis")).Reload()
    lengths = summaries.Scalars("Tennis/Rally Length")
    assert len(lengths) >= 2
    assert all(12 <= length.value <= 40 for length in lengths)
