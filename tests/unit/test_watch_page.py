"""The page of marl-watch, read by a plain HTTP client."""

import base64
import http.client
import json
import socket

import pytest

from mlagents_marl_plugin.tools import watch_page
from mlagents_marl_plugin.tools.performance import AgentView, Moment
from mlagents_marl_plugin.tools.watch_page import WatchPage

PICTURE = b"\x89PNG picture"


def moment(number):
    agent = AgentView(7, "Tennis?team=0", 0, [[0.5, -1.0]], [2], [0.25], [], 0.1, 0.3)
    return Moment(number, [PICTURE], 0.04, [agent], 2, [0.3], 1)


@pytest.fixture
def page():
    served = WatchPage(0, "Tennis")
    yield served
    served.end("over")


def get(page, path, **headers):
    connection = http.client.HTTPConnection(page.address.split("/")[2], timeout=20)
    connection.request("GET", path, headers=headers)
    return connection.getresponse()


def next_event(stream):
    """Name and content of the next event that is no heartbeat."""
    name = ""
    while True:
        line = stream.readline().decode().rstrip("\n")
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            return name, json.loads(line.removeprefix("data: "))


def test_the_page_brings_all_it_needs(page):
    answer = get(page, "/")
    content = answer.read().decode()
    assert answer.status == 200
    assert 'EventSource("events")' in content
    assert "http" not in content.replace("http-equiv", ""), "nothing comes from elsewhere"


def test_moments_reach_every_browser_and_the_latest_one_who_comes_late(page):
    page.show(moment(1), 0.02)
    first = get(page, "/events")
    name, told = next_event(first)
    assert (name, told["number"], told["scene"], told["seconds"]) == ("message", 1, "Tennis", 0.02)
    assert base64.b64decode(told["pictures"][0]) == PICTURE
    assert told["agents"] == [
        {
            "id": 7,
            "behavior": "Tennis?team=0",
            "group": 0,
            "observations": [[0.5, -1.0]],
            "sizes": [2],
            "continuous": [0.25],
            "discrete": [],
            "reward": 0.1,
            "score": 0.3,
        }
    ]
    assert (told["num_agents"], told["scores"]) == (2, [0.3])
    second = get(page, "/events")
    assert next_event(second)[1]["number"] == 1
    assert page.audience == 2
    page.show(moment(2), 0.02)
    assert next_event(first)[1]["number"] == next_event(second)[1]["number"] == 2


def test_the_end_is_told_with_its_reason():
    page = WatchPage(0, "Tennis")
    page.show(moment(1), 0.02)
    stream = get(page, "/events")
    assert next_event(stream)[0] == "message"
    page.end("the performance is over")
    assert next_event(stream) == ("end", "the performance is over")
    assert stream.read().strip() == b"", "the stream is closed"


def test_a_browser_that_sleeps_misses_the_oldest_moments(page):
    listener = page.join()
    for number in range(100):
        page.show(moment(number), 0.02)
    events = [listener.get_nowait() for _ in range(listener.qsize())]
    assert len(events) == watch_page._WAITING_MOMENTS
    assert b'"number": 99' in events[-1]
    page.leave(listener)


def test_other_addresses_and_other_names_are_refused(page):
    assert get(page, "/etc/passwd").status == 404
    assert get(page, "/", Host="evil.example").status == 403
    assert get(page, "/", Host="localhost:1").status == 200


def test_only_this_machine_is_served(page):
    assert page.address.startswith("http://127.0.0.1:")
    with pytest.raises(OSError):
        WatchPage(int(page.address.rstrip("/").rpartition(":")[2]), "Tennis")
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(page.address.rstrip("/").rpartition(":")[2]))) == 0
