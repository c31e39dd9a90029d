"""Which model file plays which agent: what ``--model`` says, held against the behaviours of a scene."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_SLOT = re.compile(r"^(?P<name>.+)-slot(?P<slot>\d+)$")


class ModelChoiceError(ValueError):
    """``--model`` names no file, or not the agents of this scene."""


class _Assignment(NamedTuple):
    """``NAME=path``: a behaviour's name or full id (``Tennis?team=0``), or one slot (``Tennis-slot1``)."""

    behavior: str
    slot: int | None
    path: Path


class ModelChoice:
    """What the user wrote after ``--model``, any number of times.

    A file or run folder without a name plays every behaviour. Actors trained apart lie side by side, slot 0
    as ``Tennis.onnx`` and the others as ``Tennis-slot1.onnx`` and so on; such neighbours are found by
    themselves.

    Args:
        arguments: each ``path``, ``folder`` or ``NAME=path``.

    Raises:
        ModelChoiceError: a path does not exist, or two arguments say the same.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self._named: list[_Assignment] = []
        self._for_all: Path | None = None
        for argument in arguments:
            named = _parse(argument)
            if isinstance(named, _Assignment):
                self._named.append(named)
            elif self._for_all is not None:
                raise ModelChoiceError(
                    f"--model: expected one path without a name, got {self._for_all} and {named}; "
                    "say which behaviour each plays, --model NAME=path"
                )
            else:
                self._for_all = named
        said = [assignment[:2] for assignment in self._named]
        twice = next((name for name, slot in said if said.count((name, slot)) > 1), None)
        if twice is not None:
            raise ModelChoiceError(f"--model: expected one path for {twice}, got several; leave one")

    def check_names(self, behavior_ids: Sequence[str]) -> None:
        """Raises `ModelChoiceError` if an argument names a behaviour that the scene does not have."""
        known = {*behavior_ids, *map(behavior_name, behavior_ids)}
        for assignment in self._named:
            if assignment.behavior not in known:
                raise ModelChoiceError(
                    f"--model {assignment.behavior}={assignment.path}: expected a behaviour of the scene "
                    f"({', '.join(behavior_ids)}), got {assignment.behavior}; correct the name"
                )

    def has_own(self, behavior_id: str) -> bool:
        """Whether a file was given for this very behaviour, by name or in a run's folder."""
        name = behavior_name(behavior_id)
        if any(assignment.behavior in (behavior_id, name) for assignment in self._named):
            return True
        return self._for_all is not None and (self._for_all / f"{name}.onnx").is_file()

    def has_slots(self, behavior_id: str) -> bool:
        """Whether it matters to a behaviour's agents which place in the group they have."""
        named = [one for one in self._named if one.behavior in (behavior_id, behavior_name(behavior_id))]
        if any(one.slot is not None for one in named):
            return True
        return (
            not named
            and self._for_all is not None
            and bool(_slots_beside(_shared(self._for_all, behavior_id)))
        )

    def path(self, behavior_id: str, slot: int) -> Path:
        """The file for one slot (place in the group, by team and id) of a behaviour.

        The most specific word counts: a slot before a whole behaviour, a full id before a name, a name before
            none.

        Raises:
            ModelChoiceError: nothing was said about it, or the file that should be there is not.
        """
        candidates = [(name, s) for s in (slot, None) for name in (behavior_id, behavior_name(behavior_id))]
        for candidate in candidates:
            for assignment in self._named:
                if assignment[:2] == candidate:
                    return assignment.path
        if self._for_all is None:
            given = ", ".join(f"{a.behavior}={a.path}" for a in self._named)
            raise ModelChoiceError(
                f"--model: expected a model for {behavior_id} slot {slot} of the scene, got only {given}; "
                f"add --model {behavior_name(behavior_id)}=path"
            )
        return _of_slot(_shared(self._for_all, behavior_id), slot)


def behavior_name(behavior_id: str) -> str:
    """``Tennis`` of ``Tennis?team=0``."""
    return behavior_id.split("?", 1)[0]


def _parse(argument: str) -> _Assignment | Path:
    """``=`` may stand in names (``Tennis?team=0``) and in paths: the first split before a file counts."""
    whole = Path(argument)
    if whole.exists():
        return whole
    parts = argument.split("=")
    splits = [("=".join(parts[:i]), Path("=".join(parts[i:]))) for i in range(1, len(parts))]
    for name, path in splits:
        if name and path.is_file():
            found = _SLOT.match(name)
            return (
                _Assignment(found["name"], int(found["slot"]), path)
                if found
                else _Assignment(name, None, path)
            )
    missing = splits[-1][1] if splits else whole
    if missing.is_dir():
        raise ModelChoiceError(
            f"--model {argument}: expected a file after NAME=, got the folder {missing}; name the file"
        )
    raise ModelChoiceError(
        f"--model {argument}: expected a model file (.onnx) or the folder of a run, found nothing at "
        f"{missing}; "
        f"{_nearby(missing)}"
    )


def _shared(given: Path, behavior_id: str) -> Path:
    """The file of slot 0: the one that was given, or a behaviour's in the folder that was."""
    return given / f"{behavior_name(behavior_id)}.onnx" if given.is_dir() else given


def _slots_beside(shared: Path) -> list[Path]:
    """``X-slot1.onnx`` and so on beside ``X.onnx``."""
    return sorted(shared.parent.glob(f"{_escape(shared.stem)}-slot*.onnx"))


def _of_slot(shared: Path, slot: int) -> Path:
    """The file ``X.onnx`` for everyone, or one file per slot where any ``X-slotN.onnx`` lies beside it."""
    folder = shared.parent
    per_slot = _slots_beside(shared)
    path = folder / f"{shared.stem}-slot{slot}.onnx" if per_slot and slot > 0 else shared
    if path.is_file():
        return path
    if slot > 0 and per_slot:
        raise ModelChoiceError(
            f"--model {shared}: expected {path.name} beside it for slot {slot}, found only "
            f"{', '.join(other.name for other in per_slot)}; the run was trained with smaller groups, "
            f"name the file to use: --model {shared.stem}-slot{slot}=path"
        )
    raise ModelChoiceError(f"--model {folder}: expected {path.name} in it, found none; {_nearby(path)}")


def _escape(stem: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", stem)


def _nearby(missing: Path) -> str:
    """What lies there instead, for a message."""
    folder = next((parent for parent in missing.parents if parent.is_dir()), Path())
    models = sorted(str(path) for path in folder.glob("*.onnx")) or sorted(
        str(path) for path in folder.glob("*/*.onnx")
    )
    if models:
        return f"there are {', '.join(models[:8])}"
    return f"there is no .onnx file in {folder}; a run writes results/RUN/BEHAVIOR.onnx when it ends"
