"""A scene whose rows do not fit what it said of itself is told so, in the player's own words."""

import logging

import numpy as np
import pytest
from mlagents_envs.communicator_objects import command_pb2
from mlagents_envs.communicator_objects.unity_message_pb2 import UnityMessageProto

from mlagents_marl_plugin.player.messages import PROTOCOL_VERSION
from mlagents_marl_plugin.player.row_shapes import check_frame
from mlagents_marl_plugin.player.scene import ActionSpec, Behavior, Rows, Scene, SceneError, SensorSpec
from mlagents_marl_plugin.player.session import Session

WALKER = Behavior(
    "Walker", (SensorSpec("legs", (4,)), SensorSpec("eye", (3, 8, 8), png=True)), ActionSpec(branches=(3, 2))
)
SWIMMER = Behavior("Swimmer", (SensorSpec("fins", (2,)),), ActionSpec(continuous=1))
BEHAVIORS = {behavior.id: behavior for behavior in (WALKER, SWIMMER)}
LEGS, EYES, NUMBERS, FLAGS = np.zeros((5, 4), np.float32), [b"png"] * 5, np.zeros(5), np.zeros(5, bool)
FINS = (np.zeros((5, 2), np.float32),)


def rows(observations=(LEGS, EYES), **columns):
    return Rows(np.arange(5), observations, **columns)


def test_rows_that_fit_pass_with_and_without_every_column():
    full = rows(
        reward=NUMBERS,
        done=FLAGS,
        interrupted=FLAGS,
        group=np.ones(5, np.int64),
        group_reward=NUMBERS,
        forbidden=np.zeros((5, 5), bool),
    )
    check_frame(BEHAVIORS, {WALKER.id: full, SWIMMER.id: rows(FINS)})
    check_frame(BEHAVIORS, {WALKER.id: rows()})
    nobody = Rows(np.zeros(0, np.int64), (np.zeros((0, 4), np.float32), []))
    check_frame(BEHAVIORS, {WALKER.id: nobody})


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (rows((LEGS[:, :3], EYES)), "sensor legs: expected an array of shape [5, 4], got [5, 3]"),
        (rows((LEGS[:1], EYES)), "sensor legs: expected an array of shape [5, 4], got [1, 4]"),
        (rows((LEGS.tolist(), EYES)), "sensor legs: expected an array of shape [5, 4], got list"),
        (rows((LEGS, EYES[:4])), "sensor eye: expected 5 PNG files, got 4"),
        (rows((LEGS,)), "observations: expected one per sensor (legs, eye), got 1"),
        (rows(reward=np.zeros((5, 1))), "reward: expected an array of shape [5], got [5, 1]"),
        (rows(reward=1.0), "reward: expected an array of shape [5], got float"),
        (rows(done=FLAGS[:1]), "done: expected an array of shape [5], got [1]"),
        (rows(interrupted=FLAGS[:4]), "interrupted: expected an array of shape [5], got [4]"),
        (rows(group=np.int64(1)), "group: expected an array of shape [5], got []"),
        (rows(group_reward=NUMBERS[:1]), "group_reward: expected an array of shape [5], got [1]"),
        (rows(forbidden=np.zeros(5, bool)), "forbidden: expected an array of shape [5, 5], got [5]"),
    ],
)
def test_rows_that_do_not_fit_are_named_with_both_shapes(given, says):
    with pytest.raises(SceneError) as raised:
        check_frame(BEHAVIORS, {WALKER.id: given})
    assert str(raised.value).startswith(f"Walker?team=0, {says}; mend what the scene reports")


def test_a_mask_without_choices_and_a_behaviour_of_nobody_are_refused():
    masked = rows(FINS, forbidden=np.zeros((5, 0), bool))
    with pytest.raises(SceneError, match=r"^Swimmer\?team=0, forbidden: expected none without discrete"):
        check_frame(BEHAVIORS, {SWIMMER.id: masked})
    with pytest.raises(
        SceneError, match=r"^rows of Swimmer: expected one of Walker\?team=0, Swimmer\?team=0,"
    ):
        check_frame(BEHAVIORS, {"Swimmer": rows(FINS)})


class Trainer:
    """Shakes hands, then asks for a reset."""

    def __init__(self):
        self.answer = UnityMessageProto()
        self.answer.header.status = 200
        self.answer.unity_input.rl_input.command = command_pb2.RESET
        self.answer.unity_input.rl_initialization_input.communication_version = PROTOCOL_VERSION

    def exchange(self, message):
        return self.answer


class Twisted(Scene):
    """Reports whatever it was made with."""

    behaviors, num_seats = (WALKER,), 5

    def __init__(self, frame):
        self.frame = frame

    def reset(self):
        return self.frame

    def step(self, actions):
        return self.frame


@pytest.mark.parametrize(
    "frame", [{WALKER.id: rows((LEGS[:, :1], EYES))}, {WALKER.id: rows(done=FLAGS[:3])}, {"Stranger": rows()}]
)
def test_a_session_ends_by_the_scenes_own_error_before_anything_is_made_of_its_rows(frame):
    session = Session(Trainer(), lambda *_: Twisted(frame), logging.getLogger("test"))
    with pytest.raises(SceneError, match="expected"):
        session.run()
