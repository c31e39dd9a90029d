"""A build of ML-Agents 0.4 without Unity: its client, written from the protocol's facts and in plain bytes.

    python fake_build.py --game tennis [--fault dies] [--diary FILE] --port 5005

What its agents see says who and when they are: index, episode, step in the episode, the academy's tick, and what
they were told to do, newest frame last in the stack. So tests can work out what must have been reported.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.udacity.games import CONTINUOUS, DISCRETE, EXTERNAL, GAMES, PLAYER_BRAIN, Brain, Camera, Game, png
from tests.udacity.wire import data, every, first, floats, number, real, reals, text

SERVICE = "/communicator_objects.UnityToExternal/Exchange"
STEP, RESET = 0, 1
OK, QUIT = 200, 400
DIES_WITH = 9


class Agent:
    """One agent, which begins anew before it says that it was done."""

    def __init__(self, brain: Brain, index: int) -> None:
        self.brain, self.index = brain, index
        self.episode, self.step = -1, 0
        self.told: list[float] = []
        self.done = self.limit = False
        self.begin()

    def begin(self) -> None:
        self.episode, self.step = self.episode + 1, 0
        self.told = [0.0] * (self.brain.actions if self.brain.action_kind == CONTINUOUS else 1)

    def sees(self, tick: int) -> list[float]:
        if self.brain.vector_kind == DISCRETE:
            return [float((self.step + frame) % self.brain.vector) for frame in range(self.brain.stack)]
        if not self.brain.vector:
            return []
        now = [float(self.index), float(self.episode), float(self.step), float(tick), *self.told]
        frame = (now + [0.0] * self.brain.vector)[: self.brain.vector]
        return [0.0] * (self.brain.vector * (self.brain.stack - 1)) + frame

    def pictures(self) -> list[bytes]:
        return [png(camera, 10 * self.index + self.step) for camera in self.brain.cameras]


class FakeBuild:
    """Plays one game with whoever answers ``exchange``.

    Attributes:
        diary: what Python said: one entry per answer.
    """

    def __init__(self, game: Game, exchange: Callable[[bytes], bytes], fault: str = "") -> None:
        self.game, self.exchange, self.fault = game, exchange, fault
        self.diary: list[dict] = []
        self.on_entry: Callable[[dict], None] = lambda entry: None
        self.agents = {brain.name: [] for brain in game.brains if brain.brain_type == EXTERNAL}
        self.tick = 0
        self.global_done = False

    def play(self) -> None:
        """Until Python ends it, or the fault does."""
        answer = self.exchange(self._hello())
        self._note(seed=_int32(first(first(first(answer, 3), 2), 1, 0)))
        message = header(OK)
        while True:
            answer = self.exchange(message)
            status = first(first(answer, 1), 1, 0)
            if status != OK:
                self._note(status=status)
                return
            self._obey(first(first(answer, 3), 1))
            if self.fault and self.tick == 5 and self._fails():
                return
            message = header(OK) + data(2, data(1, self._output()))

    def _hello(self) -> bytes:
        if self.fault == "garbage":
            return b"\xff\xff\xff"
        brains = b"".join(data(5, parameters_of(brain)) for brain in self.game.brains)
        if self.fault == "no_external":
            brains = data(5, parameters_of(PLAYER_BRAIN))
        if self.fault == "no_sensors":
            brains = data(5, parameters_of(Brain("BlindBrain", (1,), 0, 1, 2)))
        parameters = b"".join(
            data(1, text(1, name) + real(2, value)) for name, value in self.game.parameters.items()
        )
        version = "API-5" if self.fault == "version" else "API-4"
        path = text(3, "./unity-environment.log")
        hello = text(1, "Academy") + text(2, version) + path + brains + data(6, parameters)
        return header(OK) + data(2, data(2, hello))

    def _fails(self) -> bool:
        """Whether the fault ends the game."""
        if self.fault == "dies":
            print("Segmentation fault", file=sys.stderr, flush=True)
            os._exit(DIES_WITH)
        if self.fault == "hangs":
            time.sleep(3600)
        if self.fault == "quits":
            self.exchange(header(QUIT))
        return self.fault in ("quits", "hangs_up")

    def _obey(self, rl_input: bytes) -> None:
        self._note(
            command="RESET" if first(rl_input, 4, STEP) == RESET else "STEP",
            training=bool(first(rl_input, 3, 0)),
            parameters={
                str(first(entry, 1), "utf-8"): floats(bytes(first(entry, 2)))[0]
                for given in every(rl_input, 2)
                for entry in every(given, 1)
            },
            actions={
                str(first(entry, 1), "utf-8"): [floats(bytes(first(a, 1))) for a in every(first(entry, 2), 1)]
                for entry in every(rl_input, 1)
            },
        )
        if self.diary[-1]["command"] == "RESET":
            self._reset()
        else:
            self._step(self.diary[-1]["actions"])

    def _reset(self) -> None:
        assert self.tick == 0 or self.fault != "impatient"
        self.tick, self.global_done = 0, False
        for brain in self.game.brains:
            if brain.brain_type == EXTERNAL:
                self.agents[brain.name] = [Agent(brain, index) for index in range(len(brain.agents))]

    def _step(self, actions: dict[str, list[list[float]]]) -> None:
        assert not self.global_done, "STEP after the academy was done"
        self.tick += 1
        self.global_done = self.tick >= self.game.academy_limit
        for name, agents in self.agents.items():
            for agent, told in zip(agents, actions[name], strict=True):
                self._move(agent, told)

    def _move(self, agent: Agent, told: list[float]) -> None:
        wanted = agent.brain.actions if agent.brain.action_kind == CONTINUOUS else 1
        assert len(told) == wanted, f"{agent.brain.name}: {told}"
        agent.step, agent.told = agent.step + 1, told
        turn = agent.episode + (0 if self.game.together else agent.index)
        length = self.game.lengths[turn % len(self.game.lengths)]
        agent.done = self.global_done or agent.step >= length
        agent.limit = self.global_done or (agent.done and length == max(self.game.lengths))

    def _output(self) -> bytes:
        infos = b""
        for name, agents in self.agents.items():
            listed = b"".join(data(1, info) for agent in agents for info in self._info(agent))
            infos += data(2, text(1, "Nobody" if self.fault == "unknown_brain" else name) + data(2, listed))
        return number(1, self.global_done) + infos

    def _info(self, agent: Agent) -> Iterator[bytes]:
        reward = 0.25 * (agent.index + 1) * agent.step
        done, limit = agent.done, agent.limit
        told = agent.told
        agent.done = agent.limit = False
        if done:
            agent.begin()
        vector, pictures = agent.sees(self.tick), agent.pictures()
        if self.fault == "vector":
            vector = vector[:-1]
        if self.fault == "index":
            vector = [99.0] * len(vector)
        if self.fault == "picture":
            pictures = [png(Camera(3, 3), 0) for _ in pictures]
        if self.fault == "no_picture":
            pictures = [b"" for _ in pictures]
        info = (
            reals(1, vector)
            + b"".join(data(2, picture) for picture in pictures)
            + text(3, "to be ignored")
            + reals(4, told)
            + real(7, reward)
            + number(8, done)
            + number(9, limit)
            + number(10, agent.brain.agents[agent.index])
        )
        yield info
        if self.fault == "twice":
            yield info

    def _note(self, **entry: object) -> None:
        self.diary.append(entry)
        self.on_entry(entry)


def header(status: int) -> bytes:
    return data(1, number(1, status))


def parameters_of(brain: Brain) -> bytes:
    cameras = b"".join(
        data(4, number(1, camera.width) + number(2, camera.height) + number(3, camera.gray))
        for camera in brain.cameras
    )
    descriptions = data(5, b"") * brain.actions  # empty texts, as in Udacity's builds
    return (
        number(1, brain.vector)
        + number(2, brain.stack)
        + number(3, brain.actions)
        + cameras
        + descriptions
        + number(6, brain.action_kind)
        + number(7, brain.vector_kind)
        + text(8, brain.name)
        + number(9, brain.brain_type)
    )


def _int32(value: int | bytes) -> int:
    assert isinstance(value, int)
    return value - (1 << 64) if value >> 63 else value


def caller(port: int, method: str = SERVICE) -> Callable[[bytes], bytes]:
    """A function that calls Python on ``port``, as builds do: plain bytes out and in."""
    import grpc

    channel = grpc.insecure_channel(f"localhost:{port}")
    call = channel.unary_unary(method, None, None)
    return lambda message: call(message, wait_for_ready=True)


def recorded(exchange: Callable[[bytes], bytes], path: Path) -> Callable[[bytes], bytes]:
    """``exchange`` that writes a line per call: the call and its answer."""

    def exchange_and_write(call: bytes) -> bytes:
        answer = exchange(call)
        with path.open("a", encoding="ascii") as session:
            print(call.hex(), answer.hex(), file=session)
        return answer

    return exchange_and_write


def main() -> None:
    """The build as a program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--game", choices=GAMES, default="tennis")
    parser.add_argument("--fault", default="")
    parser.add_argument("--diary", type=Path, help="write what Python said as JSON lines")
    parser.add_argument("--session", type=Path, help="write every call and its answer in hexadecimal")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("-nographics", action="store_true")
    parser.add_argument("-batchmode", action="store_true")
    parser.add_argument("-logFile", type=Path)
    options = parser.parse_args()
    if options.fault == "exits":
        sys.exit("error while loading shared libraries: libGL.so.1")
    if options.fault == "silent":
        time.sleep(3600)
    exchange = caller(
        options.port, SERVICE.replace("External", "ExternalProto") if options.fault == "foreign" else SERVICE
    )
    if options.session:
        exchange = recorded(exchange, options.session)
    build = FakeBuild(GAMES[options.game], exchange, options.fault)
    if options.diary:
        entries = options.diary.open("a", encoding="utf-8")
        build.on_entry = lambda entry: print(json.dumps(entry), file=entries, flush=True)
        build.on_entry({"pid": os.getpid(), "arguments": sys.argv[1:]})
    build.play()


if __name__ == "__main__":
    main()
