"""What to do about errors of the host: a line after its traceback, which names the cause but no remedy."""

import difflib
import re
import sys
from collections.abc import Callable
from types import TracebackType

import attr
import mlagents.trainers.settings
from mlagents.trainers.exception import TrainerConfigError
from mlagents_envs.exception import (
    UnityEnvironmentException,
    UnityObservationException,
    UnityTimeOutException,
    UnityWorkerInUseException,
)

from mlagents_marl_plugin.adapter.misread import misread
from mlagents_marl_plugin.adapter.settings import SCHEMAS

_SAVED = "What was learnt is saved; go on with --resume"
_PORT = (
    "port: expected a free one, got one on which somebody listens; end the other training or the player that it left, "
    "or choose another --base-port (builds only, without --env it is always 5004)"
)
_ANSWER = (
    "timeout_wait: expected the scene to answer in time, got nothing; press Play sooner, or look at the Editor's "
    "console or run_logs/Player-0.log, and raise timeout_wait in env_settings if the scene only needs longer. "
    + _SAVED
)
_STUCK = (
    "timeout_wait: expected the scene's process to end within 60 seconds of its failure, got one that hangs; set "
    "timeout_wait below 60 in env_settings to have builds that hang replaced. " + _SAVED
)
_GONE = (
    "max_lifetime_restarts, restarts_rate_limit_n: expected a scene that goes on, got one that ended or failed too "
    "often; look at run_logs/Player-0.log, or set both to -1 in env_settings to have it replaced for ever. "
    + _SAVED
)
_NOT_FINITE = (
    "scene: expected finite observations and rewards, got NaN or Inf (see above); a division by zero in "
    "CollectObservations or AddReward, say. Nothing of that step was learnt from. " + _SAVED
)
_SHAPE = (
    "scene: expected observations of one size per behaviour, got another one (see above); sensors must not change "
    "while the scene plays. Nothing of that step was learnt from. " + _SAVED
)


_UNKNOWN = re.compile(r"The option (.+) was specified in your YAML file for (\w+), but is invalid")


def last_words(error: BaseException) -> str | None:
    """What to do about an error of the host that a scene or a wrong field has caused; None of any other."""
    text = str(error)
    unknown = _UNKNOWN.match(text)
    if isinstance(error, TrainerConfigError) and unknown is not None:
        return _about_unknown(*unknown.groups())
    if isinstance(error, UnityWorkerInUseException):
        return _PORT
    if isinstance(error, UnityTimeOutException):
        return _ANSWER
    if isinstance(error, UnityObservationException):
        return _SHAPE
    if isinstance(error, UnityEnvironmentException) and text.startswith("Environment shut down"):
        return _GONE
    if isinstance(error, TimeoutError) and "stuck in waiting state" in text:
        return _STUCK
    if isinstance(error, RuntimeError) and text.startswith("The ") and "provided had" in text:
        return _NOT_FINITE
    return misread(error)


def _about_unknown(field: str, section: str) -> str:
    ours = {schema.__name__: schema for schema in SCHEMAS.values()}
    known = ours.get(section) or getattr(mlagents.trainers.settings, section, None)
    names = [one.name for one in attr.fields(known)] if known is not None and attr.has(known) else []
    close = difflib.get_close_matches(field, names, n=1)
    remedy = f"did you mean {close[0]}?" if close else "the examples in trainer_configs show what there is"
    where = f"hyperparameters.{field}" if section in ours else field
    return f"{where}: expected a field of {section}, got one that it does not have; {remedy}"


def say_last_words() -> None:
    """From now on, an error that ends this program by such an exception is followed by that line."""
    if not isinstance(sys.excepthook, _Hook):
        sys.excepthook = _Hook(sys.excepthook)


class _Hook:
    def __init__(self, before: Callable[..., None]) -> None:
        self._before = before

    def __call__(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        self._before(kind, error, trace)
        told = last_words(error)
        if told is not None:
            print(told, file=sys.stderr)
