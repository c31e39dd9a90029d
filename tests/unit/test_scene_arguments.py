"""What tools that play refuse about a scene before they open it."""

import pytest

from mlagents_marl_plugin.tools import evaluate, unity, watch
from mlagents_marl_plugin.tools.unity import SceneError, SceneOptions, open_scene

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
