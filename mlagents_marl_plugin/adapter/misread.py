"""Which field of the YAML file the host could not read, and what to write there: its own error names neither.

Fields under ``hyperparameters`` of our trainer types are ours and speak for themselves (`adapter.strict`). All others
are the host's, which raises Python's bare ``ValueError`` or ``TypeError``; the way to the field is in its frames.
"""

import math
import traceback
from collections.abc import Mapping
from enum import Enum
from types import FrameType
from typing import Any, NamedTuple, get_args

import attr


class _Place(NamedTuple):
    """A part of the file that was being read."""

    name: str
    kind: Any  # what was expected there; None where nothing says so
    value: Any


def misread(error: BaseException) -> str | None:
    """A line that names the field, what was expected, what it got and what to do; None of any other error."""
    if not isinstance(error, (ValueError, TypeError, OverflowError)):
        return None
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    places = [place for place in map(_place, frames) if place is not None]
    for number, place in enumerate(places):
        wrong = _wrong(place.kind, place.value)
        if wrong is not None:
            path = ".".join(part.name for part in places[: number + 1])
            return f"{path}: expected {wrong[0]}, got {place.value!r}; {wrong[1]}"
    return None


def _place(frame: FrameType) -> _Place | None:
    """What a function of the host's that reads a mapping was reading."""
    module, known = frame.f_globals.get("__name__"), frame.f_locals
    function = frame.f_code.co_name
    if module == "cattr.converters":
        if function == "<dictcomp>" and {"k", "v"} <= known.keys():
            return _Place(str(known["k"]), None, known["v"])
        if function == "structure_attrs_fromdict" and "val" in known:
            return _Place(known["name"], known["type_"], known["val"])
    if (
        module == "mlagents.trainers.settings"
        and function in ("structure", "strict_to_cls")
        and "val" in known
    ):
        fields = attr.fields_dict(known["t"]) if "d_copy" in known else {}
        kind = fields[known["key"]].type if known["key"] in fields else None
        return _Place(str(known["key"]), kind, known["val"])
    return None


def _wrong(kind: Any, value: Any) -> tuple[str, str] | None:
    """The rule that a value breaks and what to do, or None if it breaks none."""
    choices = [choice for choice in get_args(kind) if choice is not type(None)]
    if len(choices) == 1 and type(None) in get_args(kind):
        return None if value is None else _wrong(choices[0], value)
    if kind in (int, float):
        return _wrong_number(kind, value)
    if isinstance(kind, type) and issubclass(kind, Enum):
        names = [str(member.value) for member in kind]
        if isinstance(value, kind) or value in names:
            return None
        return f"one of {', '.join(names)}", "check the spelling"
    if attr.has(kind) and not isinstance(value, (Mapping, kind)):
        return f"a mapping with {', '.join(attr.fields_dict(kind))}", "see the examples in trainer_configs"
    return None


def _wrong_number(kind: type, value: Any) -> tuple[str, str] | None:
    try:
        kind(value)
    except (ValueError, TypeError, OverflowError):
        rule = "a whole number" if kind is int else "a number"
    else:
        return None
    try:
        number = float(value)
    except (ValueError, TypeError):
        return rule, "write it without quotes or units, or leave it out"
    return rule, f"write {round(number)}" if math.isfinite(number) else "write a finite number"
