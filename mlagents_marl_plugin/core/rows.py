"""How one group step is packed into a row of floats."""

from typing import NamedTuple

from torch import Tensor

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
    cut: slice
    agent_mask: slice
    allowed: slice

    @classmethod
    def of(cls, spec: GroupSpec) -> "RowLayout":
        """The layout of a group's rows."""
        slots = spec.num_slots
        widths = (spec.obs_size, spec.action_size, slots, slots, slots, 1, slots, spec.allowed_size)
        stops = [sum(widths[: i + 1]) for i in range(len(widths))]
        return cls(*(slice(stop - width, stop) for stop, width in zip(stops, widths, strict=True)))

    @property
    def width(self) -> int:
        """Number of floats in a row."""
        return int(self.allowed.stop)

    @property
    def outcome(self) -> slice:
        """The block from action to cut."""
        return slice(self.action.start, self.cut.stop)

    def within_outcome(self, column: slice) -> slice:
        """Where a part stands in the block ``outcome``."""
        return slice(column.start - self.action.start, column.stop - self.action.start)


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
