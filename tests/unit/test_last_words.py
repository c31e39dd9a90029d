"""The line of ours after a traceback of the host that a scene has caused."""

import socket
import sys

import pytest
from mlagents.trainers.exception import TrainerConfigError
from mlagents_envs.exception import (
    UnityEnvironmentException,
    UnityObservationException,
    UnityTimeOutException,
    UnityWorkerInUseException,
)
from mlagents_envs.rpc_communicator import RpcCommunicator

from mlagents_marl_plugin.adapter import last_words


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            UnityWorkerInUseException(0),
            "port: expected a free one, got one on which somebody listens; end the other",
        ),
        (
            UnityTimeOutException("took too long"),
            "timeout_wait: expected the scene to answer in time, got nothing",
        ),
        (
            UnityObservationException("shape"),
            "scene: expected observations of one size per behaviour, got another",
        ),
        (
            UnityEnvironmentException("Environment shut down with return code 70."),
            "max_lifetime_restarts, restarts_rate_limit_n: expected a scene that goes on, got one that ended",
        ),
        (
            TimeoutError("Workers {0} stuck in waiting state"),
            "timeout_wait: expected the scene's process to end within 60 seconds of its failure, got one that hangs",
        ),
        (
            RuntimeError("The observations provided had NaN values."),
            "scene: expected finite observations and rewards, got NaN or Inf",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_last_line_says_what_to_do(
    error: Exception, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    last_words.say_last_words()
    last_words.say_last_words()
    sys.excepthook(type(error), error, None)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith(told)
    assert "; " in lines[-1]
    assert type(error).__name__ in lines[-2]


def test_a_port_that_is_in_use_is_what_the_host_calls_a_worker_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(UnityWorkerInUseException) as raised:
        RpcCommunicator(worker_id=0, base_port=other.getsockname()[1])
    assert str(last_words.last_words(raised.value)).startswith("port: expected a free one")


def test_a_field_that_there_is_not_is_told_with_the_nearest_one() -> None:
    known = "The option {} was specified in your YAML file for {}, but is invalid."
    told = last_words.last_words(TrainerConfigError(known.format("bach_size", "MaddpgSettings")))
    assert told is not None
    assert told.startswith(
        "hyperparameters.bach_size: expected a field of MaddpgSettings, got one that it does not "
    )
    assert told.endswith("; did you mean batch_size?")
    told = last_words.last_words(TrainerConfigError(known.format("max_step", "TrainerSettings")))
    assert told is not None
    assert told.startswith("max_step: expected a field of TrainerSettings, got")
    assert told.endswith("did you mean max_steps?")
    assert "trainer_configs" in str(last_words.last_words(TrainerConfigError(known.format("zzz", "Nobody"))))


@pytest.mark.parametrize(
    "error",
    [RuntimeError("CUDA error"), TimeoutError("timed out"), UnityEnvironmentException("No environment")],
)
def test_other_errors_speak_for_themselves(error: Exception) -> None:
    assert last_words.last_words(error) is None
