"""Which Python the Linux and macOS launchers start."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlagents_marl_plugin.player.launchers import install


class TestShellLauncher:
    __test__ = os.name == "posix"

    @pytest.fixture(params=["linux", "darwin"])
    def launcher(self, tmp_path, request):
        (launcher,) = install(tmp_path / "my builds", request.param, python="", scenes=["Tennis"])
        return launcher

    @pytest.fixture
    def empty_path(self, tmp_path):
        """A PATH with a shell's tools but no Python."""
        tools = tmp_path / "tools"
        tools.mkdir()
        for tool in ("basename", "dirname"):
            (tools / tool).symlink_to(str(shutil.which(tool)))
        return str(tools)

    def start(self, launcher, path, *arguments, cwd="/", **variables):
        """Start the player so that it ends at once, since nobody listens."""
        arguments = arguments or ("--mlagents-port", "1", "--wait", "0")
        return subprocess.run(
            [str(launcher), *arguments],
            cwd=cwd,
            env={"PATH": path, **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def played(self, done):
        return "nobody listens on port 1" in done.stderr

    def test_by_variable(self, launcher, empty_path):
        assert self.played(self.start(launcher, empty_path, MARL_PLAYER_PYTHON=sys.executable))

    def test_by_active_environment(self, launcher, empty_path, tmp_path):
        folder = tmp_path / "an environment" / "bin"
        folder.mkdir(parents=True)
        self.write_python(folder / "python")
        assert self.played(self.start(launcher, empty_path, VIRTUAL_ENV=str(folder.parent)))

    def test_by_path(self, launcher, empty_path, tmp_path):
        self.write_python(Path(empty_path) / "python")
        assert self.played(self.start(launcher, empty_path))

    def test_by_the_python_it_was_installed_with(self, empty_path, tmp_path):
        (launcher,) = install(tmp_path / "it's mine", "linux", python=sys.executable, scenes=["Tennis"])
        assert self.played(self.start(launcher, empty_path))

    @pytest.mark.parametrize("platform", ["linux", "darwin"])
    def test_by_the_environment_beside_its_folder(self, empty_path, tmp_path, platform):
        (launcher,) = install(tmp_path / "unity_builds", platform, python="", scenes=["Tennis"])
        folder = tmp_path / ".venv" / "bin"
        folder.mkdir(parents=True)
        self.write_python(folder / "python")
        assert self.played(self.start(launcher, empty_path))

    def test_a_python_without_the_package_is_passed_over(self, launcher, empty_path, tmp_path):
        self.write_python(tmp_path / "bare", "-S -E")
        self.write_python(Path(empty_path) / "python3", "-S -E")
        self.write_python(Path(empty_path) / "python")
        assert self.played(self.start(launcher, empty_path, MARL_PLAYER_PYTHON=str(tmp_path / "bare")))

    def test_none_is_said_on_stderr_and_in_the_log(self, launcher, empty_path, tmp_path):
        log = tmp_path / "a log.txt"
        done = self.start(launcher, empty_path, "--mlagents-port", "1", "-logFile", str(log), "--group-ids")
        assert done.returncode == 1
        assert "Tennis: found no Python that has mlagents_marl_plugin" in done.stderr
        assert "MARL_PLAYER_PYTHON" in log.read_text()

    def test_arguments_arrive_as_they_were(self, launcher, empty_path):
        done = self.start(launcher, empty_path, "--two words", MARL_PLAYER_PYTHON=sys.executable)
        assert done.returncode == 2
        assert "got --two words" in done.stderr

    def test_a_copy_of_the_installed_program_plays_the_scene_it_is_named_after(self, tmp_path):
        """How a Windows launcher works, shown with the program that this system has."""
        copy = tmp_path / "Tennis"
        shutil.copy(Path(sys.executable).with_name("marl-player"), copy)
        assert self.played(self.start(copy, os.environ["PATH"]))

    def write_python(self, path, flags=""):
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" {flags} "$@"\n')
        path.chmod(0o755)
