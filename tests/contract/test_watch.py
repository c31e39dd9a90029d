"""marl-watch with the real player on the other side."""

import http.client
import json
import queue
import subprocess
import sys
import threading

import pytest
from mlagents_envs.exception import UnityEnvironmentException
from PIL import Image

from mlagents_marl_plugin.tools import watch
from mlagents_marl_plugin.tools.performance import PictureChannel
from mlagents_marl_plugin.tools.unity import open_scene
from tests.contract.host import free_port, launcher
from tests.contract.playing import PATIENCE, TIMEOUT, environment
from tests.contract.test_evaluate import model

pytestmark = pytest.mark.filterwarnings("ignore")


def arguments(build, path, *others):
    return [
        *(
            "--env",
            str(build),
            "--model",
            str(path),
            "--base-port",
            str(free_port(1)),
            "--timeout-wait",
            str(TIMEOUT),
        ),
        *map(str, others),
    ]


def test_a_gif_shows_what_the_model_plays(tmp_path, capsys):
    build, actor = launcher(tmp_path, "Tennis"), model(tmp_path / "a.onnx", 3)
    asked = ("--num-areas", 2, "--area", 1, "--decisions", 9, "--speed", 2)
    assert watch.main(arguments(build, actor, "--gif", tmp_path / "new" / "a.gif", *asked)) == 0
    with Image.open(tmp_path / "new" / "a.gif") as written:
        # 25 pictures a second of eight decisions of 0.1 s, shown twice as fast.
        assert (written.n_frames, written.info["duration"]) == (20, 20)
    assert "Wrote" in capsys.readouterr().err


def test_the_page_tells_pictures_scores_observations_and_actions(tmp_path, monkeypatch):
    build, actor = launcher(tmp_path, "Tennis"), model(tmp_path / "a.onnx", 3)
    told = queue.Queue()

    class Page(watch.WatchPage):
        """Plays on only once somebody looks, so that nothing depends on who is faster."""

        def show(self, moment, seconds):
            if moment.number == 1:
                threading.Thread(target=listen, args=(self.address, told), daemon=True).start()
                assert arrived.wait(30)
            super().show(moment, seconds)

        def join(self):
            listener = super().join()
            arrived.set()
            return listener

    arrived = threading.Event()
    monkeypatch.setattr(watch, "WatchPage", Page)
    page = ("--port", 0, "--no-browser", "--decisions", 25, "--speed", 1000, "--agents", 1)
    short = ("--env-args", "--max-decisions", 10)
    assert watch.main(arguments(build, actor, *page, *short)) == 0
    moments = told.get(timeout=30)
    assert [moment["number"] for moment in moments] == list(range(1, 26))
    last = moments[-1]
    assert last["scene"] == "Tennis" and len(last["pictures"]) in (2, 3)
    (agent,) = last["agents"]
    assert last["num_agents"] == 2 and agent["behavior"] == "Tennis?team=0"
    assert len(agent["observations"][0]) == 24 and len(agent["continuous"]) == 2
    assert last["episodes"] == len(last["scores"]) >= 2, "rallies of at most ten decisions"


def test_ctrl_c_ends_the_show_and_the_player(tmp_path, monkeypatch):
    build, actor = launcher(tmp_path, "Tennis"), model(tmp_path / "a.onnx", 3)
    players = []

    def opened(*asked):
        env = open_scene(*asked)
        players.append(env._process)
        return env

    class Page(watch.WatchPage):
        def show(self, moment, seconds):
            if moment.number == 3:
                raise KeyboardInterrupt

    monkeypatch.setattr(watch, "open_scene", opened)
    monkeypatch.setattr(watch, "WatchPage", Page)
    asked = ("--port", 0, "--no-browser", "--speed", 1000)
    assert watch.main(arguments(build, actor, *asked)) == 0
    assert [player.returncode for player in players] == [0], "it ended, and by itself"


def listen(address, told):
    """What a browser hears."""
    connection = http.client.HTTPConnection(address.split("/")[2], timeout=30)
    connection.request("GET", "/events")
    stream, moments = connection.getresponse(), []
    for line in stream:
        if line.startswith(b"data: {"):
            moments.append(json.loads(line[6:]))
        if line.startswith(b"event: end"):
            break
    told.put(moments)


def test_a_scene_without_pictures_makes_no_gif_and_says_why(tmp_path, capsys):
    build, actor = launcher(tmp_path, "Counter"), model(tmp_path / "a.onnx", 3, obs_size=4)
    code = watch.main(
        arguments(build, actor, "--gif", tmp_path / "a.gif", "--decisions", 2, "--group-size", 1)
    )
    assert (code, "--gif: expected a scene that sends pictures, got none" in capsys.readouterr().err) == (
        2,
        True,
    )
    assert not (tmp_path / "a.gif").exists()


def test_an_environment_that_cannot_draw_says_why_and_how_it_could(tmp_path, capsys):
    build, actor = launcher(tmp_path, "Parallel"), model(tmp_path / "a.onnx", 3, obs_size=4)
    scene = ("--env-args", "--parallel-env", "tests.unit.parallel_envs:Pacer")
    asked = ("--gif", tmp_path / "a.gif", "--decisions", 3, *scene)
    assert watch.main(arguments(build, actor, *asked)) == watch.EXIT_USAGE
    told = capsys.readouterr().err
    assert (
        "got none; the environment's render() gave none (ValueError: expected render_mode rgb_array" in told
    )
    assert "give --set render_mode=rgb_array after --env-args" in told
    assert watch.main(arguments(build, actor, *asked, "--set", "render_mode=rgb_array")) == 0
    with Image.open(tmp_path / "a.gif") as written:
        assert (written.n_frames, written.size) == (3, (8, 6))


def test_torch_is_not_imported() -> None:
    code = "import sys; import mlagents_marl_plugin.tools.watch; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (["--area", "1"], "--area: expected 0 to 0 (--num-areas 1), got 1; areas are counted from 0"),
        (["--speed", "0"], "--speed: expected a number above 0, got 0; 1 is as fast as life"),
        (["--gif", "a.mp4"], "--gif: expected a name that ends in .gif, got a.mp4; rename it"),
        (["--env", "no/where"], "--env no/where: expected"),
    ],
)
def test_wrong_input_is_refused(wrong, says, tmp_path, capsys):
    actor = model(tmp_path / "a.onnx", 3)
    assert watch.main(arguments("unity_builds/Tennis", actor, *wrong)) == watch.EXIT_USAGE
    assert says in capsys.readouterr().err


def test_a_port_in_use_is_named(tmp_path, capsys):
    build, actor = launcher(tmp_path, "Tennis"), model(tmp_path / "a.onnx", 3)
    other = watch.WatchPage(0, "other")
    port = other.address.rstrip("/").rpartition(":")[2]
    assert watch.main(arguments(build, actor, "--port", port, "--no-browser")) == watch.EXIT_USAGE
    assert f"--port: expected a free port, got {port}" in capsys.readouterr().err
    other.end("")


def test_pictures_of_an_area_that_is_not_there_are_refused(tmp_path):
    with (
        pytest.raises(UnityEnvironmentException, match="return code 1"),
        environment(tmp_path, "Tennis", side_channels=[PictureChannel(3)], timeout_wait=PATIENCE) as played,
    ):
        played.reset()
    log = (tmp_path / "Player-0.log").read_text(encoding="utf-8")
    assert "pictures: expected an area from 0 to 0, got 3" in log
