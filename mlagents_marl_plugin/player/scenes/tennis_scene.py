"""Tennis as a scene: its command-line options, and ``TennisWorld`` shown as a ``CourtScene``.

Seat ``2 * area`` is B (right), ``2 * area + 1`` is A (left), in the order in which the original lists its
agents.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mlagents_marl_plugin.player.film import Film
from mlagents_marl_plugin.player.scene import Scene, SceneSettings
from mlagents_marl_plugin.player.scenes.court_scene import CourtScene, stacked_sensor
from mlagents_marl_plugin.player.scenes.tennis import ACTION_SIZE, FRAME_SIZE, TennisOptions, TennisWorld
from mlagents_marl_plugin.player.side_channels import Statistic


def add_options(parser: ArgumentParser, _arguments: Sequence[str]) -> None:
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


class TennisScene(CourtScene):
    """Shows a ``TennisWorld``."""

    def __init__(self, world: TennisWorld, group_ids: bool = False, teams: bool = False) -> None:
        sensor = stacked_sensor(FRAME_SIZE, world.options.num_stacked)
        super().__init__(world, sensor, ACTION_SIZE, group_ids, teams)
        self._tennis = world

    def film(self, area: int) -> Film:
        from mlagents_marl_plugin.player.scenes.court_films import TennisFilm

        return TennisFilm(self._tennis, area)

    def _about(self, area: int, length: int, reward: NDArray[np.float64]) -> list[Statistic]:
        return [*super()._about(area, length, reward), Statistic("Tennis/Score", float(reward.max()))]
