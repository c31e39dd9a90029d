"""A scene played by models, decision by decision, with what an onlooker wants to know."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np
from mlagents_envs.base_env import ActionTuple, DecisionSteps
from mlagents_envs.environment import UnityEnvironment
from mlagents_envs.side_channel.side_channel import IncomingMessage, OutgoingMessage, SideChannel

from mlagents_marl_plugin.player.film import PICTURES, pack_request, unpack_pictures
from mlagents_marl_plugin.tools.cast import Cast
from mlagents_marl_plugin.tools.episodes import Episodes, GroupingError, Place, State
from mlagents_marl_plugin.tools.unity import advance

# How long a decision takes in a scene that sends no pictures: Unity's usual five steps of 0.02 s.
_SECONDS_PER_DECISION = 0.1
_SCORES_KEPT = 100
# A camera's picture has more than a page can take ten times a second, and than its strip has columns for.
VALUES_KEPT = 2048
_ENDLESS = 10**9
_ALONE = (
    "who plays together is not known, so from decision {decision} on each agent is scored by itself; "
    "--group-size K says how many play together"
)
_ALL_AREAS = "which agents are in the area shown is not known, so those of all areas are listed"


class PictureChannel(SideChannel):
    """Asks the player for pictures of an area, and receives them; other scenes ignore it.

    Attributes:
        area: whose.
        pictures: PNG files received since they were last taken.
        seconds: how long each lasts.
        why_blind: what the scene says about why it sends none.
    """

    def __init__(self, area: int) -> None:
        super().__init__(PICTURES)
        self.area = area
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
        observations: flat, one per sensor; at most the first ``VALUES_KEPT`` numbers of each.
        sizes: how many numbers each sensor has.
        continuous, discrete: what it does.
        reward: since its last decision, its group's included.
        score: the sum of rewards in this episode.
    """

    id: int
    behavior: str
    group: int
    observations: list[list[float]]
    sizes: list[int]
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
        agents: those that decide in the area that is shown, at most as many as were asked for; of all areas where
            it is not known which are in which.
        num_agents: how many these would be without that limit.
        scores: of the latest episodes that ended.
        episodes: how many have ended.
        why_blind: what the scene says about why there are no pictures.
        note: what to know about scores and agents, if anything.
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


class _Company:
    """Who plays together in which area, as far as that is known, and the scores of those who have.

    Where nobody said how many play together, and neither does the scene, each agent plays for itself.

    Attributes:
        latest: scores of the latest episodes that ended.
        ended: how many have.
    """

    def __init__(self, cast: Cast, group_size: int | None, num_areas: int) -> None:
        self._cast = cast
        self._said = group_size is not None
        self._num_areas = num_areas
        self._alone = ""
        self._begin_anew(group_size)

    def observe(self, state: State, decision: int) -> None:
        """Take in the state before a decision, counted from 1.

        Raises:
            GroupingError: the agents contradict the size that was given, or models are meant for a group's places.
        """
        try:
            closed = self._episodes.observe(state)
        except GroupingError:
            if self._said or any(self._cast.has_slots(name) for name in state):
                raise
            self._begin_anew(group_size=1)
            self._alone = _ALONE.format(decision=decision)
            closed = self._episodes.observe(state)
        self.latest.extend(episode.score for episode in closed)
        self.ended += len(closed)

    def places(self, behavior: str, decisions: DecisionSteps) -> list[Place | None]:
        """As ``Episodes`` tells."""
        return self._episodes.places(behavior, decisions)

    def rows_of(self, area: int, places: Sequence[Place | None]) -> list[int]:
        """Which agents are in an area, or may be."""
        known = self._num_areas > 1 and not self._mixed
        return [row for row, place in enumerate(places) if not known or place is None or place.area == area]

    @property
    def note(self) -> str:
        """What to know about scores and agents, if anything."""
        return "; ".join(filter(None, (self._alone, _ALL_AREAS if self._mixed else "")))

    @property
    def _mixed(self) -> bool:
        """Nothing says which of several groups are in one area."""
        return self._num_areas > 1 and self._episodes.num_areas not in (0, self._num_areas)

    def _begin_anew(self, group_size: int | None) -> None:
        self._episodes = Episodes(_ENDLESS, "max", group_size, self._num_areas)
        self.latest: deque[float] = deque(maxlen=_SCORES_KEPT)
        self.ended = 0


def perform(
    env: UnityEnvironment,
    cast: Cast,
    camera: PictureChannel,
    group_size: int | None,
    num_areas: int,
    shown: int,
) -> Iterator[Moment]:
    """Play a scene that was just reset, for ever.

    Args:
        group_size, num_areas: as ``Episodes`` takes them.
        shown: how many agents to tell of in each moment.

    Raises:
        SceneLost, ModelError, ModelChoiceError: as when evaluating.
        GroupingError: as ``_Company`` does.
    """
    company, scores = _Company(cast, group_size, num_areas), _Scores()
    for number in count(1):
        state = {name: env.get_steps(name) for name in env.behavior_specs}
        company.observe(state, number)
        agents: list[AgentView] = []
        num_agents = 0
        for name, (decisions, ends) in state.items():
            cast.forget(ends.agent_id.tolist())
            for agent in ends.agent_id.tolist():
                scores.total.pop(agent, None)
            if len(decisions):
                places = company.places(name, decisions)
                slots = [0 if place is None else place.slot for place in places]
                action = cast.act(name, env.behavior_specs[name], decisions, slots)
                env.set_actions(name, action)
                rows = company.rows_of(camera.area, places)
                num_agents += len(rows)
                agents += _views(name, decisions, action, scores, rows[: shown - len(agents)])
        pictures = camera.take()
        seconds = camera.seconds if pictures else _SECONDS_PER_DECISION
        yield Moment(
            number,
            pictures,
            seconds,
            agents,
            num_agents,
            list(company.latest),
            company.ended,
            camera.why_blind,
            company.note,
        )
        advance(env)


def _views(
    behavior: str, decisions: DecisionSteps, action: ActionTuple, scores: _Scores, rows: Sequence[int]
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
            [_rounded(observation[row].ravel()[:VALUES_KEPT]) for observation in decisions.obs],
            [observation[row].size for observation in decisions.obs],
            _rounded(action.continuous[row]),
            action.discrete[row].tolist(),
            rewards[row],
            running[row],
        )
        for row in rows
    ]


def _rounded(values: np.ndarray) -> list[float]:
    """To three decimals, which is more than an eye can tell apart."""
    return np.round(values.astype(np.float64), 3).tolist()
