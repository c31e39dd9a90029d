"""The page of marl-watch in a real Chromium without a screen, that of Qt's WebEngine.

Not among the tests that run by themselves, since the browser is a download of 200 MB:

    uv run --with PySide6 pytest tests/browser/watch_in_chromium.py

``MARL_PICTURES=folder`` keeps a picture of each page as it was at the end.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("QTWEBENGINE_DISABLE_SANDBOX", "1")  # Chromium has none for root, as in a container

import pytest
import torch
from PySide6.QtCore import QUrl
from PySide6.QtWebEngineCore import QWebEnginePage
from PySide6.QtWebEngineWidgets import QWebEngineView
from PySide6.QtWidgets import QApplication
from torch import nn

from mlagents_marl_plugin.adapter.export import FlatObservations, export_actor
from mlagents_marl_plugin.core.types import ActionLayout
from mlagents_marl_plugin.tools import watch
from tests.contract.host import free_port, launcher
from tests.contract.playing import TIMEOUT

pytestmark = pytest.mark.filterwarnings("ignore")

PATIENCE = 120.0  # seconds
# What a person sees of the page, as JSON; of the picture how many colours it has.
LOOK = """
(() => {
  const text = id => document.getElementById(id).textContent;
  const picture = document.getElementById("picture");
  const colours = (source, width, height) => {
    if (!width) return 0;
    const canvas = Object.assign(document.createElement("canvas"), {width, height});
    const context = canvas.getContext("2d", {willReadFrequently: true});
    context.drawImage(source, 0, 0);
    const all = context.getImageData(0, 0, width, height).data, seen = new Set();
    for (let i = 0; i < all.length; i += 4) seen.add(all.slice(i, i + 4).join());
    return seen.size;
  };
  return JSON.stringify({
    title: document.title, scene: text("scene"), state: text("state"), more: text("more"),
    decision: text("decision"), episodes: text("episodes"), last: text("last"), mean: text("mean"),
    count: text("count"), source: picture.src.slice(-200) + picture.src.length, shown: picture.offsetWidth,
    width: picture.naturalWidth, drawn: colours(picture, picture.naturalWidth, picture.naturalHeight),
    note: document.getElementById("note").hidden ? "" : text("note"),
    blind: document.getElementById("blind").hidden ? "" : text("blind"),
    rows: [...document.getElementById("agents").rows].map(row => [...row.cells].map(cell => cell.textContent)),
    strips: [...document.querySelectorAll("#agents canvas")].map(
      strip => [strip.width, strip.toDataURL()]),
  });
})()
"""


class Page(QWebEnginePage):
    """Keeps what the page's scripts complain of."""

    def __init__(self):
        super().__init__()
        self.complaints = []

    def javaScriptConsoleMessage(self, level, message, line, source):
        self.complaints.append(f"{source}:{line}: {message}")


class Stage(watch.WatchPage):
    """Plays on only once somebody looks, so that nothing depends on who is faster."""

    opened: "Stage"

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.looked_at = threading.Event()
        Stage.opened = self

    def show(self, moment, seconds):
        assert self.looked_at.wait(PATIENCE)
        super().show(moment, seconds)

    def join(self):
        listener = super().join()
        self.looked_at.set()
        return listener


@pytest.fixture(scope="module")
def application():
    yield QApplication.instance() or QApplication(sys.argv[:1])


def actor(path: Path, shapes: list[tuple[int, ...]], layout: ActionLayout) -> Path:
    """A model of one linear layer that was not trained."""
    torch.manual_seed(6)
    width = sum(torch.Size(shape).numel() for shape in shapes)
    export_actor(FlatObservations(nn.Linear(width, layout.size)), layout, shapes, path)
    return path


def watched(application, tmp_path, monkeypatch, scene, model, *others):
    """What the browser showed until the performance was over, and what its scripts complained of."""
    monkeypatch.setattr(watch, "WatchPage", Stage)
    monkeypatch.delattr(Stage, "opened", raising=False)
    build = ("--env", launcher(tmp_path, scene), "--model", model, "--base-port", free_port(1))
    page = ("--port", 0, "--no-browser", "--timeout-wait", TIMEOUT)
    codes = []
    command = [str(one) for one in (*build, *page, *others)]
    player = threading.Thread(target=lambda: codes.append(watch.main(command)), daemon=True)
    player.start()
    until = time.monotonic() + PATIENCE

    def wait(condition):
        while not condition():
            assert time.monotonic() < until, "the page took too long"
            application.processEvents()
            time.sleep(0.01)

    wait(lambda: hasattr(Stage, "opened"))
    view, browsed, loaded, looks = QWebEngineView(), Page(), [], []
    browsed.loadFinished.connect(loaded.append)
    view.setPage(browsed)
    view.resize(1000, 800)
    view.show()
    browsed.load(QUrl(Stage.opened.address))
    wait(lambda: loaded)

    def look():
        told = []
        browsed.runJavaScript(LOOK, 0, told.append)
        wait(lambda: told)
        looks.append(json.loads(told[0]))
        return looks[-1]["state"] not in ("", "waiting for the scene")

    wait(look)
    player.join(PATIENCE)
    look()
    assert codes == [0]
    if "MARL_PICTURES" in os.environ:
        view.grab().save(str(Path(os.environ["MARL_PICTURES"]) / f"{scene}.png"))
    view.close()
    return looks, browsed.complaints


def different(looks, what):
    """How many different things were shown somewhere."""
    return len({json.dumps(what(look)) for look in looks if look["decision"] != "-"})


SCENES = {
    "Tennis": ([(24,)], ActionLayout(2), ("--speed", 2), ("--max-decisions", 8)),
    "Recall": ([(3,)], ActionLayout(0, (2,)), ("--speed", 5), ("--agents", 3)),
    "Battle": ([(845,)], ActionLayout(0, (21,)), ("--agents", 2), ("--map-size", 20)),
}


@pytest.mark.parametrize("scene", SCENES)
def test_a_browser_shows_the_scene_its_scores_and_what_agents_see_and_do(
    scene, application, tmp_path, monkeypatch
):
    shapes, layout, options, own = SCENES[scene]
    model = actor(tmp_path / "a.onnx", shapes, layout)
    asked = ("--decisions", 40, *options, "--env-args", *own)
    looks, complaints = watched(application, tmp_path, monkeypatch, scene, model, *asked)
    assert complaints == []
    last = looks[-1]
    assert (last["scene"], last["title"]) == (scene, f"{scene} · marl-watch")
    assert (last["decision"], last["state"]) == ("40", "the performance is over")
    assert last["width"] > 100 and last["shown"] > 100 and last["drawn"] > 3 and last["blind"] == ""
    assert different(looks, lambda look: look["source"]) > 4, "pictures follow each other"
    assert different(looks, lambda look: look["decision"]) > 10
    assert different(looks, lambda look: [row[3] for row in look["rows"]]) > 1, "actions change"
    assert different(looks, lambda look: [row[4] for row in look["rows"]] + look["strips"]) > 1, (
        "what is seen too"
    )
    assert [width for width, _ in last["strips"]] == len(last["rows"]) * [
        torch.Size(shape).numel() for shape in shapes
    ]
    if scene == "Battle":
        assert len(last["rows"]) == 2 and last["more"].startswith("and ")
    else:
        assert int(last["episodes"]) >= 4 and last["count"] == last["episodes"]
        float(last["last"]), float(last["mean"])


def test_a_scene_that_cannot_be_drawn_says_why(application, tmp_path, monkeypatch):
    model = actor(tmp_path / "a.onnx", [(4,)], ActionLayout(2))
    own = ("--env-args", "--parallel-env", "tests.unit.parallel_envs:Pacer")
    looks, complaints = watched(application, tmp_path, monkeypatch, "Parallel", model, "--decisions", 6, *own)
    assert complaints == []
    assert looks[-1]["width"] == looks[-1]["shown"] == 0
    assert looks[-1]["blind"].startswith("No pictures: the environment's render() gave none")
    assert looks[-1]["rows"][0][3].count(" ") == 1, "two numbers"


def test_of_long_views_the_first_numbers_are_shown_and_a_note_tells_of_agents_alone(
    application, tmp_path, monkeypatch
):
    model = actor(tmp_path / "a.onnx", [(3000,)], ActionLayout(2))
    own = ("--env-args", "--parallel-env", "tests.browser.long_views:Watchers")
    looks, complaints = watched(application, tmp_path, monkeypatch, "Parallel", model, "--decisions", 6, *own)
    assert complaints == []
    last = looks[-1]
    assert [width for width, _ in last["strips"]] == 8 * [2048]
    assert {row[4] for row in last["rows"]} == {"3,000 numbers, the first 2,048 shown"}
    assert last["note"].startswith("Note: who plays together is not known, so from decision 1 on")
    assert last["more"] == "and 1 more agent (--agents shows more)"
