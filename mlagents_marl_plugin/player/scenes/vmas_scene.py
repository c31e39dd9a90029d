"""Any scenario of VMAS, the vectorised multi-agent simulator: one torch batch for all areas.

VMAS is an optional package and is imported when the scene is made, with it torch. What agents see and earn is
what VMAS gives (Bettini et al. 2022, arXiv:2207.03530); this module only says who is who. Seat
``area * num_agents + agent``, agents in VMAS's order.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

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
from mlagents_marl_plugin.player.scenes import vmas_options
from mlagents_marl_plugin.player.scenes.kinds import camel, sort_into_kinds
from mlagents_marl_plugin.player.scenes.turnover import Observations, rows_of_all
from mlagents_marl_plugin.player.scenes.vmas_options import VmasOptions

add_options, options_from = vmas_options.add_options, vmas_options.options_from
# In VMAS a vector, or vectors by name.
VmasObs = Any


def create(settings: SceneSettings) -> Scene:
    """The scene as the command line asks for it."""
    return VmasScene(settings.num_areas, settings.seed, options_from(settings.options))


def make_env(num_areas: int, seed: int, options: VmasOptions) -> Any:
    """VMAS's own environment of the scenario.

    Raises:
        ValueError: if the scenario cannot be made with these options.
    """
    vmas = import_module("vmas")
    try:
        return vmas.make_env(
            scenario=options.scenario,
            num_envs=num_areas,
            device="cpu",
            continuous_actions=options.actions == "continuous",
            multidiscrete_actions=options.actions == "multidiscrete",
            max_steps=options.max_steps or None,
            seed=seed % 2**32,
            terminated_truncated=True,
            **options.scenario_options,
        )
    except (TypeError, ValueError, AssertionError, IndexError, RuntimeError) as error:
        raise ValueError(
            f"Vmas: expected options that scenario {options.scenario} accepts, "
            f"got {dict(options.scenario_options)} ({error}); 'marl-player play Vmas --scenario "
            f"{options.scenario} --help' lists its options"
        ) from error


@dataclass(frozen=True)
class _Kind:
    """Agents of one behaviour: the same name but for the number, the same sensors and actions."""

    behavior: Behavior
    agents: tuple[int, ...]  # indices into VMAS's agents
    seats: NDArray[np.int64]  # [areas * agents], areas first
    keys: tuple[str | None, ...]  # of VMAS's observation, per sensor; None where it is one vector
    centre: NDArray[np.float32]  # [continuous] of the range that VMAS allows
    half_range: NDArray[np.float32]

    @property
    def id(self) -> str:
        return self.behavior.id


class VmasScene(Scene):
    """Shows a VMAS environment. An episode's time limit is an interruption, its own end is not.

    Where all areas end at once VMAS is reset as a whole, else area by area, in order.
    """

    def __init__(self, num_areas: int, seed: int, options: VmasOptions) -> None:
        self._options, self._num_areas = options, num_areas
        self._env = make_env(num_areas, seed, options)
        self._num_agents = len(self._env.agents)
        self.num_seats = num_areas * self._num_agents
        self._kinds = _kinds(self._env, num_areas, options.scenario)
        self.behaviors = tuple(kind.behavior for kind in self._kinds)
        self._group, self._share = self._make_groups()

    def reset(self) -> Frame:
        obs = self._env.reset()
        return {
            kind.id: Rows(
                kind.seats,
                self._observations(kind, obs),
                np.zeros(len(kind.seats), np.float32),
                group=self._of_group(kind),
            )
            for kind in self._kinds
        }

    def step(self, actions: Mapping[str, Actions]) -> Frame:
        final, rewards, terminated, truncated, _ = self._env.step(self._for_vmas(actions))
        ended = (terminated | truncated).numpy()
        interrupted = (truncated & ~terminated).numpy()
        obs = self._restart(ended) if ended.any() else final
        reward = np.empty((self._num_areas, self._num_agents), np.float32)
        for agent, earned in enumerate(rewards):
            reward[:, agent] = earned.numpy().reshape(self._num_areas)
        reward, group_reward = self._shared(reward)
        frame = {}
        for kind in self._kinds:
            area = kind.seats // self._num_agents
            frame[kind.id] = rows_of_all(
                kind.seats,
                self._observations(kind, obs),
                reward[kind.seats],
                self._observations(kind, final),
                ended[area],
                interrupted[area],
                self._of_group(kind),
                None if group_reward is None else group_reward[kind.seats],
            )
        return frame

    def film(self, area: int) -> Film:
        from mlagents_marl_plugin.player.scenes.vmas_film import VmasFilm

        return VmasFilm(self._env, area)

    def _restart(self, ended: NDArray[np.bool_]) -> list[VmasObs]:
        if ended.all():
            whole: list[VmasObs] = self._env.reset()
            return whole
        for area in ended.nonzero()[0].tolist():
            self._env.reset_at(area, return_observations=False)
        (obs,) = self._env.get_from_scenario(
            get_observations=True, get_rewards=False, get_infos=False, get_dones=False
        )
        return list(obs)

    def _for_vmas(self, actions: Mapping[str, Actions]) -> list[NDArray[Any]]:
        """VMAS's list of [areas, size] per agent; an agent that hears nothing does what 0 means."""
        chosen: list[NDArray[Any]] = [np.empty(0)] * self._num_agents
        for kind in self._kinds:
            answers = actions.get(kind.id)
            spec, shape = kind.behavior.actions, (self._num_areas, len(kind.agents), -1)
            if spec.branches:
                size = (len(kind.seats), len(spec.branches))
                values = np.zeros(size, np.int64) if answers is None else answers.discrete
            else:
                raw = np.zeros((len(kind.seats), spec.continuous)) if answers is None else answers.continuous
                if not np.isfinite(raw).all():
                    raise ValueError(
                        f"actions of {kind.id}: expected finite numbers, got NaN or infinity; "
                        "the policy that sent them has diverged"
                    )
                values = kind.centre + np.clip(raw, -1.0, 1.0).astype(np.float32) * kind.half_range
            by_agent = values.reshape(shape)
            for place, agent in enumerate(kind.agents):
                chosen[agent] = by_agent[:, place]
        return chosen

    def _observations(self, kind: _Kind, obs: list[VmasObs]) -> Observations:
        """One array per sensor, in the order of the kind's seats."""
        sensors = []
        for key, sensor in zip(kind.keys, kind.behavior.sensors, strict=True):
            rows = np.empty((self._num_areas, len(kind.agents), *sensor.shape), np.float32)
            for place, agent in enumerate(kind.agents):
                seen = obs[agent] if key is None else obs[agent][key]
                rows[:, place] = seen.numpy().reshape(self._num_areas, -1)
            sensors.append(rows.reshape(-1, *sensor.shape))
        return tuple(sensors)

    def _make_groups(self) -> tuple[NDArray[np.int64] | None, NDArray[np.float32] | None]:
        """Group id by seat, and [agents, agents] how rewards are shared within an area's groups."""
        if self._options.groups == "none":
            return None, None
        side = np.zeros(self._num_agents, dtype=np.int64)
        if self._options.groups == "behavior":
            for number, kind in enumerate(self._kinds):
                side[list(kind.agents)] = number
        together = (side[:, None] == side).astype(np.float32)
        num_sides = int(side.max()) + 1
        group = (np.arange(self._num_areas)[:, None] * num_sides + side + 1).ravel()
        return group, together / together.sum(axis=1, keepdims=True)

    def _of_group(self, kind: _Kind) -> NDArray[np.int64] | None:
        return None if self._group is None else self._group[kind.seats]

    def _shared(self, reward: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Rewards [areas, agents] by seat: each agent's own, and its group's if it is paid."""
        if not self._options.group_reward or self._share is None:
            return reward.ravel(), None
        group_reward: NDArray[np.float32] = (reward @ self._share.T).ravel()
        return np.zeros(self.num_seats, np.float32), group_reward


def _kinds(env: Any, num_areas: int, scenario: str) -> list[_Kind]:
    """Sort VMAS's agents into behaviours, in the order in which VMAS lists them."""
    spaces = [env.get_agent_action_space(agent) for agent in env.agents]
    # From the spaces: to look at the agents would draw random numbers, where they see through noise.
    traits = [
        (_sensors(seen), _ranges(space)) for seen, space in zip(env.observation_space, spaces, strict=True)
    ]
    sorted_agents = sort_into_kinds([agent.name for agent in env.agents], traits)
    kinds = []
    for name, agents in sorted_agents:
        sensors, _ = traits[agents[0]]
        spec, centre, half_range = _actions(spaces[agents[0]])
        behavior = Behavior(
            camel(scenario) + (name if len(sorted_agents) > 1 else ""),
            tuple(_sensor(key, size) for key, size in sensors),
            spec,
        )
        seats = (np.arange(num_areas)[:, None] * len(spaces) + np.array(agents)).ravel()
        keys = tuple(key for key, _ in sensors)
        kinds.append(_Kind(behavior, tuple(agents), seats, keys, centre, half_range))
    return kinds


def _sensors(space: Any) -> tuple[tuple[str | None, int], ...]:
    """Key and length of each vector that an agent observes, from its observation space."""
    if hasattr(space, "spaces"):
        return tuple((key, int(np.prod(part.shape))) for key, part in space.spaces.items())
    return ((None, int(np.prod(space.shape))),)


def _sensor(key: str | None, size: int) -> SensorSpec:
    return SensorSpec(f"VectorSensor_size{size}" if key is None else key, (size,), dimension_properties=(1,))


def _ranges(space: Any) -> tuple[Any, ...]:
    """What tells one action space from another."""
    if hasattr(space, "low"):
        return tuple(space.low.tolist()), tuple(space.high.tolist())
    return tuple(space.nvec.tolist()) if hasattr(space, "nvec") else (int(space.n),)


def _actions(space: Any) -> tuple[ActionSpec, NDArray[np.float32], NDArray[np.float32]]:
    """The action space as Unity has it, with the centre and half the width of what VMAS allows."""
    if hasattr(space, "low"):
        low, high = space.low.astype(np.float32), space.high.astype(np.float32)
        return ActionSpec(continuous=len(low)), (low + high) / 2, (high - low) / 2
    nothing = np.zeros(0, np.float32)
    branches = space.nvec.tolist() if hasattr(space, "nvec") else [int(space.n)]
    return ActionSpec(branches=tuple(branches)), nothing, nothing
