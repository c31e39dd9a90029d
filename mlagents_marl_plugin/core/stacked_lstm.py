"""Stacked networks whose memory is that of an LSTM: two halves, what the next layer reads and what the cell keeps."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mlagents_marl_plugin.core.stacked_recurrent import StackedRecurrent, before_each_row


class _Pass(NamedTuple):
    """What a backward pass needs of its forward pass."""

    gates: Tensor  # [K, R, 4 H] input, forget and output gates and candidates
    squashed: Tensor  # [K, R, H] tanh of what the cell keeps
    memories: Tensor  # [K, S + R, 2 H], see `StackedRecurrent.memories`
    counts: Sequence[int]
    held: Tensor | None  # [K, R, 1] bool


class StackedLstm(StackedRecurrent):
    """`StackedRecurrent` with another cell, for what it remembers ``(h, c)`` side by side and what it reads ``x``::

        i, f, o = sigmoid(W x + b + U h)      g = tanh(W_g x + b_g + U_g h)
        c' = f * c + i * g                    h' = o * tanh(c')

    It is torch's ``nn.LSTMCell`` with one bias per gate and the gates in another order.

    Source: Gers et al. 2000, https://doi.org/10.1162/089976600300015015 (without peepholes)
    """

    def _name_parts(self) -> None:
        self._weight = self._parts["memory.weight"]  # [K, 4 H, H]

    @torch.no_grad()
    def __call__(
        self, inputs: Tensor, memory: Tensor, counts: Sequence[int], held: Tensor | None = None
    ) -> Tensor:
        size, num_sequences = self.shape.cell_size, memory.shape[1]
        gates = self._scratch.empty("gates", 0, inputs, 4 * size)
        self.before(inputs, out=gates)
        memories = self._scratch.empty("memories", 0, gates, 2 * size, extra_rows=num_sequences)
        squashed = self._scratch.empty("squashed", 0, gates, size)
        memories[:, :num_sequences] = memory
        of_gates, stays = self._weight.transpose(1, 2), None if held is None else held.unsqueeze(-1) > 0
        before, start = 0, 0
        for count in counts:
            old, rows = memories[:, before : before + count], slice(start, start + count)
            before, start = num_sequences + start, start + count
            new, gate = memories[:, before : before + count], gates[:, rows]
            gate.baddbmm_(old[..., :size], of_gates)
            gate[..., : 3 * size].sigmoid_()
            gate[..., 3 * size :].tanh_()
            take, keep, show, candidate = gate.split(size, -1)
            kept = torch.mul(keep, old[..., size:], out=new[..., size:]).addcmul_(take, candidate)
            torch.mul(show, torch.tanh(kept, out=squashed[:, rows]), out=new[..., :size])
            if stays is not None:
                new.copy_(torch.where(stays[:, rows], old, new))
        self._last = _Pass(gates, squashed, memories, counts, stays)
        return self._behind(memories[:, num_sequences:, :size])

    @torch.no_grad()
    def backward(self, gradient: Tensor) -> Tensor:
        self._behind.backward(gradient)
        last: _Pass = self._last
        self._last = None
        size = self.shape.cell_size
        of_memories = self._scratch.empty("gradient", 0, last.gates, 2 * size)
        of_memories[..., size:] = 0.0
        torch.bmm(gradient, self._parts["head.weight"], out=of_memories[..., :size])
        self._back_through_time(last, of_memories)
        remembered = before_each_row(last.memories, last.counts)[..., :size]
        torch.bmm(last.gates.transpose(1, 2), remembered, out=self._gradient_parts["memory.weight"])
        return self.before.backward(last.gates)

    def _back_through_time(self, last: _Pass, of_memories: Tensor) -> None:
        """Replace gates by their gradients, from the last step to the first.

        Args:
            of_memories: [K, R, 2 H], the gradient by what is remembered after each row, as far as it comes from the
                outputs; used up.
        """
        size, num_sequences = self.shape.cell_size, last.counts[0]
        spare = self._scratch.empty("spare", 0, last.gates[:, :num_sequences], 4 * size)
        start = last.gates.shape[1]
        for step in reversed(range(len(last.counts))):
            count = last.counts[step]
            start -= count
            rows, before = slice(start, start + count), 0
            if step:
                before = num_sequences + start - last.counts[step - 1]
                of_old = of_memories[:, before - num_sequences : before - num_sequences + count]
            gate, of_gate, of_new = last.gates[:, rows], spare[:, :count], of_memories[:, rows]
            if last.held is not None:
                stays = last.held[:, rows]
                if step:
                    of_old.add_(of_new * stays)
                of_new.masked_fill_(stays, 0.0)
            take, keep, show, candidate = gate.split(size, -1)
            squashed, of_shown, of_kept = last.squashed[:, rows], of_new[..., :size], of_new[..., size:]
            torch.mul(of_shown, squashed, out=of_gate[..., 2 * size : 3 * size])
            of_kept.addcmul_(of_shown * show, 1.0 - squashed.square())
            torch.mul(of_kept, candidate, out=of_gate[..., :size])
            torch.mul(
                of_kept, last.memories[:, before : before + count, size:], out=of_gate[..., size : 2 * size]
            )
            torch.mul(of_kept, take, out=of_gate[..., 3 * size :])
            if step:
                of_old[..., size:].addcmul_(of_kept, keep)
            three, one = slice(0, 3 * size), slice(3 * size, None)
            sigmoid_back, tanh_back = torch.ops.aten.sigmoid_backward, torch.ops.aten.tanh_backward
            sigmoid_back.grad_input(of_gate[..., three], gate[..., three], grad_input=gate[..., three])
            tanh_back.grad_input(of_gate[..., one], gate[..., one], grad_input=gate[..., one])
            if step:
                of_old[..., :size].baddbmm_(gate, self._weight)
