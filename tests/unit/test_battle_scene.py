"""The battle against MAgent2's own environment of it, and what the player adds: sides, groups, opponents."""

import numpy as np
import pytest

from mlagents_marl_plugin.player.scene import Actions
from mlagents_marl_plugin.player.scenes.battle_field import ATTACKS, BLUE, MOVES, RED, STAY, BattleField
from mlagents_marl_plugin.player.scenes.battle_opponents import RandomOpponent, ScriptedOpponent
from mlagents_marl_plugin.player.scenes.battle_options import BattleOptions
from mlagents_marl_plugin.player.scenes.battle_scene import BattleScene
from mlagents_marl_plugin.player.scenes.seeds import area_seed
from tests.unit.magent2_battle import battle_env, begin

SEED = 11
SMALL = {"map_size": 20}  # twelve soldiers a side


def asking(rows):
    return np.ones(len(rows.seat), bool) if rows.done is None else ~rows.done


def fight(scene, frame, rng):
    """Answers to all who ask: some hunt, which lets soldiers die, the others do anything."""
    hunts = [
        np.concatenate([ScriptedOpponent().act(field, side) for side in scene._sides])
        for field in scene.fields
    ]
    seats = [np.concatenate([living[side] for side in scene._sides]) for living in scene._living]
    hunt = dict(zip(np.concatenate(seats).tolist(), np.concatenate(hunts).tolist(), strict=True))
    answers = {}
    for behavior, rows in frame.items():
        seat = rows.seat[asking(rows)]
        anything = rng.integers(0, 21, len(seat))
        choice = np.where(rng.random(len(seat)) < 0.6, [hunt[s] for s in seat.tolist()], anything)
        answers[behavior] = Actions(seat, np.zeros((len(seat), 0), np.float32), choice[:, None])
    return answers


def by_seat(frame, ended):
    """Observations flat and side by side, reward and the flag of interruption, of one sort of rows."""
    found = {}
    for rows in frame.values():
        chosen = np.flatnonzero(~asking(rows) if ended else asking(rows))
        seen = np.concatenate([o.reshape(len(o), -1) for o in rows.observations], axis=1)
        for row in chosen.tolist():
            stop = rows.interrupted is not None and bool(rows.interrupted[row])
            found[int(rows.seat[row])] = (seen[row], float(rows.reward[row]), stop)
    return found


def as_ours(view, channels):
    """MAgent2 repeats features in every cell behind the view's channels."""
    return np.concatenate([view[..., :channels].ravel(), view[0, 0, channels:]])


def compare(options, theirs, areas, steps):
    """Plays both with the same actions; returns how soldiers' battles ended."""
    scene = BattleScene(areas, SEED, options)
    envs = [
        battle_env(seed=area_seed(SEED, area), max_cycles=options.max_steps, **theirs)
        for area in range(areas)
    ]
    channels = scene.fields[0].view_shape[2]
    per_area = scene._seats_per_area
    rng = np.random.default_rng(0)
    names = envs[0].possible_agents
    number = {name: index for index, name in enumerate(names)}
    ends = set()
    frame = scene.reset()
    current = [begin(env) for env in envs]
    paid = [dict.fromkeys(env.agents, 0.0) for env in envs]
    for _ in range(steps):
        asked = by_seat(frame, ended=False)
        assert set(asked) == {a * per_area + number[n] for a, env in enumerate(envs) for n in env.agents}
        for seat, (seen, reward, _) in asked.items():
            area, soldier = divmod(seat, per_area)
            name = names[soldier]
            np.testing.assert_array_equal(seen, as_ours(current[area][name], channels))
            assert reward == np.float32(paid[area][name])
        answers = fight(scene, frame, rng)
        chosen = {s: c for a in answers.values() for s, c in zip(a.seat, a.discrete[:, 0], strict=True)}
        frame = scene.step(answers)
        over = by_seat(frame, ended=True)
        for area, env in enumerate(envs):
            actions = {n: chosen[area * per_area + number[n]] for n in env.agents}
            obs, rewards, terminated, truncated, _ = env.step(actions)
            gone = {n for n in actions if terminated[n] or truncated[n]}
            mine = {s - area * per_area: row for s, row in over.items() if s // per_area == area}
            assert {names[s] for s in mine} == gone
            for soldier, (seen, reward, interrupted) in mine.items():
                name = names[soldier]
                np.testing.assert_array_equal(seen, as_ours(obs[name], channels))
                assert reward == np.float32(rewards[name])
                assert interrupted == (truncated[name] and not terminated[name])
                ends.add("interrupted" if interrupted else "survived" if len(gone) > 9 else "died")
            current[area], paid[area] = obs, rewards
            if not env.agents:
                current[area], paid[area] = begin(env), dict.fromkeys(env.possible_agents, 0.0)
    return ends


def test_two_armies_of_81_are_what_magent2_plays_for_1000_steps():
    options = BattleOptions("shared", max_steps=70)
    assert compare(options, {}, areas=1, steps=1000) == {"interrupted", "survived", "died"}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"minimap": True}, {"minimap_mode": True}),
        ({"extra_features": True}, {"extra_features": True}),
        ({"minimap": True, "extra_features": True}, {"minimap_mode": True, "extra_features": True}),
        (
            {
                "step_reward": -0.25,
                "dead_penalty": -3.0,
                "attack_penalty": -0.5,
                "attack_opponent_reward": 2.0,
            },
            {
                "step_reward": -0.25,
                "dead_penalty": -3.0,
                "attack_penalty": -0.5,
                "attack_opponent_reward": 2.0,
            },
        ),
    ],
)
def test_options_are_magent2s(ours, theirs):
    options = BattleOptions("self-play", max_steps=30, **SMALL, **ours)
    assert compare(options, SMALL | theirs, areas=2, steps=120) >= {"interrupted"}


def test_sides_are_teams_in_self_play_and_one_behaviour_otherwise():
    for opponent, behaviors, seats in (
        ("random", ["Battle?team=0"], 81),
        ("scripted", ["Battle?team=0"], 81),
        ("shared", ["Battle?team=0"], 162),
        ("self-play", ["Battle?team=0", "Battle?team=1"], 162),
    ):
        scene = BattleScene(2, SEED, BattleOptions(opponent))
        assert [behavior.id for behavior in scene.behaviors] == behaviors
        frame = scene.reset()
        assert sorted(np.concatenate([rows.seat for rows in frame.values()])) == list(range(2 * seats))
        assert scene.num_seats == 2 * seats


def test_each_army_of_each_area_is_a_group():
    scene = BattleScene(2, SEED, BattleOptions("shared", **SMALL))
    (rows,) = scene.reset().values()
    assert rows.group.tolist() == [1] * 12 + [2] * 12 + [3] * 12 + [4] * 12
    (rows,) = BattleScene(2, SEED, BattleOptions("random", **SMALL)).reset().values()
    assert rows.group.tolist() == [1] * 12 + [3] * 12
    (rows,) = BattleScene(2, SEED, BattleOptions("random", groups="none", **SMALL)).reset().values()
    assert not rows.group.any()


def test_a_picture_has_channels_first_and_a_vector_is_flat():
    flat = BattleScene(1, SEED, BattleOptions("random", **SMALL))
    camera = BattleScene(1, SEED, BattleOptions("random", visual=True, **SMALL))
    assert [sensor.shape for sensor in flat.behaviors[0].sensors] == [(845,)]
    assert [sensor.shape for sensor in camera.behaviors[0].sensors] == [(5, 13, 13)]
    (vectors,), (pictures,) = flat.reset().values(), camera.reset().values()
    np.testing.assert_array_equal(
        pictures.observations[0], vectors.observations[0].reshape(-1, 13, 13, 5).transpose(0, 3, 1, 2)
    )


def placed(red, blue):
    """A field with these soldiers only."""
    field = BattleField(0, BattleOptions(**SMALL))
    field._game.reset()
    for handle, cells in zip(field._handles, (red, blue), strict=True):
        field._game.add_agents(handle, method="custom", pos=[(*cell, 0) for cell in cells])
    return field


def test_the_tables_of_actions_are_magent2s():
    for action, move in enumerate(MOVES):
        field = placed([(10, 10)], [(17, 17)])
        field.step((np.array([action]), np.array([STAY])))
        assert (field.cells(RED)[0] - 10).tolist() == move.tolist()
    for action, place in enumerate(ATTACKS, start=len(MOVES)):
        field = placed([(10, 10)], [tuple(10 + place)])
        red, _ = field.step((np.array([action]), np.array([STAY])))
        assert red.reward[0] == pytest.approx(-0.005 - 0.1 + 0.2)


def test_scripted_soldiers_walk_up_around_each_other_and_attack():
    field = placed([(5, 10)], [(9, 10), (11, 10), (12, 10)])
    for _ in range(12):
        field.step((np.array([STAY]), ScriptedOpponent().act(field, BLUE)))
        if field.over:
            break
    assert field.over and field.num_living(RED) == 0
    assert len(ScriptedOpponent().act(field, RED)) == 0


def test_scripted_soldiers_do_not_walk_into_walls_or_each_other():
    field = placed([(1, 1)], [(4, 1), (3, 1), (2, 3)])
    moved = ScriptedOpponent().act(field, BLUE)
    goal = field.cells(BLUE)[moved < len(MOVES)] + MOVES[moved[moved < len(MOVES)]]
    assert (goal > 0).all()
    assert len({tuple(cell) for cell in goal.tolist()} & {(1, 1)}) == 0


def test_a_random_opponent_follows_the_seed():
    field = placed([(5, 10)], [(9, 10), (11, 10), (12, 10)])
    first, again, other = (RandomOpponent(seed, 0) for seed in (1, 1, 2))
    drawn = [[player.act(field, BLUE).tolist() for _ in range(5)] for player in (first, again, other)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_nobody_answering_is_staying():
    scene = BattleScene(1, SEED, BattleOptions("shared", **SMALL))
    scene.reset()
    before = scene.fields[0].cells(RED)
    scene.step({})
    np.testing.assert_array_equal(scene.fields[0].cells(RED), before)


def test_a_wiped_out_side_says_nothing_until_the_next_battle():
    scene = BattleScene(1, SEED, BattleOptions("scripted", max_steps=0, **SMALL))
    scene.reset()
    for _ in range(200):
        (rows,) = scene.step({}).values()
        if rows.done.all() or (rows.done.any() and (~rows.done).sum() == 12):
            break
    else:
        pytest.fail("the scripted army never won")
    assert not rows.interrupted.any()
    assert sorted(rows.seat[~rows.done].tolist()) == list(range(12)), (
        "the next battle begins at the same tick"
    )
    assert not rows.reward[~rows.done].any()
    told = {statistic.name: statistic.value for statistic in scene.drain_statistics()}
    assert told["Battle/Red Wins"] == told["Battle/Red Survivors"] == 0.0
    assert told["Battle/Blue Survivors"] == 12.0
    assert not scene.drain_statistics()
