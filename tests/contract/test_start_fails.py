"""mlagents-learn that cannot start says why in its last line; ``benchmarks/soak.py settings`` tries more of it."""

from pathlib import Path
from typing import Any

import pytest

from tests.contract.host import learn, write_config


def test_a_wrong_value_while_an_optional_dependency_is_broken(tmp_path: Path) -> None:
    """Our trainer types are there, or the host would know no ``tau`` to complain about."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "onnxruntime.py").write_text("raise OSError('a library is missing')")
    config = write_config(tmp_path, "Counter", "maddpg", {"group_size": 2, "tau": 5})
    printed = learn(tmp_path, str(config), expect=1, environment={"PYTHONPATH": str(broken)})
    assert "This plugin will not be used" not in printed
    assert "hyperparameters.tau: expected 0 < tau <= 1, got 5" in printed.splitlines()[-1]


@pytest.mark.parametrize(
    ("trainer_type", "field", "value", "told"),
    [
        ("mappo", "lambd", float("nan"), "hyperparameters.lambd: expected a number, got nan; "),
        (
            "qmix",
            "bach_size",
            3,
            "hyperparameters.bach_size: expected a field of QmixSettings, got one that it does",
        ),
    ],
)
def test_a_field_that_is_wrong(tmp_path: Path, trainer_type: str, field: str, value: Any, told: str) -> None:
    config = write_config(tmp_path, "Counter", trainer_type, {field: value})
    assert told in learn(tmp_path, str(config), expect=1).splitlines()[-1]
