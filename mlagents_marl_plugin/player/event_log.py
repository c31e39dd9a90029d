"""The scene's own truth: one JSON line for every decision that it really made.

Tests compare a trainer's replay with it. Each line is complete when the agent's next row (or its end) is
known and reaches the file in one write, so the log survives a player that is killed. Every player process
writes a file of its own, named after its port and process id, since the players of a run share one command
line.

Fields of a line: ``port``, ``pid``, ``resets`` (commands RESET so far), ``behavior``, ``agent`` (the id that
Python sees), ``seat``, ``group``, ``decision`` (0 for the first since the episode began or was reset),
``obs`` (a list per sensor, flattened; a PNG file in base64), ``continuous``, ``discrete``, ``reward``,
``group_reward``, ``done``, ``interrupted``, ``next_obs`` (for an ended episode its final observation). A
decision that RESET or a crash cut short has no line.
"""

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlagents_marl_plugin.player.scene import Actions, Frame, Rows


class EventLog:
    """Writes ``path`` with the port and the process id put before its suffix: ``events-5005-1234.jsonl``."""

    def __init__(self, path: Path, port: int) -> None:
        self.path = path.with_name(f"{path.stem}-{port}-{os.getpid()}{path.suffix or '.jsonl'}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("w", encoding="utf-8")
        self._constant = {"port": port, "pid": os.getpid()}
        self._resets = 0
        self._next_decision: dict[int, int] = {}
        self._asking: dict[str, list[dict[str, Any]]] = {}
        self._acting: dict[int, dict[str, Any]] = {}

    def reset(self) -> None:
        """Forget what was under way."""
        self._resets += 1
        self._next_decision.clear()
        self._asking.clear()
        self._acting.clear()

    def decided(self, actions: Mapping[str, Actions]) -> None:
        """Take in the trainer's answers to the rows reported last."""
        for behavior, answers in actions.items():
            asking = self._asking.get(behavior, [])
            for line, continuous, discrete in zip(asking, answers.continuous, answers.discrete, strict=True):
                line |= {"continuous": continuous.tolist(), "discrete": discrete.tolist()}
                self._acting[line["agent"]] = line
        self._asking = {}

    def reported(self, frame: Frame, ids: Mapping[str, NDArray[np.int64]]) -> None:
        """Take in the rows of a tick: they complete earlier decisions and ask for new ones."""
        lines = []
        for behavior, rows in frame.items():
            self._asking[behavior] = []
            for row, agent in enumerate(ids[behavior].tolist()):
                obs = [_plain(observation[row]) for observation in rows.observations]
                done = bool(_value(rows, "done", row))
                acted = self._acting.pop(agent, None)
                if acted is not None:
                    lines.append(acted | _outcome(rows, row, obs))
                if done:
                    self._next_decision.pop(agent, None)
                else:
                    self._asking[behavior].append(self._question(behavior, rows, row, agent, obs))
        if lines:
            self._file.write("".join(json.dumps(line) + "\n" for line in lines))
            self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _question(self, behavior: str, rows: Rows, row: int, agent: int, obs: list[Any]) -> dict[str, Any]:
        decision = self._next_decision.get(agent, 0)
        self._next_decision[agent] = decision + 1
        return self._constant | {
            "resets": self._resets,
            "behavior": behavior,
            "agent": agent,
            "seat": int(rows.seat[row]),
            "group": int(_value(rows, "group", row)),
            "decision": decision,
            "obs": obs,
        }


def _plain(observation: NDArray[np.float32] | bytes) -> list[float] | str:
    if isinstance(observation, bytes):
        return base64.b64encode(observation).decode("ascii")
    flat: list[float] = np.ravel(observation).tolist()
    return flat


def _outcome(rows: Rows, row: int, obs: list[Any]) -> dict[str, Any]:
    return {
        "reward": float(_value(rows, "reward", row)),
        "group_reward": float(_value(rows, "group_reward", row)),
        "done": bool(_value(rows, "done", row)),
        "interrupted": bool(_value(rows, "interrupted", row)),
        "next_obs": obs,
    }


def _value(rows: Rows, field: str, row: int) -> float:
    values = getattr(rows, field)
    return 0 if values is None else values[row]
