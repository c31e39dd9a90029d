import logging
import subprocess
import sys

import pytest
from PIL import Image

from mlagents_marl_plugin.player import cli
from mlagents_marl_plugin.player.faults import CRASH_EXIT_CODE
from mlagents_marl_plugin.player.scenes import SCENES


@pytest.fixture(autouse=True)
def _quiet_log():
    yield
    for handler in logging.getLogger("marl-player").handlers:
        handler.close()
    logging.getLogger("marl-player").handlers.clear()


@pytest.fixture
def called(monkeypatch):
    """What a copy of the program hands to the player."""
    calls = []
    monkeypatch.setattr(
        cli, "_play", lambda name, arguments, in_editor: calls.append((name, arguments, in_editor)) or 0
    )
    return calls


@pytest.mark.parametrize("program", ["builds/Tennis", "Tennis.exe", "/a folder/Tennis.EXE"])
def test_a_program_named_after_a_scene_plays_it(program, called, monkeypatch):
    monkeypatch.setattr(sys, "argv", [program, "--mlagents-port", "5005"])
    assert cli.main() == 0
    assert called == [("Tennis", ["--mlagents-port", "5005"], False)]


@pytest.mark.parametrize("program", ["/bin/marl-player", "Scripts/marl-player.exe", "player/__main__.py"])
def test_the_program_itself_takes_commands(program, called, monkeypatch):
    monkeypatch.setattr(sys, "argv", [program, "play", "Tennis", "--teams"])
    assert cli.main() == 0
    assert called == [("Tennis", ["--teams"], True)]


def test_help_names_every_command(capsys):
    assert cli.main([]) == 0
    assert cli.main(["--help"]) == 0
    printed = capsys.readouterr().out
    for command in ("marl-player list", "marl-player play", "marl-player install"):
        assert printed.count(command) >= 2


def test_list_has_a_line_for_each_scene(capsys):
    assert cli.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(SCENES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dance"], "expected one of list, play, install, render, got dance"),
        (["play"], "play: expected the name of a scene, got none"),
        (["play", "Chess"], "Signs), got Chess; see marl-player list"),
        (["render", "Tennis", "rally.txt", "--seconds", "0.1"], "expected a path that ends in .gif or .png"),
        (["play", "Tennis", "--gruop-ids"], "did you mean --group-ids?"),
    ],
)
def test_a_wrong_command_line_is_explained(arguments, message, capsys):
    assert cli.main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["install", "a", "b"], ["install", "--force"], ["render", "Counter", "a.gif"]]
)
def test_argparse_refuses_the_rest(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert f"usage: marl-player {arguments[0]}" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["rally.gif", "rally.png"])
def test_render_draws_a_picture(name, tmp_path, capsys):
    assert cli.main(["render", "Tennis", str(tmp_path / name), "--seconds", "2"]) == 0
    with Image.open(tmp_path / name) as picture:
        assert picture.width > 100
    assert "Wrote" in capsys.readouterr().out


def test_a_wrong_option_is_written_to_the_log_file_too(tmp_path, capsys):
    log = tmp_path / "logs" / "Player-0.log"
    assert cli.main(["run", "Tennis", "--mlagents-port", "5005", "-logFile", str(log), "--gruop-ids"]) == 2
    assert "did you mean --group-ids?" in log.read_text()


def test_help_of_a_scene_lists_its_options(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["play", "Tennis", "--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert "--true-ball-velocity" in printed
    assert "--mlagents-port" in printed


@pytest.mark.parametrize(("marker_there", "exit_code"), [(False, CRASH_EXIT_CODE), (True, 0)])
def test_a_crash_once_happens_if_its_marker_is_not_there(marker_there, exit_code, tmp_path):
    marker = tmp_path / "crashed"
    if marker_there:
        marker.touch()
    script = (
        "import sys; from pathlib import Path; from mlagents_marl_plugin.player.faults import Faults\n"
        "faults = Faults(after=3, once=Path(sys.argv[1]))\n"
        "faults.instead_of(b'', 2, None); print('alive', flush=True); faults.instead_of(b'', 3, None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(marker)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (exit_code, "alive")
    assert marker.exists()
