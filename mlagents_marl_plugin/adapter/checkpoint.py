"""Checkpoints: one file that holds everything, written whole or not at all, and read back strictly."""

import os
import tempfile
from typing import Any

import torch
from mlagents.trainers.exception import UnityTrainerException

FORMAT = 1
LAST = "checkpoint.pt"
REPLAY = "last_replay_buffer.pt"


def write(state: dict[str, Any], path: str) -> None:
    """Save to a temporary file beside ``path`` and rename it: a crash leaves the old file or the new one."""
    folder = os.path.dirname(path) or "."
    os.makedirs(folder, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=os.path.basename(path) + ".", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            torch.save(state, file)
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.remove(temporary)
        raise


def read(path: str, device: torch.device) -> dict[str, Any]:
    """Load a checkpoint of ours onto a device.

    Raises:
        UnityTrainerException: if the file is missing, truncated, or of another trainer.
    """
    if not os.path.isfile(path):
        raise UnityTrainerException(
            f"{path}: expected a checkpoint, found no file; check --run-id or --initialize-from and "
            f"--results-dir"
        )
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        raise UnityTrainerException(
            f"{path}: expected a readable checkpoint, got {type(error).__name__} "
            f"({str(error).splitlines()[0]}); the file is truncated or was not written by this trainer, "
            f"resume from a '<behavior>-<step>.pt' beside it"
        ) from None
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
