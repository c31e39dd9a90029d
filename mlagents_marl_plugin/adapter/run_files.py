"""What all trainers of a run write together: the host's list of checkpoints, and the configuration.

The host writes ``training_status.json`` and ``configuration.yaml`` when a run ends well; a run that is killed would
leave neither. Ours writes both with every checkpoint, each of them whole or not at all. Each checkpoint raises the
run's *generation*: a number that it holds itself and that both files hold, so that one sees which belong together.
"""

import os
import re
import threading
from pathlib import Path

import attr
import yaml
from mlagents.trainers.policy.checkpoint_manager import ModelCheckpoint, ModelCheckpointManager
from mlagents.trainers.settings import RunOptions
from mlagents.trainers.stats import StatsWriter
from mlagents.trainers.training_status import GlobalTrainingStatus
from mlagents_envs.logging_util import get_logger

from mlagents_marl_plugin.adapter.patience import patiently

logger = get_logger(__name__)

STATUS = os.path.join("run_logs", "training_status.json")
CONFIGURATION = "configuration.yaml"
OURS = "mlagents_marl_plugin"
"""Our own entry in the host's list, beside those of the behaviours."""

_UNFINISHED = ".tmp"
_lock = threading.Lock()  # several trainers write, each in a thread of its own where they are threaded
_options: list[RunOptions] = []  # of the run of this process; empty in a program that only uses our trainers


def remember_options(options: RunOptions) -> list[StatsWriter]:
    """The host hands a run's options only to plug-ins that write statistics; this one writes none."""
    _options[:] = [options]
    return []


def options() -> RunOptions | None:
    """The run's whole configuration; None in a program that only uses our trainers."""
    return _options[0] if _options else None


def generation() -> int:
    """How many checkpoints this run has written, of all its behaviours and before a kill too."""
    return int(GlobalTrainingStatus.saved_state[OURS].get("generation", 0))


def next_generation() -> int:
    """The number of the checkpoint that is now written."""
    with _lock:
        number = generation() + 1
        GlobalTrainingStatus.saved_state[OURS]["generation"] = number
    return number


def go_on_from(checkpoint: int) -> None:
    """Count on from a checkpoint of this generation, if that is newer than the host's list."""
    with _lock:
        GlobalTrainingStatus.saved_state[OURS]["generation"] = max(generation(), checkpoint)


def write(folder: Path) -> None:
    """Replace the list and the configuration in a run's folder.

    Raises:
        OSError: if one cannot be written; the disk is full, say.
    """
    with _lock:
        status = folder / STATUS
        status.parent.mkdir(parents=True, exist_ok=True)
        GlobalTrainingStatus.saved_state[OURS] = {"generation": generation()}
        with _Replacement(status) as temporary:
            GlobalTrainingStatus.save_state(str(temporary))
        for options in _options:
            with _Replacement(folder / CONFIGURATION) as temporary:
                text = yaml.safe_dump(options.as_dict(), sort_keys=False)
                temporary.write_text(f"# generation {generation()} of this run\n{text}", encoding="utf-8")


def enter(behavior_name: str, saved: ModelCheckpoint, keep: int) -> None:
    """Add a checkpoint that is written to the host's list; of more than ``keep`` the oldest go, with their files.

    A run that goes on and ends before its first step writes the files of an entry anew: that entry is replaced, or
    the files would go with it.
    """
    with _lock:
        known = ModelCheckpointManager.get_checkpoints(behavior_name)
        name = Path(saved.file_path).name
        known[:] = [entry for entry in known if Path(entry["file_path"]).name != name]
        ModelCheckpointManager.add_checkpoint(behavior_name, saved, keep)


def enter_final(behavior_name: str, final: ModelCheckpoint) -> None:
    """Tell the host's list which model is the last."""
    with _lock:
        ModelCheckpointManager.track_final_checkpoint(behavior_name, final)


def remove_unfinished(folder: Path) -> None:
    """Remove what a process that was killed while it wrote has left."""
    for name in (STATUS, CONFIGURATION):
        (folder / (name + _UNFINISHED)).unlink(missing_ok=True)


def enter_missing(behavior_name: str, folder: Path) -> None:
    """Add a behaviour's checkpoints that the list does not know, so that they are pruned when their time comes.

    A run that is killed after it has written a checkpoint and before it has written the list leaves one.
    """
    known = ModelCheckpointManager.get_checkpoints(behavior_name)
    names = {Path(entry["file_path"]).stem for entry in known}
    for path in folder.glob("*.pt"):
        found = re.fullmatch(rf"{re.escape(behavior_name)}-(\d+)", path.stem)
        if found is None or path.stem in names:
            continue
        slots = [str(slot) for slot in folder.glob("*.onnx") if slot.stem.startswith(f"{path.stem}-slot")]
        others = [str(path), *sorted(slots)]
        entry = ModelCheckpoint(
            int(found[1]), str(path.with_suffix(".onnx")), None, path.stat().st_mtime, others
        )
        known.append(attr.asdict(entry))
        logger.info(f"{behavior_name}: {path.name} was written right before the run ended; listed again.")
    known.sort(key=lambda entry: int(entry["steps"]))


class _Replacement:
    """A file beside another one, which it replaces once it is whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(path.name + _UNFINISHED)

    def __enter__(self) -> Path:
        return self._temporary

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        if failed is None:
            patiently(os.replace, self._temporary, self._path)
        else:
            self._temporary.unlink(missing_ok=True)
