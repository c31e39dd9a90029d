"""A fake build of ML-Agents 0.4 behind the host's own client, and mlagents-learn that trains on it."""

import numpy as np
import pytest
from mlagents_envs.base_env import ActionTuple
from mlagents_envs.exception import UnityCommunicatorStoppedException, UnityEnvironmentException

from tests.contract.host import free_port, launcher, learn, write_config
from tests.contract.playing import alive, environment, run_player, send, wait_until
from tests.udacity.programs import diary, write_program

TENNIS = "TennisBrain?team=0"
UDACITY = "UdacityTennis"


def test_tennis_behind_the_official_client(tmp_path):
    program = write_program(tmp_path)
    with environment(tmp_path, UDACITY, "--build", str(program), seed=5, no_graphics=True) as played:
        played.reset()
        assert list(played.behavior_specs) == [TENNIS]
        assert played.behavior_specs[TENNIS].action_spec.continuous_size == 2
        ids = []
        for tick in range(20):
            decisions, _ = played.get_steps(TENNIS)
            ids.append(decisions.agent_id.tolist())
            action = np.full((2, 2), tick / 32, np.float32)
            send(played, TENNIS, action)
            played.step()
            decisions, ended = played.get_steps(TENNIS)
            assert len(ended) == (2 if tick in (4, 11, 17, 19) else 0)
            if not len(ended):
                np.testing.assert_array_equal(decisions.obs[0][:, -4:-2], action)
        assert ended.interrupted.all()
        assert (ids[4], ids[5], ids[12]) == ([0, 1], [2, 3], [4, 5])
    first, seed, *heard, last = diary(tmp_path)
    assert seed == {"seed": 5}
    assert [entry["command"] for entry in heard].count("RESET") == 2
    assert last == {"status": 400}
    assert first["arguments"][-1].isdigit()
    assert {"-nographics", "-batchmode", "-logFile", str(tmp_path / "Player-0-build.log")} <= {
        *first["arguments"]
    }
    assert wait_until(lambda: not alive(first["pid"]))


def test_cameras_and_choices_behind_the_official_client(tmp_path):
    program = write_program(tmp_path, "--game", "pixels")
    with environment(tmp_path, UDACITY, "--build", str(program)) as played:
        played.reset()
        for choice in (1, 0):
            for name, spec in played.behavior_specs.items():
                asked, _ = played.get_steps(name)
                assert spec.action_spec.discrete_size == 1
                played.set_actions(name, ActionTuple(discrete=np.full((len(asked), 1), choice, np.int32)))
            played.step()
        colour, grey = played.get_steps("PixelBrain?team=0")[0].obs
        assert (colour.shape, grey.shape) == ((2, 3, 8, 12), (2, 1, 6, 4))
        np.testing.assert_allclose(colour[1, :, 0, 0], [12 / 255, 6 / 255, 0])
        np.testing.assert_allclose(grey[1], 6 / 255, atol=1e-6)
    assert [entry["actions"]["PixelBrain"] for entry in diary(tmp_path)[3:5]] == [[[1.0]] * 2, [[0.0]] * 2]


def test_a_killed_player_takes_its_build_along(tmp_path):
    with environment(tmp_path, UDACITY, "--build", str(write_program(tmp_path)), timeout_wait=30) as played:
        played.reset()
        build = diary(tmp_path)[0]["pid"]
        assert alive(build)
        played._process.kill()
        assert wait_until(lambda: not alive(build))


def test_a_build_that_dies_is_explained_where_a_person_looks(tmp_path):
    program = write_program(tmp_path, "--fault", "dies")
    with environment(tmp_path, UDACITY, "--build", str(program), timeout_wait=30) as played:
        played.reset()
        with pytest.raises((UnityCommunicatorStoppedException, UnityEnvironmentException)):
            for _ in range(6):
                played.step()
    log = (tmp_path / "Player-0.log").read_text()
    assert "got one that ended with exit code 9 while it played and said 'Segmentation fault'" in log
    assert "Traceback" not in log


def test_a_wrong_path_is_explained_where_a_person_looks(tmp_path):
    ended = run_player("play", UDACITY, "--build", str(tmp_path / "Tenis"))
    assert ended.returncode == 2
    assert "Tenis, which does not exist" in ended.stderr


def test_a_build_of_another_version_is_explained_where_a_person_looks(tmp_path):
    program = write_program(tmp_path, "--fault", "version")
    with (
        pytest.raises((UnityCommunicatorStoppedException, UnityEnvironmentException)),
        environment(tmp_path, UDACITY, "--build", str(program), timeout_wait=30) as played,
    ):
        played.reset()
    log = (tmp_path / "Player-0.log").read_text()
    assert "expected one that speaks API-4 (ML-Agents 0.4), got API-5" in log
    assert "Traceback" not in log
    assert not alive(diary(tmp_path)[0]["pid"])


def test_matd3_trains_through_the_bridge(tmp_path):
    config = write_config(
        tmp_path,
        "TennisBrain",
        "matd3",
        {"group_size": 2, "batch_size": 32, "buffer_init_steps": 100, "steps_per_update": 4},
        {"max_steps": 600, "summary_freq": 200},
    )
    printed = learn(
        tmp_path,
        str(config),
        f"--env={launcher(tmp_path, UDACITY)}",
        "--no-graphics",
        f"--base-port={free_port(2)}",
        "--env-args",
        "--build",
        str(write_program(tmp_path)),
    )
    assert "TennisBrain. Step: 600." in printed
    assert (tmp_path / "results" / "run" / "TennisBrain.onnx").exists()
    heard = diary(tmp_path)
    assert [entry["command"] for entry in heard[2:-1]].count("STEP") >= 300
    assert heard[-1] == {"status": 400}
    assert not alive(heard[0]["pid"])
