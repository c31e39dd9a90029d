"""One battle of MAgent2: two armies of soldiers in a grid world (Zheng et al. 2018, arXiv:1712.00600).

MAgent2's engine is used as it is, through its raw ``GridWorld``; its PettingZoo environments cannot be
imported beside mlagents. The rules and the positions at the start are those of its ``battle_v4``.
"""

import math
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlagents_marl_plugin.player.scenes.battle_options import BattleOptions

RED, BLUE = 0, 1
SIDES = (RED, BLUE)
KILL_REWARD = 5.0
FULL_HEALTH = 10.0
NUM_ACTIONS = 21
# Cells (x, y) to which the first actions move and which the others attack, relative to the soldier.
MOVES = np.array([(x, y) for y in range(-2, 3) for x in range(-2, 3) if abs(x) + abs(y) <= 2])
ATTACKS = np.array([(x, y) for y in (-1, 0, 1) for x in (-1, 0, 1) if (x, y) != (0, 0)])
STAY = 6
_ARMY_SHARE = 0.04  # of the map's cells
_OWN_HEALTH = 2  # channel of the view
_GAP = 3  # cells between an army and the middle of the map
_EMBEDDING = 10  # bits of a soldier's number among its features
_ACTION_FEATURES = NUM_ACTIONS + 1  # the last action, one-hot, and the last reward


class Army(NamedTuple):
    """What became of the n soldiers of a side that were alive before a step; after a reset, of all.

    Attributes:
        soldier: [n] number within the army.
        alive: [n] bool.
        reward: [n] float32.
        view: [n, 13, 13, C] float32, by row, column and channel: obstacle, own presence and health, the
            opponents' presence and health (with a minimap, each army's follows its health).
        features: [n, F] float32.
    """

    soldier: NDArray[np.int64]
    alive: NDArray[np.bool_]
    reward: NDArray[np.float32]
    view: NDArray[np.float32]
    features: NDArray[np.float32]


class BattleField:
    """One area. Its random numbers come from its own seed and go on from battle to battle.

    Attributes:
        army_size: soldiers of each side at the start.
        view_shape, num_features: of one soldier's observation.
        over: since the last step nobody is left on a side.
        decisions: steps since the reset.
    """

    def __init__(self, seed: int, options: BattleOptions) -> None:
        self._gridworld = import_module("magent2.gridworld")
        self._game = self._gridworld.GridWorld(_rules(self._gridworld, seed, options))
        self._handles = self._game.get_handles()
        self._map_size = options.map_size
        self._features = _features(options)
        self.reset()
        red, blue = (self._game.get_num(handle) for handle in self._handles)
        self.army_size = (red, blue)
        self._first_id = (0, red)
        self.view_shape: tuple[int, int, int] = tuple(self._game.get_view_space(self._handles[RED]))
        width = self._game.get_feature_space(self._handles[RED])[0]
        self.num_features = len(range(width)[self._features])

    def reset(self) -> None:
        """Draw up both armies anew."""
        self.over, self.decisions = False, 0
        self._game.reset()
        for handle, cells in zip(self._handles, starting_cells(self._map_size), strict=True):
            self._game.add_agents(handle, method="custom", pos=cells)

    def step(self, action: tuple[NDArray[np.int64], NDArray[np.int64]]) -> tuple[Army, Army]:
        """Carry out one action of each living soldier, by side in the order of ``army``; bury the dead."""
        for handle, chosen in zip(self._handles, action, strict=True):
            self._game.set_action(handle, chosen.astype(np.int32))
        self.over = self._game.step()
        self.decisions += 1
        red, blue = self.army(RED), self.army(BLUE)
        self._game.clear_dead()
        return red, blue

    def army(self, side: int) -> Army:
        """How a side stands now; the arrays are the caller's."""
        handle = self._handles[side]
        view, features = self._game.get_observation(handle)
        return Army(
            self._game.get_agent_id(handle).astype(np.int64) - self._first_id[side],
            self._game.get_alive(handle),
            self._game.get_reward(handle),
            view.copy(),
            features[:, self._features].copy(),
        )

    def num_living(self, side: int) -> int:
        """Soldiers of a side who have not been buried."""
        return int(self._game.get_num(self._handles[side]))

    def cells(self, side: int) -> NDArray[np.int64]:
        """[n, 2] column and row of each living soldier."""
        return self._game.get_pos(self._handles[side]).astype(np.int64)

    def health(self, side: int) -> NDArray[np.float32]:
        """[n] of each living soldier, as a share of the full one."""
        view, _ = self._game.get_observation(self._handles[side])
        middle = (self.view_shape[0] // 2, self.view_shape[1] // 2)
        return view[:, middle[0], middle[1], _OWN_HEALTH].copy()

    @property
    def map_size(self) -> int:
        """Cells along each side, walls included."""
        return self._map_size


def starting_cells(map_size: int) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]:
    """Where MAgent2 draws up the red and the blue army: (column, row, direction), in two squares."""
    side = int(math.sqrt(map_size * map_size * _ARMY_SHARE)) * 2
    top = (map_size - side) // 2

    def square(left: int) -> list[tuple[int, int, int]]:
        return [
            (x, y, 0)
            for x in range(left, left + side, 2)
            for y in range(top, top + side, 2)
            if 0 < x < map_size - 1 and 0 < y < map_size - 1
        ]

    red = square(map_size // 2 - _GAP - side)
    return red, square(map_size // 2 + _GAP)[: len(red)]


def _features(options: BattleOptions) -> slice:
    """Which of MAgent2's features are sent: number, last action, last reward, and with a minimap the place."""
    if options.extra_features:
        return slice(None)
    return slice(_EMBEDDING + _ACTION_FEATURES, None)


def _rules(gridworld: Any, seed: int, options: BattleOptions) -> Any:
    config = gridworld.Config()
    config.set(
        {
            "map_width": options.map_size,
            "map_height": options.map_size,
            "minimap_mode": options.minimap,
            "embedding_size": _EMBEDDING,
            "seed": seed % 2**31,
        }
    )
    soldier = config.register_agent_type(
        "small",
        {
            "width": 1,
            "length": 1,
            "hp": FULL_HEALTH,
            "speed": 2,
            "view_range": gridworld.CircleRange(6),
            "attack_range": gridworld.CircleRange(1.5),
            "damage": 2,
            "kill_reward": KILL_REWARD,
            "step_recover": 0.1,
            "step_reward": options.step_reward,
            "dead_penalty": options.dead_penalty,
            "attack_penalty": options.attack_penalty,
        },
    )
    red, blue = (
        gridworld.AgentSymbol(group, index="any")
        for group in (config.add_group(soldier), config.add_group(soldier))
    )
    for attacker, victim in ((red, blue), (blue, red)):
        config.add_reward_rule(
            gridworld.Event(attacker, "attack", victim),
            receiver=attacker,
            value=options.attack_opponent_reward,
        )
    return config
