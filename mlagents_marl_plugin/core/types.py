"""The layout of a group and the samples that learners read.

Legend for shapes, everywhere in this package: ``B`` batch, ``T`` time, ``N`` slots of all roles in order,
``O`` observation, ``A`` action, ``H`` hidden. The order of axes is ``[T,] B, N, feature``.

A *group* is who one centralised critic sees together. It consists of *roles* (one per behaviour name), each
with its slots and its own observations and actions. Everything joint is laid out flat, role by role and slot
by slot, so that
one matrix product reads it: the joint observation of two roles ``a`` (2 slots) and ``b`` (1 slot) is
``[a0 | a1 | b0]``.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, pairwise
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ActionLayout:
    """What one agent can do: ``continuous`` values in [-1, 1] and one choice per discrete branch."""

    continuous: int = 0
    branches: tuple[int, ...] = ()

    @property
    def num_choices(self) -> int:
        """Width of the action mask: the choices of all branches together."""
        return sum(self.branches)

    @property
    def size(self) -> int:
        """Width ``A`` of an encoded action: the continuous values, then a one-hot vector per branch."""
        return self.continuous + self.num_choices


@dataclass(frozen=True)
class RoleSpec:
    """The agents of one behaviour name within a group.

    One of the observations may be *privileged*: a state that critics and mixers read and actors do not. It stays in
    its place among the others everywhere.
    """

    name: str
    num_slots: int
    observation_shapes: tuple[tuple[int, ...], ...]
    action: ActionLayout
    state_sensor: int | None = None  # which observation is the state; None: none
    # Makes features of some of the observations, given by number: a new module [R, *shape] each -> [R, F], drawn by
    # torch's default generator; None where all are vectors that networks read as they are.
    encoder: Callable[[tuple[int, ...]], nn.Module] | None = field(default=None, compare=False)

    @cached_property
    def obs_size(self) -> int:
        """Width ``O`` of one agent's observations, flattened and concatenated in order; its state included."""
        return sum(prod(shape) for shape in self.observation_shapes)

    @cached_property
    def state_place(self) -> slice:
        """Where the state stands in an agent's observations; an empty place at the end without one."""
        if self.state_sensor is None:
            return slice(self.obs_size, self.obs_size)
        start = sum(prod(shape) for shape in self.observation_shapes[: self.state_sensor])
        return slice(start, start + prod(self.observation_shapes[self.state_sensor]))

    @property
    def state_size(self) -> int:
        """Width of the state, 0 without one."""
        return int(self.state_place.stop - self.state_place.start)

    @property
    def actor_size(self) -> int:
        """Width of what an actor reads: all observations but the state."""
        return self.obs_size - self.state_size

    @property
    def actor_sensors(self) -> tuple[int, ...]:
        """Numbers of the observations that an actor reads."""
        return tuple(i for i in range(len(self.observation_shapes)) if i != self.state_sensor)

    @property
    def sensor_places(self) -> list[slice]:
        """Where each observation stands in an agent's row."""
        stops = list(accumulate((prod(shape) for shape in self.observation_shapes), initial=0))
        return [slice(start, stop) for start, stop in pairwise(stops)]

    def actor_obs(self, obs: Tensor) -> Tensor:
        """What an actor reads of an agent's observations, [..., O] -> [..., actor_size]; a view where it can be."""
        place = self.state_place
        if place.stop == self.obs_size:
            return obs[..., : place.start]
        behind = obs[..., place.stop :]
        return torch.cat([obs[..., : place.start], behind], -1) if place.start else behind

    def state(self, obs: Tensor) -> Tensor:
        """The state among an agent's observations, a view [..., O] -> [..., state_size]."""
        return obs[..., self.state_place]


@dataclass(frozen=True)
class GroupSpec:
    """All roles of a group. Slots are numbered through over the roles, 0 to ``num_slots - 1``."""

    roles: tuple[RoleSpec, ...]

    @cached_property
    def num_slots(self) -> int:
        return sum(role.num_slots for role in self.roles)

    @cached_property
    def obs_size(self) -> int:
        """Width of the joint observation."""
        return sum(role.num_slots * role.obs_size for role in self.roles)

    @cached_property
    def action_size(self) -> int:
        """Width of the joint (encoded) action."""
        return sum(role.num_slots * role.action.size for role in self.roles)

    @cached_property
    def allowed_size(self) -> int:
        """Width of the joint action mask."""
        return sum(role.num_slots * role.action.num_choices for role in self.roles)

    def slots(self, role: int) -> slice:
        """The slots of a role."""
        start = sum(r.num_slots for r in self.roles[:role])
        return slice(start, start + self.roles[role].num_slots)

    def role_obs(self, joint_obs: Tensor, role: int) -> Tensor:
        """View of one role's observations: [B, joint] -> [B, N_role, O_role]."""
        start = sum(r.num_slots * r.obs_size for r in self.roles[:role])
        return _view(joint_obs, start, self.roles[role].num_slots, self.roles[role].obs_size)

    def role_action(self, joint_action: Tensor, role: int) -> Tensor:
        """View of one role's encoded actions: [B, joint] -> [B, N_role, A_role]."""
        start = sum(r.num_slots * r.action.size for r in self.roles[:role])
        return _view(joint_action, start, self.roles[role].num_slots, self.roles[role].action.size)

    def role_allowed(self, joint_allowed: Tensor, role: int) -> Tensor:
        """View of one role's action masks: [B, joint] -> [B, N_role, choices]; True = permitted."""
        start = sum(r.num_slots * r.action.num_choices for r in self.roles[:role])
        return _view(joint_allowed, start, self.roles[role].num_slots, self.roles[role].action.num_choices)


def _view(joint: Tensor, start: int, num_slots: int, size: int) -> Tensor:
    return torch.unflatten(joint.narrow(-1, start, num_slots * size), -1, (num_slots, size))


class RolloutBatch(NamedTuple):
    """R completed group steps as they were played, and the E observations after the last of them.

    Chains are linked by ``successor``: a row of the R if its own outcome is among them, else one of the E.
    Where agents are absent, observations and actions are 0.
    """

    obs: Tensor  # [R + E, joint] float
    agent_mask: Tensor  # [R + E, N] float 0/1: the agent is there
    action: Tensor  # [R, joint] float, encoded, as drawn: a continuous value may lie outside [-1, 1]
    allowed: Tensor  # [R, joint choices] float 0/1, width 0 without discrete branches
    log_prob: Tensor  # [R, N] float, of the action when it was drawn
    acted: Tensor  # [R, N] float 0/1: the agent decided in this row; else it keeps up its last action
    value_mask: Tensor  # [R, N] float 0/1: its return is to be learnt (also of one who died for its group)
    reward: Tensor  # [R, N] float
    terminated: Tensor  # [R, N] float 0/1: nothing follows, no bootstrap
    cut: Tensor  # [R] float 0/1: the successor is only an observation; bootstrap from it, then stop
    successor: Tensor  # [R] int64, 0 to R + E - 1
    memory: Tensor | None = None  # [R, N, M], what each slot remembered before it decided; None as M = 0
    number: Tensor | None = None  # [R + E] int64 on the CPU, by which a row is known from rollout to rollout
    allowed_behind: Tensor | None = None  # [E, joint choices] float 0/1; None: everything
    waiting: Tensor | None = None  # [W] int64 on the CPU, ascending, numbers of all open rows
    resumed: Tensor | None = None  # [R] int64 on the CPU, number of the row where others play on; or -1
    anew: Tensor | None = None  # [R, N] float 0/1: from the next row on the slot is a newcomer's
    num_decisions: Tensor | None = None  # [] int64 on the CPU, of all agents; None: all decide in every row

    @property
    def num_agent_steps(self) -> int:
        """How many decisions there are to learn from. Known without waiting for the device."""
        return self.reward.numel() if self.num_decisions is None else int(self.num_decisions)


class Batch(NamedTuple):
    """A batch of joint transitions over ``m <= n_step`` group steps, all on the learner's device.

    The successor is the last observation before the episode's next one begins: behind a real end it is masked
    out by ``bootstrap``, behind a time limit it is the observation at the limit.
    """

    obs: Tensor  # [B, joint] float
    action: Tensor  # [B, joint] float, encoded (see ActionLayout.size)
    allowed: Tensor  # [B, joint] float 0/1, width 0 without discrete branches
    agent_mask: Tensor  # [B, N] float 0/1: the agent is there and acts; else its obs and action are zero
    value_mask: Tensor  # [B, N] float 0/1: its return is to be learnt (also of one who died for its group)
    reward: Tensor  # [B, N] float, sum of discount^k * reward over the m steps
    bootstrap: Tensor  # [B, N] float, discount^m, 0 where the slot terminated
    next_obs: Tensor  # [B, joint] float
    next_allowed: Tensor  # [B, joint] float 0/1
    next_agent_mask: Tensor  # [B, N] float 0/1
