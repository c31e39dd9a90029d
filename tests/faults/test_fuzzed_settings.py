"""Any value in any field of ours is either taken as it was written, or refused by a line that names the field."""

import math
from enum import Enum
from typing import Any

import attr
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlagents.plugins.trainer_type import register_trainer_plugins
from mlagents.trainers.exception import TrainerConfigError
from mlagents.trainers.settings import RunOptions, check_hyperparam_schedules, strict_to_cls

from mlagents_marl_plugin.adapter.settings import SCHEMAS

register_trainer_plugins()

SAMPLE, ALL = 300, 10_000
FIELDS = sorted((name, field.name) for name, schema in SCHEMAS.items() for field in attr.fields(schema))
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**12), 10**12),
    st.integers(-2, 3),
    st.floats(),
    st.floats(-0.5, 1.5),
    st.sampled_from(["", "true", "1e3", "nan", "shared", "cpu", "linear", "auto", "../x", "\x00", "é" * 50]),
    st.text(max_size=5),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.sampled_from(["metric", "window", "threshold", "x"]), st.integers(-1, 5), max_size=3),
)


def parse(trainer_type: str, hyperparameters: Any) -> Any:
    """What the host's TrainerSettings.structure does with this section."""
    return strict_to_cls(check_hyperparam_schedules(hyperparameters, trainer_type), SCHEMAS[trainer_type])


def check(trainer_type: str, field: str, value: Any) -> None:
    try:
        taken = getattr(parse(trainer_type, {field: value}), field)
    except TrainerConfigError as error:
        line = str(error).splitlines()[-1]
        assert line.startswith("hyperparameters."), line
        assert ": expected " in line, line
        assert ", got " in line, line
        return
    if isinstance(taken, Enum):
        assert value == taken.value
    elif isinstance(taken, bool) or taken is None or isinstance(taken, str):
        assert taken == value
        assert type(taken) is type(value)
    elif isinstance(taken, int | float):
        assert math.isfinite(taken)
        assert not isinstance(value, bool)
        assert taken == pytest.approx(float(value))
    else:
        assert isinstance(value, dict), "a criterion"


@settings(max_examples=SAMPLE)
@given(st.sampled_from(FIELDS), VALUES)
def test_a_sample(place: tuple[str, str], value: Any) -> None:
    check(*place, value)


@pytest.mark.slow
@settings(max_examples=ALL, derandomize=False)
@given(st.sampled_from(FIELDS), VALUES)
def test_ten_thousand(place: tuple[str, str], value: Any) -> None:
    check(*place, value)


@pytest.mark.parametrize("trainer_type", sorted(SCHEMAS))
def test_a_field_that_there_is_not_is_refused(trainer_type: str) -> None:
    with pytest.raises(TrainerConfigError, match="The option bach_size was specified"):
        parse(trainer_type, {"bach_size": 3})


@pytest.mark.parametrize("section", [None, {}])
def test_a_section_that_is_missing_or_empty_means_the_defaults(section: Any) -> None:
    config: dict[str, Any] = {"trainer_type": "maddpg"}
    if section is not None:
        config["hyperparameters"] = section
    taken = RunOptions.from_dict({"behaviors": {"Ball": config}}).behaviors["Ball"].hyperparameters
    assert taken == SCHEMAS["maddpg"]()
