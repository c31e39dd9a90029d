"""What an evaluation found, for people and for JSON."""

import argparse
import hashlib
import json
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from mlagents_marl_plugin.tools.cast import Cast
from mlagents_marl_plugin.tools.episodes import Episodes


def report(args: argparse.Namespace, cast: Cast, episodes: Episodes, stopped: str | None) -> dict[str, Any]:
    """Everything that is worth knowing about the evaluation, ready for JSON."""
    files = {who: {"path": str(p), "sha256": _fingerprint(p)} for who, p in sorted(cast.files.items())}
    return {
        "score": f"{args.score} over agents",
        "episodes": len(episodes.episodes),
        "complete": stopped is None,
        "stopped": stopped,
        **statistics([episode.score for episode in episodes.episodes]),
        "length": statistics([float(episode.length) for episode in episodes.episodes]),
        "scores": [episode.score for episode in episodes.episodes],
        "lengths": [episode.length for episode in episodes.episodes],
        "areas": [episode.area for episode in episodes.episodes],
        "num_areas": episodes.num_areas,
        "groups": episodes.grouping,
        "greedy": not args.stochastic,
        "seed": args.seed,
        "env": args.env or "Editor",
        "env_args": list(args.env_args),
        "behavior": args.behavior,
        "models": files,
        "versions": {
            name: _version(name) for name in ("mlagents_marl_plugin", "mlagents-envs", "onnxruntime", "numpy")
        }
        | {"python": platform.python_version()},
    }


def statistics(values: Sequence[float]) -> dict[str, float | None]:
    """Mean, standard deviation (of these values, divisor n), minimum, median and maximum; None of nothing."""
    if not values:
        return dict.fromkeys(("mean", "deviation", "minimum", "median", "maximum"))
    return {
        "mean": float(np.mean(values)),
        "deviation": float(np.std(values)),
        "minimum": float(np.min(values)),
        "median": float(np.median(values)),
        "maximum": float(np.max(values)),
    }


def in_json(result: dict[str, Any]) -> str:
    """One line per entry, since a hundred scores are easier to read side by side."""
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in result.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def in_words(result: dict[str, Any]) -> str:
    """A few lines for the console."""
    players: dict[str, list[str]] = {}
    for who, file in result["models"].items():
        players.setdefault(file["path"], []).append(who)
    lines = [f"{path} plays {', '.join(who)}" for path, who in players.items()]
    if not result["episodes"]:
        return "\n".join([*lines, "no episode ended"])
    how = "greedy" if result["greedy"] else "stochastic"
    lines.append(
        f"{_count(result['episodes'], 'episode')} ({how}, seed {result['seed']}, "
        f"{_count(result['num_areas'], 'area')}, groups: {result['groups']}), score = {result['score']}"
    )
    for name, values, form in (("score", result, ".3f"), ("length", result["length"], ".1f")):
        numbers = "  ".join(f"{key} {values[key]:{form}}" for key in statistics([]))
        lines.append(f"  {name:<7} {numbers}")
    return "\n".join(lines)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _fingerprint(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
