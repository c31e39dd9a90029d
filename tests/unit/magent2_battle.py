"""MAgent2's own PettingZoo environment of the battle, made importable: the reference for the player's scene.

It needs gymnasium and a later PettingZoo than mlagents allows, though only for wrappers, spaces and pickling.
"""

import importlib
import sys
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import magent2  # noqa: F401  (its own modules shall outlive the stand-ins)
import numpy as np


class _Space:
    """Remembers what it was made with."""

    def __init__(
        self, *_: Any, low: Any = 0.0, high: Any = 0.0, shape: tuple[int, ...] = (), **__: Any
    ) -> None:
        self.shape, self.low, self.high = shape, np.full(shape, low), np.full(shape, high)


class _Parallel:
    @property
    def max_num_agents(self) -> int:
        return len(self.possible_agents)  # type: ignore[attr-defined]


def _stand_ins() -> dict[str, ModuleType]:
    contents: dict[str, dict[str, Any]] = {
        "gymnasium": {},
        "gymnasium.spaces": {"Box": _Space, "Discrete": _Space},
        "gymnasium.utils": {"EzPickle": type("EzPickle", (), {"__init__": lambda *_: None}), "seeding": None},
        "pettingzoo": {},
        "pettingzoo.utils": {"wrappers": SimpleNamespace()},
        "pettingzoo.utils.env": {"ParallelEnv": _Parallel},
        "pettingzoo.utils.conversions": {"parallel_to_aec_wrapper": None},
        "pettingzoo.utils.deprecated_module": {"deprecated_handler": None},
    }
    modules = {}
    for name, attributes in contents.items():
        modules[name] = ModuleType(name)
        vars(modules[name]).update(attributes, __path__=[])
    return modules


def battle_env(**options: Any) -> Any:
    """``magent2.environments.battle_v4.parallel_env(**options)``."""
    with patch.dict(sys.modules, _stand_ins()):
        module = importlib.import_module("magent2.environments.battle.battle")
    return module.parallel_env(**options)


def begin(env: Any) -> Any:
    """Its first observations. MAgent2 counts the armies before it draws them up, and so loses their first actions."""
    obs, _ = env.reset()
    env.team_sizes = [env.env.get_num(handle) for handle in env.handles]
    return obs
