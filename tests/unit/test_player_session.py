"""What the trainer has heard when the player makes its scene, and how a player ends that cannot."""

import logging
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
from mlagents_envs.communicator_objects import command_pb2
from mlagents_envs.communicator_objects.unity_message_pb2 import UnityMessageProto

from mlagents_marl_plugin.player import runner
from mlagents_marl_plugin.player.messages import OK, PROTOCOL_VERSION, QUIT, bare
from mlagents_marl_plugin.player.options import parse
from mlagents_marl_plugin.player.protocol import MessageTooLarge, TrainerClosed
from mlagents_marl_plugin.player.scene import ActionSpec, Behavior, Rows, Scene, SceneError, SensorSpec
from mlagents_marl_plugin.player.scenes import SCENES
from mlagents_marl_plugin.player.session import Session

COUNTER = SCENES["Counter"]


class Trainer:
    """Shakes hands, then sends what it was given, and closes; notes what it hears."""

    def __init__(self, *then):
        hello = UnityMessageProto()
        hello.header.status = OK
        hello.unity_input.rl_initialization_input.communication_version = PROTOCOL_VERSION
        self.answers, self.heard, self.good_byes = [hello, *then], [], 0

    def exchange(self, message):
        self.heard.append(message)
        if not self.answers:
            raise TrainerClosed("CANCELLED")
        return self.answers.pop(0)

    def wait_for_trainer(self, seconds):
        pass

    def say_good_bye(self):
        self.good_byes += 1

    def close(self):
        pass


def command(kind):
    message = UnityMessageProto()
    message.header.status = OK
    message.unity_input.rl_input.command = kind
    return message


RESET = command(command_pb2.RESET)


def test_a_scene_is_made_when_the_trainer_looks_whether_the_player_lives():
    trainer, heard = Trainer(RESET), []

    def make_scene(*_):
        heard.extend(trainer.heard)
        raise SceneError("not today")

    with pytest.raises(SceneError, match="not today"):
        Session(trainer, make_scene, logging.getLogger("test")).run()
    assert heard[1:] == [bare(OK)]


@pytest.mark.parametrize("then", [(), (UnityMessageProto.FromString(bare(QUIT)),)], ids=["closes", "quits"])
def test_a_trainer_that_leaves_after_the_handshake_needs_no_scene(then):
    session = Session(Trainer(*then), pytest.fail, logging.getLogger("test"))
    assert session.run() == "the trainer closed the connection"


@pytest.fixture
def found_by_players(monkeypatch):
    """Makes a trainer the one that players find, and leaves this process as it is."""
    for name in ("watch_forked_parent", "_leave_interrupts_to_the_trainer"):
        monkeypatch.setattr(runner, name, lambda *_: None)
    return lambda trainer: monkeypatch.setattr(runner, "TrainerConnection", lambda port: trainer)


def play(create, in_editor, *arguments):
    options = parse(COUNTER, ["--mlagents-port", "5005", *arguments], in_editor)
    return runner.run_player(SimpleNamespace(name="Any", create=create), options, in_editor)


@pytest.mark.parametrize("error", [SystemExit("no display"), SceneError("no display"), OSError("no display")])
@pytest.mark.parametrize("in_editor", [True, False])
def test_a_player_that_cannot_make_its_scene_says_why_and_fails(
    error, in_editor, found_by_players, tmp_path, capsys
):
    trainer = Trainer(RESET)
    found_by_players(trainer)

    def create(_):
        raise error

    assert play(create, in_editor, "-logFile", str(tmp_path / "log")) == runner.FAILED
    assert "no display" in (tmp_path / "log").read_text()
    assert "no display" in capsys.readouterr().err
    assert trainer.good_byes == int(in_editor), "a launched player's exit code says it"


def test_another_protocol_is_answered_by_a_good_bye_since_the_trainer_only_listens(found_by_players):
    trainer = Trainer()
    trainer.answers[0].unity_input.rl_initialization_input.communication_version = "2.0.0"
    found_by_players(trainer)
    assert play(pytest.fail, in_editor=False) == runner.FAILED
    assert trainer.good_byes == 1


@pytest.mark.parametrize(
    ("areas", "size", "told"),
    [
        (
            1,
            600_000,
            r"one area: expected at most \d+ bytes when its episodes end, got 48\d+, and .*; use fewer of them",
        ),
        (3, 600_000, r"one area: .* got 48\d+, and"),
        (
            9,
            200_000,
            r"--num-areas: expected at most 2, got 9; when all episodes end, a message has 144\d+ bytes",
        ),
    ],
)
def test_areas_that_do_not_fit_into_a_message_are_refused(areas, size, told):
    class Wide(Scene):
        behaviors, num_seats = (Behavior("Wide", (SensorSpec("eye", (size,)),), ActionSpec(1)),), areas
        smaller = "fewer of them"

        def reset(self):
            return {"Wide?team=0": Rows(np.arange(areas), (np.zeros((areas, size), np.float32),))}

        def step(self, actions):
            raise AssertionError

    trainer = Trainer(RESET)
    trainer.answers[0].unity_input.rl_initialization_input.num_areas = areas
    with pytest.raises(MessageTooLarge, match=f"^{told}"):
        Session(trainer, lambda *_: Wide(), logging.getLogger("test")).run()


@pytest.mark.parametrize(("steps", "good_byes"), [(0, 0), (1, 1)])
def test_a_launched_player_says_good_bye_once_it_has_shown_something(steps, good_byes, found_by_players):
    trainer = Trainer(*[RESET] * (steps + 1))
    found_by_players(trainer)

    def create(settings):
        scene = COUNTER.create(settings)
        scene.reset = Mock(side_effect=[scene.reset()] * steps + [SystemExit])
        return scene

    assert play(create, in_editor=False) == runner.FAILED
    assert trainer.good_byes == good_byes
