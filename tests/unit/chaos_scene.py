"""A scene in which agents come, die and come back at will, and a naive account of what happened in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from mlagents_marl_plugin.player.scene import Actions, ActionSpec, Behavior, Frame, Rows, Scene, SensorSpec

TERMINATED, TRUNCATED = 1, 2
OBS_SIZE = 5  # process, area, agent, life, tick


@dataclass
class Life:
    """An agent from its first decision to its end."""

    key: tuple[int, int, int, int]  # process, area, agent, life
    decided: list[int] = field(default_factory=list)  # ticks
    acted: dict[int, float] = field(default_factory=dict)  # decision -> action
    told: dict[int, tuple[float, float]] = field(default_factory=dict)  # decision -> own and group reward
    end: int | None = None  # the tick at which its end was reported
    fate: int = 0
    cut: int | None = None  # the tick of the reset that took it away without an end


@dataclass(frozen=True)
class Options:
    """What may happen. Chances are per tick."""

    areas: int = 2
    agents: int = 3
    group_ids: bool = True
    periods: tuple[int, ...] = (1,)
    death: float = 0.05  # of one agent
    return_: float = 0.3  # of one that died while its area plays on
    over: float = 0.06  # of a whole area
    late: float = 0.0  # of one that does not begin with its area


class ChaosScene(Scene):
    """Observations say who sees what when; rewards are random but exact in float32."""

    def __init__(self, process: int, seed: int, options: Options):
        self.process, self.options = process, options
        self.random = np.random.default_rng((seed, process))
        self.num_seats = options.areas * options.agents
        sensor = SensorSpec("VectorSensor", (OBS_SIZE,), dimension_properties=(1,))
        self.behaviors = (Behavior("Chaos", (sensor,), ActionSpec(1)),)
        self.tick = 0
        self.lives: list[Life] = []  # all that ever were
        self._now: list[Life | None] = [None] * self.num_seats
        self._count = [0] * self.num_seats
        self._owed = np.zeros((self.num_seats, 2))  # own and group reward since the last report

    def reset(self) -> Frame:
        self.tick += 1
        for life in self._now:
            if life:
                life.cut = self.tick
        self._now = [None] * self.num_seats
        asking = [seat for area in range(self.options.areas) for seat in self._begin(area)]
        return self._frame([], asking)

    def step(self, actions: Mapping[str, Actions]) -> Frame:
        for answers in actions.values():
            for seat, continuous in zip(
                answers.seat.tolist(), answers.continuous[:, 0].tolist(), strict=True
            ):
                life = self._now[seat]
                life.acted[life.decided[-1]] = continuous
        self.tick += 1
        options, ended, asking = self.options, [], []
        for area in range(options.areas):
            seats = range(area * options.agents, (area + 1) * options.agents)
            group_reward = int(self.random.integers(0, 8)) if options.group_ids else 0
            for seat in seats:
                self._owed[seat] += (int(self.random.integers(0, 64)) / 64, group_reward)
            there = [seat for seat in seats if self._now[seat]]
            if self.random.random() < options.over:
                fates = [int(self.random.integers(1, 3))] * len(there)
                ended += zip(there, fates, strict=True)
                asking += self._begin(area)
                continue
            dying = [seat for seat in there if self.random.random() < options.death]
            ended += [(seat, int(self.random.integers(1, 3))) for seat in dying]
            for seat in dying:
                self._now[seat] = None
            for seat in seats:
                life = self._now[seat]
                if life is None and self.random.random() < options.return_:
                    asking.append(self._born(seat))
                elif life and (self.tick - life.decided[0]) % self._period(seat) == 0:
                    asking.append(seat)
            if len(dying) == len(there) and not any(seat in asking for seat in seats):
                asking += self._begin(area)
        return self._frame(ended, sorted(asking))

    def _period(self, seat: int) -> int:
        return self.options.periods[seat % self.options.agents % len(self.options.periods)]

    def _begin(self, area: int) -> list[int]:
        first = area * self.options.agents
        seats = [first + k for k in range(self.options.agents)]
        for seat in seats:
            self._now[seat] = None
        return [
            self._born(seat) for seat in seats if seat == first or self.random.random() >= self.options.late
        ]

    def _born(self, seat: int) -> int:
        area, agent = divmod(seat, self.options.agents)
        self._count[seat] += 1
        self._now[seat] = Life((self.process, area, agent, self._count[seat]))
        self.lives.append(self._now[seat])
        return seat

    def _frame(self, ended: list[tuple[int, int]], asking: list[int]) -> Frame:
        leaving = {}
        for life in self.lives:
            seat = life.key[1] * self.options.agents + life.key[2]
            if life.end is None and life.cut is None and life.decided and life is not self._now[seat]:
                leaving[seat] = life
        obs, rewards, fates = [], [], []
        for seat, fate in ended:
            life = leaving[seat]
            life.end, life.fate = self.tick, fate
            rewards.append(self._pay(seat, life))
            obs.append((*life.key, self.tick))
            fates.append(fate)
        for seat in asking:
            life = self._now[seat]
            rewards.append(self._pay(seat, life))
            life.decided.append(self.tick)
            obs.append((*life.key, self.tick))
        seats = np.array([seat for seat, _ in ended] + asking, np.int64)
        reward = np.array(rewards, np.float32).reshape(-1, 2)
        done = np.arange(len(seats)) < len(ended)
        fate = np.array(fates + [0] * len(asking))
        rows = Rows(
            seats,
            (np.array(obs, np.float32).reshape(-1, OBS_SIZE),),
            reward[:, 0],
            done,
            done & (fate == TRUNCATED),
            seats // self.options.agents + 1 if self.options.group_ids else None,
            reward[:, 1] if self.options.group_ids else None,
        )
        return {self.behaviors[0].id: rows}

    def _pay(self, seat: int, life: Life) -> tuple[float, float]:
        own, group = self._owed[seat]
        self._owed[seat] = 0
        if not life.decided:
            return 0.0, 0.0  # what was owed to the one before
        life.told[life.decided[-1]] = (own, group)
        return own, group


class Account:
    """What any row of any group must look like, by what the scenes know."""

    def __init__(self, scenes: list[ChaosScene]):
        self.by_area: dict[tuple[int, int], list[Life]] = {}
        for scene in scenes:
            for life in scene.lives:
                self.by_area.setdefault(life.key[:2], []).append(life)

    def there(self, area: tuple[int, int], tick: int) -> dict[tuple, Life]:
        """Who is there in a row that begins at a tick."""
        return {
            life.key: life
            for life in self.by_area[area]
            if life.decided and life.decided[0] <= tick < (life.end or life.cut or tick + 1)
        }

    def next_tick(self, area: tuple[int, int], tick: int) -> int | None:
        """When somebody of the area decides again."""
        later = [t for life in self.by_area[area] for t in life.decided if t > tick]
        return min(later, default=None)
