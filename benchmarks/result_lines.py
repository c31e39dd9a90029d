"""Files of results: one JSON line per run, with the commit that it was made at."""

import json
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "benchmarks" / "results"


def commit() -> str:
    """The short name of what is checked out."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def read(path: Path) -> list[dict[str, Any]]:
    """What was measured so far."""
    return (
        [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    )


def append(path: Path, line: dict[str, Any]) -> None:
    """Keep a run, and print it."""
    print(json.dumps(line), flush=True)
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
