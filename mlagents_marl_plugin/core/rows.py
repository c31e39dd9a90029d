"""How one group step is packed into a row of floats, for replays and rollouts alike."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from mlagents_marl_plugin.core.checks import check_shape
from mlagents_marl_plugin.core.types import GroupSpec


class RowLayout(NamedTuple):
    """Where each part stands in a row.

    Observation and action are neighbours, so that ``row[:, :obs + action]`` is a critic's input without a
    copy. All that is known only afterwards (action to cut) is one block, ``outcome``.
    """

    obs: slice
    action: slice
    value_mask: slice
    reward: slice
    terminated: slice
    log_prob: slice
    acted: slice
    anew: slice
    cut: slice
    agent_mask: slice
    allowed: slice
    memory: slice

    @classmethod
    def of(
        cls, spec: GroupSpec, on_policy: bool = False, memory_size: int = 0, in_sequence: bool = False
    ) -> "RowLayout":
        """The layout of a group's rows; with ``on_policy`` or ``in_sequence`` also who decided, with the former also
        how likely the action was and whose places were taken anew; with a ``memory_size`` also what every slot
        remembered before it decided.
        """
        slots = spec.num_slots
        widths = (
            spec.obs_size,
            spec.action_size,
            slots,
            slots,
            slots,
            slots if on_policy else 0,
            slots if on_policy or in_sequence else 0,
            slots if on_policy else 0,
            1,
            slots,
            spec.allowed_size,
            slots * memory_size,
        )
        stops = [sum(widths[: i + 1]) for i in range(len(widths))]
        return cls(*(slice(stop - width, stop) for stop, width in zip(stops, widths, strict=True)))

    @property
    def width(self) -> int:
        """Number of floats in a row."""
        return int(self.memory.stop)

    @property
    def outcome(self) -> slice:
        """The block from action to cut."""
        return slice(self.action.start, self.cut.stop)

    def within_outcome(self, column: slice) -> slice:
        """Where a part stands in the block ``outcome``."""
        return slice(column.start - self.action.start, column.stop - self.action.start)


def decision_block(
    where: str,
    spec: GroupSpec,
    layout: RowLayout,
    obs: Tensor,
    agent_mask: Tensor,
    allowed: Tensor,
    memory: Tensor | None = None,
) -> Tensor:
    """Open rows [M, width] of what is observed now; observations of absent slots are replaced by 0.

    Without a ``memory`` [M, N * memory size] nobody remembers anything.

    Raises:
        ValueError: if a shape is wrong; begins with ``where``.
    """
    block = torch.zeros(obs.shape[0], layout.width, device=obs.device)
    given = {"obs": obs, "agent_mask": agent_mask, "allowed": allowed}
    if memory is not None:
        given["memory"] = memory
    for name, value in given.items():
        part = block[:, getattr(layout, name)]
        check_shape(where, name, value, tuple(part.shape))
        part.copy_(value)
    zero_absent_obs(spec, block[:, layout.obs], block[:, layout.agent_mask])
    return block


def outcome_block(where: str, layout: RowLayout, num_rows: int, parts: Mapping[str, Tensor]) -> Tensor:
    """The columns ``layout.outcome`` of ``num_rows`` rows, from their parts by name.

    Raises:
        ValueError: if a shape is wrong; begins with ``where``.
    """
    block = torch.zeros(num_rows, layout.cut.stop - layout.action.start, device=parts["action"].device)
    for name, value in parts.items():
        part = block[:, layout.within_outcome(getattr(layout, name))]
        check_shape(where, name, value, tuple(part.shape))
        part.copy_(value)
    return block


def clean_outcome(spec: GroupSpec, layout: RowLayout, block: Tensor, agent_mask: Tensor) -> None:
    """Replace by 0, in place, the actions of absent slots and the rewards of slots that learn nothing."""
    zero_absent_action(spec, block[:, layout.within_outcome(layout.action)], agent_mask)
    ignored = block[:, layout.within_outcome(layout.value_mask)] == 0
    block[:, layout.within_outcome(layout.reward)].masked_fill_(ignored, 0.0)
    if layout.acted.stop > layout.acted.start:
        acted = block[:, layout.within_outcome(layout.acted)].masked_fill_(agent_mask == 0, 0.0)
        if layout.log_prob.stop > layout.log_prob.start:
            block[:, layout.within_outcome(layout.log_prob)].masked_fill_(acted == 0, 0.0)


def zero_absent_obs(spec: GroupSpec, joint_obs: Tensor, agent_mask: Tensor) -> None:
    """Replace by 0, in place, what stands in [M, joint] observations for absent slots, NaN included."""
    for role in range(len(spec.roles)):
        spec.role_obs(joint_obs, role).masked_fill_(_absent(spec, agent_mask, role), 0.0)


def zero_absent_action(spec: GroupSpec, joint_action: Tensor, agent_mask: Tensor) -> None:
    """Replace by 0, in place, what stands in [M, joint] actions for absent slots, NaN included."""
    for role in range(len(spec.roles)):
        spec.role_action(joint_action, role).masked_fill_(_absent(spec, agent_mask, role), 0.0)


def _absent(spec: GroupSpec, agent_mask: Tensor, role: int) -> Tensor:
    return agent_mask[:, spec.slots(role)].unsqueeze(-1) == 0  # [M, N] -> [M, N_role, 1]
