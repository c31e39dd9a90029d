"""Checkpoint files: whole or not at all, and read back strictly."""

import pytest
import torch
from mlagents.trainers.exception import UnityTrainerException

from mlagents_marl_plugin.adapter import checkpoint
from mlagents_marl_plugin.adapter.model_files import ModelFiles

CPU = torch.device("cpu")


def state() -> dict:
    entries = dict.fromkeys(("trainer", "step", "updates", "cadence", "scores"), 0)
    return {
        "format": checkpoint.FORMAT,
        "act_device": "cpu",
        "acting": {},
        "learner": {"w": torch.ones(3)},
        **entries,
    }


def test_what_was_written_is_read(tmp_path):
    path = str(tmp_path / "new" / "checkpoint.pt")
    checkpoint.write(state(), path)
    read = checkpoint.read(path, CPU)
    assert torch.equal(read["learner"]["w"], torch.ones(3))
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["checkpoint.pt"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = str(tmp_path / "checkpoint.pt")
    checkpoint.write(state(), path)

    def half(_, file):
        file.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match="no space"):
        checkpoint.write({"format": 1}, path)
    monkeypatch.undo()
    assert checkpoint.read(path, CPU)["step"] == 0
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


def error_of(path) -> str:
    with pytest.raises(UnityTrainerException) as caught:
        checkpoint.read(str(path), CPU)
    return str(caught.value)


def test_a_missing_file(tmp_path):
    message = error_of(tmp_path / "checkpoint.pt")
    assert message.startswith(
        f"{tmp_path / 'checkpoint.pt'}: expected a checkpoint, found no file; check --run-id"
    )


@pytest.mark.parametrize("left", [0, 10, 400, -1])
def test_a_truncated_file(tmp_path, left):
    path = tmp_path / "checkpoint.pt"
    checkpoint.write(state(), str(path))
    path.write_bytes(path.read_bytes()[:left])
    message = error_of(path)
    assert "expected a readable file, got" in message
    assert "truncated" in message
    assert "copy an older '<behavior>-<step>.pt' over it" in message


def test_a_file_that_holds_code_is_not_run(tmp_path):
    path = tmp_path / "checkpoint.pt"
    torch.save({"format": 1, "evil": print}, path)
    assert "expected a readable file" in error_of(path)


def test_a_file_of_the_hosts_own_trainers(tmp_path):
    path = tmp_path / "checkpoint.pt"
    torch.save({"Policy": {"w": torch.ones(2)}, "global_step": {}}, path)
    assert "expected a checkpoint of this package, got one of another trainer" in error_of(path)


def test_another_format(tmp_path):
    path = tmp_path / "checkpoint.pt"
    checkpoint.write({**state(), "format": 99}, str(path))
    assert "expected checkpoint format 2, got 99" in error_of(path)


@pytest.mark.parametrize("entry", ["trainer", "step", "learner", "scores", "cadence", "acting"])
def test_an_incomplete_file_never_raises_a_key_error(tmp_path, entry):
    # The host takes a KeyError for an unknown trainer type.
    path = tmp_path / "checkpoint.pt"
    partial = state()
    del partial[entry]
    checkpoint.write(partial, str(path))
    assert f"expected entry '{entry}', got none" in error_of(path)


def test_what_is_not_finite_is_named():
    bad = {
        "actor": {"0.w": torch.ones(2)},
        "critic": {"1.w": torch.tensor([1.0, float("nan")])},
        "updates": 3,
    }
    assert checkpoint.not_finite(bad) == "critic.1.w"
    assert checkpoint.not_finite({"actor": torch.tensor([float("inf")])}) == "actor"
    assert checkpoint.not_finite({"actor": torch.ones(2), "count": torch.tensor(3), "text": "nan"}) is None


def read_replay(folder, caplog, content=None, raw: bytes | None = None) -> tuple[dict | None, str]:
    files = ModelFiles(str(folder), "Tennis")
    path = folder / checkpoint.REPLAY
    if content is not None:
        checkpoint.write(content, str(path))
    if raw is not None:
        path.write_bytes(raw)
    found = files.read_replay(500)
    return found, caplog.text


def test_a_replay_of_the_same_step_is_read(tmp_path, caplog):
    found, _ = read_replay(tmp_path, caplog, {"step": 500, "rows": torch.ones(2)})
    assert found is not None
    assert found["step"] == 500


@pytest.mark.parametrize(
    ("content", "raw", "text"),
    [
        (None, None, "no replay was saved"),
        ({"step": 400}, None, "expected the replay of step 500, got that of step 400"),
        (None, b"PK\x03\x04 torn", "expected a readable file"),
    ],
)
def test_without_a_fitting_replay_a_run_collects_anew_and_says_so(
    tmp_path, caplog, monkeypatch, content, raw, text
):
    import logging

    from mlagents_marl_plugin.adapter import model_files

    monkeypatch.setattr(model_files, "logger", logging.getLogger("test"))
    found, printed = read_replay(tmp_path, caplog, content, raw)
    assert found is None
    assert text in printed
    assert "ollecting anew" in printed
