"""What ``make tennis`` should do the second time: the run id and flag for ``mlagents-learn``.

``mlagents-learn`` refuses a run id that exists. A person who repeats the command means: go on with the run
if it was stopped, train another beside it if it has finished. Nothing is ever overwritten but a run that
saved nothing.
"""

import argparse
import sys
from pathlib import Path
from typing import Any, NamedTuple

import yaml

_HOST_MAX_STEPS = 500_000


class NextRun(NamedTuple):
    """Arguments for ``mlagents-learn``, and the reason in a sentence (empty for a first run)."""

    arguments: list[str]
    reason: str


def next_run(config: Path, results: Path) -> NextRun:
    """Decide from what lies in ``results`` how to start the run that ``config`` describes.

    Args:
        config: a trainer YAML; its ``checkpoint_settings.run_id`` names the run, else its file name does.
        results: the folder of all runs; it need not exist.
    """
    settings = yaml.safe_load(config.read_text(encoding="utf-8")) or {}
    first_id = (settings.get("checkpoint_settings") or {}).get("run_id", config.stem)
    behaviors: dict[str, Any] = settings.get("behaviors") or {}
    run_id, finished_before = first_id, 0
    while _has_finished(results / run_id, behaviors):
        finished_before += 1
        run_id = f"{first_id}_{finished_before + 1}"

    folder = results / run_id
    if not folder.is_dir():
        reason = f"{results / first_id} has finished; training {run_id} beside it." if finished_before else ""
        return NextRun([f"--run-id={run_id}"], reason)
    if any(folder.glob("*/checkpoint.pt")):
        return NextRun(
            [f"--run-id={run_id}", "--resume"], f"{folder} was stopped before its end; going on with it."
        )
    return NextRun(
        [f"--run-id={run_id}", "--force"], f"{folder} was stopped before it saved anything; starting it anew."
    )


def _has_finished(run: Path, behaviors: dict[str, Any]) -> bool:
    """Whether every behaviour has come to its ``max_steps`` or has met its ``stop_when``."""
    return bool(behaviors) and all(
        _last_step(run / name, name) >= float((fields or {}).get("max_steps", _HOST_MAX_STEPS))
        or _was_stopped(run / name / "checkpoint.pt", fields or {})
        for name, fields in behaviors.items()
    )


def _was_stopped(checkpoint: Path, fields: dict[str, Any]) -> bool:
    """Whether the run ended by a criterion that is still as strict as the one in the YAML."""
    criterion = (fields.get("hyperparameters") or {}).get("stop_when")
    if not criterion or not checkpoint.is_file():
        return False
    import torch  # takes its time, and most YAMLs have no stop_when

    try:
        scores = torch.load(checkpoint, map_location="cpu", weights_only=True)["scores"]
        stopped_at = scores["stopped_at"]
    except Exception:  # mlagents-learn --resume says what is wrong with the file
        return False
    metric = criterion.get("metric", "score")
    same = scores.get("stop_metric", metric) == metric
    return same and stopped_at is not None and float(criterion["threshold"]) <= stopped_at


def _last_step(folder: Path, name: str) -> int:
    """The step of the newest ``<name>-<step>.pt``, -1 without any."""
    steps = (path.stem.removeprefix(f"{name}-") for path in folder.glob(f"{name}-*.pt"))
    return max((int(step) for step in steps if step.isdigit()), default=-1)


def main(argv: list[str] | None = None) -> int:
    """Print the arguments to stdout and the reason to stderr; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path, help="a trainer YAML")
    parser.add_argument("--results", type=Path, default=Path("results"), help="the folder of all runs")
    options = parser.parse_args(argv)
    if not options.config.is_file():
        print(
            f"next_run: expected a trainer YAML, got {options.config}; see trainer_configs", file=sys.stderr
        )
        return 2
    decision = next_run(options.config, options.results)
    if decision.reason:
        print(decision.reason, file=sys.stderr)
    print(*decision.arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
