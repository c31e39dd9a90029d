import numpy as np
import pytest

from mlagents_marl_plugin.player.options import OptionError, parse
from mlagents_marl_plugin.player.scene import Actions
from mlagents_marl_plugin.player.scenes import SCENES
from mlagents_marl_plugin.player.scenes.versus import VersusOptions, VersusWorld
from mlagents_marl_plugin.player.scenes.versus_scene import VersusScene
from mlagents_marl_plugin.player.side_channels import EnvironmentParameters

AREAS = 3
SEED = 5


def random_actions(steps):
    return np.random.default_rng(1).uniform(-1, 1, (steps, AREAS, 2, 3)).astype(np.float32)


def by_team(action):
    none = np.zeros((AREAS, 0), np.int64)
    seats = np.arange(2 * AREAS).reshape(AREAS, 2)
    return {f"Tennis?team={team}": Actions(seats[:, team], action[:, team], none) for team in (0, 1)}


def test_each_team_gets_its_agents_rows_of_the_world():
    world = VersusWorld(AREAS, SEED, VersusOptions(max_decisions=16))
    scene = VersusScene(VersusWorld(AREAS, SEED, VersusOptions(max_decisions=16)))
    obs, frame = world.reset(), scene.reset()
    ends = set()
    for action in random_actions(150):
        for team in (0, 1):
            rows = frame[f"Tennis?team={team}"]
            asking = slice(None) if rows.done is None else ~rows.done
            np.testing.assert_array_equal(rows.seat[asking], [team, team + 2, team + 4])
            np.testing.assert_array_equal(rows.observations[0][asking], obs[:, team])
        result, frame = world.step(action), scene.step(by_team(action))
        obs = result.obs
        for area in np.flatnonzero(result.terminated | result.interrupted):
            for team in (0, 1):
                rows = frame[f"Tennis?team={team}"]
                (row,) = np.flatnonzero(rows.done & (rows.seat == 2 * area + team))
                assert rows.reward[row] == result.reward[area, team]
                assert rows.interrupted[row] == result.interrupted[area]
                np.testing.assert_array_equal(rows.observations[0][row], result.final_obs[area, team])
                ends.add((rows.reward[row], rows.interrupted[row]))
    assert ends == {(1.0, False), (-1.0, False), (0.0, True)}


def test_one_team_and_groups():
    scene = VersusScene(VersusWorld(AREAS, SEED), group_ids=True, teams=False)
    (rows,) = scene.reset().values()
    assert [behavior.id for behavior in scene.behaviors] == ["Tennis?team=0"]
    assert rows.seat.tolist() == list(range(6))
    assert rows.group.tolist() == [1, 1, 2, 2, 3, 3]
    assert VersusScene(VersusWorld(AREAS, SEED)).reset()["Tennis?team=1"].group is None


def test_the_sensor_and_the_actions_are_those_of_the_original():
    for behavior in VersusScene(VersusWorld(1, SEED)).behaviors:
        (sensor,) = behavior.sensors
        assert (sensor.name, sensor.shape) == ("StackingSensor_size3_VectorSensor_size9", (27,))
        assert (behavior.actions.continuous, behavior.actions.branches) == (3, ())


def test_statistics_tell_each_rallys_length_and_strokes():
    world = VersusWorld(AREAS, SEED)
    scene = VersusScene(VersusWorld(AREAS, SEED))
    world.reset()
    scene.reset()
    length, expected, reported = np.zeros(AREAS), [], []
    for action in random_actions(150):
        result = world.step(action)
        length += 1
        for area in np.flatnonzero(result.terminated):
            expected += [
                ("Tennis/Rally Length", length[area]),
                ("Tennis/Strokes", world.ended_strokes[area]),
            ]
            length[area] = 0
        scene.step(by_team(action))
        reported += [(s.name, s.value) for s in scene.drain_statistics()]
    assert reported == expected
    assert {value for name, value in expected if name == "Tennis/Strokes"} >= {0, 1}


def test_environment_parameters_act_from_the_next_serve_on():
    parameters = EnvironmentParameters()
    parameters.set_value("gravity", 12.0)
    world = VersusWorld(1, SEED)
    scene = VersusScene(world, parameters)
    assert world.physics.gravity == 9.81
    scene.reset()
    assert (world.physics.gravity, world.ball_scale) == (12.0, 0.5)
    parameters.set_value("scale", 1.0)
    scene.reset()
    assert world.physics.ball_radius[0] == 0.5


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("gravity", 5.0, "environment parameter gravity: expected 6 to 20, got 5; change"),
        ("scale", 6.0, "environment parameter scale: expected 0.2 to 5, got 6; change"),
    ],
)
def test_parameters_out_of_range_are_refused(name, value, message):
    parameters = EnvironmentParameters()
    parameters.set_value(name, value)
    with pytest.raises(ValueError, match=message):
        VersusScene(VersusWorld(1, SEED), parameters).reset()


def test_options_are_checked_on_the_command_line():
    with pytest.raises(
        OptionError, match=r"TennisVersus\.max_decisions: expected a whole number >= 0, got -3"
    ):
        parse(SCENES["TennisVersus"], ["--max-decisions", "-3"], in_editor=True)
    options = parse(SCENES["TennisVersus"], [], in_editor=True)
    assert (options.max_decisions, options.one_team, options.group_ids) == (0, False, False)
