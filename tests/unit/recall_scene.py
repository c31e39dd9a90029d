"""A scene that needs a memory: a cue is shown in an episode's first step and asked for in its last."""

from collections.abc import Mapping

import numpy as np

from mlagents_marl_plugin.player.scene import Actions, ActionSpec, Behavior, Frame, Rows, Scene, SensorSpec

LENGTH = 4  # decisions per episode


class RecallScene(Scene):
    """Two agents per area, each with a cue of its own, 0 or 1.

    An agent sees the cue as one of two flags in the first step, nothing then, and a third flag in the last step. What
    it chooses there earns 1 if it is the cue and -1 if not; so without a memory the mean is 0.
    """

    def __init__(self, areas: int, seed: int) -> None:
        self.num_seats = 2 * areas
        self.behaviors = (
            Behavior(
                "Recall", (SensorSpec("VectorSensor", (3,), dimension_properties=(1,)),), ActionSpec(0, (2,))
            ),
        )
        self.scores: list[float] = []  # per episode, the mean over all agents
        self._random = np.random.default_rng(seed)
        self._step = 0
        self._cue = np.zeros(self.num_seats, np.int64)

    def reset(self) -> Frame:
        return {self.behaviors[0].id: self._begin()}

    def step(self, actions: Mapping[str, Actions]) -> Frame:
        self._step += 1
        if self._step < LENGTH:
            return {self.behaviors[0].id: self._rows(np.zeros(self.num_seats, np.float32), over=False)}
        answers = actions[self.behaviors[0].id]
        right = answers.discrete[:, 0] == self._cue[answers.seat]
        reward = np.zeros(self.num_seats, np.float32)
        reward[answers.seat] = np.where(right, 1.0, -1.0)
        self.scores.append(float(reward.mean()))
        ended, begun = self._rows(reward, over=True), self._begin()
        both = (
            np.concatenate([getattr(ended, name), getattr(begun, name)])
            for name in ("seat", "reward", "done")
        )
        seat, reward, done = both
        obs = np.concatenate([ended.observations[0], begun.observations[0]])
        return {self.behaviors[0].id: Rows(seat, (obs,), reward, done)}

    def _begin(self) -> Rows:
        self._step = 0
        self._cue = self._random.integers(0, 2, self.num_seats)
        return self._rows(np.zeros(self.num_seats, np.float32), over=False)

    def _rows(self, reward: np.ndarray, over: bool) -> Rows:
        seats = np.arange(self.num_seats)
        obs = np.zeros((self.num_seats, 3), np.float32)
        if self._step == 0:
            obs[seats, self._cue] = 1.0
        obs[:, 2] = self._step == LENGTH - 1
        return Rows(seats, (obs,), reward, np.full(self.num_seats, over))
