"""Tasks of VMAS that learners are compared on, without ML-Agents: many areas at once, greedy tests on others."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mlagents_marl_plugin.core.types import ActionLayout, GroupSpec, RoleSpec
from mlagents_marl_plugin.player.scenes.vmas_options import VmasOptions
from mlagents_marl_plugin.player.scenes.vmas_scene import make_env

AGENTS, MAX_STEPS, TEST_EPISODES, TEST_SEED = 3, 100, 1000, 10_000
CHOICES = 9  # of an agent where VMAS's actions are discrete: back, none or forth on each axis


class Task(NamedTuple):
    """A scenario with its options.

    Attributes:
        scenario: its name in VMAS; three agents, episodes of at most 100 steps.
        obs_size: numbers that an agent observes.
        options: of the scenario.
        strength: factor on the rewards that are learnt from; returns are told without it.
        discrete: whether agents choose one of `CHOICES`, as VMAS and BenchMARL have it, or say two numbers.
        found: places of a joint observation that are 1 for each goal that was found.
    """

    scenario: str
    obs_size: int
    options: Mapping[str, Any] = {}
    strength: float = 1.0
    discrete: bool = False
    found: tuple[int, ...] = ()

    @property
    def layout(self) -> ActionLayout:
        """What an agent can do."""
        return ActionLayout(0, (CHOICES,)) if self.discrete else ActionLayout(2)

    @property
    def spec(self) -> GroupSpec:
        """Its group."""
        return GroupSpec((RoleSpec("Agent", AGENTS, ((self.obs_size,),), self.layout),))


def dispersion(radius: float, shared_reward: bool) -> Task:
    """Three agents that start at one point, three goals, and a penalty for time."""
    options = {"food_radius": radius, "share_reward": shared_reward, "penalise_by_time": True}
    return Task("dispersion", 4 + 3 * AGENTS, options, found=(6, 9, 12))


_CONTINUOUS = {
    "dispersion_0.2": dispersion(0.2, True),
    "dispersion_0.05": dispersion(0.05, True),
    "simple_spread": Task("simple_spread", 4 + 2 * AGENTS + 2 * (AGENTS - 1), strength=0.1),
}
TASKS = _CONTINUOUS | {f"{name}_discrete": task._replace(discrete=True) for name, task in _CONTINUOUS.items()}


class Areas:
    """Many areas of a task, each begun anew as it ends.

    Attributes:
        obs: what the agents see now [A, joint].
        finished: sums of the agents' mean reward over the episodes that ended since this was last emptied.
    """

    def __init__(self, num_areas: int, seed: int, task: Task) -> None:
        kind = "discrete" if task.discrete else "continuous"
        options = VmasOptions(
            task.scenario, MAX_STEPS, kind, scenario_options={"n_agents": AGENTS, **task.options}
        )
        self.env = make_env(num_areas, seed, options)
        self.spec, self._is_discrete = task.spec, task.discrete
        self.obs = torch.cat(self.env.reset(), 1)
        self.strength = task.strength
        self.finished: list[Tensor] = []
        self._so_far = torch.zeros(num_areas)

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One step: rewards [A, N], who terminated and who ended [A], last observations.

        Args:
            action: [A, N, 2], or one of `CHOICES` as a one-hot vector [A, N, 9].
        """
        given = action.argmax(2, keepdim=True) if self._is_discrete else action.clamp(-1.0, 1.0)
        seen, rewards, terminated, truncated, _ = self.env.step(list(given.unbind(1)))
        self.obs = final = torch.cat(seen, 1)
        ended = terminated | truncated
        reward = torch.stack(rewards, 1)
        self._so_far += reward.mean(1)
        if ended.any():
            self.finished.append(self._so_far[ended])
            self._so_far[ended] = 0.0
            self.obs = self._begun_anew(ended)
        return reward * self.strength, terminated, ended, final

    def _begun_anew(self, ended: Tensor) -> Tensor:
        if ended.all():
            return torch.cat(self.env.reset(), 1)
        for area in ended.nonzero().flatten().tolist():
            self.env.reset_at(area, return_observations=False)
        (seen,) = self.env.get_from_scenario(True, False, False, False)
        return torch.cat(seen, 1)

    def mean_return(self) -> float:
        """Of the episodes that ended since the last call."""
        mean = float(torch.cat(self.finished).mean())
        self.finished.clear()
        return mean


class Shown(NamedTuple):
    """What the greedy policy came to, on average."""

    greedy_return: float
    goals: float | None


def test(new_player: Callable[[int, int], Any], task: Task) -> Shown:
    """The greedy policy in the first episode of many areas that no run has seen.

    Args:
        new_player: makes what has ``greedy`` for so many areas, with a seed.
    """
    areas, player = Areas(TEST_EPISODES, TEST_SEED, task), new_player(TEST_EPISODES, 0)
    returns, found = torch.zeros(TEST_EPISODES), torch.zeros(TEST_EPISODES)
    going = torch.ones(TEST_EPISODES, dtype=torch.bool)
    for _ in range(MAX_STEPS):
        reward, _, ended, final = areas.step(player.greedy(areas.obs))
        returns[going] += reward[going].mean(1) / task.strength
        last = going & ended
        found[last] = final[last][:, list(task.found)].sum(1)
        going &= ~ended
        if not going.any():
            break
    goals = round(float(found.mean()), 3) if task.found else None
    return Shown(round(float(returns.mean()), 3), goals)
