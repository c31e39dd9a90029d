"""Counter: a scene whose every row says what it is, for tests of trainers.

An observation is ``[area, agent, episode, step]`` (agent counted within its area), so a test knows for each
row of a replay where it came from. Its reward is ``reward_of`` that observation. Episodes have pseudo-random
lengths, per area and episode, and every second one ends by interruption. Options add what trips trainers:
agents that die early, that decide at different periods, that differ in kind, that form groups, with masked
discrete actions, and that send a second observation, of what the whole area knows.
"""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

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
from mlagents_marl_plugin.player.side_channels import Statistic

_IDENTITY_SIZE = 4
_B_EXTRA_OBS = 2
_STATE = SensorSpec("State", (3,), dimension_properties=(1,))


@dataclass(frozen=True)
class CounterOptions:
    """What the scene shows.

    Attributes:
        agents: per area.
        group_ids: an area's agents form a group, and rows carry a group reward, 10 times agent 0's reward.
        teams: agent k plays on team k.
        roles: agents with odd numbers have the behaviour name ``CounterB``, two more (zero) observations and
            one more continuous action.
        continuous, branches: the action space.
        masks: in branch i, choice (step + agent + i) mod size is forbidden.
        state_sensor: agents also send ``[area, episode, step]`` as a sensor called ``State``, which comes first, since
            Unity sorts sensors by name.
        echo: the action received last (continuous, then discrete) is appended to the observation.
        periods: agent k asks for a decision when its step is divisible by ``periods[k mod len]``.
        deaths: agents other than agent 0 may end before their area does, and come back with its next episode.
        min_length, max_length: of an episode, in steps.
    """

    agents: int = 2
    group_ids: bool = False
    teams: bool = False
    roles: bool = False
    continuous: int = 2
    branches: tuple[int, ...] = ()
    masks: bool = False
    state_sensor: bool = False
    echo: bool = False
    periods: tuple[int, ...] = (1,)
    deaths: bool = False
    min_length: int = 3
    max_length: int = 12

    def __post_init__(self) -> None:
        for name, least in (
            ("agents", 1),
            ("continuous", 0),
            ("min_length", 1),
            ("max_length", self.min_length),
        ):
            if getattr(self, name) < least:
                raise ValueError(
                    f"Counter.{name}: expected a whole number >= {least}, got {getattr(self, name)}"
                )
        if not self.continuous and not self.branches:
            raise ValueError(
                "Counter: expected continuous or discrete actions, got none; set --continuous or --branches"
            )


def add_options(parser: ArgumentParser, _arguments: Sequence[str]) -> None:
    """Declare what a test may change about the scene."""
    defaults = CounterOptions()
    options = parser.add_argument_group("options of Counter")
    options.add_argument("--agents", type=int, default=defaults.agents, metavar="N", help="agents of an area")
    options.add_argument(
        "--group-ids", action="store_true", help="an area's agents form a group with a group reward"
    )
    options.add_argument("--teams", action="store_true", help="agent k plays on team k")
    options.add_argument("--roles", action="store_true", help="odd agents have another behaviour, CounterB")
    options.add_argument(
        "--continuous", type=int, default=defaults.continuous, metavar="N", help="continuous actions"
    )
    options.add_argument(
        "--branches", type=_sizes, default=(), metavar="3,2", help="sizes of discrete branches"
    )
    options.add_argument(
        "--masks", action="store_true", help="one choice of each branch is forbidden at each step"
    )
    options.add_argument(
        "--state-sensor", action="store_true", help="a second sensor, State: [area, episode, step]"
    )
    options.add_argument("--echo", action="store_true", help="observe the last action too")
    options.add_argument(
        "--periods", type=_sizes, default=(1,), metavar="1,2", help="decision period by agent"
    )
    options.add_argument("--deaths", action="store_true", help="agents may end before their area does")
    options.add_argument(
        "--min-length", type=int, default=defaults.min_length, metavar="N", help="shortest episode"
    )
    options.add_argument(
        "--max-length", type=int, default=defaults.max_length, metavar="N", help="longest episode"
    )


def options_from(arguments: Namespace) -> CounterOptions:
    """The scene's options from the command line.

    Raises:
        ValueError: if one is out of range.
    """
    given = vars(arguments)
    return CounterOptions(**{field.name: given[field.name] for field in fields(CounterOptions)})


def create(settings: SceneSettings) -> Scene:
    """The scene as the command line asks for it."""
    return CounterScene(settings.num_areas, settings.seed, options_from(settings.options))


def reward_of(identity: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reward of rows that show ``identity`` [..., 4] (area, agent, episode, step); none at step 0."""
    area, agent, episode, step = (identity[..., i].astype(np.float64) for i in range(_IDENTITY_SIZE))
    reward = area + 0.1 * agent + 0.01 * (episode % 10) + 0.0001 * step
    return np.where(step == 0, 0.0, reward).astype(np.float32)


def group_reward_of(identity: NDArray[np.float32]) -> NDArray[np.float32]:
    """What AddGroupReward gives, the same to every member: 10 times the reward of agent 0."""
    leader = identity[..., :_IDENTITY_SIZE].copy()
    leader[..., 1] = 0
    return reward_of(leader) * np.float32(10.0)


def episode_ends(seed: int, area: int, episode: int, options: CounterOptions) -> NDArray[np.int64]:
    """The step at which each agent of the area ends in this episode [agents]; the largest is its length."""
    random = np.random.default_rng((seed, area, episode))
    length = int(random.integers(options.min_length, options.max_length + 1))
    ends = np.full(options.agents, length)
    if options.deaths:
        ends[1:] = random.integers(1, length + 1, size=options.agents - 1)
    return ends


def forbidden_choices(
    step: NDArray[np.int64], agent: NDArray[np.int64], branches: tuple[int, ...]
) -> NDArray[np.bool_]:
    """The mask that ``--masks`` shows at a step: [n] and [n] to [n, sum(branches)], True where forbidden."""
    blocks = [
        np.arange(size) == ((step + agent + index) % size)[:, None]
        if size > 1
        else np.zeros((len(step), 1), bool)
        for index, size in enumerate(branches)
    ]
    return np.concatenate(blocks, axis=1)


class CounterScene(Scene):
    """Seat ``area * agents + agent``."""

    def __init__(self, num_areas: int, seed: int, options: CounterOptions) -> None:
        self._seed, self._options = seed, options
        self.num_seats = num_areas * options.agents
        self._area, self._agent = np.divmod(np.arange(self.num_seats), options.agents)
        self._episode = np.full(num_areas, -1)
        self._step = np.zeros(num_areas, dtype=np.int64)
        self._end = np.zeros(self.num_seats, dtype=np.int64)
        self._period = np.resize(options.periods, options.agents)[self._agent]
        echo_size = options.continuous + bool(options.roles) + len(options.branches)
        self._last_action = np.zeros((self.num_seats, echo_size), np.float32)
        self._lengths: list[int] = []
        self._seats_of: dict[str, NDArray[np.int64]] = {}
        self.behaviors = tuple(self._make_behaviors())

    def reset(self) -> Frame:
        self._start(np.arange(len(self._episode)))
        everyone = np.ones(self.num_seats, bool)
        return {behavior.id: self._rows(behavior, ~everyone, everyone) for behavior in self.behaviors}

    def step(self, actions: Mapping[str, Actions]) -> Frame:
        for answers in actions.values():
            self._remember(answers)
        self._step += 1
        step = self._step[self._area]
        ended = step == self._end
        asking = (step < self._end) & (step % self._period == 0)
        last = {behavior.id: self._rows(behavior, ended, np.zeros_like(ended)) for behavior in self.behaviors}
        over = np.flatnonzero(self._step == self._end.reshape(len(self._step), -1).max(axis=1))
        self._lengths += self._step[over].tolist()
        self._start(over)
        asking |= np.isin(self._area, over)
        return {
            behavior.id: _joined(last[behavior.id], self._rows(behavior, np.zeros_like(ended), asking))
            for behavior in self.behaviors
        }

    def drain_statistics(self) -> list[Statistic]:
        drained, self._lengths = self._lengths, []
        return [Statistic("Counter/Episode Length", length) for length in drained]

    def _make_behaviors(self) -> list[Behavior]:
        options = self._options
        kind = self._agent % 2 if options.roles else np.zeros_like(self._agent)
        team = self._agent if options.teams else np.zeros_like(self._agent)
        behaviors = []
        for is_b, on_team in sorted(set(zip(kind.tolist(), team.tolist(), strict=True))):
            actions = ActionSpec(options.continuous + is_b, options.branches)
            size = _IDENTITY_SIZE + is_b * _B_EXTRA_OBS
            if options.echo:
                size += actions.continuous + len(actions.branches)
            own = SensorSpec(f"VectorSensor_size{size}", (size,), dimension_properties=(1,))
            sensors = (_STATE, own) if options.state_sensor else (own,)
            behavior = Behavior("CounterB" if is_b else "Counter", sensors, actions, on_team)
            self._seats_of[behavior.id] = np.flatnonzero((kind == is_b) & (team == on_team))
            behaviors.append(behavior)
        return behaviors

    def _start(self, areas: NDArray[np.int64]) -> None:
        self._episode[areas] += 1
        self._step[areas] = 0
        for area in areas.tolist():
            seats = self._area == area
            self._end[seats] = episode_ends(self._seed, area, int(self._episode[area]), self._options)
            self._last_action[seats] = 0.0

    def _remember(self, answers: Actions) -> None:
        received = np.concatenate([answers.continuous, answers.discrete.astype(np.float32)], axis=1)
        self._last_action[answers.seat, : received.shape[1]] = received

    def _rows(self, behavior: Behavior, ended: NDArray[np.bool_], asking: NDArray[np.bool_]) -> Rows:
        """Rows of the seats that end or ask now; a seat is never both here."""
        options = self._options
        seat = self._seats_of[behavior.id]
        seat = seat[ended[seat] | asking[seat]]
        area, agent = self._area[seat], self._agent[seat]
        episode, step = self._episode[area], self._step[area]
        obs = np.zeros((len(seat), *behavior.sensors[-1].shape), np.float32)
        obs[:, :_IDENTITY_SIZE] = np.stack([area, agent, episode, step], axis=1)
        if options.echo:
            size = behavior.actions.continuous + len(behavior.actions.branches)
            obs[:, -size:] = self._last_action[seat, :size]
        state = np.stack([area, episode, step], axis=1).astype(np.float32)
        reward = reward_of(obs)
        done = ended[seat]
        whole_area = step == self._end.reshape(len(self._step), -1).max(axis=1)[area]
        masked = options.masks and options.branches
        return Rows(
            seat,
            (state, obs) if options.state_sensor else (obs,),
            reward,
            done,
            done & whole_area & ((area + episode) % 2 == 1),
            area + 1 if options.group_ids else None,
            group_reward_of(obs) if options.group_ids else None,
            forbidden_choices(step, agent, options.branches) if masked else None,
        )


def _joined(first: Rows, second: Rows) -> Rows:
    """Both rows of the same behaviour, one after the other."""
    columns: list[Any] = []
    for a, b in zip(first, second, strict=True):
        if a is None or b is None:
            columns.append(None)
        elif isinstance(a, tuple):
            columns.append(tuple(np.concatenate(pair) for pair in zip(a, b, strict=True)))
        else:
            columns.append(np.concatenate([a, b]))
    return Rows(*columns)


def _sizes(text: str) -> tuple[int, ...]:
    sizes = tuple(int(part) for part in text.split(","))
    if min(sizes) < 1:
        raise ArgumentTypeError(f"expected whole numbers >= 1 with commas between, got {text}")
    return sizes
