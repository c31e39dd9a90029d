"""marl-doctor finds what is wrong with an installation, and says what mends it."""

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from mlagents_marl_plugin.tools import doctor, doctor_checks
from mlagents_marl_plugin.tools.doctor_checks import Finding, State, bad, good


def distribution(folder: Path, name: str, version: str, entry_points: str = "") -> None:
    """What a package manager writes beside a package; the first on the path counts."""
    place = folder / f"{name}-{version}.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if entry_points:
        (place / "entry_points.txt").write_text(entry_points)


def test_an_environment_that_was_broken_on_purpose(tmp_path):
    """Too new versions, a library that cannot be loaded, a plugin whose import fails; and a path that is mangled."""
    broken = tmp_path / "broken"
    for name, version in (
        ("torch", "2.9.1"),
        ("setuptools", "82.0.0"),
        ("onnx", "1.16.0"),
        ("protobuf", "4.25.3"),
    ):
        distribution(broken, name, version)
    distribution(broken, "another", "1.0", "[mlagents.trainer_type]\nanother = another_plugin:register\n")
    (broken / "another_plugin.py").write_text("raise ImportError('no module named missing')")
    (broken / "onnxruntime.py").write_text("raise OSError('a library is missing')")
    folder = tmp_path / "john.appleseed"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "mlagents_marl_plugin.tools.doctor", "--quick"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(broken), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    for expected, remedy in (
        ("torch WRONG 2.9.1, expected <2.9,>=2.1.1", '-> pip install "torch<2.9,>=2.1.1"'),
        ("setuptools WRONG 82.0.0, expected <81", '-> pip install "setuptools<81"'),
        ("onnx WRONG 1.16.0, expected ==1.15.0", '-> pip install "onnx==1.15.0"'),
        ("protobuf WRONG 4.25.3, expected <3.21,>=3.6", '-> pip install "protobuf<3.21,>=3.6"'),
        (
            "import onnxruntime WRONG OSError: a library is missing",
            "-> pip install --force-reinstall onnxruntime",
        ),
        (
            "plugin another WRONG cannot be loaded: ImportError: no module named missing",
            "-> pip install --force-reinstall --no-deps another",
        ),
    ):
        assert expected in lines
        assert lines[lines.index(expected) + 1] == remedy
    assert any(line.startswith("path note") and "deletes .app" in line for line in lines)
    assert any(line.startswith("plugin mlagents_marl_plugin ok") for line in lines), (
        "ours is loadable all the same"
    )
    assert lines[-1] == "6 to mend."


def test_this_environment_is_well(capsys):
    assert doctor.main(["--quick"]) == 0
    printed = capsys.readouterr().out
    assert "WRONG" not in printed
    assert printed.rstrip().endswith("All is well.")


def test_a_player_shakes_hands_where_the_host_finds_it_by_a_relative_path_only(monkeypatch, tmp_path):
    folder = tmp_path / "john.appleseed"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.chdir(folder)
    (finding,) = doctor_checks.check_handshake()
    assert finding == good("player", "connects and plays")
    assert Path.cwd() == folder
    (finding,) = doctor_checks.check_path()
    assert (finding.state, finding.remedy.split(",")[0]) == (State.NOTE, "give --env a relative path")


def test_a_player_that_does_not_come_is_told_with_its_own_words(monkeypatch):
    monkeypatch.setenv("MARL_PLAYER_PYTHON", sys.executable)
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    monkeypatch.setattr(doctor_checks, "HANDSHAKE_SECONDS", 2)
    (finding,) = doctor_checks.check_handshake()
    assert finding.state is State.BAD
    assert finding.found.startswith("does not connect: Unity")


def test_a_model_is_written_and_compared(monkeypatch):
    (finding,) = doctor_checks.check_export()
    assert finding.state is State.GOOD
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: 1 / 0)
    (finding,) = doctor_checks.check_export()
    assert finding.state is State.BAD
    assert finding.remedy == 'pip install "torch<2.9" "onnx==1.15.0" "onnxruntime<1.20"'


def test_c95_the_open_port_is_told(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setattr(doctor_checks, "EDITOR_PORT", taken.getsockname()[1])
        editor, _, network = doctor_checks.check_ports()
        monkeypatch.setattr(doctor_checks, "BUILD_PORT", taken.getsockname()[1])
        monkeypatch.setattr(doctor_checks, "EDITOR_PORT", 0)
        _, build, _ = doctor_checks.check_ports()
    assert build.remedy.startswith("mlagents-learn --base-port")
    assert editor.state is State.NOTE
    assert editor.remedy.startswith("end the program")  # mlagents-learn ignores --base-port without --env
    assert "in use by another program, meant for the Editor" in editor.found
    assert "listens on all network interfaces without a password" in network.found
    assert network.remedy.split()[0] in ("sudo", "netsh")


@pytest.mark.parametrize(
    ("available", "driver", "built_with", "found"),
    [
        (False, None, None, "none seen"),
        (False, "/usr/bin/nvidia-smi", None, "this torch is built without CUDA"),
        (False, "/usr/bin/nvidia-smi", "12.6", "its driver does not answer"),
        (True, "/usr/bin/nvidia-smi", "12.6", "A Card, A Card (CUDA 12.6)"),
    ],
)
def test_whether_the_gpu_is_used(monkeypatch, available, driver, built_with, found):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "A Card")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built_with)
    monkeypatch.setattr(doctor_checks.shutil, "which", lambda name: driver)
    (finding,) = doctor_checks.check_gpu()
    assert found in finding.found
    assert bool(finding.remedy) == (driver is not None and not available)
    assert ("--reinstall-package torch torch==2.8.0" in finding.remedy) == ("without CUDA" in found)


def test_another_python_is_told(monkeypatch):
    monkeypatch.setattr(doctor_checks.sys, "version_info", (3, 12, 1))
    (finding,) = doctor_checks.check_python()
    assert finding.state is State.BAD
    assert finding.remedy == "uv sync --python 3.10"


def test_a_plugin_that_is_not_registered_is_told(monkeypatch):
    monkeypatch.setattr(doctor_checks.metadata, "entry_points", lambda group: [])
    (finding,) = doctor_checks.check_plugins()
    assert "not registered with ML-Agents" in finding.found


def test_a_type_that_is_left_out_is_told(monkeypatch):
    assert "matd3" in doctor_checks._missing_types({"maddpg": 1})
    monkeypatch.setattr(doctor_checks, "_missing_types", lambda types: ["mappo"])
    assert any("without mappo" in finding.found for finding in doctor_checks.check_plugins())


def test_a_check_that_fails_itself_is_a_finding_and_the_others_go_on():
    def check_sky():
        yield good("sky", "blue")
        raise OSError("fell down")

    findings = doctor.examine([check_sky, lambda: [bad("ground", "gone", "dig")]])
    assert findings[0] == good("sky", "blue")
    assert findings[1] == Finding("sky", State.BAD, "could not be looked at: OSError: fell down", "uv sync")
    assert findings[2] == bad("ground", "gone", "dig")


def test_a_table_keeps_commands_whole():
    rows = [good("a", "short"), bad("long name", "word " * 30, "one command that is to be copied " * 5)]
    lines = doctor.table(rows, 60).splitlines()
    assert lines[0] == "a          ok     short"
    assert lines[1].startswith("long name  WRONG  word")
    assert all(len(line) <= 60 for line in lines[:-1])
    assert lines[-1].endswith("-> " + rows[1].remedy)
