"""What a scene is to the player: behaviours, seats, and rows that report agents at a decision tick.

A *seat* is one agent's place in the scene (area 3's left racket), numbered through over all behaviours from
0. Agents come and go on a seat; the session hands out the ids that Python sees, a new one for each new
episode, in order of seats. A scene therefore never deals with ids, messages or ports.
"""

from abc import ABC, abstractmethod
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlagents_marl_plugin.player.film import Film
from mlagents_marl_plugin.player.side_channels import EnvironmentParameters, Statistic


@dataclass(frozen=True)
class SensorSpec:
    """One observation of a behaviour, as Unity names and shapes it.

    Attributes:
        shape: without the batch axis; (3, height, width) for a camera.
        dimension_properties: ML-Agents' flag per axis (1 none, 2 translational equivariance, 4 variable
            size); empty means unspecified.
        goal_signal: the sensor carries a goal for the hypernetwork encoders.
        png: rows carry PNG bytes instead of float32 arrays.
    """

    name: str
    shape: tuple[int, ...]
    dimension_properties: tuple[int, ...] = ()
    goal_signal: bool = False
    png: bool = False


@dataclass(frozen=True)
class ActionSpec:
    """``continuous`` values and one choice per discrete branch (the branch's size)."""

    continuous: int = 0
    branches: tuple[int, ...] = ()


@dataclass(frozen=True)
class Behavior:
    """Agents with the same sensors and actions, on one self-play side (``team``)."""

    name: str
    sensors: tuple[SensorSpec, ...]
    actions: ActionSpec
    team: int = 0

    @property
    def id(self) -> str:
        """The name that Python sees, e.g. ``Tennis?team=0``."""
        return f"{self.name}?team={self.team}"


class Rows(NamedTuple):
    """Agents of one behaviour that end or ask for a decision at this tick, ``n`` rows.

    A seat whose episode ends and begins again at the same tick has two rows: first the ended one (``done``,
    the last reward, the final observation), later one for the new episode. ``None`` stands for all zero.

    Attributes:
        seat: [n] int. Ended rows come before rows that ask for a decision.
        observations: one per sensor: float32 [n, *shape], or n PNG files.
        reward: [n] float32, summed since the seat's previous row.
        done: [n] bool, the episode ended; no action will come for this row.
        interrupted: [n] bool, it ended by a limit and not by the rules (ML-Agents' ``max_step_reached``).
        group: [n] int, id of the multi-agent group, 0 for none.
        group_reward: [n] float32.
        forbidden: [n, sum(branches)] bool, True where a choice is not permitted.
    """

    seat: NDArray[np.int64]
    observations: tuple[NDArray[np.float32] | list[bytes], ...]
    reward: NDArray[np.float32] | None = None
    done: NDArray[np.bool_] | None = None
    interrupted: NDArray[np.bool_] | None = None
    group: NDArray[np.int64] | None = None
    group_reward: NDArray[np.float32] | None = None
    forbidden: NDArray[np.bool_] | None = None


class Actions(NamedTuple):
    """The answers to the rows that asked for a decision, in the order of these rows."""

    seat: NDArray[np.int64]  # [n]
    continuous: NDArray[np.float32]  # [n, continuous]
    discrete: NDArray[np.int64]  # [n, branches]


class SceneError(RuntimeError):
    """The scene cannot be made or cannot go on; the text tells the user why and what to do."""


Frame = Mapping[str, Rows]
"""Behaviour id to its rows at one tick; a behaviour with no rows may be left out."""


class Scene(ABC):
    """A simulated Unity scene. ``reset`` is called before the first ``step``.

    Attributes:
        smaller: what to use where even one area is too large for a message.
    """

    behaviors: tuple[Behavior, ...]
    num_seats: int
    smaller = "smaller observations or fewer agents"

    @abstractmethod
    def reset(self) -> Frame:
        """Begin all areas anew; returns the rows that ask for a first decision, without rewards."""

    @abstractmethod
    def step(self, actions: Mapping[str, Actions]) -> Frame:
        """Advance to the next decision tick; ``actions`` answers the behaviours that asked at the last."""

    def drain_statistics(self) -> list[Statistic]:
        """Statistics for TensorBoard gathered since the last call."""
        return []

    def film(self, _area: int) -> Film | None:
        """Begin to film an area; None if the scene cannot draw itself."""
        return None

    def close(self) -> None:  # noqa: B027 - most scenes have nothing to give back
        """Give back what outlives the last step, such as a process that plays for this scene."""


class SceneSettings(NamedTuple):
    """What a scene is made from: the trainer's initialisation message and the player's options."""

    num_areas: int
    seed: int
    parameters: EnvironmentParameters
    options: Namespace
