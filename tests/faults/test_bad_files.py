"""Checkpoints that are damaged in any way are refused by name, and nothing in them is executed."""

import os
import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from mlagents.trainers.exception import UnityTrainerException

from mlagents_marl_plugin.adapter import checkpoint
from tests.unit.conftest import host_state, printed  # noqa: F401
from tests.unit.trainer_runs import assert_same, build, start

pytestmark = pytest.mark.usefixtures("host_state")

PLACES = 60


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    start(folder, behavior={"max_steps": 150})
    return folder / "Counter" / checkpoint.LAST


def read(path: Path) -> Any:
    return checkpoint.read(str(path), torch.device("cpu"))


@pytest.mark.parametrize("damage", ["bit", "cut", "hole"])
def test_a_damaged_file_is_refused_or_says_the_same(saved: Path, tmp_path: Path, damage: str) -> None:
    whole, good, path = saved.read_bytes(), read(saved), tmp_path / "checkpoint.pt"
    places, refused = random.Random(7), 0
    for _ in range(PLACES):
        at, data = places.randrange(len(whole)), bytearray(whole)
        if damage == "bit":
            data[at] ^= 1 << places.randrange(8)
        elif damage == "cut":
            del data[at:]
        else:
            data[at : at + 64] = bytes(len(data[at : at + 64]))
        path.write_bytes(bytes(data))
        try:
            found = read(path)
        except UnityTrainerException as error:
            assert str(error).startswith(f"{path}: expected ")
            refused += 1
        else:
            assert_same(found, good)  # a time stamp, or a byte between two parts
    assert refused > PLACES * (0.98 if damage == "cut" else 0.6)


class Evil:
    """What runs a command when it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


def test_code_in_a_file_is_not_run(saved: Path, tmp_path: Path) -> None:
    marker, bare, hidden = tmp_path / "ran", tmp_path / "bare.pt", tmp_path / "hidden.pt"
    bare.write_bytes(pickle.dumps(Evil(marker)))
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(hidden, "w") as target:
        for name in source.namelist():
            evil = name.endswith("data.pkl")
            target.writestr(name, pickle.dumps({"format": Evil(marker)}) if evil else source.read(name))
    for path in (bare, hidden):
        with pytest.raises(UnityTrainerException, match=f"^{path}: expected a readable file"):
            read(path)
    assert not marker.exists()
    pickle.loads(bare.read_bytes())
    assert marker.exists(), "the file would have run its code"


def test_a_run_refuses_it_before_the_scene_is_asked(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "Counter").mkdir()
    whole = bytearray(saved.read_bytes())
    whole[len(whole) // 2] ^= 16
    (tmp_path / "Counter" / checkpoint.LAST).write_bytes(bytes(whole))
    with pytest.raises(UnityTrainerException, match="copy an older '<behavior>-<step>.pt' over it"):
        build(tmp_path, load=True)


@pytest.mark.parametrize("room", [100, 5_000])
def test_a_full_disk_is_told_and_the_run_goes_on(tmp_path, monkeypatch, printed, room) -> None:  # noqa: F811
    """The second checkpoint finds no room, in two ways in which torch says so."""
    write, written = checkpoint.torch.save, []

    def save(state: Any, file: Any) -> None:
        written.append(state)
        if 3 <= len(written) <= 4:
            file.write(bytes(room))
            if room > 1_000:
                raise RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 704 vs 598")
            raise OSError(28, "No space left on device")
        write(state, file)

    monkeypatch.setattr(checkpoint.torch, "save", save)
    trainer = start(tmp_path, behavior={"checkpoint_interval": 100}).trainer
    assert trainer.get_step > 400
    assert printed.text.count("Counter: not saved at step") == 2
    assert "The last checkpoint stays, and training goes on; make room on the disk" in printed.text
    assert read(tmp_path / "Counter" / checkpoint.LAST)["step"] == trainer.get_step
    assert not list(tmp_path.rglob("*.tmp"))
