"""Strict reading of our YAML fields.

The host turns ``'false'`` into True and 1.9 into 1 before any check of ours can see it. So the settings
classes give their fields types of their own, for which the host's cattrs calls the reader below with the
value as it was written.
"""

import math
from enum import Enum
from typing import Any, NamedTuple, Union, get_args, get_origin

import attr
import cattr
from mlagents.trainers.exception import TrainerConfigError


class StrictType(NamedTuple):
    """A field's type as the host sees it: what is to be read, and the field's name for the error."""

    field: str
    type: Any


def strict_fields(cls: type, fields: list) -> list:
    """For ``attr.s(field_transformer=...)``: makes every field, inherited ones too, strict."""
    return [field.evolve(type=StrictType(field.name, field.type)) for field in fields]


def read(field: str, value: Any, expected: Any) -> Any:
    """The value, if it is of the expected type.

    Numbers may be written as YAML 1.1 reads them: ``1e-3`` arrives as a string, ``5e5`` may stand for a
    whole number.

    Raises:
        TrainerConfigError: naming the field, the rule, the value and what to write instead.
    """
    if get_origin(expected) is Union:
        if value is None:
            return None
        return read(field, value, next(kind for kind in get_args(expected) if kind is not type(None)))
    if get_origin(expected) is list:
        if not isinstance(value, list):
            raise _error(field, "a list", value, "write it as [one, other]")
        (kind,) = get_args(expected)
        return [read(f"{field}[{number}]", part, kind) for number, part in enumerate(value)]
    if expected is bool:
        if isinstance(value, bool):
            return value
        raise _error(field, "true or false", value, "write it without quotes")
    if expected in (int, float):
        return _read_number(field, value, expected)
    if expected is str:
        if isinstance(value, str):
            return value
        raise _error(field, "text", value, "put it in quotes")
    if isinstance(expected, type) and issubclass(expected, Enum):
        if isinstance(value, expected):
            return value
        names = [str(member.value) for member in expected]
        if value in names:
            return expected(value)
        raise _error(field, f"one of {', '.join(names)}", value, f"try {names[0]}")
    if attr.has(expected):
        return _read_class(field, value, expected)
    raise TypeError(f"{field}: no rule to read a {expected}")


def _read_number(field: str, value: Any, expected: type) -> Any:
    rule = "a whole number" if expected is int else "a number"
    number = value
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            raise _error(field, rule, value, "write it without quotes or units") from None
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
        raise _error(field, rule, value, "write a finite number")
    if expected is int and number != int(number):
        raise _error(field, rule, value, f"try {round(number)}")
    return expected(number)


def _read_class(field: str, value: Any, expected: type) -> Any:
    if isinstance(value, expected):
        return value
    known = attr.fields_dict(expected)
    names = ", ".join(known)
    if not isinstance(value, dict):
        raise _error(field, f"a mapping with {names}", value, f"write {field}: {{{names}: ...}}")
    for key in value:
        if key not in known:
            raise _error(f"{field}.{key}", f"one of {names}", key, "check the spelling")
    for name, part in known.items():
        if part.default is attr.NOTHING and name not in value:
            raise _error(f"{field}.{name}", "a value", None, f"add {name}")
    parts = {key: read(f"{field}.{key}", part, known[key].type) for key, part in value.items()}
    try:
        return expected(**parts)
    except ValueError as error:
        raise TrainerConfigError(f"hyperparameters.{field}.{error}") from None


def _error(field: str, rule: str, value: Any, remedy: str) -> TrainerConfigError:
    return TrainerConfigError(f"hyperparameters.{field}: expected {rule}, got {value!r}; {remedy}")


cattr.register_structure_hook_func(
    lambda expected: isinstance(expected, StrictType),
    lambda value, expected: read(expected.field, value, expected.type),
)
# The host writes a run's settings into its configuration.yaml, which can be used as input again.
cattr.register_unstructure_hook_func(lambda expected: isinstance(expected, StrictType), cattr.unstructure)
