"""From networks that value every choice to the values of what was chosen, one per branch of every slot.

A *column* is one discrete branch of one slot: ``M`` columns in all, role by role, slot by slot, branch by branch.
Roles and branches are looped over; slots and samples are not.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from mlagents_marl_plugin.core import actions
from mlagents_marl_plugin.core.types import ActionLayout, GroupSpec


class ActionValues:
    """Picks chosen values out of raw outputs, per role [B, N_role, choices], and brings gradients back."""

    def __init__(self, spec: GroupSpec, device: torch.device) -> None:
        """Args: spec, whose actions are all discrete."""
        self.spec = spec
        self._branch_of_choice = []  # per role [choices, branches] 0/1
        slots = list[int]()
        for i, role in enumerate(spec.roles):
            sizes = torch.tensor(role.action.branches, device="cpu")
            one_hot = torch.eye(len(sizes), device="cpu").repeat_interleave(sizes, 0)
            self._branch_of_choice.append(one_hot.to(device))
            first = spec.slots(i).start
            slots += [first + slot for slot in range(role.num_slots) for _ in role.action.branches]
        self.num_columns = len(slots)
        slot_of_column = torch.tensor(slots, device="cpu")
        self._slot_of_column = slot_of_column.to(device)  # [M]
        of_slot = torch.eye(spec.num_slots, device="cpu")[slot_of_column]  # [M, N]
        self._share_of_slot = (of_slot / of_slot.sum(0)).to(device)
        self._is_column_a_slot = self.num_columns == spec.num_slots

    def chosen(self, raw: Sequence[Tensor], joint_action: Tensor) -> Tensor:
        """Values [B, M] of what was chosen; 0 where an action [B, joint] is all 0, as an absent slot's is."""
        return _columns(
            _sum_over_choices(raw[i] * self.spec.role_action(joint_action, i), branch_of_choice)
            for i, branch_of_choice in enumerate(self._branch_of_choice)
        )

    def backward(self, gradient: Tensor, joint_action: Tensor) -> list[Tensor]:
        """The loss's gradients by ``raw``, per role, given that by the result [B, M] of `chosen`."""
        gradients, start = [], 0
        for i, branch_of_choice in enumerate(self._branch_of_choice):
            num_slots = self.spec.roles[i].num_slots
            stop = start + num_slots * branch_of_choice.shape[1]
            of_role = gradient[:, start:stop].unflatten(1, (num_slots, -1))  # [B, n * K] -> [B, n, K]
            if branch_of_choice.shape[1] > 1:
                of_role = torch.matmul(of_role, branch_of_choice.t())
            gradients.append(of_role * self.spec.role_action(joint_action, i))
            start = stop
        return gradients

    def best(self, raw: Sequence[Tensor], chooser: Sequence[Tensor], joint_allowed: Tensor) -> Tensor:
        """Values [B, M] of the permitted choice with the largest value in ``chooser``, branch by branch."""
        return _columns(
            _of_largest(role.action, raw[i], chooser[i], self.spec.role_allowed(joint_allowed, i))
            for i, role in enumerate(self.spec.roles)
        )

    def soft_maximum(self, raw: Sequence[Tensor], joint_allowed: Tensor, temperature: float) -> Tensor:
        """Soft maxima [B, M], ``temperature * log(sum(exp(value / temperature)))`` over the permitted choices.

        Each is the mean of ``value - temperature * log_prob`` under the policy ``softmax(value / temperature)``.
        """
        return _columns(
            torch.stack([branch.logsumexp(-1) for branch in actions.by_branch(layout, score)], -1).mul_(
                temperature
            )
            for layout, score in self._scores(raw, joint_allowed, temperature)
        )

    def log_prob(
        self, raw: Sequence[Tensor], joint_action: Tensor, joint_allowed: Tensor, temperature: float
    ) -> Tensor:
        """Log-probabilities [B, M] of the choices under ``softmax(value / temperature)``; 0 for absent slots."""
        log_probs = []
        for layout, score in self._scores(raw, joint_allowed, temperature):
            of_choice = [branch.log_softmax(-1) for branch in actions.by_branch(layout, score)]
            log_probs.append(torch.cat(of_choice, -1))
        return self.chosen(log_probs, joint_action)

    def by_column(self, per_slot: Tensor) -> Tensor:
        """What belongs to slots [B, N], for each of their branches [B, M]."""
        return per_slot if self._is_column_a_slot else per_slot.index_select(1, self._slot_of_column)

    def slot_mean(self, per_column: Tensor) -> Tensor:
        """Mean over the branches of each slot, [B, M] -> [B, N]."""
        return per_column if self._is_column_a_slot else per_column @ self._share_of_slot

    def column_share(self, per_slot: Tensor) -> Tensor:
        """What belongs to slots [B, N], divided equally among their branches [B, M]."""
        return per_slot if self._is_column_a_slot else per_slot @ self._share_of_slot.t()

    def _scores(
        self, raw: Sequence[Tensor], joint_allowed: Tensor, temperature: float
    ) -> Iterator[tuple[ActionLayout, Tensor]]:
        for i, role in enumerate(self.spec.roles):
            allowed = self.spec.role_allowed(joint_allowed, i)
            yield role.action, actions.forbid(role.action, raw[i] / temperature, allowed)


def _sum_over_choices(per_choice: Tensor, branch_of_choice: Tensor) -> Tensor:
    """[B, N, choices] -> [B, N, branches]; a product with a single column costs three times a plain sum."""
    if branch_of_choice.shape[1] == 1:
        return per_choice.sum(-1, keepdim=True)
    return torch.matmul(per_choice, branch_of_choice)


def _of_largest(layout: ActionLayout, raw: Tensor, chooser: Tensor, allowed: Tensor) -> Tensor:
    """[B, N, branches] of raw [B, N, choices], see `ActionValues.best`; where nothing is permitted, anything is."""
    score = actions.forbid(layout, chooser, allowed)
    branches = zip(actions.by_branch(layout, raw), actions.by_branch(layout, score), strict=True)
    picked = [values.gather(-1, scores.argmax(-1, keepdim=True)) for values, scores in branches]
    return picked[0] if len(picked) == 1 else torch.cat(picked, -1)


def _columns(per_role: Iterator[Tensor]) -> Tensor:
    """Per-role tensors [B, N_role, ..] as one [B, ..]."""
    parts = [part.flatten(1) for part in per_role]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)
