"""Who is under way in a 0.4 build, and what a message of the build means for episodes of today.

In 0.4 an agent that is done has already begun anew when it says so: one info carries the old episode's last
reward and the new episode's first observation. Today these are two rows. How the old episode really looked at its
end is not known; its last row shows what the agent saw before, as 0.4's own trainers took it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from mlagents_marl_plugin.player.legacy.brains import Brain, Observation, Reading
from mlagents_marl_plugin.player.scene import Frame, Rows, SceneError

MAX_AGENTS = 1024


class Episodes:
    """Seats of agents by the build's own ids, and what each saw last."""

    def __init__(self, brains: Iterable[Brain]) -> None:
        self._brains = {brain.name: brain for brain in brains}
        self._seat: dict[tuple[str, int], int] = {}
        self._last: dict[tuple[str, int], Observation] = {}

    @property
    def have_cameras(self) -> bool:
        """Whether some brain sees pictures."""
        return any(brain.cameras for brain in self._brains.values())

    def first_picture(self) -> bytes | None:
        """What the first agent under way with a camera saw last, a PNG file."""
        pictures = (seen for obs in self._last.values() for seen in obs if isinstance(seen, bytes))
        return next(pictures, None)

    def begin(self, readings: Mapping[str, Reading]) -> Frame:
        """After RESET: everyone asks, and nobody has earned anything."""
        return self._frame({name: self._asking(name, reading) for name, reading in readings.items()})

    def advance(self, readings: Mapping[str, Reading]) -> Frame:
        """After STEP: last rows of who is done, then a row of everyone for the next decision."""
        parts = {}
        for name, reading in readings.items():
            part = _RowList()
            paid = [0.0] * len(reading.agent)
            for row, agent in enumerate(reading.agent):
                if (name, agent) not in self._last:
                    continue
                if reading.done[row]:
                    self._end(part, (name, agent), reading.reward[row], reading.max_step_reached[row])
                else:
                    paid[row] = reading.reward[row]
            parts[name] = part.followed_by(self._asking(name, reading, paid))
        return self._frame(parts)

    def end(self, readings: Mapping[str, Reading]) -> dict[str, "_RowList"]:
        """When the build's academy is done: last rows of everyone who is under way.

        Whom the academy cut short (not done by itself, or silent at this tick) is interrupted.
        """
        parts: dict[str, _RowList] = {name: _RowList() for name in self._brains}
        for name, reading in readings.items():
            for row, agent in enumerate(reading.agent):
                if (name, agent) in self._last:
                    cut = reading.max_step_reached[row] or not reading.done[row]
                    self._end(parts[name], (name, agent), reading.reward[row], cut)
                    del self._last[name, agent]
        for name, agent in list(self._last):
            self._end(parts[name], (name, agent), 0.0, interrupted=True)
        self._last.clear()
        self._seat.clear()
        return parts

    def begin_after(self, ended: Mapping[str, "_RowList"], readings: Mapping[str, Reading]) -> Frame:
        """The rows of ``end``, and those of the RESET that followed."""
        begun = {name: self._asking(name, reading) for name, reading in readings.items()}
        return self._frame(
            {name: part.followed_by(begun.get(name, _RowList())) for name, part in ended.items()}
        )

    def _asking(self, name: str, reading: Reading, paid: list[float] | None = None) -> "_RowList":
        part = _RowList()
        for row, agent in enumerate(reading.agent):
            key = (name, agent)
            part.add(self._seat_of(key), reading.obs[row], 0.0 if paid is None else paid[row])
            self._last[key] = reading.obs[row]
        return part

    def _end(self, part: "_RowList", key: tuple[str, int], reward: float, interrupted: bool) -> None:
        part.add(self._seat[key], self._last[key], reward, done=True, interrupted=interrupted)

    def _seat_of(self, key: tuple[str, int]) -> int:
        seat = self._seat.setdefault(key, len(self._seat))
        if seat >= MAX_AGENTS:
            raise SceneError(
                f"brain {key[0]}: expected at most {MAX_AGENTS} agents in a build between two resets of its "
                "academy, got more; let the academy end (Max Steps in Unity), or make fewer agents"
            )
        return seat

    def _frame(self, parts: Mapping[str, "_RowList"]) -> Frame:
        return {
            self._brains[name].behavior.id: part.rows(self._brains[name])
            for name, part in parts.items()
            if part.seat
        }


class _RowList:
    """Rows of one brain, gathered agent by agent."""

    def __init__(self) -> None:
        self.seat: list[int] = []
        self.obs: list[Observation] = []
        self.reward: list[float] = []
        self.done: list[bool] = []
        self.interrupted: list[bool] = []

    def add(
        self, seat: int, obs: Observation, reward: float, done: bool = False, interrupted: bool = False
    ) -> None:
        self.seat.append(seat)
        self.obs.append(obs)
        self.reward.append(reward)
        self.done.append(done)
        self.interrupted.append(interrupted)

    def followed_by(self, other: "_RowList") -> "_RowList":
        both = _RowList()
        for name in vars(both):
            setattr(both, name, getattr(self, name) + getattr(other, name))
        return both

    def rows(self, brain: Brain) -> Rows:
        observations: list[Any] = []
        for place, sensor in enumerate(brain.behavior.sensors):
            seen = [obs[place] for obs in self.obs]
            observations.append(seen if sensor.png else np.array(seen, np.float32))
        return Rows(
            np.array(self.seat, np.int64),
            tuple(observations),
            np.array(self.reward, np.float32),
            np.array(self.done, bool),
            np.array(self.interrupted, bool),
        )
