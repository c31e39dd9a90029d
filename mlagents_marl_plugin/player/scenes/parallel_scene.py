"""Any PettingZoo ParallelEnv, found by import path. Seat ``area * possible agents + agent``.

Nothing of PettingZoo is imported: an environment is what has ``possible_agents``, ``agents``, ``reset`` and
``step``. Agents may die, be born, and end together; an area in which nobody is left begins anew at once.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlagents_marl_plugin.player.film import Film
from mlagents_marl_plugin.player.scene import Actions, Behavior, Frame, Rows, Scene, SceneSettings
from mlagents_marl_plugin.player.scenes import parallel_options
from mlagents_marl_plugin.player.scenes.kinds import sort_into_kinds
from mlagents_marl_plugin.player.scenes.parallel_area import AreaStep, ParallelArea, close_all
from mlagents_marl_plugin.player.scenes.parallel_options import ParallelOptions
from mlagents_marl_plugin.player.scenes.parallel_spaces import Sensors, action_spec, read_action, read_mask
from mlagents_marl_plugin.player.scenes.seeds import area_seed

add_options, options_from = parallel_options.add_options, parallel_options.options_from


def create(settings: SceneSettings) -> Scene:
    """The scene as the command line asks for it."""
    options = options_from(settings.options)
    areas = make_areas(settings.num_areas, options)
    try:
        return ParallelScene(areas, settings.seed, options)
    except BaseException:
        close_all(areas)
        raise


def make_areas(num_areas: int, options: ParallelOptions) -> list[ParallelArea]:
    """One environment per area.

    Raises:
        ValueError: if there is no such module or factory, or it does not take the options.
    """
    source = options.parallel_env
    module, _, name = source.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        factory = getattr(import_module(module), name)
        return [ParallelArea(factory(**options.factory_options), source) for _ in range(num_areas)]
    except (ImportError, AttributeError, TypeError) as error:
        raise ValueError(
            f"--parallel-env {source}: expected an importable module and a factory that takes "
            f"{dict(options.factory_options) or 'no arguments'}, got {type(error).__name__}: {error}"
        ) from error


class ParallelScene(Scene):
    """Shows one environment per area; agents by name have the same seat in every episode."""

    def __init__(self, areas: Sequence[ParallelArea], seed: int, options: ParallelOptions) -> None:
        self._areas, self._options = areas, options
        names = areas[0].possible_agents
        self._names, self._index = names, {name: index for index, name in enumerate(names)}
        self.num_seats = len(areas) * len(names)
        self._sensors = [Sensors.of(areas[0].space("observation", name), name) for name in names]
        self._action_space = [areas[0].space("action", name) for name in names]
        specs = [action_spec(space, name) for space, name in zip(self._action_space, names, strict=True)]
        traits = [(sensors.specs, spec) for sensors, spec in zip(self._sensors, specs, strict=True)]
        kinds = sort_into_kinds(names, traits)
        self.behaviors = tuple(Behavior(name, *traits[agents[0]]) for name, agents in kinds)
        self._kind = np.zeros(len(names), dtype=np.int64)
        for number, (_, agents) in enumerate(kinds):
            self._kind[agents] = number
        self._step = np.zeros(len(areas), dtype=np.int64)
        # What each seat saw last: environments may leave out those who just died.
        self._seen: dict[int, list[NDArray[np.float32] | bytes]] = {}
        self._alive: list[list[str]] = [[] for _ in areas]
        for number, area in enumerate(areas):
            area.seed(area_seed(seed, number))

    def reset(self) -> Frame:
        rows = [_RowsSoFar() for _ in self.behaviors]
        for number in range(len(self._areas)):
            self._begin(number, rows)
        return self._frame(rows)

    def step(self, actions: Mapping[str, Actions]) -> Frame:
        chosen = self._chosen(actions)
        last, first = [_RowsSoFar() for _ in self.behaviors], [_RowsSoFar() for _ in self.behaviors]
        for number, area in enumerate(self._areas):
            alive = self._alive[number]
            result = area.step(
                {name: chosen[number * len(self._names) + self._index[name]] for name in alive}
            )
            self._step[number] += 1
            late = bool(self._options.max_steps) and self._step[number] >= self._options.max_steps
            reward, group_reward = self._paid(alive, result.reward)
            still = [] if late else area.agents
            for name in alive:
                terminated = bool(result.terminated.get(name, False))
                ended = name not in still or terminated or bool(result.truncated.get(name, False))
                self._add(
                    (last if ended else first),
                    number,
                    name,
                    result.obs,
                    result.info,
                    reward[name],
                    group_reward[name],
                    done=ended,
                    interrupted=ended
                    and not terminated
                    and (late or bool(result.truncated.get(name, False))),
                )
            self._alive[number] = [name for name in still if not self._over(name, result)]
            for name in self._alive[number]:
                if name not in alive:
                    self._add(first, number, name, result.obs, result.info)
            if not self._alive[number]:
                self._begin(number, first)
        return self._frame([ended.followed_by(asking) for ended, asking in zip(last, first, strict=True)])

    def film(self, area: int) -> Film:
        from mlagents_marl_plugin.player.scenes.parallel_film import ParallelFilm

        return ParallelFilm(self._areas[area].env)

    def close(self) -> None:
        close_all(self._areas)

    @staticmethod
    def _over(name: str, result: AreaStep) -> bool:
        return bool(result.terminated.get(name, False)) or bool(result.truncated.get(name, False))

    def _begin(self, number: int, rows: list["_RowsSoFar"]) -> None:
        obs, info = self._areas[number].reset()
        self._step[number] = 0
        self._alive[number] = self._areas[number].agents
        for name in self._alive[number]:
            self._add(rows, number, name, obs, info)

    def _add(
        self,
        rows: list["_RowsSoFar"],
        number: int,
        name: str,
        obs: Mapping[str, Any],
        info: Mapping[str, Any],
        reward: float = 0.0,
        group_reward: float = 0.0,
        done: bool = False,
        interrupted: bool = False,
    ) -> None:
        seat = number * len(self._names) + self._index.get(name, 0)
        if name in self._index and name in obs:
            self._seen[seat] = self._sensors[self._index[name]].read(obs[name], name)
        elif not done or seat not in self._seen:
            raise ValueError(
                f"agent {name}: expected one of possible_agents {self._names} with an observation, "
                "got none; mend the environment"
            )
        index = self._index[name]
        kind = int(self._kind[index])
        part = rows[kind]
        part.seat.append(seat)
        part.obs.append(self._seen[seat])
        part.reward.append(reward)
        part.group_reward.append(group_reward)
        part.done.append(done)
        part.interrupted.append(interrupted)
        groups = {"none": 0, "area": number + 1, "behavior": number * len(self.behaviors) + kind + 1}
        part.group.append(groups[self._options.groups])
        part.forbidden.append(read_mask(self._action_space[index], obs.get(name), info.get(name), name))

    def _paid(self, alive: list[str], reward: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
        """What each agent that acted earned for itself, and what its group did."""
        own = {name: float(reward.get(name, 0.0)) for name in alive}
        nothing = dict.fromkeys(alive, 0.0)
        if not self._options.group_reward:
            return own, nothing
        mates = dict.fromkeys(alive, 0)
        if self._options.groups == "behavior":
            mates = {name: int(self._kind[self._index[name]]) for name in alive}
        means = {
            mate: float(np.mean([own[name] for name in alive if mates[name] == mate]))
            for mate in set(mates.values())
        }
        return nothing, {name: means[mates[name]] for name in alive}

    def _chosen(self, actions: Mapping[str, Actions]) -> dict[int, Any]:
        chosen = {}
        for name, answers in actions.items():
            if not np.isfinite(answers.continuous).all():
                raise ValueError(
                    f"actions of {name}: expected finite numbers, got NaN or infinity; "
                    "the policy that sent them has diverged"
                )
            for seat, continuous, discrete in zip(*answers, strict=True):
                space = self._action_space[int(seat) % len(self._names)]
                chosen[int(seat)] = read_action(space, continuous, discrete)
        return chosen

    def _frame(self, parts: list["_RowsSoFar"]) -> Frame:
        return {
            behavior.id: part.rows(behavior, self._options.groups != "none", self._options.group_reward)
            for behavior, part in zip(self.behaviors, parts, strict=True)
        }


class _RowsSoFar:
    """Rows of one behaviour, gathered agent by agent."""

    def __init__(self) -> None:
        self.seat: list[int] = []
        self.obs: list[list[NDArray[np.float32] | bytes]] = []
        self.reward: list[float] = []
        self.group_reward: list[float] = []
        self.done: list[bool] = []
        self.interrupted: list[bool] = []
        self.group: list[int] = []
        self.forbidden: list[NDArray[np.bool_] | None] = []

    def followed_by(self, other: "_RowsSoFar") -> "_RowsSoFar":
        both = _RowsSoFar()
        for name in vars(both):
            setattr(both, name, getattr(self, name) + getattr(other, name))
        return both

    def rows(self, behavior: Behavior, grouped: bool, group_paid: bool) -> Rows:
        observations: list[Any] = []
        for place, sensor in enumerate(behavior.sensors):
            seen = [values[place] for values in self.obs]
            if sensor.png:
                observations.append(seen)
            else:
                observations.append(np.array(seen, np.float32).reshape(len(seen), *sensor.shape))
        forbidden = None
        if any(mask is not None for mask in self.forbidden):
            free = np.zeros(sum(behavior.actions.branches), bool)
            forbidden = np.array([free if mask is None else mask for mask in self.forbidden])
        return Rows(
            np.array(self.seat, np.int64),
            tuple(observations),
            np.array(self.reward, np.float32),
            np.array(self.done, bool),
            np.array(self.interrupted, bool),
            np.array(self.group, np.int64) if grouped else None,
            np.array(self.group_reward, np.float32) if group_paid else None,
            forbidden,
        )
