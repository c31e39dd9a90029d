"""Tennis as a scene: ``TennisWorld``'s arrays by area and agent become rows by seat.

Seat ``2 * area`` is B (right), ``2 * area + 1`` is A (left), in the order in which the original lists its
agents.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

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
from mlagents_marl_plugin.player.scenes.tennis import FRAME_SIZE, NUM_AGENTS, TennisOptions, TennisWorld
from mlagents_marl_plugin.player.side_channels import Statistic

_ACTIONS = ActionSpec(continuous=2)


def add_options(parser: ArgumentParser) -> None:
    """Declare what a user may change about the scene."""
    defaults = TennisOptions()
    options = parser.add_argument_group("options of Tennis")
    options.add_argument(
        "--group-ids",
        action="store_true",
        help="the two agents of a court form a SimpleMultiAgentGroup (group ids 1, 2, ...)",
    )
    options.add_argument(
        "--teams",
        action="store_true",
        help="the agents of a court play on two teams: behaviours Tennis?team=0 (B) and Tennis?team=1 (A)",
    )
    options.add_argument(
        "--true-ball-velocity",
        action="store_true",
        help="observe the ball's velocity where the original repeats the racket's",
    )
    options.add_argument(
        "--num-stacked",
        type=int,
        default=defaults.num_stacked,
        metavar="K",
        help="frames of 8 numbers in an observation (default %(default)s)",
    )
    options.add_argument(
        "--reward-scale",
        type=float,
        default=defaults.reward_scale,
        metavar="X",
        help="factor on every reward (default %(default)s)",
    )
    options.add_argument(
        "--max-decisions",
        type=int,
        default=defaults.max_decisions,
        metavar="N",
        help="decisions after which an episode is cut short (default %(default)s)",
    )


def options_from(arguments: Namespace) -> TennisOptions:
    """The world's options from the command line.

    Raises:
        ValueError: if one is out of range.
    """
    return TennisOptions(
        true_ball_velocity=arguments.true_ball_velocity,
        num_stacked=arguments.num_stacked,
        reward_scale=arguments.reward_scale,
        max_decisions=arguments.max_decisions,
    )


def create(settings: SceneSettings) -> Scene:
    """The scene as the command line asks for it."""
    arguments = settings.options
    world = TennisWorld(settings.num_areas, settings.seed, options_from(arguments))
    return TennisScene(world, group_ids=arguments.group_ids, teams=arguments.teams)


class TennisScene(Scene):
    """Shows a ``TennisWorld``: an ended rally's last rows come with the next rally's first."""

    def __init__(self, world: TennisWorld, group_ids: bool = False, teams: bool = False) -> None:
        self._world = world
        self.num_seats = world.num_areas * NUM_AGENTS
        sensor = _vector_sensor(world.options.num_stacked)
        num_behaviors = NUM_AGENTS if teams else 1
        self.behaviors = tuple(Behavior("Tennis", (sensor,), _ACTIONS, team) for team in range(num_behaviors))
        by_area = np.arange(self.num_seats).reshape(world.num_areas, NUM_AGENTS)
        self._seats = list(by_area.T) if teams else [by_area.ravel()]
        self._group = np.repeat(np.arange(1, world.num_areas + 1), NUM_AGENTS) if group_ids else None
        self._action = np.zeros((self.num_seats, _ACTIONS.continuous), np.float32)
        self._episode_length = np.zeros(world.num_areas, dtype=np.int64)
        self._episode_reward = np.zeros((world.num_areas, NUM_AGENTS))
        self._statistics: list[Statistic] = []

    def reset(self) -> Frame:
        obs = self._by_seat(self._world.reset())
        self._episode_length[:] = 0
        self._episode_reward[:] = 0.0
        nothing = np.zeros(self.num_seats, np.float32)
        return {
            behavior.id: self._rows(seats, obs[seats], nothing[seats])
            for behavior, seats in zip(self.behaviors, self._seats, strict=True)
        }

    def step(self, actions: Mapping[str, Actions]) -> Frame:
        for answers in actions.values():
            self._action[answers.seat] = answers.continuous
        result = self._world.step(self._action.reshape(self._world.num_areas, NUM_AGENTS, -1))
        ended = result.terminated | result.interrupted
        self._count(result.reward, ended)
        obs, reward = self._by_seat(result.obs), result.reward.ravel()
        if not ended.any():
            return {
                behavior.id: self._rows(seats, obs[seats], reward[seats])
                for behavior, seats in zip(self.behaviors, self._seats, strict=True)
            }
        return self._frame_with_ends(obs, reward, self._by_seat(result.final_obs), ended, result.interrupted)

    def drain_statistics(self) -> list[Statistic]:
        drained, self._statistics = self._statistics, []
        return drained

    def _frame_with_ends(
        self,
        obs: NDArray[np.float32],
        reward: NDArray[np.float32],
        final_obs: NDArray[np.float32],
        ended: NDArray[np.bool_],
        interrupted: NDArray[np.bool_],
    ) -> Frame:
        seat_ended = np.repeat(ended, NUM_AGENTS)
        seat_interrupted = np.repeat(interrupted, NUM_AGENTS)
        frame = {}
        for behavior, seats in zip(self.behaviors, self._seats, strict=True):
            last = seats[seat_ended[seats]]
            seat = np.concatenate([last, seats])
            done = np.arange(len(seat)) < len(last)
            # The reward of an ended seat belongs to its last row; its new episode begins with none.
            first_reward = np.where(seat_ended[seats], np.float32(0.0), reward[seats])
            frame[behavior.id] = self._rows(
                seat,
                np.concatenate([final_obs[last], obs[seats]]),
                np.concatenate([reward[last], first_reward]),
                done,
                done & seat_interrupted[seat],
            )
        return frame

    def _rows(
        self,
        seat: NDArray[np.int64],
        obs: NDArray[np.float32],
        reward: NDArray[np.float32],
        done: NDArray[np.bool_] | None = None,
        interrupted: NDArray[np.bool_] | None = None,
    ) -> Rows:
        group = None if self._group is None else self._group[seat]
        return Rows(seat, (obs,), reward, done, interrupted, group)

    def _by_seat(self, obs: NDArray[np.float32]) -> NDArray[np.float32]:
        return obs.reshape(self.num_seats, -1)

    def _count(self, reward: NDArray[np.float32], ended: NDArray[np.bool_]) -> None:
        self._episode_length += 1
        self._episode_reward += reward
        for area in np.flatnonzero(ended).tolist():
            self._statistics += [
                Statistic("Tennis/Rally Length", float(self._episode_length[area])),
                Statistic("Tennis/Score", float(self._episode_reward[area].max())),
            ]
        self._episode_length[ended] = 0
        self._episode_reward[ended] = 0.0


def _vector_sensor(num_stacked: int) -> SensorSpec:
    """Named as Unity names it: a stack of one is the plain sensor."""
    plain = f"VectorSensor_size{FRAME_SIZE}"
    name = plain if num_stacked == 1 else f"StackingSensor_size{num_stacked}_{plain}"
    return SensorSpec(name, (FRAME_SIZE * num_stacked,), dimension_properties=(1,))
