"""Tables in the pages say what the classes and the measurements say."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("script", ["docs/make_tables.py", "benchmarks/tables.py"])
def test_tables_are_up_to_date(script: str) -> None:
    done = subprocess.run(
        [sys.executable, script, "--check"], check=False, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, f"run: python {script}\n{done.stdout}{done.stderr}"
