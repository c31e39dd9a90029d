"""Finding a build, starting it, and seeing to it that it ends."""

import os
import signal
import sys

import numpy as np
import pytest

from mlagents_marl_plugin.player.legacy.academy import Academy
from mlagents_marl_plugin.player.legacy.build_path import find_program
from mlagents_marl_plugin.player.legacy.build_process import BuildProcess
from mlagents_marl_plugin.player.legacy.guard import CANNOT_START
from mlagents_marl_plugin.player.legacy.python_side import PythonSide
from mlagents_marl_plugin.player.legacy.udacity_options import options_from
from mlagents_marl_plugin.player.options import OptionError, parse
from mlagents_marl_plugin.player.scene import Actions, SceneError, SceneSettings
from mlagents_marl_plugin.player.scenes import SCENES
from mlagents_marl_plugin.player.side_channels import EnvironmentParameters
from tests.udacity import fake_build
from tests.udacity.programs import diary

FAKE = [sys.executable, fake_build.__file__]
BRIDGE = SCENES["UdacityTennis"]


def make(path):
    """A file that may be started."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def make_build(folder, name, platform):
    """What the course's archive of a system unpacks to; what is started, and what a user names."""
    if platform == "darwin":
        return make(folder / f"{name}.app" / "Contents" / "MacOS" / name), folder / f"{name}.app"
    (folder / f"{name}_Data").mkdir(parents=True)
    program = make(folder / f"{name}{'.exe' if platform == 'win32' else '.x86_64'}")
    return program, program


systems = pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])


@systems
def test_a_build_is_found_by_its_name_with_or_without_suffix(platform, tmp_path, monkeypatch):
    program, named = make_build(tmp_path / "a course", "Tennis", platform)
    assert find_program(str(named), platform) == program
    assert find_program(str(named.with_suffix("")), platform) == program
    monkeypatch.chdir(tmp_path)
    assert find_program(os.path.join("a course", "Tennis"), platform) == program
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert find_program("~/a course/Tennis", platform) == program


@systems
def test_a_folder_or_a_wrong_name_is_answered_with_the_build_that_is_there(platform, tmp_path):
    _, named = make_build(tmp_path / "course", "Tennis", platform)
    with pytest.raises(ValueError, match="got the folder .*course; there is") as refused:
        find_program(str(tmp_path / "course"), platform)
    assert str(named) in str(refused.value)
    with pytest.raises(ValueError, match="Tenis, which does not exist; there is") as refused:
        find_program(str(tmp_path / "course" / "Tenis"), platform)
    assert str(named) in str(refused.value)
    with pytest.raises(ValueError, match="which does not exist; give the build's file, such as"):
        find_program(str(tmp_path / "nowhere" / "Tennis"), platform)


@pytest.mark.parametrize(
    ("built_for", "platform", "message"),
    [
        (
            "linux",
            "win32",
            "build for Windows, got .*, which is one for Linux; the course has Tennis_Windows",
        ),
        (
            "win32",
            "linux",
            "build for Linux, got .*, which is one for Windows; the course has Tennis_Linux.zip",
        ),
        ("linux", "darwin", "build for macOS, got .*, which is one for Linux; the course has Tennis.app.zip"),
        (
            "darwin",
            "linux",
            "build for Linux, got .*, which is one for macOS; the course has Tennis_Linux.zip",
        ),
    ],
)
def test_another_systems_build_is_refused(built_for, platform, message, tmp_path):
    _, named = make_build(tmp_path, "Tennis", built_for)
    with pytest.raises(ValueError, match=message):
        find_program(str(named), platform)


def test_incomplete_builds_are_refused(tmp_path, monkeypatch):
    with pytest.raises(
        ValueError, match="expected the folder Tennis_Data beside .*; unpack the course's archive"
    ):
        find_program(str(make(tmp_path / "Tennis.x86_64")), "linux")
    (tmp_path / "Tennis.app").mkdir()
    with pytest.raises(ValueError, match="expected a program in .*MacOS, got none; unpack"):
        find_program(str(tmp_path / "Tennis.app"), "darwin")
    program, _ = make_build(tmp_path / "unzipped", "Tennis", "linux")
    monkeypatch.setattr(os, "access", lambda _, mode: not mode & os.X_OK)  # Windows has no such permission
    with pytest.raises(
        ValueError, match=r"expected a program that may be started, .*; run: chmod \+x '.*Tennis"
    ):
        find_program(str(program), "linux")


def parsed(*arguments):
    return parse(BRIDGE, list(arguments), in_editor=True)


def test_options(tmp_path):
    program = make(tmp_path / "build")
    options = options_from(parsed("--build", str(program)))
    assert options.command(5) == [str(program), "--port", "5"]
    log = tmp_path / "Player-0.log"
    quiet = options_from(parsed("--build", str(program), "-nographics", "-batchmode", "-logFile", str(log)))
    own_log = str(tmp_path / "Player-0-build.log")
    assert quiet.command(5) == [str(program), "-nographics", "-batchmode", "-logFile", own_log, "--port", "5"]
    assert not quiet.watch
    watched = options_from(parsed("--build", str(program), "-nographics", "-batchmode", "--watch"))
    assert watched.watch
    assert watched.command(5) == [str(program), "--port", "5"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [],
            "--build: expected the path of a build from the course, got none; for example '--env-args --build",
        ),
        (["--build", "."], "--build: expected a build, got the folder"),
        (
            ["--build", sys.executable, "--build-timeout", "0"],
            "--build-timeout: expected seconds > 0, got 0; try 50",
        ),
        (["--builds", "x"], "got --builds; did you mean --build?"),
    ],
)
def test_wrong_options_are_refused(arguments, message):
    with pytest.raises(OptionError, match=message):
        parsed(*arguments)


def test_several_areas_are_refused(tmp_path):
    options = parsed("--build", sys.executable)
    with pytest.raises(
        SceneError, match="--num-areas: expected 1, got 4; .* to play several at once use --num-envs"
    ):
        BRIDGE.create(SceneSettings(4, 0, EnvironmentParameters(), options))


def conversation(*arguments, timeout=60.0):
    side = PythonSide()
    process = BuildProcess([*FAKE, *arguments, "--port", str(side.port)])
    return Academy(side, process, timeout, "; its own log is Player-0-build.log")


def test_a_build_plays_and_quits_when_it_is_told_to(tmp_path):
    academy = conversation("--diary", str(tmp_path / "diary"))
    assert academy.shake_hands(seed=-5).name == "Academy"
    assert len(academy.reset(True, {}).agent_infos["TennisBrain"].value) == 2
    academy.close()
    assert '{"seed": -5}' in (tmp_path / "diary").read_text()
    assert '{"status": 400}' in (tmp_path / "diary").read_text()


@pytest.mark.parametrize(
    ("arguments", "timeout", "message"),
    [
        (
            ["--fault", "exits"],
            60,
            r"ended with exit code 1 before it called and said 'error while loading shared lib",
        ),
        (
            ["--fault", "silent"],
            0.3,
            r"first call within 0\.3 s, got none; .*; its own log is Player-0-build\.log",
        ),
        (
            ["--fault", "foreign"],
            60,
            "got /communicator_objects.UnityToExternalProto/Exchange; this is a later build",
        ),
    ],
)
def test_a_build_that_never_gets_to_play(arguments, timeout, message):
    academy = conversation(*arguments, timeout=timeout)
    with pytest.raises(SceneError, match=message):
        academy.shake_hands(seed=1)
    academy.close()


def test_a_program_that_is_none(tmp_path):
    program = make(tmp_path / "Tennis")
    program.write_bytes(b"\x7fELF nonsense")
    process = BuildProcess([str(program)])
    assert process.wait(30)
    assert process.exit_code == CANNOT_START
    assert str(program) in process.last_words()
    process.end()


NOTHING = np.zeros((1, 0), np.float32)
CHOSEN = {"BananaBrain": Actions(np.zeros(1, np.int64), NOTHING, np.zeros((1, 1), np.int64))}


def test_a_build_that_crashes_while_it_plays():
    academy = conversation("--fault", "dies", "--game", "banana")
    academy.shake_hands(seed=1)
    academy.reset(True, {})
    with pytest.raises(
        SceneError, match="exit code 9 while it played and said 'Segmentation fault'; start it by"
    ):
        for _ in range(6):
            academy.step(CHOSEN)
    academy.close()


def test_a_build_that_is_killed_while_it_waits_for_the_trainer(tmp_path):
    academy = conversation("--game", "banana", "--diary", str(tmp_path / "diary"))
    academy.shake_hands(seed=1)
    academy.reset(True, {})
    os.kill(diary(tmp_path)[0]["pid"], signal.SIGTERM)
    with pytest.raises(SceneError, match="got one that (hung up|ended with exit code .*) while it played"):
        for _ in range(3):
            academy.step(CHOSEN)
    academy.close()


def test_a_build_that_hangs_is_given_up_and_ended():
    academy = conversation("--fault", "hangs", "--game", "banana")
    academy.shake_hands(seed=1)
    academy.reset(True, {})
    for _ in range(4):
        academy.step(CHOSEN)
    academy._timeout = 0.3
    with pytest.raises(
        SceneError, match=r"expected its next call within 0\.3 s, got none; does it wait for a click"
    ):
        academy.step(CHOSEN)
    academy.close()
    assert academy._process.exit_code is not None


class TestProcessesOfTheBuild:
    """On POSIX a build may be started by a script, for example under xvfb-run."""

    __test__ = os.name == "posix"

    @pytest.mark.parametrize("stubborn", ["", "trap '' TERM; "])
    def test_all_of_them_end(self, stubborn, tmp_path):
        # Opening a pipe for writing waits for its reader, and reading ends when no writer is left.
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        process = BuildProcess(["sh", "-c", f"exec > '{pipe}'; {stubborn}sleep 600 & echo started; wait"])
        with pipe.open() as reader:
            assert reader.readline() == "started\n"
            process.end()
            assert reader.read() == ""
