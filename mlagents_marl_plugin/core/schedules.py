"""How a number falls over a run: linearly, by a factor per episode, or both, down to a floor."""

from dataclasses import dataclass
from enum import Enum


class Schedule(Enum):
    """Course over a run's steps; the values are what users write in YAML."""

    CONSTANT = "constant"
    LINEAR = "linear"


@dataclass(frozen=True)
class FallingNumber:
    """``max(floor, start * linear * factor^episodes)``, and never above ``start``."""

    start: float  # >= 0
    schedule: Schedule
    factor: float  # per episode, in (0, 1]
    floor: float  # >= 0

    def at(self, step_fraction: float, episodes: int) -> float:
        """The number after a fraction in [0, 1] of the run's steps and so many episodes."""
        remaining = 1.0 - min(1.0, max(0.0, step_fraction)) if self.schedule is Schedule.LINEAR else 1.0
        return max(min(self.floor, self.start), self.start * remaining * self.factor**episodes)
