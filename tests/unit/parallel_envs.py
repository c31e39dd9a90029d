"""Environments with PettingZoo's interface, of both generations, without PettingZoo."""

from types import SimpleNamespace

import numpy as np


def box(*shape, low=-np.inf, high=np.inf, dtype=np.float32):
    """A space that has what a Box has."""
    return SimpleNamespace(
        low=np.full(shape, low, dtype), high=np.full(shape, high, dtype), shape=shape, dtype=np.dtype(dtype)
    )


def discrete(n, start=0):
    return SimpleNamespace(n=n, start=start, shape=())


class Diary:
    """Agents that see how they are: [seed, episode, step, own number, last action]. New interface.

    ``hunter_1`` dies in step 2 of every episode, ``prey_0`` is born with step 1, everyone is cut short after
    step 4. A reward is 10 times the agent's number plus the step.
    """

    def __init__(self, limit=4, low=-2.0, high=4.0):
        self.limit = limit
        self.possible_agents = ["hunter_0", "hunter_1", "prey_0"]
        self.agents = []
        self._low, self._high = low, high
        self._seed, self._episode, self.closed = None, -1, False

    def observation_space(self, agent):
        return box(5)

    def action_space(self, agent):
        return box(1, low=self._low, high=self._high) if agent.startswith("hunter") else discrete(3, start=1)

    def reset(self, seed=None, options=None):
        self._seed = self._seed if seed is None else seed
        self._episode, self._step = self._episode + 1, 0
        self.agents = ["hunter_0", "hunter_1"]
        return {agent: self._look(agent, 0.0) for agent in self.agents}, {agent: {} for agent in self.agents}

    def step(self, actions):
        assert set(actions) == set(self.agents)
        self._step += 1
        before, late = list(self.agents), self._step >= self.limit
        if self._step == 1:
            self.agents.append("prey_0")
        terminated = {agent: agent == "hunter_1" and self._step == 2 for agent in before}
        obs = {agent: self._look(agent, actions.get(agent, 0.0)) for agent in self.agents}
        reward = {agent: 10.0 * self.possible_agents.index(agent) + self._step for agent in before}
        self.agents = [] if late else [agent for agent in self.agents if not terminated.get(agent)]
        return obs, reward, terminated, dict.fromkeys(before, late), {agent: {} for agent in obs}

    def _look(self, agent, action):
        number = self.possible_agents.index(agent)
        return np.array([self._seed, self._episode, self._step, number, np.ravel(action)[0]], np.float32)

    def close(self):
        self.closed = True


class OldDiary:
    """The old interface: spaces in dictionaries, ``seed``, observations alone from ``reset``, one ``done``."""

    def __init__(self, late=False):
        self.possible_agents = self.agents = ["a", "b"]
        self.observation_spaces = {agent: box(2) for agent in self.agents}
        self.action_spaces = {agent: discrete(2) for agent in self.agents}
        self._late = late

    def seed(self, seed):
        self._seed = seed

    def reset(self):
        self.agents, self._step = list(self.possible_agents), 0
        return {agent: np.array([self._seed, 0.0]) for agent in self.agents}

    def step(self, actions):
        self._step += 1
        done = self._step == 3
        obs = {agent: np.array([self._seed, self._step]) for agent in self.agents}
        info = {agent: {"TimeLimit.truncated": self._late} for agent in self.agents}
        dones, rewards = dict.fromkeys(self.agents, done), dict.fromkeys(self.agents, 1.0)
        if done:
            self.agents = []
        return obs, rewards, dones, info


class Zoo:
    """One agent with every kind of sensor and a masked choice."""

    def __init__(self):
        self.possible_agents = self.agents = ["keeper"]

    def observation_space(self, agent):
        return SimpleNamespace(
            spaces={
                "plan": box(2, 2),
                "camera": box(4, 6, 3, low=0, high=255, dtype=np.uint8),
                "grid": box(3, 2, 5),
                "weather": discrete(3, start=1),
                "shelves": SimpleNamespace(nvec=np.array([2, 3]), shape=(2,)),
                "lamps": SimpleNamespace(n=4, shape=(4,)),
                "action_mask": box(3, low=0, high=1, dtype=np.int8),
            }
        )

    def action_space(self, agent):
        return discrete(3)

    def observation(self):
        camera = np.arange(72, dtype=np.uint8).reshape(4, 6, 3)
        return {
            "plan": np.array([[1, 2], [3, 4]]),
            "camera": camera,
            "grid": np.arange(30.0).reshape(3, 2, 5),
            "weather": 2,
            "shelves": np.array([1, 0]),
            "lamps": np.array([1, 0, 0, 1]),
            "action_mask": np.array([1, 0, 1], np.int8),
        }

    def reset(self, seed=None):
        return {"keeper": self.observation()}, {"keeper": {}}

    def step(self, actions):
        return {"keeper": self.observation()}, {"keeper": 0.0}, {"keeper": False}, {"keeper": False}, {}


class Pacer:
    """One agent that goes on for ever, and draws itself if it was made to. New interface."""

    def __init__(self, render_mode=None):
        self.possible_agents = self.agents = ["pacer"]
        self.render_mode, self._step = render_mode, 0

    def observation_space(self, agent):
        return box(4)

    def action_space(self, agent):
        return box(2, low=-1.0, high=1.0)

    def reset(self, seed=None, options=None):
        return {"pacer": np.zeros(4)}, {"pacer": {}}

    def step(self, actions):
        self._step += 1
        return {"pacer": np.ones(4)}, {"pacer": 0.0}, {"pacer": False}, {"pacer": False}, {}

    def render(self):
        return np.full((6, 8, 3), 40 * self._step, np.uint8)


class Lookout:
    """One who sees a picture, and two who are told a state: all of them the same, step by step. New interface.

    Of the picture all pixels, and of everything else the first number, are ``50 * (episode % 4) + step``, the
    moment; pixels are a 255th of it when they arrive. An episode has five steps.
    """

    def __init__(self):
        self.possible_agents = self.agents = ["lookout_0", "runner_0", "runner_1"]
        self._episode = -1

    def observation_space(self, agent):
        if agent == "lookout_0":
            return SimpleNamespace(
                spaces={"camera": box(6, 5, 3, low=0, high=255, dtype=np.uint8), "clock": box(1)}
            )
        return SimpleNamespace(spaces={"State": box(1), "own": box(2)})

    def action_space(self, agent):
        return discrete(3) if agent == "lookout_0" else box(2, low=-1.0, high=1.0)

    def reset(self, seed=None, options=None):
        self._episode, self._step = self._episode + 1, 0
        return self._look(), {agent: {} for agent in self.agents}

    def step(self, actions):
        self._step += 1
        over = dict.fromkeys(self.agents, self._step == 5)
        reward = {agent: float(number) for number, agent in enumerate(self.agents)}
        return self._look(), reward, over, dict.fromkeys(self.agents, False), {}

    def _look(self):
        moment = 50 * (self._episode % 4) + self._step
        seen = {"camera": np.full((6, 5, 3), moment, np.uint8), "clock": np.array([moment])}
        told = {f"runner_{i}": {"State": np.array([moment]), "own": np.array([moment, i])} for i in range(2)}
        return {"lookout_0": seen, **told}
