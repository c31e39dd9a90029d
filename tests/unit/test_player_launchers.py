import os
import stat
import sysconfig
from pathlib import Path

import pytest
from mlagents_envs import env_utils

from mlagents_marl_plugin.player import cli
from mlagents_marl_plugin.player.launchers import SCENES_FOR_USERS, InstallError, install, mangled_part
from mlagents_marl_plugin.player.scenes import SCENES

BUILDS = Path(__file__).parents[2] / "unity_builds"
TENNIS = ["Tennis"]


@pytest.fixture
def scripts(tmp_path, monkeypatch):
    """A folder that stands for the console scripts, with the program that Windows launchers copy."""
    folder = tmp_path / "Scripts"
    folder.mkdir()
    (folder / "marl-player.exe").write_bytes(b"MZ the program")
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(folder))
    return folder


@pytest.mark.parametrize(
    ("platform", "place"),
    [("linux", "Tennis.x86_64"), ("darwin", "Tennis.app/Contents/MacOS/Tennis"), ("win32", "Tennis.exe")],
)
@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("name", ["Tennis", "Tennis with its suffix"])
def test_the_host_finds_what_install_wrote(platform, place, absolute, name, tmp_path, monkeypatch, scripts):
    folder = tmp_path / "my builds"
    (launcher,) = install(folder, platform, scenes=TENNIS)
    assert launcher == folder / place
    monkeypatch.setattr(env_utils, "get_platform", lambda: platform)
    monkeypatch.chdir(tmp_path)
    given = place.split("/")[0] if name != "Tennis" else name
    found = env_utils.validate_environment_path(str((folder if absolute else Path("my builds")) / given))
    assert found is not None
    assert (tmp_path / found).resolve() == launcher.resolve()


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_install_remembers_its_python_but_leaves_the_repositorys_launcher_alone(platform, tmp_path):
    (launcher,) = install(tmp_path, platform, python="/first/python", scenes=TENNIS)
    assert "installed_with='/first/python'" in launcher.read_text()
    install(tmp_path, platform, python="/second/python")
    assert "installed_with='/second/python'" in launcher.read_text()
    launcher.unlink()
    install(tmp_path, platform, python="")
    install(tmp_path, platform, python="/first/python")
    assert "installed_with=''" in launcher.read_text()


def test_a_windows_launcher_is_a_copy_of_the_installed_program(tmp_path, scripts):
    (launcher,) = install(tmp_path, "win32", scenes=TENNIS)
    assert launcher.read_bytes() == b"MZ the program"


def test_windows_without_the_installed_program_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(InstallError, match=r"expected marl-player\.exe in .*; install the package"):
        install(tmp_path / "builds", "win32")


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_the_launchers_in_the_repository_are_what_install_writes(platform, tmp_path):
    launchers = install(tmp_path, platform, python="")
    assert len(launchers) == len(SCENES_FOR_USERS)
    for launcher in launchers:
        committed = BUILDS / launcher.relative_to(tmp_path)
        assert committed.read_bytes() == launcher.read_bytes()
        assert not launcher.read_bytes().count(b"\r")
        if os.name == "posix":
            assert committed.stat().st_mode & stat.S_IXUSR


def test_every_launcher_is_of_a_scene_and_stays_as_it_is_in_a_checkout_on_windows():
    assert set(SCENES_FOR_USERS) == set(SCENES) - {"Counter", "Signs"}  # which tests play
    kept = (BUILDS / ".gitattributes").read_text()
    assert "*.x86_64 text eol=lf\n" in kept
    assert "*.app/** text eol=lf\n" in kept


def test_the_bundle_names_its_executable(tmp_path):
    install(tmp_path, "darwin", python="")
    for scene in SCENES_FOR_USERS:
        plist = tmp_path / f"{scene}.app" / "Contents" / "Info.plist"
        assert f"<key>CFBundleExecutable</key>\n    <string>{scene}</string>" in plist.read_text()
        assert plist.read_bytes() == (BUILDS / f"{scene}.app" / "Contents" / "Info.plist").read_bytes()


@pytest.mark.parametrize("part", [".app", ".exe", ".x86_64", ".x86"])
def test_a_folder_that_the_host_mangles_is_recognised(part, tmp_path, monkeypatch):
    folder = tmp_path / f"john{part}leseed"
    install(folder, "linux")
    monkeypatch.setattr(env_utils, "get_platform", lambda: "linux")
    assert env_utils.validate_environment_path(str(folder / "Tennis")) is None
    assert mangled_part(folder) == part
    assert mangled_part(tmp_path) is None


def test_the_way_out_of_a_mangled_folder_works(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "john.appleseed"
    assert cli.main(["install", str(folder / "builds")]) == 0
    warning = capsys.readouterr().err
    assert "contains '.app'" in warning
    assert "a path relative to it" in warning
    monkeypatch.chdir(folder)
    assert env_utils.validate_environment_path("builds/Tennis") is not None


def test_install_says_what_it_wrote_and_does_not_warn_without_need(tmp_path, capsys):
    assert cli.main(["install", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert f"Wrote {tmp_path}" in printed.out
    assert printed.err == ""
