"""Settings out of their ranges, which a configuration refuses by name."""

import math
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

import pytest


def check_refused(config: Callable[..., Any], field: str, value: Any) -> None:
    """The error names the field and the value, and says what to do."""
    shown = value.value if isinstance(value, Enum) else value
    with pytest.raises(ValueError, match=rf"^{field}: expected .+, got {shown}; .+"):
        config(**{field: value})


def check_nan_refused(config: Callable[..., Any], bad_values: Mapping[str, Any]) -> None:
    """NaN is out of the range of every field that is a number."""
    for field, value in bad_values.items():
        if isinstance(value, float):
            with pytest.raises(ValueError, match=rf"^{field}: expected .+, got nan"):
                config(**{field: math.nan})
