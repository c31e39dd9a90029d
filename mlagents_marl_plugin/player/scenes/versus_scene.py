"""Competitive Tennis as a scene. Seat ``2 * area`` is A (left, team 0), ``2 * area + 1`` is B (right, team 1)."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mlagents_marl_plugin.player.film import Film
from mlagents_marl_plugin.player.scene import Scene, SceneSettings
from mlagents_marl_plugin.player.scenes import tennis_court as tennis
from mlagents_marl_plugin.player.scenes import versus_court as court
from mlagents_marl_plugin.player.scenes.court_scene import CourtScene, stacked_sensor
from mlagents_marl_plugin.player.scenes.versus import (
    ACTION_SIZE,
    FRAME_SIZE,
    NUM_STACKED,
    VersusOptions,
    VersusWorld,
)
from mlagents_marl_plugin.player.side_channels import EnvironmentParameters, Statistic

# What the scene's own settings allow: metres per second squared, and diameters of the ball.
GRAVITY_RANGE, SCALE_RANGE = (6.0, 20.0), (0.2, 5.0)


def add_options(parser: ArgumentParser, _arguments: Sequence[str]) -> None:
    """Declare what a user may change about the scene."""
    defaults = VersusOptions()
    options = parser.add_argument_group("options of TennisVersus")
    options.add_argument(
        "--one-team",
        action="store_true",
        help="both agents play as Tennis?team=0: one policy without self-play, or one critic for both",
    )
    options.add_argument(
        "--group-ids",
        action="store_true",
        help="the two agents of a court form a SimpleMultiAgentGroup (group ids 1, 2, ...)",
    )
    options.add_argument(
        "--max-decisions",
        type=int,
        default=defaults.max_decisions,
        metavar="N",
        help="decisions after which a rally is cut short; 0 is never (default %(default)s)",
    )


def options_from(arguments: Namespace) -> VersusOptions:
    """The world's options from the command line.

    Raises:
        ValueError: if one is out of range.
    """
    return VersusOptions(max_decisions=arguments.max_decisions)


def create(settings: SceneSettings) -> Scene:
    """The scene as the command line asks for it."""
    arguments = settings.options
    world = VersusWorld(settings.num_areas, settings.seed, options_from(arguments))
    return VersusScene(world, settings.parameters, arguments.group_ids, not arguments.one_team)


class VersusScene(CourtScene):
    """Shows a ``VersusWorld``; environment parameters ``gravity`` and ``scale`` are read at every serve.

    Gravity is one for all courts, as in Unity; the scale is the diameter of the ball that is served.
    """

    def __init__(
        self,
        world: VersusWorld,
        parameters: EnvironmentParameters | None = None,
        group_ids: bool = False,
        teams: bool = True,
    ) -> None:
        super().__init__(world, stacked_sensor(FRAME_SIZE, NUM_STACKED), ACTION_SIZE, group_ids, teams)
        self._versus = world
        self._parameters = parameters if parameters is not None else EnvironmentParameters()
        world.before_serve = self._set_parameters

    def film(self, area: int) -> Film:
        from mlagents_marl_plugin.player.scenes.court_films import VersusFilm

        return VersusFilm(self._versus, area)

    def _set_parameters(self) -> None:
        self._versus.physics.gravity = self._parameter("gravity", tennis.GRAVITY, GRAVITY_RANGE)
        self._versus.ball_scale = self._parameter("scale", court.BALL_SCALE, SCALE_RANGE)

    def _parameter(self, name: str, default: float, allowed: tuple[float, float]) -> float:
        value = self._parameters.get(name, default)
        low, high = allowed
        if not low <= value <= high:
            raise ValueError(
                f"environment parameter {name}: expected {low:g} to {high:g}, got {value:g}; "
                f"change environment_parameters in the YAML"
            )
        return value

    def _about(self, area: int, length: int, reward: NDArray[np.float64]) -> list[Statistic]:
        strokes = float(self._versus.ended_strokes[area])
        return [*super()._about(area, length, reward), Statistic("Tennis/Strokes", strokes)]
