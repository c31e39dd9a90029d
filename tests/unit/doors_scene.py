"""Two kinds of agents in one group, of whom neither earns anything without the other.

At each step one of three doors is to be passed. The keeper sees which and opens one; the runner sees where it is and
goes to a place. Both are paid, as a group, ``1 - |place - door|`` if the right door is open, else nothing. So the best
is 1 per step; a keeper that guesses leaves a perfect runner 1/3, and a runner that stands still leaves a perfect keeper
less than 1/2.
"""

from collections.abc import Mapping

import numpy as np

from mlagents_marl_plugin.player.scene import Actions, ActionSpec, Behavior, Frame, Rows, Scene, SensorSpec

PLACES = np.array([-0.8, 0.1, 0.8], np.float32)
LENGTH = 5


class DoorsScene(Scene):
    """Seats 2 * area (keeper) and 2 * area + 1 (runner); each area is a group."""

    def __init__(self, areas: int, seed: int):
        self.random = np.random.default_rng(seed)
        self.areas = areas
        self.num_seats = 2 * areas
        sensors = (SensorSpec("Doors", (3,), (1,)), SensorSpec("Place", (1,), (1,)))
        self.behaviors = (
            Behavior("Keeper", sensors[:1], ActionSpec(branches=(3,))),
            Behavior("Runner", sensors[1:], ActionSpec(1)),
        )
        self.paid: list[float] = []  # mean over areas, per step

    def reset(self) -> Frame:
        self._step = 0
        self._draw()
        return self._frame(np.zeros(self.areas, np.float32), ended=False)

    def step(self, actions: Mapping[str, Actions]) -> Frame:
        opened = actions["Keeper?team=0"].discrete[:, 0]
        place = actions["Runner?team=0"].continuous[:, 0]
        reward = (1 - np.abs(place - PLACES[self._door])) * (opened == self._door)
        reward = np.maximum(reward, 0).astype(np.float32)
        self.paid.append(float(reward.mean()))
        self._step = (self._step + 1) % LENGTH
        last, ended = self._door, self._step == 0
        self._draw()
        return self._frame(reward, ended, last)

    def _draw(self) -> None:
        self._door = self.random.integers(0, 3, self.areas)

    def _frame(self, reward: np.ndarray, ended: bool, last: np.ndarray | None = None) -> Frame:
        shown = [self._door] if last is None or not ended else [last, self._door]
        count, area = len(shown), np.arange(self.areas)
        done = np.repeat(np.arange(count) < count - 1, self.areas)
        paid = np.concatenate([reward, np.zeros((count - 1) * self.areas, np.float32)])
        door = np.concatenate(shown)
        seen = (np.eye(3, dtype=np.float32)[door], PLACES[door][:, None])
        return {
            behavior.id: Rows(
                np.tile(2 * area + number, count),
                (seen[number],),
                np.zeros_like(paid),
                done,
                np.zeros_like(done),
                np.tile(area + 1, count),
                paid,
            )
            for number, behavior in enumerate(self.behaviors)
        }
