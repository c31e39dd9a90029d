"""Checkpoints: one file that holds everything, written whole or not at all, and read back strictly."""

import os
import re
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch
from mlagents.trainers.exception import UnityTrainerException

from mlagents_marl_plugin.adapter.patience import patiently

FORMAT = 2
LAST = "checkpoint.pt"
REPLAY = "last_replay_buffer.pt"

_OTHER_FILE = "copy an older '<behavior>-<step>.pt' over it, or start a new run"
_ENTRIES = (
    "trainer",
    "step",
    "updates",
    "cadence",
    "learner",
    "act_device",
    "acting",
    "scores",
)


def write(state: dict[str, Any], path: str) -> None:
    """Save to a temporary file beside ``path`` and rename it: a crash leaves the old file or the new one.

    Raises:
        OSError: if it cannot be written; the disk is full, say.
    """
    folder = os.path.dirname(path) or "."
    os.makedirs(folder, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=os.path.basename(path) + ".", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            try:
                torch.save(state, file)
            except RuntimeError as error:  # what torch makes of a write that failed
                raise OSError(f"{path}: expected room for the file, got {_first_line(error)}") from None
        patiently(os.replace, temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.remove(temporary)
        raise


def remove_unfinished(artifact_path: str) -> None:
    """Remove what a process that was killed while it saved has left half written, in a behaviour's files."""
    folder = Path(artifact_path)
    name = rf"{re.escape(folder.name)}(-.+)?\.onnx"
    for place, which in ((folder, r".+\.(pt|onnx)"), (folder.parent, name)):
        for path in place.glob("*"):
            if re.fullmatch(rf"{which}\..+\.(tmp|part)", path.name):
                path.unlink()


def read(path: str, device: torch.device) -> dict[str, Any]:
    """Load a checkpoint of ours onto a device.

    Raises:
        UnityTrainerException: if the file is missing, truncated, or of another trainer.
    """
    state = read_any(path, device)
    if "learner" not in state and "joint" in state:
        name, leader = state["joint"]["name"], state["joint"]["members"][0]
        raise UnityTrainerException(
            f"{path}: expected a checkpoint with weights, got the file of a member of joint '{name}', whose weights "
            f"are in that of {leader}; give this behavior the same joint"
        )
    missing = [name for name in _ENTRIES if name not in state]
    if missing:
        raise UnityTrainerException(
            f"{path}: expected entry '{missing[0]}', got none; the file is incomplete, {_OTHER_FILE}"
        )
    return state


def is_there(path: str) -> bool:
    """Whether there is such a file."""
    return os.path.isfile(path)


def read_any(path: str, device: torch.device) -> dict[str, Any]:
    """Load a file of ours, with weights or without, onto a device.

    Raises:
        UnityTrainerException: if the file is missing, truncated, or of another trainer.
    """
    if not is_there(path):
        raise UnityTrainerException(
            f"{path}: expected a checkpoint, found no file; check --run-id or --initialize-from and "
            f"--results-dir"
        )
    state: dict[str, Any] = load(path, device)
    if not isinstance(state, dict) or "format" not in state:
        raise UnityTrainerException(
            f"{path}: expected a checkpoint of this package, got one of another trainer; "
            f"train a new run, its networks cannot be taken over"
        )
    if state["format"] != FORMAT:
        raise UnityTrainerException(
            f"{path}: expected checkpoint format {FORMAT}, got {state['format']}; "
            f"use the version of mlagents_marl_plugin that wrote it"
        )
    return state


def load(path: str, device: torch.device) -> Any:
    """What a file holds.

    Raises:
        UnityTrainerException: if it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as parts:
            damaged = parts.testzip()  # torch does not look at the check sums
        if damaged is not None:
            raise ValueError(f"{damaged} is not what was written")
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        raise UnityTrainerException(
            f"{path}: expected a readable file, got {type(error).__name__} ({_first_line(error)}); it is "
            f"damaged, truncated or was not written by this trainer, {_OTHER_FILE}"
        ) from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


def not_finite(state: Any, name: str = "") -> str | None:
    """The name of the first tensor that holds NaN or Inf; None if there is none."""
    if isinstance(state, torch.Tensor):
        return name if state.is_floating_point() and not bool(torch.isfinite(state).all()) else None
    if isinstance(state, dict):
        parts = ((f"{name}.{key}" if name else str(key), value) for key, value in state.items())
        return next((found for key, value in parts if (found := not_finite(value, key))), None)
    return None
