"""Settings that are wrong in random places, through the real mlagents-learn: what its last line says."""

import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import attr
import yaml
from mlagents.plugins.trainer_type import register_trainer_plugins
from mlagents.trainers.exception import TrainerConfigError
from mlagents.trainers.settings import check_hyperparam_schedules, strict_to_cls

from mlagents_marl_plugin.adapter.settings import SCHEMAS

VALUES: list[Any] = [
    *(None, True, -1, 0, 1.5, 10**12, float("nan"), float("inf"), "", "abc", "false", "é" * 50, "\x00"),
    *([], [1, 2], {}, {"metric": "score"}, {"x": 1}),
]


def soak(count: int, seed: int) -> bool:
    """Start so many runs with one wrong field each; True if each was refused by a line that names the field."""
    register_trainer_plugins()
    draws, refused = random.Random(seed), 0
    for number in range(count):
        trainer_type, field, value = _draw(draws)
        wrong = _start(trainer_type, field, value)
        refused += not wrong
        print(f"{number + 1}: {trainer_type} {field}: {value!r} {wrong or 'refused'}", flush=True)
    print(f"| a wrong value through `mlagents-learn` | {count} | {refused} |")
    return refused == count


def _draw(draws: random.Random) -> tuple[str, str, Any]:
    """A field and a value that it does not take; every tenth field is one that there is not."""
    while True:
        trainer_type = draws.choice(sorted(SCHEMAS))
        field = draws.choice([field.name for field in attr.fields(SCHEMAS[trainer_type])])
        if draws.random() < 0.1:
            return trainer_type, field[:-1] + draws.choice("xyz"), 1
        value = draws.choice(VALUES)
        try:
            strict_to_cls(check_hyperparam_schedules({field: value}, trainer_type), SCHEMAS[trainer_type])
        except TrainerConfigError:
            return trainer_type, field, value


def _start(trainer_type: str, field: str, value: Any) -> str:
    """What is wrong with how mlagents-learn refused it; empty if nothing."""
    with tempfile.TemporaryDirectory() as name:
        config = {"trainer_type": trainer_type, "hyperparameters": {field: value}}
        (Path(name) / "soak.yaml").write_text(
            yaml.safe_dump({"behaviors": {"Ball": config}}, allow_unicode=True), encoding="utf-8"
        )
        program = Path(sys.executable).with_name("mlagents-learn")
        done = subprocess.run(
            [str(program), "soak.yaml"], cwd=name, capture_output=True, text=True, timeout=300, check=False
        )
    last = (done.stderr.strip().splitlines() or [""])[-1]
    told = f"hyperparameters.{field}" in last and ": expected " in last and ", got " in last
    return "" if told and done.returncode == 1 else f"ended with {done.returncode} and {last!r}"
