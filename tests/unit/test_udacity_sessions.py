"""The bridge says to a build, byte for byte, what the released Python package of ML-Agents 0.4 said to it."""

import contextlib
from pathlib import Path

import numpy as np
import pytest

from mlagents_marl_plugin.player.legacy.academy import Academy
from mlagents_marl_plugin.player.legacy.schema import UnityMessage
from mlagents_marl_plugin.player.legacy.udacity_options import UdacityOptions
from mlagents_marl_plugin.player.legacy.udacity_scene import UdacityScene
from mlagents_marl_plugin.player.scene import Actions
from mlagents_marl_plugin.player.side_channels import EnvironmentParameters
from tests.udacity.fake_build import RESET, FakeBuild
from tests.udacity.games import GAMES
from tests.udacity.wire import every, first, floats

# Recorded by tests/udacity/record_sessions.py.
SESSIONS = Path(__file__).parents[1] / "udacity" / "sessions"
ONE_BRAIN, TWO_BRAINS = ("tennis", "banana"), ("soccer", "pixels")
SEED = 3


def recorded(game):
    """The calls of the build and what Python answered."""
    lines = (SESSIONS / f"{game}.txt").read_text().splitlines()
    return [tuple(bytes.fromhex(part) for part in line.split()) for line in lines]


class Replay:
    """A build that says what was recorded, whatever it is answered."""

    foreign_call = None
    exit_code = None

    def __init__(self, calls):
        self.calls, self.answers = iter(calls), []

    def next_call(self, seconds):
        return next(self.calls)

    def answer(self, message):
        self.answers.append(message)

    def wait(self, seconds):
        return True

    def close(self):
        pass

    def end(self):
        pass


def decided(answer, scene, frame):
    """What was decided in a recorded answer; None where it resets."""
    rl_input = first(first(answer, 3), 1)
    if first(rl_input, 4, 0) == RESET:
        return None
    told = {
        str(first(entry, 1), "utf-8"): [floats(first(action, 1)) for action in every(first(entry, 2), 1)]
        for entry in every(rl_input, 1)
    }
    given = {}
    for behavior in scene.behaviors:
        values = np.array(told[behavior.name])
        nothing = np.zeros((len(values), 0))
        continuous, discrete = (values, nothing) if behavior.actions.continuous else (nothing, values)
        rows = frame[behavior.id]
        seat = rows.seat[~rows.done]
        given[behavior.id] = Actions(seat, continuous.astype(np.float32), discrete.astype(np.int64))
    return given


def replayed(session):
    """The answers of the bridge to the calls of a session, given the same decisions."""
    replay = Replay(call for call, _ in session)
    scene = UdacityScene(
        Academy(replay, replay, timeout=1), SEED, UdacityOptions(Path("Tennis")), EnvironmentParameters()
    )
    frame = scene.reset()
    playing = iter([answer for _, answer in session[2:]])
    for answer in playing:
        if first(first(answer, 1), 1) != 200 or len(replay.answers) == len(session) - 1:
            break
        actions = decided(answer, scene, frame)
        if actions is not None:
            frame = scene.step(actions)
    scene.close()
    return replay.answers


@pytest.mark.parametrize("game", ONE_BRAIN)
def test_a_recorded_session_is_answered_byte_for_byte(game):
    session = recorded(game)
    given = replayed(session)
    assert [answer.hex() for answer in given] == [answer.hex() for _, answer in session]
    # The session held what matters: two resets or more, steps, and the end.
    commands = [first(first(first(answer, 3), 1), 4, 0) for answer in given[1:-1]]
    assert commands.count(RESET) >= 2
    assert len(commands) > 20
    assert given[-1] == bytes.fromhex("0a03089003")


@pytest.mark.parametrize("game", TWO_BRAINS)
def test_with_several_brains_the_messages_are_equal_up_to_the_order_of_a_map(game):
    session = recorded(game)
    given = replayed(session)[: len(session) - 1]
    assert len(given) > 20
    for ours, (_, theirs) in zip(given, session, strict=False):
        assert len(ours) == len(theirs)
        assert UnityMessage.FromString(ours) == UnityMessage.FromString(theirs)


@pytest.mark.parametrize("game", ONE_BRAIN + TWO_BRAINS)
def test_the_fake_build_still_says_what_the_old_package_accepted(game):
    session = iter(recorded(game))

    def exchange(call):
        recorded_call, answer = next(session, (None, None))
        if recorded_call is None:
            raise EOFError
        assert call == recorded_call
        return answer

    build = FakeBuild(GAMES[game], exchange)
    with contextlib.suppress(EOFError):
        build.play()
    assert build.diary[0] == {"seed": SEED}
    assert len(build.diary) > 20


def test_a_step_that_nobody_asked_for_is_a_step_all_the_same():
    replay = Replay([bytes.fromhex("0a0308c801")])
    Academy(replay, replay, timeout=1).step({})
    # Header 200; an input that holds an empty rl_input, as the old package sends it.
    assert [answer.hex() for answer in replay.answers] == ["0a0308c8011a020a00"]
