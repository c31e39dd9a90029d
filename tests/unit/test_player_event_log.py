import base64
import json
import os

import numpy as np

from mlagents_marl_plugin.player.agent_ids import AgentIds
from mlagents_marl_plugin.player.event_log import EventLog
from mlagents_marl_plugin.player.scene import Actions, Rows
from mlagents_marl_plugin.player.scenes.counter import (
    CounterOptions,
    CounterScene,
    group_reward_of,
    reward_of,
)


def lines_of(log):
    return [json.loads(line) for line in log.path.read_text(encoding="utf-8").splitlines()]


def play(log, scene, steps, reset_at=()):
    """Play with actions that name their agent and tick; returns (agent, action) in order of decision."""
    ids = AgentIds(scene.num_seats)
    sent = []
    frame = scene.reset()
    log.reset()
    for tick in range(steps):
        assigned = ids.assign(frame)
        log.reported(frame, assigned)
        actions = {}
        for behavior, rows in frame.items():
            asking = ~rows.done
            value = assigned[behavior][asking] + tick / 1000
            continuous = np.stack([value, -value], axis=1).astype(np.float32)
            actions[behavior] = Actions(rows.seat[asking], continuous, np.zeros((asking.sum(), 0), int))
            sent += [
                (agent, a)
                for agent, a in zip(assigned[behavior][asking].tolist(), continuous.tolist(), strict=True)
            ]
        if tick in reset_at:
            log.reset()
            frame = scene.reset()
        else:
            log.decided(actions)
            frame = scene.step(actions)
    log.reported(frame, ids.assign(frame))
    return sent


def test_a_line_holds_the_decision_its_action_and_what_came_of_it(tmp_path):
    log = EventLog(tmp_path / "events.jsonl", 5005)
    sent = play(log, CounterScene(2, 0, CounterOptions(agents=2, deaths=True, group_ids=True)), 30)
    lines = lines_of(log)
    assert len(lines) == len(sent)
    assert sorted((line["agent"], line["continuous"]) for line in lines) == sorted(sent)
    for line in lines:
        (before,), (after,) = line["obs"], line["next_obs"]
        assert before[3] == line["decision"]
        assert after == [*before[:3], before[3] + 1]
        assert line["reward"] == reward_of(np.array(after, np.float32))
        assert line["group_reward"] == group_reward_of(np.array(after, np.float32))
        assert line["group"] == before[0] + 1
        assert line["seat"] == 2 * before[0] + before[1]
        assert (line["port"], line["pid"], line["resets"]) == (5005, os.getpid(), 1)
    assert any(line["done"] and line["interrupted"] for line in lines)
    assert any(line["done"] and not line["interrupted"] for line in lines)


def test_float32_values_survive_the_file(tmp_path):
    log = EventLog(tmp_path / "events.jsonl", 1)
    sent = play(log, CounterScene(1, 0, CounterOptions()), 3)
    assert np.float32(lines_of(log)[0]["continuous"][0]) == np.float32(sent[0][1][0])


def test_decisions_that_a_reset_cuts_short_have_no_line(tmp_path):
    log = EventLog(tmp_path / "events.jsonl", 1)
    play(log, CounterScene(1, 0, CounterOptions(min_length=50, max_length=60)), 6, reset_at={3})
    lines = lines_of(log)
    assert [(line["resets"], line["decision"]) for line in lines if line["seat"] == 0] == [
        (1, 0),
        (1, 1),
        (1, 2),
        (2, 0),
        (2, 1),
    ]
    assert {line["agent"] for line in lines} == {0, 1}


def test_an_agent_with_a_longer_period_has_its_own_decisions(tmp_path):
    log = EventLog(tmp_path / "events.jsonl", 1)
    play(log, CounterScene(1, 0, CounterOptions(periods=(1, 3), min_length=7, max_length=7)), 8)
    slow = [line for line in lines_of(log) if line["seat"] == 1]
    assert [(line["obs"][0][3], line["next_obs"][0][3], line["done"]) for line in slow] == [
        (0, 3, False),
        (3, 6, False),
        (6, 7, True),
    ]


def test_pictures_are_logged_too(tmp_path):
    log = EventLog(tmp_path / "events.jsonl", 1)
    for picture in (b"\x89PNG 1", b"\x89PNG 2"):
        log.reported({"Camera": Rows(np.arange(1), ([picture],))}, {"Camera": np.arange(1)})
        log.decided({"Camera": Actions(np.arange(1), np.zeros((1, 1), np.float32), np.zeros((1, 0), int))})
    (line,) = lines_of(log)
    assert base64.b64decode(line["obs"][0]) == b"\x89PNG 1"
    assert base64.b64decode(line["next_obs"][0]) == b"\x89PNG 2"


def test_each_process_and_port_has_a_file_of_its_own(tmp_path):
    log = EventLog(tmp_path / "deep" / "events.jsonl", 5007)
    assert log.path == tmp_path / "deep" / f"events-5007-{os.getpid()}.jsonl"
    assert EventLog(tmp_path / "plain", 1).path.name == f"plain-1-{os.getpid()}.jsonl"
