import numpy as np
import pytest

from mlagents_marl_plugin.player.scene import Actions
from mlagents_marl_plugin.player.scenes.tennis import TennisOptions, TennisWorld
from mlagents_marl_plugin.player.scenes.tennis_scene import TennisScene

AREAS = 3
SEED = 5
OPTIONS = TennisOptions(max_decisions=20)


def random_actions(steps=45):
    return np.random.default_rng(1).uniform(-1, 1, (steps, AREAS, 2, 2)).astype(np.float32)


def all_seats(action):
    return {
        "Tennis?team=0": Actions(np.arange(2 * AREAS), action.reshape(-1, 2), np.zeros((2 * AREAS, 0), int))
    }


def test_rows_repeat_the_world_step_by_step():
    world, scene = TennisWorld(AREAS, SEED, OPTIONS), TennisScene(TennisWorld(AREAS, SEED, OPTIONS))
    first = scene.reset()["Tennis?team=0"]
    np.testing.assert_array_equal(first.observations[0], world.reset().reshape(2 * AREAS, 24))
    num_terminated = num_interrupted = 0
    for action in random_actions():
        expected = world.step(action)
        rows = scene.step(all_seats(action))["Tennis?team=0"]
        ended = np.repeat(expected.terminated | expected.interrupted, 2)
        done = np.zeros(len(rows.seat), bool) if rows.done is None else rows.done
        interrupted = np.zeros(len(rows.seat), bool) if rows.interrupted is None else rows.interrupted
        np.testing.assert_array_equal(rows.seat[done], np.flatnonzero(ended))
        np.testing.assert_array_equal(rows.reward[done], expected.reward.ravel()[ended])
        np.testing.assert_array_equal(rows.observations[0][done], expected.final_obs.reshape(-1, 24)[ended])
        np.testing.assert_array_equal(interrupted[done], np.repeat(expected.interrupted, 2)[ended])
        np.testing.assert_array_equal(rows.seat[~done], np.arange(2 * AREAS))
        np.testing.assert_array_equal(rows.observations[0][~done], expected.obs.reshape(-1, 24))
        np.testing.assert_array_equal(rows.reward[~done], np.where(ended, 0, expected.reward.ravel()))
        num_terminated += expected.terminated.sum()
        num_interrupted += expected.interrupted.sum()
    assert num_terminated > 0
    assert num_interrupted > 0


def test_teams_share_a_court_in_two_behaviours():
    one, two = TennisScene(TennisWorld(AREAS, SEED)), TennisScene(TennisWorld(AREAS, SEED), teams=True)
    whole, split = one.reset()["Tennis?team=0"], two.reset()
    assert list(split) == ["Tennis?team=0", "Tennis?team=1"]
    for action in random_actions(16):
        whole = one.step(all_seats(action))["Tennis?team=0"]
        split = two.step(
            {
                f"Tennis?team={team}": Actions(
                    np.arange(team, 2 * AREAS, 2), action[:, team], np.zeros((AREAS, 0), int)
                )
                for team in (0, 1)
            }
        )
        for team in (0, 1):
            mine = whole.seat % 2 == team
            rows = split[f"Tennis?team={team}"]
            np.testing.assert_array_equal(rows.seat, whole.seat[mine])
            np.testing.assert_array_equal(rows.observations[0], whole.observations[0][mine])
            np.testing.assert_array_equal(rows.reward, whole.reward[mine])
    assert whole.done is not None


def test_a_court_keeps_its_group_id_over_episodes():
    scene = TennisScene(TennisWorld(AREAS, SEED, OPTIONS), group_ids=True)
    np.testing.assert_array_equal(scene.reset()["Tennis?team=0"].group, [1, 1, 2, 2, 3, 3])
    for action in random_actions(25):
        rows = scene.step(all_seats(action))["Tennis?team=0"]
        np.testing.assert_array_equal(rows.group, rows.seat // 2 + 1)


def test_statistics_report_each_rally_once():
    scene = TennisScene(TennisWorld(AREAS, SEED, TennisOptions(max_decisions=10)))
    scene.reset()
    for action in random_actions(10):
        assert scene.drain_statistics() == []
        scene.step(all_seats(action))
    statistics = scene.drain_statistics()
    assert [s.value for s in statistics if s.name == "Tennis/Rally Length"] == [10.0] * AREAS
    assert len([s for s in statistics if s.name == "Tennis/Score"]) == AREAS
    assert scene.drain_statistics() == []


def test_the_score_is_the_better_agents_sum_of_rewards():
    world = TennisWorld(AREAS, SEED)
    scene = TennisScene(TennisWorld(AREAS, SEED))
    world.reset()
    scene.reset()
    total, expected, reported = np.zeros((AREAS, 2)), [], []
    for action in random_actions(60):
        result = world.step(action)
        total += result.reward
        expected += total[result.terminated].max(axis=1).tolist()
        total[result.terminated] = 0
        scene.step(all_seats(action))
        reported += [s.value for s in scene.drain_statistics() if s.name == "Tennis/Score"]
    assert len(expected) > AREAS
    assert max(expected) > 0
    assert reported == pytest.approx(expected)


def test_a_reset_of_the_trainer_forgets_the_rally_under_way():
    scene = TennisScene(TennisWorld(AREAS, SEED, TennisOptions(max_decisions=10)))
    scene.reset()
    actions = random_actions(14)
    for action in actions[:4]:
        scene.step(all_seats(action))
    scene.reset()
    for action in actions[4:]:
        scene.step(all_seats(action))
    assert [s.value for s in scene.drain_statistics() if s.name == "Tennis/Rally Length"] == [10.0] * AREAS


@pytest.mark.parametrize(
    ("num_stacked", "name"), [(1, "VectorSensor_size8"), (3, "StackingSensor_size3_VectorSensor_size8")]
)
def test_the_sensor_has_the_name_that_unity_gives_it(num_stacked, name):
    scene = TennisScene(TennisWorld(1, 0, TennisOptions(num_stacked=num_stacked)))
    (sensor,) = scene.behaviors[0].sensors
    assert (sensor.name, sensor.shape) == (name, (8 * num_stacked,))
