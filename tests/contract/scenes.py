"""Scenes for the contract tests that the player does not ship: two sides in a duel, and more sensors for any scene."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from mlagents_marl_plugin.player.scene import Actions, ActionSpec, Behavior, Frame, Rows, Scene, SensorSpec

OBS_SIZE = 5  # process, area, side, agent, step


@dataclass(frozen=True)
class DuelOptions:
    """What a duel looks like.

    Attributes:
        agents: of each side.
        group_ids: each side of each area is a group; its reward comes as the group's, else each agent's own.
        one_group: both sides of an area are in one group, which self-play cannot have.
        names: behaviour names of the two sides; equal for a symmetric game.
        ids_by_agent: ids alternate between the sides, else one side's ids come before the other's.
    """

    areas: int = 2
    agents: int = 2
    group_ids: bool = True
    one_group: bool = False
    names: tuple[str, str] = ("Duel", "Duel")
    ids_by_agent: bool = False
    length: int = 6


class DuelScene(Scene):
    """Whoever pushes harder over an episode wins: +1 and -1 at its end, 0 each in a draw."""

    def __init__(self, process: int, options: DuelOptions):
        self.process, self.options = process, options
        self.num_seats = options.areas * 2 * options.agents
        seats = np.arange(self.num_seats)
        self._area, within = np.divmod(seats, 2 * options.agents)
        if options.ids_by_agent:
            self._agent, self._side = np.divmod(within, 2)
        else:
            self._side, self._agent = np.divmod(within, options.agents)
        sensor = SensorSpec("VectorSensor", (OBS_SIZE,), dimension_properties=(1,))
        self.behaviors = tuple(
            Behavior(name, (sensor,), ActionSpec(1), team) for team, name in enumerate(options.names)
        )
        self.pushed: dict[str, list[np.ndarray]] = {behavior.id: [] for behavior in self.behaviors}
        self.wins: list[int] = []  # of side 0, per area and episode: 1, 0 or -1
        self._step = 0
        self._push = np.zeros((options.areas, 2))

    def reset(self) -> Frame:
        self._step = 0
        self._push[:] = 0
        return self._frame(over=False)

    def step(self, actions: Mapping[str, Actions]) -> Frame:
        for name, answers in actions.items():
            self.pushed[name].append(answers.continuous[:, 0].copy())
            np.add.at(
                self._push, (self._area[answers.seat], self._side[answers.seat]), answers.continuous[:, 0]
            )
        self._step += 1
        return self._frame(over=self._step == self.options.length)

    def _frame(self, over: bool) -> Frame:
        frames = {}
        result = np.sign(self._push[:, 0] - self._push[:, 1])
        ended = [self._rows(team, result, done=True) for team in (0, 1)] if over else []
        if over:
            self.wins += result.astype(int).tolist()
            self._step = 0
            self._push[:] = 0
        for team, behavior in enumerate(self.behaviors):
            parts = [*ended[team : team + 1], self._rows(team, np.zeros_like(result), done=False)]
            columns = [np.concatenate([part[i] for part in parts]) for i in range(6)]
            seat, obs, reward, done, group, group_reward = columns
            frames[behavior.id] = Rows(
                seat,
                (obs,),
                reward,
                done,
                np.zeros_like(done),
                group if self.options.group_ids or self.options.one_group else None,
                group_reward if self.options.group_ids else None,
            )
        return frames

    def _rows(self, team: int, result: np.ndarray, done: bool) -> tuple[np.ndarray, ...]:
        seat = np.flatnonzero(self._side == team)
        area = self._area[seat]
        columns = (np.full_like(seat, self.process), area, self._side[seat], self._agent[seat])
        obs = np.stack([*columns, np.full_like(seat, self._step)], axis=1).astype(np.float32)
        told = ((1 - 2 * team) * result[area]).astype(np.float32)
        group = area + 1 if self.options.one_group else 2 * area + team + 1
        own = np.zeros_like(told) if self.options.group_ids else told
        return seat, obs, own, np.full(len(seat), done), group, told if self.options.group_ids else own


class WithSensors(Scene):
    """Another scene whose agents have more sensors; the first stays what it is.

    A new one holds one number in all its places: the step of a Counter (the first sensor's fourth number, or its last).
    """

    def __init__(self, scene: Scene, *sensors: SensorSpec, of: str = ""):
        """``of`` names the one behaviour that has them; empty for all."""
        self.scene, self.sensors = scene, sensors
        self.num_seats = scene.num_seats
        self.behaviors = tuple(
            replace(behavior, sensors=(*behavior.sensors, *sensors))
            if of in ("", behavior.name)
            else behavior
            for behavior in scene.behaviors
        )
        self._of = {behavior.id for behavior in self.behaviors if of in ("", behavior.name)}

    def reset(self) -> Frame:
        return self._more(self.scene.reset())

    def step(self, actions: Mapping[str, Actions]) -> Frame:
        return self._more(self.scene.step(actions))

    def _more(self, frame: Frame) -> Frame:
        return {
            name: rows._replace(observations=(*rows.observations, *self._shown(rows)))
            if name in self._of
            else rows
            for name, rows in frame.items()
        }

    def _shown(self, rows: Rows) -> list[np.ndarray]:
        last = rows.observations[0][:, :4][:, -1]
        return [
            np.broadcast_to(
                last.reshape(-1, *(1,) * len(sensor.shape)), (len(rows.seat), *sensor.shape)
            ).copy()
            for sensor in self.sensors
        ]
