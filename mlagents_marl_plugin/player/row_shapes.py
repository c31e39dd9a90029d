"""Whether a scene's rows have the shapes that its behaviours promise; numpy would broadcast some others in silence."""

from collections.abc import Mapping
from typing import Any

from mlagents_marl_plugin.player.scene import Behavior, Frame, Rows, SceneError

_COLUMNS = ("reward", "done", "interrupted", "group", "group_reward")


def check_frame(behaviors: Mapping[str, Behavior], frame: Frame) -> None:
    """Look at shapes alone, which costs a few microseconds per behaviour.

    Raises:
        SceneError: if the scene reports a behaviour that it does not have, or rows that do not fit it.
    """
    for name, rows in frame.items():
        if name not in behaviors:
            raise SceneError(
                f"rows of {name}: expected one of {', '.join(behaviors)}, got another behaviour; "
                "let the scene report those that it has"
            )
        _check_rows(behaviors[name], rows)


def _check_rows(behavior: Behavior, rows: Rows) -> None:
    n = len(rows.seat)
    if len(rows.observations) != len(behavior.sensors):
        names = ", ".join(sensor.name for sensor in behavior.sensors)
        raise _wrong(behavior, "observations", f"one per sensor ({names})", f"{len(rows.observations)}")
    for sensor, observation in zip(behavior.sensors, rows.observations, strict=True):
        if sensor.png:
            if len(observation) != n:
                raise _wrong(behavior, f"sensor {sensor.name}", f"{n} PNG files", f"{len(observation)}")
        else:
            _check(behavior, f"sensor {sensor.name}", observation, (n, *sensor.shape))
    for column in _COLUMNS:
        values = getattr(rows, column)
        if values is not None:
            _check(behavior, column, values, (n,))
    if rows.forbidden is not None:
        if not behavior.actions.branches:
            raise _wrong(behavior, "forbidden", "none without discrete actions", _shape(rows.forbidden))
        _check(behavior, "forbidden", rows.forbidden, (n, sum(behavior.actions.branches)))


def _check(behavior: Behavior, what: str, values: Any, shape: tuple[int, ...]) -> None:
    if getattr(values, "shape", None) != shape:
        raise _wrong(behavior, what, f"an array of shape {list(shape)}", _shape(values))


def _shape(values: Any) -> str:
    return str(list(values.shape)) if hasattr(values, "shape") else type(values).__name__


def _wrong(behavior: Behavior, what: str, expected: str, got: str) -> SceneError:
    return SceneError(
        f"{behavior.id}, {what}: expected {expected}, got {got}; "
        "mend what the scene reports, or its Behavior (player/scene.py tells what each is)"
    )
