"""What tools that play refuse about a scene before they open it."""

import os

import pytest

from mlagents_marl_plugin.tools import evaluate, unity, watch
from mlagents_marl_plugin.tools.unity import SceneError, SceneOptions, check_build, open_scene

MODEL = ("--model", "a.onnx")


def refusal(tool, *arguments):
    with pytest.raises(SystemExit) as ended:
        tool.main([*MODEL, *arguments])
    return ended.value.code


@pytest.mark.parametrize(
    ("tool", "option", "wrong", "lowest"),
    [
        (watch, "--port", "70000", 0),
        (watch, "--port", "-1", 0),
        (watch, "--base-port", "65536", 1),
        (evaluate, "--base-port", "0", 1),
        (evaluate, "--base-port", "http", 1),
    ],
)
def test_a_port_that_cannot_be_is_refused(tool, option, wrong, lowest, capsys):
    assert refusal(tool, f"{option}={wrong}") == 2
    rule = f"argument {option}: expected a port from {lowest} to 65535, got {wrong}; leave the option out for"
    assert rule in capsys.readouterr().err


def test_ports_from_end_to_end_are_taken():
    args = watch.parser().parse_args([*MODEL, "--port", "0", "--base-port", "65535"])
    assert (args.port, args.base_port) == (0, 65535)


def test_the_port_to_try_instead_is_one(monkeypatch):
    monkeypatch.setattr(unity, "_is_free", lambda port: False)
    for taken, instead in ((6000, 6100), (65_500, 65_400)):
        with pytest.raises(SceneError, match=rf"got {taken}, .*choose another: --base-port {instead}$"):
            open_scene(SceneOptions(base_port=taken))


def test_a_build_in_a_folder_that_mlagents_mangles_is_named_from_here(tmp_path, monkeypatch):
    home = tmp_path / "john.appleseed"
    (home / "builds" / "Counter.app" / "Contents" / "MacOS").mkdir(parents=True)
    for ending in (".x86_64", ".exe", ".app/Contents/MacOS/Counter"):
        (home / "builds" / f"Counter{ending}").touch()
    build = home / "builds" / "Counter"
    monkeypatch.chdir(home)
    with pytest.raises(SceneError, match="expected a path without .app inside") as refused:
        check_build(str(build))
    relative = os.path.join("builds", "Counter")
    assert str(refused.value).endswith(f"johnleseed{os.sep}{relative}: give it from here, --env {relative}")
    check_build(relative)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SceneError, match="move the build to a folder of another name$"):
        check_build(str(build))


@pytest.mark.parametrize("wrong", ["2147483648", "-2147483649"])
def test_a_seed_that_unity_has_no_room_for_is_refused(wrong, capsys):
    assert refusal(watch, f"--seed={wrong}") == 2
    told = capsys.readouterr().err
    assert (
        f"--seed: expected a whole number from -2147483648 to 2147483647, got {wrong}; Unity's seeds" in told
    )
    assert watch.parser().parse_args([*MODEL, "--seed", "-2147483648"]).seed == -(2**31)
