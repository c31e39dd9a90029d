"""An environment whose agents see more numbers than a strip has columns for, and nobody knows who plays with whom."""

import numpy as np

from tests.unit.parallel_envs import box

AGENTS = 9


class Watchers:
    """They see 3,000 ones each and go on for ever. New interface."""

    def __init__(self):
        self.possible_agents = self.agents = [f"watcher_{number}" for number in range(AGENTS)]

    def observation_space(self, agent):
        return box(3000)

    def action_space(self, agent):
        return box(2, low=-1.0, high=1.0)

    def reset(self, seed=None, options=None):
        return self._each(np.ones(3000)), self._each({})

    def step(self, actions):
        return (
            self._each(np.ones(3000)),
            self._each(0.0),
            self._each(False),
            self._each(False),
            self._each({}),
        )

    def _each(self, told):
        return dict.fromkeys(self.agents, told)
