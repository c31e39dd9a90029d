"""The player behind mlagents_envs' own UnityEnvironment, each test with a process of its own."""

import json
import logging
import socket
import subprocess
import sys

import numpy as np
import pytest
from mlagents_envs.base_env import ActionTuple, ObservationType
from mlagents_envs.environment import UnityEnvironment
from mlagents_envs.exception import UnityCommunicatorStoppedException, UnityEnvironmentException
from mlagents_envs.side_channel.engine_configuration_channel import EngineConfig, EngineConfigurationChannel
from mlagents_envs.side_channel.environment_parameters_channel import EnvironmentParametersChannel
from mlagents_envs.side_channel.stats_side_channel import StatsAggregationMethod, StatsSideChannel

from mlagents_marl_plugin.player.scenes.counter import group_reward_of, reward_of
from mlagents_marl_plugin.player.scenes.tennis import TennisOptions, TennisWorld
from tests.contract.host import free_port
from tests.contract.playing import PATIENCE, environment, player, send

TENNIS = "Tennis?team=0"


def random_actions(steps, areas, seed=1):
    return np.random.default_rng(seed).uniform(-1, 1, (steps, areas, 2, 2)).astype(np.float32)


def log_of(folder):
    return (folder / "Player-0.log").read_text()


def test_rewards_ends_and_observations_are_those_of_the_world(tmp_path):
    areas, seed = 3, 11
    world = TennisWorld(areas, seed, TennisOptions(max_decisions=20))
    agent = np.arange(2 * areas)
    next_id = 2 * areas
    ends = []
    with environment(tmp_path, "Tennis", "--max-decisions", "20", seed=seed, num_areas=areas) as played:
        played.reset()
        obs = world.reset().reshape(2 * areas, 24)
        for action in random_actions(45, areas):
            decisions, _ = played.get_steps(TENNIS)
            np.testing.assert_array_equal(decisions.obs[0], obs)
            np.testing.assert_array_equal(decisions.agent_id, agent)
            send(played, TENNIS, action.reshape(-1, 2))
            played.step()

            expected = world.step(action)
            obs = expected.obs.reshape(2 * areas, 24)
            ended = np.repeat(expected.terminated | expected.interrupted, 2)
            decisions, terminals = played.get_steps(TENNIS)
            np.testing.assert_array_equal(decisions.reward, np.where(ended, 0, expected.reward.ravel()))
            np.testing.assert_array_equal(terminals.agent_id, agent[ended])
            np.testing.assert_array_equal(terminals.reward, expected.reward.ravel()[ended])
            np.testing.assert_array_equal(terminals.obs[0], expected.final_obs.reshape(-1, 24)[ended])
            np.testing.assert_array_equal(terminals.interrupted, np.repeat(expected.interrupted, 2)[ended])
            agent[ended] = np.arange(next_id, next_id + ended.sum())
            next_id += ended.sum()
            ends += terminals.interrupted.tolist()
    assert {True, False} == set(ends)


def test_the_specs_are_those_of_the_original_scene(tmp_path):
    with environment(tmp_path, "Tennis") as played:
        played.reset()
        (behavior,) = played.behavior_specs
        spec = played.behavior_specs[behavior]
        (observation,) = spec.observation_specs
        assert behavior == TENNIS
        assert (observation.name, observation.shape) == ("StackingSensor_size3_VectorSensor_size8", (24,))
        assert observation.observation_type == ObservationType.DEFAULT
        assert (spec.action_spec.continuous_size, spec.action_spec.discrete_branches) == (2, ())
        decisions, terminals = played.get_steps(behavior)
        assert decisions.agent_id.tolist() == [0, 1]
        assert list(decisions.group_id) == [0, 0]
        assert len(terminals) == 0
        assert played.academy_capabilities == UnityEnvironment._get_capabilities_proto()


def test_a_reset_of_the_trainer_serves_anew_and_keeps_ids(tmp_path):
    with environment(tmp_path, "Tennis", num_areas=2) as played:
        played.reset()
        first = played.get_steps(TENNIS)[0].obs[0]
        for action in random_actions(16, 2):
            send(played, TENNIS, action.reshape(-1, 2))
            played.step()
        ids = played.get_steps(TENNIS)[0].agent_id
        assert ids.max() > 3
        played.reset()
        decisions, terminals = played.get_steps(TENNIS)
        assert len(terminals) == 0
        np.testing.assert_array_equal(decisions.agent_id, ids)
        np.testing.assert_array_equal(decisions.reward, np.zeros(4))
        assert (decisions.obs[0][:, :16] == 0).all()
        assert not np.array_equal(decisions.obs[0], first)


def test_stepping_without_actions_is_doing_nothing(tmp_path):
    world = TennisWorld(1, 0)
    world.reset()
    with environment(tmp_path, "Tennis", seed=0) as played:
        played.reset()
        for _ in range(3):
            played.step()
            expected = world.step(np.zeros((1, 2, 2), np.float32))
        np.testing.assert_array_equal(played.get_steps(TENNIS)[0].obs[0], expected.obs[0])


def test_a_negative_seed_is_a_seed(tmp_path):
    with environment(tmp_path, "Tennis", seed=-5) as played:
        played.reset()
        assert len(played.get_steps(TENNIS)[0]) == 2


def test_teams_and_group_ids(tmp_path):
    with environment(tmp_path, "Tennis", "--teams", "--group-ids", num_areas=3) as played:
        played.reset()
        assert list(played.behavior_specs) == ["Tennis?team=0", "Tennis?team=1"]
        for team in (0, 1):
            decisions, _ = played.get_steps(f"Tennis?team={team}")
            assert decisions.agent_id.tolist() == [team, team + 2, team + 4]
            assert list(decisions.group_id) == [1, 2, 3]
        for action in random_actions(20, 3):
            for team in (0, 1):
                send(played, f"Tennis?team={team}", action[:, team])
            played.step()
        b, a = (played.get_steps(f"Tennis?team={team}")[0] for team in (0, 1))
        assert min(b.agent_id) > 5
        np.testing.assert_array_equal(a.agent_id, b.agent_id + 1)
        assert list(b.group_id) == [1, 2, 3]


def test_many_areas_fit_through_the_wire(tmp_path):
    with environment(tmp_path, "Tennis", num_areas=2000) as played:
        played.reset()
        played.step()
        assert len(played.get_steps(TENNIS)[0]) == 4000


def test_a_message_that_the_host_would_refuse_is_explained(tmp_path):
    with (
        environment(
            tmp_path, "Tennis", "--num-stacked", "300", num_areas=300, timeout_wait=PATIENCE
        ) as played,
        pytest.raises(UnityEnvironmentException, match="return code 1"),
    ):
        played.reset()
    assert "--num-areas: expected at most 1" in log_of(tmp_path)
    assert "got 300; when all episodes end, a message has" in log_of(tmp_path)


def test_a_failing_scene_leaves_its_reason_in_the_log(tmp_path):
    with environment(tmp_path, "Tennis") as played:
        played.reset()
        send(played, TENNIS, np.full((2, 2), np.nan))
        with pytest.raises(UnityCommunicatorStoppedException):
            played.step()
    assert "the scene failed\nTraceback" in log_of(tmp_path)
    assert "the policy that sent them has diverged" in log_of(tmp_path)


def test_parameters_and_engine_settings_arrive_and_statistics_come_back(tmp_path):
    parameters, engine, statistics = (
        EnvironmentParametersChannel(),
        EngineConfigurationChannel(),
        StatsSideChannel(),
    )
    engine.set_configuration(EngineConfig(84, 84, 2, 15.0, -1, 60))
    parameters.set_float_parameter("gravity", 3.5)
    with environment(
        tmp_path,
        "Tennis",
        "--max-decisions",
        "4",
        num_areas=2,
        side_channels=[parameters, engine, statistics],
    ) as played:
        played.reset()
        for _ in range(3):
            played.step()
        assert dict(statistics.get_and_reset_stats()) == {}
        played.step()
        stats = statistics.get_and_reset_stats()
        assert stats["Tennis/Rally Length"] == [(4.0, StatsAggregationMethod.AVERAGE)] * 2
        assert stats["Tennis/Score"] == [(0.0, StatsAggregationMethod.AVERAGE)] * 2
    assert "Environment parameter gravity = 3.5" in log_of(tmp_path)
    assert "Time scale 15" in log_of(tmp_path)


def test_a_script_without_a_statistics_channel_is_not_flooded_with_warnings(tmp_path, caplog):
    with caplog.at_level(logging.WARNING), environment(tmp_path, "Tennis", "--max-decisions", "2") as played:
        for _ in range(6):
            played.step()
    assert "Unknown side channel" not in caplog.text


def test_statistics_on_demand(tmp_path):
    statistics = StatsSideChannel()
    with environment(
        tmp_path, "Tennis", "--max-decisions", "1", "--statistics", side_channels=[statistics]
    ) as played:
        played.reset()
        played.step()
        assert statistics.get_and_reset_stats()["Tennis/Rally Length"] == [
            (1.0, StatsAggregationMethod.AVERAGE)
        ]


def test_the_log_tells_the_players_life(tmp_path):
    with environment(tmp_path, "Tennis", seed=3, num_areas=4) as played:
        port = played._port
        played.reset()
        played.step()
    log = log_of(tmp_path)
    assert f"Scene Tennis, port {port}" in log
    assert "Connected to mlagents-envs 1.1.0: protocol 1.5.0, seed 3, 4 areas" in log
    assert "Played 1 steps, 8 agent-steps" in log
    assert "Ending: the trainer closed the connection." in log


def test_the_event_log_agrees_with_what_python_saw(tmp_path):
    seen = {}
    with environment(
        tmp_path, "Counter", "--event-log", str(tmp_path / "events.jsonl"), num_areas=2
    ) as played:
        played.reset()
        (behavior,) = played.behavior_specs
        for tick in range(20):
            decisions, _ = played.get_steps(behavior)
            action = np.stack([decisions.agent_id, np.full(len(decisions), tick)], axis=1)
            send(played, behavior, action)
            played.step()
            after, ended = played.get_steps(behavior)
            for agent in decisions.agent_id:
                result = ended[agent] if agent in ended.agent_id else after[agent]
                seen[agent, tick] = (decisions[agent].obs[0].tolist(), result.reward, result.obs[0].tolist())
    (path,) = tmp_path.glob("events-*.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    logged = {
        (line["agent"], line["continuous"][1]): (line["obs"][0], line["reward"], line["next_obs"][0])
        for line in lines
    }
    assert all(line["continuous"][0] == line["agent"] for line in lines)
    assert logged == {key: (obs, float(reward), after) for key, (obs, reward, after) in seen.items()}


def test_a_reset_of_the_trainer_cuts_the_event_log(tmp_path):
    options = ["--event-log", str(tmp_path / "events.jsonl"), "--periods=1,3", "--min-length=8"]
    with environment(tmp_path, "Counter", *options) as played:
        for tick in range(12):
            played.reset() if tick in (0, 5) else played.step()
    (path,) = tmp_path.glob("events-*.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert {line["resets"] for line in lines} == {1, 2}
    # The slow agent's second decision was under way.
    slow = [
        (line["resets"], line["obs"][0][2:], line["next_obs"][0][2:]) for line in lines if line["seat"] == 1
    ]
    assert slow == [(1, [0, 0], [0, 3]), (2, [1, 0], [1, 3]), (2, [1, 3], [1, 6])]


def test_dying_agents_groups_masks_and_discrete_actions_arrive(tmp_path):
    options = ["--agents=3", "--branches=3,2", "--deaths", "--group-ids", "--masks", "--roles", "--echo"]
    with environment(tmp_path, "Counter", *options, num_areas=2) as played:
        played.reset()
        assert list(played.behavior_specs) == ["Counter?team=0", "CounterB?team=0"]
        numbers = {"done": 0, "interrupted": 0}
        for tick in range(40):
            for name, spec in played.behavior_specs.items():
                decisions, _ = played.get_steps(name)
                continuous = np.full((len(decisions), spec.action_spec.continuous_size), tick, np.float32)
                discrete = np.tile(np.array([[tick % 3, tick % 2]], np.int32), (len(decisions), 1))
                played.set_actions(name, ActionTuple(continuous, discrete))
            played.step()
            for name in played.behavior_specs:
                decisions, terminals = played.get_steps(name)
                for steps in (decisions, terminals):
                    identity = steps.obs[0][:, :4]
                    np.testing.assert_array_equal(steps.reward, reward_of(identity))
                    np.testing.assert_array_equal(steps.group_reward, group_reward_of(identity))
                    np.testing.assert_array_equal(steps.group_id, identity[:, 0] + 1)
                    going_on = identity[:, 3] > 0
                    assert (steps.obs[0][going_on, -2:] == [tick % 3, tick % 2]).all()
                step, agent = (decisions.obs[0][:, i].astype(int) for i in (3, 1))
                if len(decisions):
                    assert decisions.action_mask[0][np.arange(len(step)), (step + agent) % 3].all()
                    assert decisions.action_mask[0].sum() == len(step)
                numbers["done"] += len(terminals)
                numbers["interrupted"] += terminals.interrupted.sum()
        assert numbers["done"] > 10
        assert 0 < numbers["interrupted"] < numbers["done"]


def test_a_behaviour_whose_agents_ask_less_often(tmp_path):
    with environment(tmp_path, "Counter", "--periods", "2,3", "--roles", "--min-length", "12") as played:
        played.reset()
        asked = {"Counter?team=0": [], "CounterB?team=0": []}
        for _ in range(5):
            for name in asked:
                asked[name] += played.get_steps(name)[0].obs[0][:, 3].tolist()
            played.step()
        # Ticks at which nobody asks are played on without the trainer.
        assert asked == {"Counter?team=0": [0, 2, 4, 6], "CounterB?team=0": [0, 3, 6]}


def test_a_port_in_use_is_the_hosts_to_report(tmp_path):
    script = "import sys, mlagents_envs.environment as e; e.UnityEnvironment(base_port=int(sys.argv[1]))"
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-c", script, str(port)], capture_output=True, text=True, check=False
        )
    assert "UnityWorkerInUseException" in done.stderr
    assert "worker number 0 is still in use" in done.stderr


def test_play_stands_in_for_the_editor(tmp_path):
    port = free_port(1)
    command = player("play", "Tennis", "--mlagents-port", str(port), "--max-decisions", "3")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as playing:
        # The player waits for the trainer, as long as it takes.
        played = UnityEnvironment(base_port=port, timeout_wait=60)
        played.reset()
        played.step()
        played.close()
        _, told = playing.communicate(timeout=60)
    assert playing.returncode == 0
    assert "Waiting for mlagents-learn" in told
    assert "Ending: the trainer closed the connection." in told
