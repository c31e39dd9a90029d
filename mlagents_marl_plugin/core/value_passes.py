"""Networks of action values and their targets, asked about steps and what came of them in as few passes as it takes."""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from mlagents_marl_plugin.core.networks import DecentralisedActor
from mlagents_marl_plugin.core.sequences import Recurrence
from mlagents_marl_plugin.core.types import GroupSpec


class Said(NamedTuple):
    """What networks say of R steps and of their successors, per role [R, N_role, choices] each."""

    online: list[Tensor]  # of the steps, to be differentiated next
    chooser: list[Tensor]  # of the successors, by who chooses there
    target: list[Tensor]  # of the successors, by the target networks
    target_now: list[Tensor]  # of the steps, by the target networks; empty where nobody asks


class ValuePasses:
    """See the module. Successors are other steps' rows, or stand behind them, so most of them are seen anyway."""

    def __init__(
        self,
        networks: DecentralisedActor,
        target_networks: DecentralisedActor,
        spec: GroupSpec,
        *,
        double_q: bool,
        asks_target_now: bool,
        batch_norm: bool,
    ) -> None:
        """
        Args:
            networks: that learn.
            target_networks: that follow them.
            spec: the group in choices.
            double_q: whether the networks that learn choose the successors' choices, or the targets do.
            asks_target_now: whether the targets are asked about the steps, too.
            batch_norm: whether the networks have BatchNorm, whose statistics are to be those of the steps alone.
        """
        self._networks = networks
        self._target_networks = target_networks
        self._spec = spec
        self._double_q = double_q
        self._asks_target_now = asks_target_now
        self._batch_norm = batch_norm

    def __call__(
        self, joint: Tensor, offset: int, agent_mask: Tensor, recurrence: Recurrence | None = None
    ) -> Said:
        """
        Args:
            joint: [R + offset, joint], normalised: steps, and behind them what came of the last ones.
            offset: from a step's row to its successor's.
            agent_mask: [R, N] 0/1, of the steps.
            recurrence: how all rows follow each other, for networks with a memory.
        """
        spec, now, then = self._spec, slice(0, len(joint) - offset), slice(offset, None)
        target_now = list[Tensor]()
        if recurrence is not None or self._asks_target_now:
            target_all = self._target_networks(joint, spec, recurrence=recurrence)
            target, target_now = _rows(target_all, then), _rows(target_all, now)
        else:
            target = self._target_networks(joint[then], spec)
        if recurrence is not None or (self._double_q and not self._batch_norm):
            online_all = self._networks(joint, spec, recurrence=recurrence)
            online, chooser = _rows(online_all, now), _rows(online_all, then)
        else:
            chooser = self._networks(joint[then], spec) if self._double_q else target
            online = self._networks(joint[now], spec, agent_mask if self._batch_norm else None)
        return Said(online, chooser if self._double_q else target, target, target_now)

    def backward(self, gradients: list[Tensor], offset: int, remembers: bool) -> None:
        """Differentiate what was said of the steps; of what is behind them nothing is learnt.

        Args:
            gradients: of the loss by ``online``.
            offset: of the last call.
            remembers: whether that had a recurrence, through which gradients go from row to row.
        """
        if remembers:
            gradients = [F.pad(gradient, (0, 0, 0, 0, 0, offset)) for gradient in gradients]
        self._networks.backward(gradients)


def _rows(per_role: list[Tensor], rows: slice) -> list[Tensor]:
    return [of_role[rows] for of_role in per_role]
