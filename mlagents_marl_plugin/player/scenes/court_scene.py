"""What the two Tennis games have in common as scenes: arrays by area and agent become rows by seat.

Seat ``2 * area + agent``, in the order in which the world lists its two agents.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mlagents_marl_plugin.player.scene import Actions, ActionSpec, Behavior, Frame, Rows, Scene, SensorSpec
from mlagents_marl_plugin.player.scenes.turnover import rows_of_all
from mlagents_marl_plugin.player.side_channels import Statistic

NUM_AGENTS = 2


class CourtStep(Protocol):
    """What a decision interval brought; observations by area and agent, flags by area."""

    @property
    def reward(self) -> NDArray[np.float32]: ...

    @property
    def terminated(self) -> NDArray[np.bool_]: ...

    @property
    def interrupted(self) -> NDArray[np.bool_]: ...

    @property
    def final_obs(self) -> NDArray[np.float32]: ...

    @property
    def obs(self) -> NDArray[np.float32]: ...


class CourtWorld(Protocol):
    """Courts that begin their next rally by themselves."""

    @property
    def num_areas(self) -> int: ...

    def reset(self) -> NDArray[np.float32]: ...

    def step(self, action: NDArray[np.float32]) -> CourtStep: ...


class CourtScene(Scene):
    """Shows courts: an ended rally's last rows come with the next rally's first.

    Args:
        sensor: both agents' only observation.
        num_actions: continuous.
        group_ids: the agents of a court form a group, 1, 2, ...
        teams: they play as two behaviours, on teams 0 and 1 in the world's order; else as one on team 0.
    """

    def __init__(
        self, world: CourtWorld, sensor: SensorSpec, num_actions: int, group_ids: bool, teams: bool
    ) -> None:
        self._world = world
        self.num_seats = world.num_areas * NUM_AGENTS
        actions = ActionSpec(continuous=num_actions)
        num_behaviors = NUM_AGENTS if teams else 1
        self.behaviors = tuple(Behavior("Tennis", (sensor,), actions, team) for team in range(num_behaviors))
        by_area = np.arange(self.num_seats).reshape(world.num_areas, NUM_AGENTS)
        self._seats = list(by_area.T) if teams else [by_area.ravel()]
        self._group = np.repeat(np.arange(1, world.num_areas + 1), NUM_AGENTS) if group_ids else None
        self._action = np.zeros((self.num_seats, num_actions), np.float32)
        self._episode_length = np.zeros(world.num_areas, dtype=np.int64)
        self._episode_reward = np.zeros((world.num_areas, NUM_AGENTS))
        self._statistics: list[Statistic] = []

    def reset(self) -> Frame:
        obs = self._by_seat(self._world.reset())
        self._episode_length[:] = 0
        self._episode_reward[:] = 0.0
        nothing = np.zeros(self.num_seats, np.float32)
        return {
            behavior.id: Rows(
                seats,
                (obs[seats],),
                nothing[seats],
                group=None if self._group is None else self._group[seats],
            )
            for behavior, seats in zip(self.behaviors, self._seats, strict=True)
        }

    def step(self, actions: Mapping[str, Actions]) -> Frame:
        for answers in actions.values():
            self._action[answers.seat] = answers.continuous
        result = self._world.step(self._action.reshape(self._world.num_areas, NUM_AGENTS, -1))
        ended = result.terminated | result.interrupted
        self._count(result.reward, ended)
        obs, reward, final_obs = (
            self._by_seat(result.obs),
            result.reward.ravel(),
            self._by_seat(result.final_obs),
        )
        seat_ended, seat_interrupted = np.repeat(ended, NUM_AGENTS), np.repeat(result.interrupted, NUM_AGENTS)
        return {
            behavior.id: rows_of_all(
                seats,
                (obs[seats],),
                reward[seats],
                (final_obs[seats],),
                seat_ended[seats],
                seat_interrupted[seats],
                None if self._group is None else self._group[seats],
            )
            for behavior, seats in zip(self.behaviors, self._seats, strict=True)
        }

    def drain_statistics(self) -> list[Statistic]:
        drained, self._statistics = self._statistics, []
        return drained

    def _by_seat(self, obs: NDArray[np.float32]) -> NDArray[np.float32]:
        return obs.reshape(self.num_seats, -1)

    def _count(self, reward: NDArray[np.float32], ended: NDArray[np.bool_]) -> None:
        self._episode_length += 1
        self._episode_reward += reward
        for area in np.flatnonzero(ended).tolist():
            self._statistics += self._about(area, int(self._episode_length[area]), self._episode_reward[area])
        self._episode_length[ended] = 0
        self._episode_reward[ended] = 0.0

    def _about(self, area: int, length: int, reward: NDArray[np.float64]) -> list[Statistic]:
        """What to report of a rally that ended after ``length`` decisions, with ``reward`` [2] in all."""
        return [Statistic("Tennis/Rally Length", float(length))]


def stacked_sensor(frame_size: int, num_stacked: int) -> SensorSpec:
    """Named as Unity names it: a stack of one is the plain sensor."""
    plain = f"VectorSensor_size{frame_size}"
    name = plain if num_stacked == 1 else f"StackingSensor_size{num_stacked}_{plain}"
    return SensorSpec(name, (frame_size * num_stacked,), dimension_properties=(1,))
