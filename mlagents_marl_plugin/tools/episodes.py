"""Who plays with whom in a running scene, when their episode ends, and its score.

An *area* is one sequence of group episodes, one after another: a court. Each area contributes a fixed number
of episodes, its quota; counting the first N endings over all areas would favour short episodes, which end
first.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mlagents_envs.base_env import DecisionSteps, TerminalSteps

from mlagents_marl_plugin.tools.model_choice import behavior_name

# As many as the trainers take for one group without being told.
MAX_AGENTS_OF_A_PROCESS = 8

SCORES: dict[str, Callable[[Sequence[float]], float]] = {
    "max": max,
    "sum": sum,
    "mean": lambda rewards: sum(rewards) / len(rewards),
}

State = Mapping[str, tuple[DecisionSteps, TerminalSteps]]


class GroupingError(ValueError):
    """The scene contradicts the assumption of who plays together."""


class Agent(NamedTuple):
    """An agent's episode: Unity issues a new id for each."""

    id: int
    behavior_id: str
    group_id: int


class Place(NamedTuple):
    """Who an agent is: its group's area, and its place in the group among those of its name."""

    area: int
    slot: int


class Episode(NamedTuple):
    """One finished episode of a group."""

    score: float
    length: int  # decisions
    area: int


@dataclass
class _Life:
    """What an agent has received."""

    slot: int
    reward: float = 0.0
    group_reward: float = 0.0
    decisions: int = 0


@dataclass
class _Group:
    area: int
    lives: dict[Agent, _Life] = field(default_factory=dict)
    living: set[Agent] = field(default_factory=set)
    decisions: int = 0

    def score(self, kind: str) -> float:
        """Group rewards reach every member, so they count once: those of the member that lived longest."""
        shared = max(self.lives.values(), key=lambda life: life.decisions).group_reward
        return float(SCORES[kind]([life.reward for life in self.lives.values()]) + shared)


class Episodes:
    """Follows a scene step by step.

    Args:
        number: of episodes to count.
        score: a key of `SCORES`: how the summed rewards of a group's agents become its score.
        group_size: how many agents with consecutive ids play together where the scene has no group ids; None
            decides by ``num_areas``, or takes all agents of a small scene for one group.
        num_areas: what the scene was asked for.

    Attributes:
        episodes: finished and counted, in the order in which they ended.
        grouping: how groups were found, in words.
    """

    def __init__(self, number: int, score: str, group_size: int | None = None, num_areas: int = 1) -> None:
        self.number = number
        self.episodes: list[Episode] = []
        self.grouping = ""
        self.num_areas = 0
        self._score = score
        self._asked_areas = num_areas
        self._group_size = group_size
        self._by_id = False
        self._quota: list[int] = []
        self._open: list[_Group] = []
        self._group_of: dict[Agent, _Group] = {}

    @property
    def done(self) -> bool:
        return len(self.episodes) >= self.number

    def slots(self, behavior_id: str, decisions: DecisionSteps) -> list[int]:
        """Each agent's place in its group among those of its name, by team and id; 0 outside of groups."""
        slots = []
        for agent, _, _ in _rows(behavior_id, decisions):
            group = self._group_of.get(agent)
            slots.append(0 if group is None else group.lives[agent].slot)
        return slots

    def places(self, behavior_id: str, decisions: DecisionSteps) -> list[Place | None]:
        """Each agent's area and slot; None outside of groups."""
        groups = [self._group_of.get(agent) for agent, _, _ in _rows(behavior_id, decisions)]
        slots = self.slots(behavior_id, decisions)
        return [
            None if group is None else Place(group.area, slot)
            for group, slot in zip(groups, slots, strict=True)
        ]

    def observe(self, state: State) -> list[Episode]:
        """Takes in one state of the scene; returns the episodes that ended with it and count.

        Raises:
            GroupingError: the agents do not begin and end as groups of this size would.
        """
        acting = set()
        for behavior_id, (_, ends) in state.items():
            for agent, reward, group_reward in _rows(behavior_id, ends):
                self._receive(agent, reward, group_reward)
                if agent in self._group_of:
                    self._group_of.pop(agent).living.discard(agent)
        ended = self._close_groups()
        beginners = []
        for behavior_id, (decisions, _) in state.items():
            for agent, reward, group_reward in _rows(behavior_id, decisions):
                if agent in self._group_of:
                    self._receive(agent, reward, group_reward)
                    acting.add(agent)
                else:
                    beginners.append(agent)
        if beginners:
            self._begin(sorted(beginners))
            acting.update(agent for agent in beginners if agent in self._group_of)
        for agent in acting:
            self._group_of[agent].lives[agent].decisions += 1
        for group in {id(self._group_of[agent]): self._group_of[agent] for agent in acting}.values():
            group.decisions += 1
        return ended

    def _receive(self, agent: Agent, reward: float, group_reward: float) -> None:
        group = self._group_of.get(agent)
        if group is not None:
            life = group.lives[agent]
            life.reward += reward
            life.group_reward += group_reward

    def _close_groups(self) -> list[Episode]:
        counted = []
        over = [group for group in self._open if not group.living]
        for group in sorted(over, key=lambda group: group.area):
            self._open.remove(group)
            if self._quota[group.area] > 0 and not self.done:
                self._quota[group.area] -= 1
                counted.append(Episode(group.score(self._score), group.decisions, group.area))
                self.episodes.append(counted[-1])
        return counted

    def _begin(self, beginners: list[Agent]) -> None:
        first = not self._quota
        if first:
            self._decide(beginners)
        for members in self._by_group_id(beginners) if self._by_id else self._by_order(beginners):
            self._open_group(members, first)
        if first:
            self.num_areas = len(self._open)
            each, more = divmod(self.number, self.num_areas)
            self._quota = [each + (area < more) for area in range(self.num_areas)]

    def _decide(self, agents: list[Agent]) -> None:
        total = len(agents)
        self._by_id = any(agent.group_id > 0 for agent in agents)
        if self._by_id:
            self.grouping = "by the scene's group ids"
            return
        if self._group_size is None:
            if self._asked_areas > 1 and total % self._asked_areas == 0:
                self._group_size = total // self._asked_areas
            elif total <= MAX_AGENTS_OF_A_PROCESS:
                self._group_size = total
            else:
                raise GroupingError(
                    f"--group-size: expected a number, got nothing, and the scene's {total} agents carry no "
                    "group ids; "
                    "say how many play together (2 for Tennis, 1 if each plays for itself)"
                )
        self.grouping = f"{self._group_size} with consecutive ids"

    def _by_group_id(self, beginners: list[Agent]) -> list[list[Agent]]:
        groups: dict[int, list[Agent]] = {}
        for agent in beginners:
            if agent.group_id > 0:
                groups.setdefault(agent.group_id, []).append(agent)
        return list(groups.values())

    def _by_order(self, beginners: list[Agent]) -> list[list[Agent]]:
        size = self._group_size or 1
        free = len(self._quota) - len(self._open)
        if len(beginners) % size or (self._quota and size > 1 and len(beginners) > free * size):
            raise GroupingError(
                f"--group-size: expected agents to begin and end together in groups of {size}, got "
                f"{len(beginners)} that "
                f"began (ids {', '.join(str(agent.id) for agent in beginners[:8])}) while {len(self._open)} "
                "groups play "
                "on; say how many play together, --group-size 1 if each plays for itself"
            )
        return [beginners[i : i + size] for i in range(0, len(beginners), size)]

    def _open_group(self, members: list[Agent], first: bool) -> None:
        group_id = members[0].group_id
        group = next((g for g in self._open if self._by_id and _group_id(g) == group_id), None)
        if group is None:
            group = _Group(area=len(self._open) if first else self._free_area())
            self._open.append(group)
        for agent in sorted(members, key=_team_and_id):
            name = behavior_name(agent.behavior_id)
            taken = {group.lives[a].slot for a in group.living if behavior_name(a.behavior_id) == name}
            group.lives[agent] = _Life(slot=next(slot for slot in range(len(taken) + 1) if slot not in taken))
            group.living.add(agent)
            self._group_of[agent] = group

    def _free_area(self) -> int:
        """An area whose group has ended; one that came later counts for nothing, its quota is 0."""
        taken = {group.area for group in self._open}
        free = next((area for area in range(len(self._quota)) if area not in taken), None)
        if free is None:
            self._quota.append(0)
            return len(self._quota) - 1
        return free


def _rows(behavior_id: str, steps: DecisionSteps | TerminalSteps) -> list[tuple[Agent, float, float]]:
    return [
        (Agent(int(agent_id), behavior_id, int(group_id)), float(reward), float(group_reward))
        for agent_id, group_id, reward, group_reward in zip(
            steps.agent_id, steps.group_id, steps.reward, steps.group_reward, strict=True
        )
    ]


def _group_id(group: _Group) -> int:
    return next(iter(group.lives)).group_id


def _team_and_id(agent: Agent) -> tuple[int, int]:
    team = agent.behavior_id.rpartition("team=")[2]
    return (int(team) if team.isdigit() else 0, agent.id)
