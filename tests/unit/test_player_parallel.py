import io
import logging
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from mlagents_marl_plugin.player.options import OptionError, parse
from mlagents_marl_plugin.player.scene import Actions, SceneSettings
from mlagents_marl_plugin.player.scenes import SCENES, parallel_scene
from mlagents_marl_plugin.player.scenes.kinds import camel, sort_into_kinds
from mlagents_marl_plugin.player.scenes.parallel_area import ParallelArea
from mlagents_marl_plugin.player.scenes.parallel_options import ParallelOptions, options_from
from mlagents_marl_plugin.player.scenes.parallel_scene import ParallelScene, make_areas
from mlagents_marl_plugin.player.scenes.parallel_spaces import (
    SpaceError,
    action_spec,
)
from mlagents_marl_plugin.player.scenes.seeds import area_seed
from tests.unit.parallel_envs import Diary, OldDiary, Zoo, box, discrete

SOURCE = "tests.unit.parallel_envs:Diary"


def scene(*envs, **options):
    areas = [ParallelArea(env, SOURCE) for env in envs]
    return ParallelScene(areas, seed=70, options=ParallelOptions(SOURCE, **options))


def answers(frame, played, value=0.0, choice=0):
    """The same answer to everyone who asks."""
    given = {}
    for behavior in played.behaviors:
        seat = frame[behavior.id].seat[~frame[behavior.id].done]
        continuous = np.full((len(seat), behavior.actions.continuous), value, np.float32)
        given[behavior.id] = Actions(
            seat, continuous, np.full((len(seat), len(behavior.actions.branches)), choice)
        )
    return given


def seen(rows):
    """(seat, done, interrupted, reward, episode, step) of every row."""
    obs = rows.observations[0]
    return [
        (int(s), bool(d), bool(i), float(r), int(o[1]), int(o[2]))
        for s, d, i, r, o in zip(rows.seat, rows.done, rows.interrupted, rows.reward, obs, strict=True)
    ]


def test_agents_are_born_die_and_end_together():
    played = scene(Diary())
    assert [behavior.id for behavior in played.behaviors] == ["Hunter?team=0", "Prey?team=0"]
    hunters, prey = [], []
    frame = played.reset()
    for _ in range(6):
        hunters.append(seen(frame["Hunter?team=0"]))
        prey.append(seen(frame["Prey?team=0"]))
        frame = played.step(answers(frame, played))
    asks, stop, died = (False, False), (True, True), (True, False)
    assert hunters == [
        [(0, *asks, 0.0, 0, 0), (1, *asks, 0.0, 0, 0)],
        [(0, *asks, 1.0, 0, 1), (1, *asks, 11.0, 0, 1)],
        [(1, *died, 12.0, 0, 2), (0, *asks, 2.0, 0, 2)],
        [(0, *asks, 3.0, 0, 3)],
        [(0, *stop, 4.0, 0, 4), (0, *asks, 0.0, 1, 0), (1, *asks, 0.0, 1, 0)],
        [(0, *asks, 1.0, 1, 1), (1, *asks, 11.0, 1, 1)],
    ]
    assert prey == [
        [],
        [(2, *asks, 0.0, 0, 1)],
        [(2, *asks, 22.0, 0, 2)],
        [(2, *asks, 23.0, 0, 3)],
        [(2, *stop, 24.0, 0, 4)],
        [(2, *asks, 0.0, 1, 1)],
    ]


def test_the_old_interface_says_the_same():
    for late in (False, True):
        played = scene(OldDiary(late))
        frame = played.reset()
        for _ in range(3):
            frame = played.step(answers(frame, played))
        rows = [frame[name] for name in ("A?team=0", "B?team=0")]
        for part in rows:
            assert part.done.tolist() == [True, False]
            assert part.interrupted.tolist() == [late, False]
            assert part.observations[0][:, 1].tolist() == [3.0, 0.0]


@pytest.mark.parametrize("names", [(0, 1), ("0", "1")], ids=["integers", "digits"])
def test_agents_may_be_named_by_numbers(names):
    env = OldDiary()
    env.possible_agents = env.agents = list(names)
    env.observation_spaces, env.action_spaces = (
        dict.fromkeys(names, box(2)),
        dict.fromkeys(names, discrete(2)),
    )
    step, acted = env.step, []
    env.step = lambda actions: acted.append(actions) or step(actions)
    played = scene(env)
    frame = played.reset()
    for _ in range(3):
        frame = played.step(answers(frame, played, choice=1))
    assert acted == [dict.fromkeys(names, 1)] * 3
    assert seen_steps(frame["Agent?team=0"]) == [
        (0, True, 3.0),
        (1, True, 3.0),
        (0, False, 0.0),
        (1, False, 0.0),
    ]


def seen_steps(rows):
    """(seat, done, step) of every row of an ``OldDiary``."""
    return list(zip(rows.seat.tolist(), rows.done.tolist(), rows.observations[0][:, 1].tolist(), strict=True))


def test_areas_have_seeds_and_seats_of_their_own():
    played = scene(Diary(), Diary(limit=2))
    frame = played.reset()
    assert frame["Hunter?team=0"].seat.tolist() == [0, 1, 3, 4]
    assert (
        frame["Hunter?team=0"].observations[0][:, 0].tolist()
        == [70.0] * 2 + [np.float32(area_seed(70, 1))] * 2
    )
    for _ in range(2):
        frame = played.step(answers(frame, played))
    assert frame["Hunter?team=0"].seat.tolist() == [1, 3, 4, 0, 3, 4]


def test_no_area_of_any_worker_has_the_seed_of_another():
    """mlagents gives its workers consecutive seeds."""
    for first in (0, -3, 2**31 - 2):
        seeds = [area_seed(first + worker, area) for worker in range(16) for area in range(16)]
        assert len(set(seeds)) == 256
        assert min(seeds) >= 0
        assert max(seeds) < 2**31
    assert [area_seed(seed, 0) for seed in (0, 1, 70)] == [0, 1, 70], "one area plays what its library plays"


def test_actions_reach_their_agents_in_their_own_range():
    played = scene(Diary(low=-2.0, high=4.0))
    frame = played.step(answers(played.reset(), played, value=0.5))
    assert frame["Hunter?team=0"].observations[0][:, 4].tolist() == [2.5, 2.5]
    frame = played.step(answers(frame, played, value=7.0, choice=2))
    assert frame["Hunter?team=0"].observations[0][:, 4].tolist() == [4.0, 4.0]
    assert frame["Prey?team=0"].observations[0][:, 4].tolist() == [3.0], "its choices begin with 1"


def test_a_limit_of_steps_interrupts_everyone():
    played = scene(Diary(limit=100), max_steps=3)
    frame = played.reset()
    for _ in range(3):
        frame = played.step(answers(frame, played))
    assert [row[:3] for row in seen(frame["Hunter?team=0"])] == [
        (0, True, True),
        (0, False, False),
        (1, False, False),
    ]
    assert [row[:3] for row in seen(frame["Prey?team=0"])] == [(2, True, True)]


def test_groups_are_paid_what_their_members_earned_on_average():
    played = scene(Diary(), Diary(), groups="area", group_reward=True)
    frame = played.step(answers(played.reset(), played))
    frame = played.step(answers(frame, played))
    hunters, prey = frame["Hunter?team=0"], frame["Prey?team=0"]
    assert hunters.group.tolist() == [1, 2, 1, 2]
    assert prey.group.tolist() == [1, 2]
    assert not hunters.reward.any()
    np.testing.assert_allclose(hunters.group_reward, (2 + 12 + 22) / 3)
    apart = scene(Diary(), Diary(), groups="behavior", group_reward=True)
    frame = apart.step(answers(apart.reset(), apart))
    frame = apart.step(answers(frame, apart))
    assert frame["Hunter?team=0"].group.tolist() == [1, 3, 1, 3]
    np.testing.assert_allclose(frame["Hunter?team=0"].group_reward, 7.0)
    np.testing.assert_allclose(frame["Prey?team=0"].group_reward, 22.0)


def test_every_kind_of_observation_becomes_a_sensor():
    played = scene(Zoo())
    (behavior,) = played.behaviors
    shapes = {sensor.name: (sensor.shape, sensor.png) for sensor in behavior.sensors}
    assert shapes == {
        "plan": ((4,), False),
        "camera": ((3, 4, 6), True),
        "grid": ((5, 3, 2), False),
        "weather": ((3,), False),
        "shelves": ((5,), False),
        "lamps": ((4,), False),
    }
    (rows,) = played.reset().values()
    plan, camera, grid, weather, shelves, lamps = rows.observations
    assert plan.tolist() == [[1, 2, 3, 4]]
    picture = np.asarray(Image.open(io.BytesIO(camera[0])))
    np.testing.assert_array_equal(picture, Zoo().observation()["camera"])
    np.testing.assert_array_equal(grid[0], np.moveaxis(Zoo().observation()["grid"], -1, 0))
    assert weather.tolist() == [[0, 1, 0]]
    assert shelves.tolist() == [[0, 1, 1, 0, 0]]
    assert lamps.tolist() == [[1, 0, 0, 1]]
    assert rows.forbidden.tolist() == [[False, True, False]]


def test_a_mask_may_stand_in_the_info():
    env = OldDiary()
    step = env.step
    env.step = lambda actions: (*step(actions)[:3], {a: {"action_mask": np.array([0, 1])} for a in "ab"})
    played = scene(env)
    frame = played.step(answers(played.reset(), played))
    assert frame["A?team=0"].forbidden.tolist() == [[True, False]]


def test_kinds_are_told_by_name_and_traits():
    names = ["adversary_0", "agent_0", "adversary_1", "agent_1", "lead-agent 3"]
    assert sort_into_kinds(names, [1, 1, 1, 2, 1]) == [
        ("Adversary", [0, 2]),
        ("Agent1", [1]),
        ("Agent3", [3]),
        ("LeadAgent", [4]),
    ]
    assert sort_into_kinds(["0", "_1", "a2"], [1, 1, 1]) == [("Agent", [0, 1]), ("A", [2])]
    assert camel("simple_tag") == "SimpleTag"


def test_who_died_without_a_last_look_is_shown_as_seen_before():
    env = Diary()
    step = env.step

    def forgetful(actions):
        obs, *rest = step(actions)
        return {agent: seen for agent, seen in obs.items() if agent in env.agents or agent == "prey_0"}, *rest

    env.step = forgetful
    played = scene(env)
    frame = played.step(answers(played.reset(), played))
    frame = played.step(answers(frame, played))
    assert seen(frame["Hunter?team=0"])[0] == (1, True, False, 12.0, 0, 1)


class Broken(Diary):
    def _look(self, agent, action):
        return np.zeros(4)


class Stranger(Diary):
    def step(self, actions):
        obs, *rest = super().step(actions)
        self.agents.append("ghost")
        return obs, *rest


def test_an_environment_that_breaks_its_word_is_named():
    with pytest.raises(
        SpaceError, match=r"observation of hunter_0: expected .* got ndarray \(shape \(4,\)\)"
    ):
        scene(Broken()).reset()
    played = scene(Stranger())
    with pytest.raises(ValueError, match="agent ghost: expected one of possible_agents"):
        played.step(answers(played.reset(), played))
    with pytest.raises(ValueError, match=r"actions of Hunter\?team=0: expected finite numbers"):
        played.step(answers(played.reset(), played, value=np.nan))


def test_every_environment_is_closed_whatever_another_raises(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("marl-player"), "propagate", True)
    first, broken, last = Diary(), Diary(), Diary()
    broken.close = lambda: 1 / 0
    scene(first, broken, last).close()
    assert first.closed
    assert last.closed
    assert "The environment of area 1 raised an error when it was closed" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_environments_that_cannot_be_shown_are_closed(monkeypatch):
    made = [Diary(), Diary()]
    made[0].action_space = lambda agent: None
    monkeypatch.setattr(
        parallel_scene, "make_areas", lambda num_areas, options: [ParallelArea(env, SOURCE) for env in made]
    )
    options = parse(SCENES["Parallel"], ["--parallel-env", SOURCE], in_editor=True)
    with pytest.raises(SpaceError):
        parallel_scene.create(SceneSettings(2, 0, None, options))
    assert [env.closed for env in made] == [True, True]


def test_spaces_that_unity_does_not_have_are_refused():
    with pytest.raises(SpaceError, match="action space of x: expected Box, Discrete, MultiDiscrete"):
        action_spec(SimpleNamespace(), "x")
    odd = Diary()
    odd.observation_space = lambda agent: SimpleNamespace()
    with pytest.raises(SpaceError, match="observation space of hunter_0: expected Box, Discrete"):
        scene(odd)


@pytest.mark.parametrize(
    ("source", "settings", "message"),
    [
        ("no.such.module:env", {}, "expected an importable module .* ModuleNotFoundError"),
        ("tests.unit.parallel_envs:Nothing", {}, "AttributeError"),
        (SOURCE, {"colour": 1}, r"takes \{'colour': 1\}, got TypeError"),
        ("builtins:dict", {}, "got dict without possible_agents, reset, step; wrap an AEC environment"),
    ],
)
def test_what_is_no_environment_is_refused(source, settings, message):
    with pytest.raises(ValueError, match=message):
        make_areas(1, ParallelOptions(source, settings))


def test_options_come_from_the_command_line():
    def parsed(*arguments):
        return options_from(parse(SCENES["Parallel"], list(arguments), in_editor=True))

    options = parsed("--parallel-env", SOURCE, "--set", "limit=7", "--set", "name=ann", "--groups=area")
    assert options == ParallelOptions(SOURCE, {"limit": 7, "name": "ann"}, groups="area")
    for arguments, message in (
        ([], "--parallel-env: expected module:factory, got nothing"),
        (["--parallel-env", "module"], "expected module:factory, got module"),
        (["--parallel-env", SOURCE, "--set", "limit"], "expected NAME=VALUE, got limit"),
        (
            ["--parallel-env", SOURCE, "--max-steps", "-1"],
            r"Parallel\.max_steps: expected a whole number >= 0",
        ),
        (["--parallel-env", SOURCE, "--group-reward"], r"Parallel\.group_reward: expected --groups area"),
    ):
        with pytest.raises(OptionError, match=message):
            parsed(*arguments)
