"""How the rows of a rollout follow each other for a critic that remembers: as chains, and chains behind chains.

Where a member ends and the others play on, two rows follow: one that only shows how it ended, from which its last step
is valued, and one in which the group goes on. Both begin with what was remembered until then. Memories of places that
a newcomer takes are left behind, so a chain ends before such a row, too.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from mlagents_marl_plugin.core.sequences import Chains
from mlagents_marl_plugin.core.types import RolloutBatch


class Heirs(NamedTuple):
    """Rows that begin with what was remembered after others: those of a rollout, and W behind them that are still to
    be completed.
    """

    any: bool  # whether there are some
    row: Tensor  # [R + E] int64 on the CPU, by row its heir, below R + E + W; or R + E + W: nobody
    stays: Tensor  # [R + E, U, 1] 0/1, whose memories are handed on


class LaneChains(NamedTuple):
    """A rollout as a critic reads it."""

    chains: Chains
    heirs: Heirs
    behind: Tensor  # [W] int64 on the CPU, numbers of the heirs that are still to be completed

    @classmethod
    def of(cls, batch: RolloutBatch, num_units: int) -> "LaneChains":
        """
        Args:
            num_units: of the critic's memory: one for each of N slots, or one for all.
        """
        assert batch.number is not None
        num_rows, num_slots = batch.reward.shape
        successor, total = batch.successor.cpu(), len(batch.number)
        anew = torch.zeros_like(batch.reward) if batch.anew is None else batch.anew
        cut, begins = torch.stack([batch.cut, anew.amax(1)]).cpu() > 0
        resumed = torch.full_like(successor, -1) if batch.resumed is None else batch.resumed
        stays = batch.reward.new_ones(total, num_units, 1)
        if num_units == num_slots:
            stays[:num_rows, :, 0] = 1.0 - anew
        number = batch.number[:num_rows]
        place = torch.searchsorted(number, resumed).clamp_max(num_rows - 1)
        goes_on = cut & (resumed >= 0)
        later = goes_on & (number[place] != resumed)
        behind = resumed[later]
        heir = torch.full((total,), total + len(behind), dtype=torch.int64, device="cpu")
        heir[:num_rows] = torch.where(begins & ~cut, successor, heir[:num_rows])
        heir[:num_rows] = torch.where(goes_on, place, heir[:num_rows])
        heir[:num_rows][later] = total + torch.arange(len(behind), device="cpu")
        # What is seen behind a cut belongs to what was before it, but a row that was acted in begins anew.
        parted = torch.where(cut, successor < num_rows, begins)
        chains = Chains(successor.masked_fill(parted, total), total)
        return cls(chains, Heirs(bool((goes_on | begins).any()), heir, stays), behind)
