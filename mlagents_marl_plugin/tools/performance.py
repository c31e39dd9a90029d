"""A scene played by models, decision by decision, with what an onlooker wants to know."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from mlagents_envs.base_env import ActionTuple, DecisionSteps
from mlagents_envs.environment import UnityEnvironment
from mlagents_envs.side_channel.side_channel import IncomingMessage, OutgoingMessage, SideChannel

from mlagents_marl_plugin.player.film import PICTURES, pack_request, unpack_pictures
from mlagents_marl_plugin.tools.cast import Cast
from mlagents_marl_plugin.tools.episodes import Episodes, GroupingError
from mlagents_marl_plugin.tools.unity import advance

# How long a decision takes in a scene that sends no pictures: Unity's usual five steps of 0.02 s.
_SECONDS_PER_DECISION = 0.1
_SCORES_KEPT = 100
_ENDLESS = 10**9
_ALONE = (
    "who plays together is not known, so from decision {decision} on each agent is scored by itself; "
    "--group-size K says how many play together"
)


class PictureChannel(SideChannel):
    """Asks the player for pictures of an area, and receives them; other scenes ignore it.

    Attributes:
        pictures: PNG files received since they were last taken.
        seconds: how long each lasts.
        why_blind: what the scene says about why it sends none.
    """

    def __init__(self, area: int) -> None:
        super().__init__(PICTURES)
        self.pictures: list[bytes] = []
        self.seconds = 0.0
        self.why_blind = ""
        request = OutgoingMessage()
        request.set_raw_bytes(bytearray(pack_request(area)))
        self.queue_message_to_send(request)

    def on_message_received(self, msg: IncomingMessage) -> None:
        pictures, self.seconds, self.why_blind = unpack_pictures(bytes(msg.get_raw_bytes()))
        self.pictures += pictures

    def take(self) -> list[bytes]:
        """What was received since the last call."""
        taken, self.pictures = self.pictures, []
        return taken


@dataclass(frozen=True)
class AgentView:
    """One agent at one decision.

    Attributes:
        observations: flat, one per sensor.
        continuous, discrete: what it does.
        reward: since its last decision, its group's included.
        score: the sum of rewards in this episode.
    """

    id: int
    behavior: str
    group: int
    observations: list[list[float]]
    continuous: list[float]
    discrete: list[int]
    reward: float
    score: float


@dataclass(frozen=True)
class Moment:
    """One decision.

    Attributes:
        number: counted from 1.
        pictures: PNG files since the last decision; empty where the scene sends none.
        seconds: how long each picture lasts, or the decision where there are none.
        agents: those that decide, at most as many as were asked for.
        num_agents: how many decide.
        scores: of the latest episodes that ended.
        episodes: how many have ended.
        why_blind: what the scene says about why there are no pictures.
        note: what to know about the scores, if anything.
    """

    number: int
    pictures: list[bytes]
    seconds: float
    agents: list[AgentView]
    num_agents: int
    scores: list[float]
    episodes: int
    why_blind: str = ""
    note: str = ""

    @property
    def duration(self) -> float:
        """Seconds that this decision lasts."""
        return self.seconds * max(1, len(self.pictures))


@dataclass
class _Scores:
    """Running sums of the agents that live."""

    total: dict[int, float] = field(default_factory=dict)

    def add(self, agent: int, reward: float) -> float:
        self.total[agent] = self.total.get(agent, 0.0) + reward
        return self.total[agent]


def perform(
    env: UnityEnvironment,
    cast: Cast,
    camera: PictureChannel,
    group_size: int | None,
    num_areas: int,
    shown: int,
) -> Iterator[Moment]:
    """Play a scene that was just reset, for ever.

    Where nobody said how many play together, and neither does the scene, each agent plays for itself.

    Args:
        group_size, num_areas: as ``Episodes`` takes them.
        shown: how many agents to tell of in each moment.

    Raises:
        SceneLost, ModelError, ModelChoiceError: as when evaluating.
        GroupingError: the agents contradict ``group_size``; without one, if models wait for the members of a group.
    """
    episodes = Episodes(_ENDLESS, "max", group_size, num_areas)
    latest: deque[float] = deque(maxlen=_SCORES_KEPT)
    scores, ended, number, note = _Scores(), 0, 0, ""
    while True:
        state = {name: env.get_steps(name) for name in env.behavior_specs}
        try:
            closed = episodes.observe(state)
        except GroupingError:
            if group_size is not None or any(cast.has_slots(name) for name in state):
                raise
            episodes = Episodes(_ENDLESS, "max", group_size=1, num_areas=num_areas)
            closed = episodes.observe(state)
            latest.clear()
            ended, note = 0, _ALONE.format(decision=number + 1)
        latest.extend(episode.score for episode in closed)
        ended += len(closed)
        agents: list[AgentView] = []
        for name, (decisions, ends) in state.items():
            cast.forget(ends.agent_id.tolist())
            for agent in ends.agent_id.tolist():
                scores.total.pop(agent, None)
            if len(decisions):
                slots = episodes.slots(name, decisions)
                action = cast.act(name, env.behavior_specs[name], decisions, slots)
                env.set_actions(name, action)
                agents += _views(name, decisions, action, scores, shown - len(agents))
        number += 1
        pictures = camera.take()
        seconds = camera.seconds if pictures else _SECONDS_PER_DECISION
        total = sum(len(decisions) for decisions, _ in state.values())
        yield Moment(number, pictures, seconds, agents, total, list(latest), ended, camera.why_blind, note)
        advance(env)


def _views(
    behavior: str, decisions: DecisionSteps, action: ActionTuple, scores: _Scores, shown: int
) -> list[AgentView]:
    rewards = (decisions.reward + decisions.group_reward).tolist()
    running = [
        scores.add(agent, reward) for agent, reward in zip(decisions.agent_id.tolist(), rewards, strict=True)
    ]
    return [
        AgentView(
            int(decisions.agent_id[row]),
            behavior,
            int(decisions.group_id[row]),
            [_flat(observation[row]) for observation in decisions.obs],
            _flat(action.continuous[row]),
            action.discrete[row].tolist(),
            rewards[row],
            running[row],
        )
        for row in range(min(shown, len(decisions)))
    ]


def _flat(values: np.ndarray | Sequence[float]) -> list[float]:
    """To three decimals, which is more than an eye can tell apart."""
    return np.round(np.asarray(values, np.float64).ravel(), 3).tolist()
