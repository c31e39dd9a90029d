"""Scores of groups, in the scene's own rewards: averages, "solved", when to stop, which model was best."""

from collections import deque
from typing import Any

from mlagents_marl_plugin.adapter.assembler import Episode
from mlagents_marl_plugin.adapter.settings import Criterion, Metric

WINDOW = 100


def value_of(metric: Metric, episode: Episode) -> float:
    """What a metric says of one episode."""
    if metric == Metric.SCORE:
        return float(episode.scores.max())
    if metric == Metric.SCORE_SUM:
        return float(episode.scores.sum())
    if metric == Metric.SCORE_MEAN:
        return float(episode.scores.mean())
    return float(episode.length)


class MovingCriterion:
    """A `Criterion` being watched: the mean of its metric over the last ``window`` episodes."""

    def __init__(self, criterion: Criterion):
        self.criterion = criterion
        self.values: deque[float] = deque(maxlen=criterion.window)

    def add(self, episode: Episode) -> None:
        self.values.append(value_of(self.criterion.metric, episode))

    def goes_on_from(self, metric: str | None) -> bool:
        """Whether values of ``metric`` are of its own; a checkpoint of an early version tells none."""
        return metric in (None, self.criterion.metric.value)

    @property
    def mean(self) -> float:
        return sum(self.values) / len(self.values)

    @property
    def reached(self) -> bool:
        return len(self.values) == self.criterion.window and self.mean >= self.criterion.threshold


class ScoreBoard:
    """What is remembered of ended episodes. Episodes count in the order in which they ended."""

    def __init__(self, solved_when: Criterion | None, stop_when: Criterion | None):
        self.episodes = 0
        self.recent: deque[float] = deque(maxlen=WINDOW)
        self.solved_at: int | None = None
        self.stopped_at: float | None = None  # the threshold that ended the run
        self.best = float("-inf")
        self._solved = MovingCriterion(solved_when) if solved_when else None
        self._stop = MovingCriterion(stop_when) if stop_when else None

    def add(self, episode: Episode) -> None:
        self.episodes += 1
        self.recent.append(value_of(Metric.SCORE, episode))
        if self._solved:
            self._solved.add(episode)
            if self.solved_at is None and self._solved.reached:
                self.solved_at = self.episodes
        if self._stop:
            self._stop.add(episode)
            if self._stop.reached and self.stopped_at is None:
                self.stopped_at = self._stop.criterion.threshold

    @property
    def mean(self) -> float:
        """Mean score over the last 100 episodes, or over those that there are."""
        return sum(self.recent) / len(self.recent) if self.recent else 0.0

    def improved(self) -> bool:
        """Whether the mean over a full window is the best so far; remembers it."""
        if len(self.recent) < WINDOW or self.mean <= self.best:
            return False
        self.best = self.mean
        return True

    def state_dict(self) -> dict[str, Any]:
        return {
            "episodes": self.episodes,
            "recent": list(self.recent),
            "solved_at": self.solved_at,
            "stopped_at": self.stopped_at,
            "best": self.best,
            "solved": list(self._solved.values) if self._solved else [],
            "stop": list(self._stop.values) if self._stop else [],
            "solved_metric": self._solved.criterion.metric.value if self._solved else None,
            "stop_metric": self._stop.criterion.metric.value if self._stop else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved board; what it says of a criterion, only where that has the same metric.

        Raises:
            ValueError: if the run has already stopped by the criterion.
        """
        self.episodes = state["episodes"]
        self.recent.extend(state["recent"])
        self.best = state["best"]
        if self._solved is None or self._solved.goes_on_from(state.get("solved_metric")):
            self.solved_at = state["solved_at"]
            if self._solved:
                self._solved.values.extend(state["solved"])
        if self._stop and self._stop.goes_on_from(state.get("stop_metric")):
            self._stop.values.extend(state["stop"])
            if state["stopped_at"] is not None and self._stop.criterion.threshold <= state["stopped_at"]:
                raise ValueError(
                    f"hyperparameters.stop_when.threshold: expected more than {state['stopped_at']}, at "
                    f"which this run has already stopped, got {self._stop.criterion.threshold}; raise it to "
                    f"go on"
                )
