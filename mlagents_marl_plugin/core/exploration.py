"""Exploration for deterministic policies: noise on continuous actions, random choices, and how both fade.

A *member* is whoever keeps a noise process of its own, one agent in one area; the caller numbers them from 0
and may reuse a number after `reset`. Numbers stand on the CPU, everything else on the acting device.
"""

from dataclasses import dataclass
from enum import Enum
from math import sqrt
from typing import Any, Protocol

import torch
from torch import Tensor

from mlagents_marl_plugin.core import actions
from mlagents_marl_plugin.core.types import ActionLayout


class NoiseType(Enum):
    """Kinds of noise on continuous actions; the values are what users write in YAML."""

    GAUSSIAN = "gaussian"
    ORNSTEIN_UHLENBECK = "ornstein_uhlenbeck"


class Noise(Protocol):
    """Noise of standard deviation 1 (for Ornstein-Uhlenbeck: once it has settled)."""

    def sample(self, member: Tensor, width: int) -> Tensor:
        """The next noise [R, width] of the members [R]."""

    def reset(self, member: Tensor) -> None:
        """A new episode begins for the members [R]."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class GaussianNoise:
    """Independent normal noise at every step."""

    def __init__(self, generator: torch.Generator) -> None:
        """Args: generator, whose device is where the noise is made."""
        self._generator = generator

    def sample(self, member: Tensor, width: int) -> Tensor:
        """[R, width] standard normal numbers."""
        return torch.randn(member.shape[0], width, generator=self._generator, device=self._generator.device)

    def reset(self, member: Tensor) -> None:
        """Nothing to forget."""

    def state_dict(self) -> dict[str, Any]:
        """Empty: the generator belongs to whoever made it."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""


class OrnsteinUhlenbeck:
    """Noise that drifts: ``x <- (1 - theta) x + sqrt(2 theta - theta^2) * normal``, from 0 on.

    The factor makes the settled deviation 1, so that a scale means the same for both kinds of noise. In these
    units the usual theta 0.15 with sigma 0.2 is a scale of 0.38.

    Source: Lillicrap et al. 2016, section 7, https://arxiv.org/abs/1509.02971
    """

    def __init__(self, generator: torch.Generator, theta: float = 0.15) -> None:
        """
        Args:
            generator: its device is where the noise is made.
            theta: share of the noise forgotten per step, in (0, 1].

        Raises:
            ValueError: if theta is out of range.
        """
        if not 0.0 < theta <= 1.0:
            raise ValueError(
                f"OrnsteinUhlenbeck: expected 0 < theta <= 1, got {theta}; the usual value is 0.15"
            )
        self._generator = generator
        self._theta = theta
        self._spread = sqrt(theta * (2.0 - theta))
        self._state = torch.zeros(0, 0, device=generator.device)

    def sample(self, member: Tensor, width: int) -> Tensor:
        """The members' processes [R, width] after one more step; each member at most once per call.

        Raises:
            ValueError: if the width is not that of the calls before.
        """
        if not len(self._state):
            self._state = self._state.new_zeros(0, width)
        if self._state.shape[1] != width:
            raise ValueError(
                f"OrnsteinUhlenbeck.sample: expected width {self._state.shape[1]} as before, got {width}; "
                "make one object per behaviour"
            )
        self._grow(int(member.max()) + 1 if member.numel() else 0, width)
        place = member.to(self._state.device)
        normal = torch.randn(place.shape[0], width, generator=self._generator, device=self._state.device)
        noise = (1.0 - self._theta) * self._state[place] + self._spread * normal
        self._state[place] = noise
        return noise

    def reset(self, member: Tensor) -> None:
        """Start the members' processes again from 0."""
        known = member[member < self._state.shape[0]]
        self._state[known.to(self._state.device)] = 0.0

    def state_dict(self) -> dict[str, Any]:
        """The members' processes [members, width]; the generator belongs to whoever made it."""
        return {"state": self._state.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the processes of `state_dict`.

        Raises:
            ValueError: if the entry 'state' is missing or no matrix.
        """
        got = state.get("state")
        if not isinstance(got, Tensor) or got.dim() != 2:
            shape = tuple(got.shape) if isinstance(got, Tensor) else None
            raise ValueError(
                f"OrnsteinUhlenbeck.load_state_dict: expected 'state' of shape (members, width), "
                f"got {shape}; the checkpoint was made with another noise"
            )
        self._state = got.to(self._state.device, copy=True)

    def _grow(self, num_members: int, width: int) -> None:
        known = self._state.shape[0]
        if num_members > known:
            grown = torch.zeros(max(num_members, 2 * known), width, device=self._state.device)
            grown[:known] = self._state
            self._state = grown


@dataclass(frozen=True)
class ExplorationSchedule:
    """How strongly to explore at a step; steps are counted as the trainer's ``max_steps`` counts them.

    Attributes:
        scale: standard deviation of the noise at step 0, in units of the action's range [-1, 1]; at least 0.
        floor: the least it falls to, in [0, scale].
        decay: factor per step, in (0, 1]; unused with ``anneal_steps``.
        random_steps: number of steps before which actions are uniformly random; at least 0.
        anneal_steps: number of steps from step 0 over which scale falls linearly to floor; at least 0, 0 = by
            ``decay``.
    """

    scale: float = 0.3
    floor: float = 0.05
    decay: float = 1.0
    random_steps: int = 0
    anneal_steps: int = 0

    def __post_init__(self) -> None:
        for name, rule, holds in (
            ("scale", "at least 0", self.scale >= 0.0),
            ("floor", f"0 <= floor <= scale ({self.scale})", 0.0 <= self.floor <= self.scale),
            ("decay", "0 < decay <= 1", 0.0 < self.decay <= 1.0),
            ("random_steps", "at least 0", self.random_steps >= 0),
            ("anneal_steps", "at least 0", self.anneal_steps >= 0),
        ):
            if not holds:
                raise ValueError(
                    f"ExplorationSchedule.{name}: expected {rule}, got {getattr(self, name)}; "
                    "exploration starts at scale and fades by decay per step, or over anneal_steps, down to floor"
                )

    def scale_at(self, step: int) -> float:
        """``max(floor, scale * decay^step)``, or a point on the line from scale to floor."""
        if self.anneal_steps:
            return self.floor + (self.scale - self.floor) * self._left(step)
        return max(self.floor, self.scale * self._left(step))

    def relative(self, step: int) -> float:
        """``scale_at(step) / scale``, in [0, 1]; without noise, that of a scale that falls to 0."""
        return self.scale_at(step) / self.scale if self.scale else self._left(step)

    def _left(self, step: int) -> float:
        """What is left at a step of 1 that falls to 0."""
        if self.anneal_steps:
            return max(0.0, 1.0 - step / self.anneal_steps)
        return self.decay**step

    def is_random(self, step: int) -> bool:
        """True while actions are uniformly random."""
        return step < self.random_steps


class Explorer:
    """Turns the policy's actions of one behaviour into actions that explore.

    Continuous values get noise and are clipped to [-1, 1]. Discrete branches explore already, since the
    policy draws them (`actions.sample`); a policy that has become sure of a bad choice does not, for which
    ``epsilon`` replaces the choice of a branch by a uniformly random permitted one. It fades like the noise, or
    to 0 where the noise's scale is 0.
    """

    def __init__(
        self,
        layout: ActionLayout,
        noise: NoiseType,
        schedule: ExplorationSchedule,
        generator: torch.Generator,
        epsilon: float = 0.0,
        theta: float = 0.15,
    ) -> None:
        """
        Args:
            layout: of the behaviour's actions.
            generator: its device is where actions are made (``act_device``).
            epsilon: chance at step 0 that a branch's choice is replaced, in [0, 1].
            theta: see `OrnsteinUhlenbeck`; unused by Gaussian noise.

        Raises:
            ValueError: if epsilon or theta is out of range.
        """
        if not 0.0 <= epsilon <= 1.0:
            raise ValueError(f"Explorer: expected 0 <= epsilon <= 1, got {epsilon}; it is a chance, try 0.05")
        self.schedule = schedule
        self.nudge = 0.0  # added to the noise's scale while an actor is stuck
        self._layout = layout
        self._generator = generator
        self._epsilon = epsilon
        self._noise: Noise
        if noise is NoiseType.GAUSSIAN:
            self._noise = GaussianNoise(generator)
        else:
            self._noise = OrnsteinUhlenbeck(generator, theta)

    def act(self, raw: Tensor, allowed: Tensor, member: Tensor, step: int) -> Tensor:
        """A draw from the policy (`actions.sample` of ``raw`` [R, layout.size]), which then explores."""
        drawn = actions.sample(self._layout, raw, allowed, self._generator)
        return self.explore(drawn, allowed, member, step)

    def figures(self, step: int) -> dict[str, float]:
        """``noise_scale`` at a step."""
        return {"noise_scale": self.schedule.scale_at(step) + self.nudge}

    def explore(self, encoded: Tensor, allowed: Tensor, member: Tensor, step: int) -> Tensor:
        """Actions that explore.

        Args:
            encoded: [R, layout.size] from `actions.sample`.
            allowed: [R, num_choices] or [R, 0].
            member: [R] int64 on the CPU, each at most once.
            step: see `ExplorationSchedule`.

        Returns:
            [R, layout.size] encoded actions; a new tensor.
        """
        if self.schedule.is_random(step):
            return self._uniform(encoded, allowed)
        num_values = self._layout.continuous
        noise = self._noise.sample(member, num_values) * (self.schedule.scale_at(step) + self.nudge)
        explored = encoded.clone()
        explored[:, :num_values].add_(noise).clamp_(-1.0, 1.0)
        epsilon = self._epsilon * self.schedule.relative(step)
        if epsilon > 0.0 and self._layout.branches:
            random = self._uniform(encoded, allowed)
            start = num_values
            for num_choices in self._layout.branches:
                choice = slice(start, start + num_choices)
                chance = torch.rand(len(encoded), 1, generator=self._generator, device=encoded.device)
                explored[:, choice] = torch.where(chance < epsilon, random[:, choice], encoded[:, choice])
                start += num_choices
        return explored

    def _uniform(self, encoded: Tensor, allowed: Tensor) -> Tensor:
        return actions.uniform(
            self._layout, allowed, tuple(encoded.shape[:1]), self._generator, encoded.device
        )

    def reset(self, member: Tensor) -> None:
        """A new episode begins for the members [R]."""
        self._noise.reset(member)

    def state_dict(self) -> dict[str, Any]:
        """State of the noise and of the generator, and the nudge."""
        return {
            "noise": self._noise.state_dict(),
            "generator": self._generator.get_state(),
            "nudge": self.nudge,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` stopped.

        Raises:
            ValueError: if an entry is missing; names it.
        """
        for name in ("noise", "generator", "nudge"):
            if name not in state:
                raise ValueError(
                    f"Explorer.load_state_dict: expected entry '{name}', got none; the file is incomplete"
                )
        self._noise.load_state_dict(state["noise"])
        self._generator.set_state(state["generator"].cpu())
        self.nudge = state["nudge"]
