"""Battles of MAgent2 as a scene: two armies of soldiers that die one by one.

MAgent2 is an optional package and is imported when the scene is made. Where the trainer leads the red army
only, seat ``area * army + soldier``; else ``area * (red + blue) + soldier``, red first.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mlagents_marl_plugin.player.film import Film
from mlagents_marl_plugin.player.scene import (
    Actions,
    ActionSpec,
    Behavior,
    Frame,
    Rows,
    Scene,
    SceneSettings,
    SensorSpec,
)
from mlagents_marl_plugin.player.scenes import battle_options
from mlagents_marl_plugin.player.scenes.battle_field import (
    BLUE,
    NUM_ACTIONS,
    RED,
    SIDES,
    STAY,
    Army,
    BattleField,
)
from mlagents_marl_plugin.player.scenes.battle_opponents import opponent
from mlagents_marl_plugin.player.scenes.battle_options import BattleOptions
from mlagents_marl_plugin.player.scenes.seeds import area_seed
from mlagents_marl_plugin.player.side_channels import Statistic

add_options, options_from = battle_options.add_options, battle_options.options_from


def create(settings: SceneSettings) -> Scene:
    """The scene as the command line asks for it."""
    return BattleScene(settings.num_areas, settings.seed, options_from(settings.options))


class BattleScene(Scene):
    """Shows one ``BattleField`` per area, each with a seed of its own.

    A battle ends when a side has nobody left, which is terminal for all, or by the limit of decisions, which
    is an interruption for the survivors. The next one begins at the same tick.
    """

    smaller = "a smaller --map-size"

    def __init__(self, num_areas: int, seed: int, options: BattleOptions) -> None:
        self._options = options
        self.fields = [BattleField(area_seed(seed, area), options) for area in range(num_areas)]
        self._opponents = [opponent(options.opponent, seed, area) for area in range(num_areas)]
        self._sides = (RED,) if self._opponents[0] else SIDES
        sizes = self.fields[0].army_size
        self._first_seat = (0, sizes[RED])
        self._seats_per_area = sum(sizes[side] for side in self._sides)
        self.num_seats = num_areas * self._seats_per_area
        sensors, actions = _sensors(self.fields[0], options.visual), ActionSpec(branches=(NUM_ACTIONS,))
        teams = SIDES if options.opponent == "self-play" else (RED,)
        self.behaviors = tuple(Behavior("Battle", sensors, actions, team) for team in teams)
        self._statistics: list[Statistic] = []
        self._action = np.full(self.num_seats, STAY)
        # Seats of the living, by area and side, in the order in which MAgent2 lists the soldiers.
        self._living: list[dict[int, NDArray[np.int64]]] = [{} for _ in self.fields]

    def reset(self) -> Frame:
        rows = [_RowsSoFar() for _ in self.behaviors]
        for area in range(len(self.fields)):
            self._begin(area, rows)
        return self._frame(rows)

    def step(self, actions: Mapping[str, Actions]) -> Frame:
        self._action[:] = STAY
        for answers in actions.values():
            self._action[answers.seat] = answers.discrete[:, 0]
        last, first = [_RowsSoFar() for _ in self.behaviors], [_RowsSoFar() for _ in self.behaviors]
        for area, field in enumerate(self.fields):
            armies = field.step((self._chosen(area, RED), self._chosen(area, BLUE)))
            late = not field.over and field.decisions == self._options.max_steps
            for side in self._sides:
                self._report(area, side, armies[side], last, first, late)
            if field.over or late:
                self._count(area)
                self._begin(area, first)
        return self._frame([ended.followed_by(asking) for ended, asking in zip(last, first, strict=True)])

    def film(self, area: int) -> Film:
        from mlagents_marl_plugin.player.scenes.battle_film import BattleFilm

        return BattleFilm(self.fields[area])

    def drain_statistics(self) -> list[Statistic]:
        drained, self._statistics = self._statistics, []
        return drained

    def _begin(self, area: int, rows: list["_RowsSoFar"]) -> None:
        self.fields[area].reset()
        for side in self._sides:
            army = self.fields[area].army(side)
            # MAgent2 pays for the first step before it is made.
            army.reward[:] = 0.0
            seat = self._seats(area, side, army)
            rows[self._behavior(side)].add(seat, army, np.ones(len(seat), bool), self._group(area, side))
            self._living[area][side] = seat

    def _report(
        self,
        area: int,
        side: int,
        army: Army,
        last: list["_RowsSoFar"],
        first: list["_RowsSoFar"],
        late: bool,
    ) -> None:
        """Last rows of those who died or whose battle ended, rows of the others for their next decision."""
        seat, group = self._seats(area, side, army), self._group(area, side)
        ended = ~army.alive | (late or self.fields[area].over)
        last[self._behavior(side)].add(seat, army, ended, group, done=True, interrupted=army.alive & late)
        first[self._behavior(side)].add(seat, army, ~ended, group)
        self._living[area][side] = seat[army.alive]

    def _chosen(self, area: int, side: int) -> NDArray[np.int64]:
        player = self._opponents[area]
        if side == BLUE and player is not None:
            return player.act(self.fields[area], side)
        return self._action[self._living[area][side]]

    def _seats(self, area: int, side: int, army: Army) -> NDArray[np.int64]:
        return area * self._seats_per_area + self._first_seat[side] + army.soldier

    def _behavior(self, side: int) -> int:
        return side if len(self.behaviors) > 1 else 0

    def _group(self, area: int, side: int) -> int:
        return area * len(SIDES) + side + 1 if self._options.groups == "side" else 0

    def _frame(self, parts: list["_RowsSoFar"]) -> Frame:
        return {
            behavior.id: part.rows(behavior.sensors)
            for behavior, part in zip(self.behaviors, parts, strict=True)
        }

    def _count(self, area: int) -> None:
        red, blue = (self.fields[area].num_living(side) for side in SIDES)
        self._statistics += [
            Statistic("Battle/Red Wins", 0.5 * (1 + int(np.sign(red - blue)))),
            Statistic("Battle/Red Survivors", float(red)),
            Statistic("Battle/Blue Survivors", float(blue)),
            Statistic("Battle/Length", float(self.fields[area].decisions)),
        ]


def _sensors(field: BattleField, visual: bool) -> tuple[SensorSpec, ...]:
    rows, columns, channels = field.view_shape
    size = rows * columns * channels
    view = (
        SensorSpec("View", (channels, rows, columns), dimension_properties=(1, 2, 2))
        if visual
        else SensorSpec(f"View_size{size}", (size,), dimension_properties=(1,))
    )
    if not field.num_features:
        return (view,)
    features = SensorSpec(
        f"VectorSensor_size{field.num_features}", (field.num_features,), dimension_properties=(1,)
    )
    return view, features


class _RowsSoFar:
    """Rows of one behaviour, gathered army by army."""

    def __init__(self) -> None:
        self.seat: list[NDArray[np.int64]] = []
        self.view: list[NDArray[np.float32]] = []
        self.features: list[NDArray[np.float32]] = []
        self.reward: list[NDArray[np.float32]] = []
        self.done: list[NDArray[np.bool_]] = []
        self.interrupted: list[NDArray[np.bool_]] = []
        self.group: list[NDArray[np.int64]] = []

    def add(
        self,
        seat: NDArray[np.int64],
        army: Army,
        chosen: NDArray[np.bool_],
        group: int,
        done: bool = False,
        interrupted: NDArray[np.bool_] | None = None,
    ) -> None:
        """The ``chosen`` [n] soldiers of an army."""
        number = int(chosen.sum())
        if not number:
            return
        # Mostly everybody is; views are large, so they are not copied then.
        rows = slice(None) if number == len(chosen) else chosen
        self.seat.append(seat[rows])
        self.view.append(army.view[rows])
        self.features.append(army.features[rows])
        self.reward.append(army.reward[rows])
        self.done.append(np.full(number, done))
        self.interrupted.append(np.zeros(number, bool) if interrupted is None else interrupted[rows])
        self.group.append(np.full(number, group))

    def followed_by(self, other: "_RowsSoFar") -> "_RowsSoFar":
        both = _RowsSoFar()
        for name in vars(both):
            setattr(both, name, getattr(self, name) + getattr(other, name))
        return both

    def rows(self, sensors: Sequence[SensorSpec]) -> Rows:
        if not self.seat:
            nobody = np.zeros(0)
            empty = tuple(np.zeros((0, *sensor.shape), np.float32) for sensor in sensors)
            return Rows(nobody.astype(np.int64), empty, nobody.astype(np.float32))
        view = np.concatenate(self.view)
        seen = view.transpose(0, 3, 1, 2) if len(sensors[0].shape) > 1 else view.reshape(len(view), -1)
        observations = (seen, np.concatenate(self.features))[: len(sensors)]
        return Rows(
            np.concatenate(self.seat),
            observations,
            np.concatenate(self.reward),
            np.concatenate(self.done),
            np.concatenate(self.interrupted),
            np.concatenate(self.group),
        )
