"""Recall: a cue is shown in an episode's first step and asked for in its last, so that nobody wins without a memory.

Each agent of an area has a cue of its own. It observes ``--cues`` flags and one more: its cue's flag in the first step,
nothing between, and the last flag when it is asked. Its one discrete action names a cue; what it says in the last step
earns 1 if it is right and -1 if not, what it says before counts nothing. Whoever forgets is right once in ``--cues``.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from mlagents_marl_plugin.player.film import Film
from mlagents_marl_plugin.player.scene import (
    Actions,
    ActionSpec,
    Behavior,
    Frame,
    Scene,
    SceneSettings,
    SensorSpec,
)
from mlagents_marl_plugin.player.scenes.turnover import rows_of_all
from mlagents_marl_plugin.player.side_channels import Statistic


@dataclass(frozen=True)
class RecallOptions:
    """What is to be remembered.

    Attributes:
        agents: per area; they form a group.
        cues: how many there are to tell apart.
        length: decisions of an episode; so many less one lie between cue and question.
    """

    agents: int = 2
    cues: int = 2
    length: int = 8

    def __post_init__(self) -> None:
        for name, least in (("agents", 1), ("cues", 2), ("length", 2)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"Recall.{name}: expected a whole number >= {least}, got {getattr(self, name)}"
                )


def add_options(parser: ArgumentParser, _arguments: Sequence[str]) -> None:
    """Declare what a user may change about the scene."""
    defaults = RecallOptions()
    options = parser.add_argument_group("options of Recall")
    options.add_argument("--agents", type=int, default=defaults.agents, metavar="N", help="agents of an area")
    options.add_argument(
        "--cues", type=int, default=defaults.cues, metavar="N", help="cues to tell apart, and choices"
    )
    options.add_argument(
        "--length", type=int, default=defaults.length, metavar="N", help="decisions of an episode"
    )


def options_from(arguments: Namespace) -> RecallOptions:
    """The scene's options from the command line.

    Raises:
        ValueError: if one is out of range.
    """
    given = vars(arguments)
    return RecallOptions(**{field.name: given[field.name] for field in fields(RecallOptions)})


def create(settings: SceneSettings) -> Scene:
    """The scene as the command line asks for it."""
    return RecallScene(settings.num_areas, settings.seed, options_from(settings.options))


class RecallScene(Scene):
    """Seat ``area * agents + agent``; all areas go through their episodes together.

    Attributes:
        scores: per episode, the mean reward over all agents.
    """

    def __init__(self, num_areas: int, seed: int, options: RecallOptions) -> None:
        self.options = options
        self.num_seats = num_areas * options.agents
        sensor = SensorSpec("VectorSensor", (options.cues + 1,), dimension_properties=(1,))
        self.behaviors = (Behavior("Recall", (sensor,), ActionSpec(0, (options.cues,))),)
        self.scores: list[float] = []
        self._random = np.random.default_rng(seed)
        self._seat = np.arange(self.num_seats)
        self._group = self._seat // options.agents + 1
        self._step = 0
        self._cue = np.zeros(self.num_seats, np.int64)
        self._unsent: list[Statistic] = []
        self._said = np.full(self.num_seats, -1)
        self._right: NDArray[np.bool_] | None = None

    def reset(self) -> Frame:
        self._said[:] = -1
        self._right = None
        return self._frame(self._begin(), self._zeros())

    def step(self, actions: Mapping[str, Actions]) -> Frame:
        self._step += 1
        answers = actions[self.behaviors[0].id]
        self._said[answers.seat] = answers.discrete[:, 0]
        self._right = None
        if self._step < self.options.length:
            return self._frame(self._seen(), self._zeros())
        reward = self._zeros()
        reward[answers.seat] = np.where(answers.discrete[:, 0] == self._cue[answers.seat], 1.0, -1.0)
        self._right = reward > 0
        self.scores.append(float(reward.mean()))
        self._unsent.append(Statistic("Recall/Right", float(self._right.mean())))
        return self._frame(self._begin(), reward, self._seen_last())

    def drain_statistics(self) -> list[Statistic]:
        drained, self._unsent = self._unsent, []
        return drained

    def film(self, area: int) -> Film:
        from mlagents_marl_plugin.player.scenes.recall_film import RecallFilm, RecallView

        seats = slice(area * self.options.agents, (area + 1) * self.options.agents)

        def look() -> RecallView:
            right = None if self._right is None else self._right[seats]
            return RecallView(self._seen()[seats], self._said[seats], right)

        return RecallFilm(look)

    def _begin(self) -> NDArray[np.float32]:
        self._step = 0
        self._cue = self._random.integers(0, self.options.cues, self.num_seats)
        return self._seen()

    def _seen(self) -> NDArray[np.float32]:
        """What agents observe at this step, [seats, cues + 1]."""
        obs = np.zeros((self.num_seats, self.options.cues + 1), np.float32)
        if self._step == 0:
            obs[self._seat, self._cue] = 1.0
        obs[:, -1] = self._step == self.options.length - 1
        return obs

    def _seen_last(self) -> NDArray[np.float32]:
        """After the answer there is nothing to see."""
        return np.zeros((self.num_seats, self.options.cues + 1), np.float32)

    def _zeros(self) -> NDArray[np.float32]:
        return np.zeros(self.num_seats, np.float32)

    def _frame(
        self,
        obs: NDArray[np.float32],
        reward: NDArray[np.float32],
        final_obs: NDArray[np.float32] | None = None,
    ) -> Frame:
        """Rows of all; with ``final_obs`` their episodes have ended with it."""
        ended = np.full(self.num_seats, final_obs is not None)
        last = obs if final_obs is None else final_obs
        rows = rows_of_all(self._seat, (obs,), reward, (last,), ended, ~ended, self._group)
        return {self.behaviors[0].id: rows}
