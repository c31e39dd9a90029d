"""Who leads the blue army where no trainer does."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mlagents_marl_plugin.player.scenes.battle_field import (
    ATTACKS,
    MOVES,
    NUM_ACTIONS,
    SIDES,
    BattleField,
)

_OCCUPIED = 1e9  # a distance longer than any


class Opponent(Protocol):
    """Chooses the actions of a whole army."""

    def act(self, field: BattleField, side: int) -> NDArray[np.int64]:
        """[n] actions of the side's living soldiers."""
        ...


class RandomOpponent:
    """Every soldier does anything, equally likely."""

    def __init__(self, seed: int, area: int) -> None:
        self._random = np.random.default_rng([seed % 2**32, area])

    def act(self, field: BattleField, side: int) -> NDArray[np.int64]:
        return self._random.integers(0, NUM_ACTIONS, field.num_living(side))


class ScriptedOpponent:
    """Every soldier attacks the nearest opponent, or walks towards it; it knows where all are."""

    def act(self, field: BattleField, side: int) -> NDArray[np.int64]:
        own, others = field.cells(side), field.cells(1 - side)
        if not (len(own) and len(others)):
            return np.zeros(len(own), np.int64)
        nearest = others[_squared_distance(own, others).argmin(axis=1)]  # [n, 2]
        away = nearest - own
        attack = (away[:, None] == ATTACKS).all(axis=-1)  # [n, 8]
        step = own[:, None] + MOVES  # [n, 13, 2]
        remaining = ((nearest[:, None] - step) ** 2).sum(axis=-1).astype(float)
        remaining[_taken(field, step, own)] += _OCCUPIED
        chosen: NDArray[np.int64] = np.where(
            attack.any(axis=1), len(MOVES) + attack.argmax(axis=1), remaining.argmin(axis=1)
        )
        return chosen


def opponent(name: str, seed: int, area: int) -> Opponent | None:
    """The player inside the scene that is called ``name``; None where the trainer leads the army."""
    if name == "random":
        return RandomOpponent(seed, area)
    return ScriptedOpponent() if name == "scripted" else None


def _squared_distance(own: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.int64]:
    """[n, m]"""
    distance: NDArray[np.int64] = ((own[:, None] - others) ** 2).sum(axis=-1)
    return distance


def _taken(field: BattleField, cells: NDArray[np.int64], own: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether somebody else, or a wall, is on each of ``cells`` [n, K, 2]."""
    full = np.zeros((field.map_size, field.map_size), bool)
    full[[0, -1], :] = full[:, [0, -1]] = True
    for side in SIDES:
        x, y = field.cells(side).T
        full[x, y] = True
    x, y = np.clip(cells, 0, field.map_size - 1).transpose(2, 0, 1)
    taken: NDArray[np.bool_] = full[x, y] & (cells != own[:, None]).any(axis=-1)
    return taken
