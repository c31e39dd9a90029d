"""Battles behind mlagents_envs' own UnityEnvironment."""

import re

import numpy as np
import pytest
from mlagents_envs.base_env import ActionTuple
from mlagents_envs.exception import UnityEnvironmentException

from mlagents_marl_plugin.player.scene import Actions
from mlagents_marl_plugin.player.scenes.battle_field import RED
from mlagents_marl_plugin.player.scenes.battle_opponents import ScriptedOpponent
from mlagents_marl_plugin.player.scenes.battle_options import BattleOptions
from mlagents_marl_plugin.player.scenes.battle_scene import BattleScene
from tests.contract.playing import PATIENCE, environment


def test_a_battle_over_the_wire_is_what_the_scene_plays(tmp_path):
    direct = BattleScene(2, 9, BattleOptions("self-play", max_steps=12, map_size=20))
    frame = direct.reset()
    rng = np.random.default_rng(0)
    options = ["--opponent", "self-play", "--max-steps", "12", "--map-size=20"]
    died = interrupted = 0
    with environment(tmp_path, "Battle", *options, seed=9, num_areas=2) as played:
        played.reset()
        assert list(played.behavior_specs) == ["Battle?team=0", "Battle?team=1"]
        for _ in range(35):
            answers = {}
            for behavior, rows in frame.items():
                decisions, ended = played.get_steps(behavior)
                done = np.zeros(len(rows.seat), bool) if rows.done is None else rows.done
                np.testing.assert_array_equal(decisions.obs[0], rows.observations[0][~done])
                np.testing.assert_array_equal(decisions.reward, rows.reward[~done])
                np.testing.assert_array_equal(decisions.group_id, rows.group[~done])
                np.testing.assert_array_equal(ended.obs[0], rows.observations[0][done])
                np.testing.assert_array_equal(ended.interrupted, rows.interrupted[done])
                died += int((~ended.interrupted).sum())
                interrupted += int(ended.interrupted.sum())
                if behavior == "Battle?team=0":
                    hunt = [ScriptedOpponent().act(field, RED) for field in direct.fields]
                    choice = np.concatenate(hunt)[:, None].astype(np.int32)
                else:
                    choice = rng.integers(0, 21, (len(decisions), 1)).astype(np.int32)
                played.set_actions(behavior, ActionTuple(discrete=choice))
                answers[behavior] = Actions(rows.seat[~done], np.zeros((len(choice), 0)), choice)
            played.step()
            frame = direct.step(answers)
    assert died and interrupted


def test_more_battles_than_fit_into_a_message_are_refused_with_the_number_that_does(tmp_path):
    with (
        pytest.raises(UnityEnvironmentException, match="return code 1"),
        environment(tmp_path, "Battle", num_areas=50, timeout_wait=PATIENCE) as played,
    ):
        played.reset()
    said = re.search(
        r"--num-areas: expected at most (\d+), got 50; when all episodes end, a message has",
        (tmp_path / "Player-0.log").read_text(encoding="utf-8"),
    )
    assert said is not None
    most = int(said.group(1))
    with environment(tmp_path, "Battle", "--max-steps=1", num_areas=most) as played:
        played.reset()
        played.step()
        decisions, ended = played.get_steps("Battle?team=0")
        assert len(decisions) == len(ended) == most * 81
