"""Udacity's Tennis, or any other build of ML-Agents 0.4, as a scene.

The build runs as a process of its own and believes that it speaks with the Python package of its time; mlagents
believes that it speaks with a build of today.
"""

import logging
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mlagents_marl_plugin.player.film import Film
from mlagents_marl_plugin.player.legacy import udacity_options
from mlagents_marl_plugin.player.legacy.academy import Academy
from mlagents_marl_plugin.player.legacy.brains import Reading, read_infos, served_brains
from mlagents_marl_plugin.player.legacy.build_process import BuildProcess
from mlagents_marl_plugin.player.legacy.camera_film import film_of
from mlagents_marl_plugin.player.legacy.episodes import MAX_AGENTS, Episodes
from mlagents_marl_plugin.player.legacy.python_side import PythonSide
from mlagents_marl_plugin.player.legacy.udacity_options import UdacityOptions
from mlagents_marl_plugin.player.scene import Actions, Frame, Scene, SceneError, SceneSettings
from mlagents_marl_plugin.player.side_channels import EnvironmentParameters

add_options, options_from = udacity_options.add_options, udacity_options.options_from


def create(settings: SceneSettings) -> Scene:
    """The scene as the command line asks for it; starts the build."""
    if settings.num_areas != 1:
        raise SceneError(
            f"--num-areas: expected 1, got {settings.num_areas}; a build has the areas that it was made with, "
            "to play several at once use --num-envs"
        )
    options = options_from(settings.options)
    side = PythonSide()
    process = BuildProcess(options.command(side.port))
    told = f"; its own log is {options.log_file}" if options.log_file else ""
    academy = Academy(side, process, options.timeout, told)
    try:
        return UdacityScene(academy, settings.seed, options, settings.parameters)
    except BaseException:
        academy.close()
        raise


class UdacityScene(Scene):
    """Shows what an academy of 0.4 reports. Its RESET is sent at the trainer's, and when the academy is done."""

    num_seats = MAX_AGENTS

    def __init__(
        self, academy: Academy, seed: int, options: UdacityOptions, parameters: EnvironmentParameters
    ) -> None:
        self._academy, self._options, self._parameters = academy, options, parameters
        hello = academy.shake_hands(seed)
        brains = served_brains(hello.brain_parameters)
        blind = [brain.name for brain in brains if brain.cameras]
        if blind and not options.graphics:
            raise SceneError(
                f"brain {', '.join(blind)}: expected graphics, since it sees through cameras, got --no-graphics; "
                "leave that out, and no_graphics in the YAML too"
            )
        self._reset_parameters = list(hello.environment_parameters.float_parameters)
        self._brains = {brain.name: brain for brain in brains}
        self._others = {brain.brain_name for brain in hello.brain_parameters} - self._brains.keys()
        self._episodes = Episodes(brains)
        self.behaviors = tuple(brain.behavior for brain in brains)
        log = logging.getLogger("marl-player")
        log.info("Build %s: academy '%s', %s", options.program, hello.name, hello.version)
        for behavior in self.behaviors:
            shapes = [list(sensor.shape) for sensor in behavior.sensors]
            log.info("Behavior name %s: observations %s, %s", behavior.name, shapes, behavior.actions)

    def reset(self) -> Frame:
        return self._episodes.begin(self._begin())

    def step(self, actions: Mapping[str, Actions]) -> Frame:
        output = self._academy.step({name: self._answers(name, actions) for name in self._brains})
        readings = self._read(output)
        if not output.global_done:
            return self._episodes.advance(readings)
        ended = self._episodes.end(readings)
        return self._episodes.begin_after(ended, self._begin())

    def film(self, _area: int) -> Film:
        return film_of(self._episodes)

    def close(self) -> None:
        self._academy.close()

    def _begin(self) -> dict[str, Reading]:
        values = {name: self._parameters.get(name, math.nan) for name in self._reset_parameters}
        set_by_trainer = {name: value for name, value in values.items() if not math.isnan(value)}
        return self._read(self._academy.reset(not self._options.watch, set_by_trainer))

    def _read(self, output: Any) -> dict[str, Reading]:
        """Infos by brain, in the order in which the build introduced the brains."""
        unknown = set(output.agent_infos) - self._brains.keys() - self._others
        if unknown:
            raise SceneError(
                f"build: expected infos of {', '.join(self._brains)}, got {', '.join(sorted(unknown))}; "
                "is it one of the course's builds, unchanged?"
            )
        return {
            name: read_infos(brain, output.agent_infos[name].value)
            for name, brain in self._brains.items()
            if name in output.agent_infos
        }

    def _answers(self, name: str, actions: Mapping[str, Actions]) -> Actions:
        behavior = self._brains[name].behavior
        nobody = Actions(
            np.zeros(0, np.int64),
            np.zeros((0, behavior.actions.continuous), np.float32),
            np.zeros((0, len(behavior.actions.branches)), np.int64),
        )
        answers = actions.get(behavior.id, nobody)
        if not np.isfinite(answers.continuous).all():
            raise SceneError(
                f"actions of {name}: expected finite numbers, got NaN or infinity; "
                "the policy that sent them has diverged"
            )
        return answers
