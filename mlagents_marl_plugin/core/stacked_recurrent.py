"""Stacked networks with a memory: K networks of one shape, a gated recurrent unit in each, that run and learn as one.

As in `core.stacked_mlp`, a tensor of parameters [K, P] holds a network per row, all of them are computed at once, and
the backward pass is written out. What does not depend on the step before is computed for all steps in one product;
the loop over steps is left with the products of what is remembered.

Sequences lie step by step: first the first step of every sequence, then the second of those that have one, and so on,
the longest sequences first. So every step's rows are the first of the step before, and nothing is padded.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mlagents_marl_plugin.core.mlp_shape import row_width
from mlagents_marl_plugin.core.recurrent_shape import NUM_GATES, RecurrentShape
from mlagents_marl_plugin.core.sequences import places_before
from mlagents_marl_plugin.core.stacked_mlp import (
    UNIFORM,
    Initialisation,
    Scratch,
    StackedMlp,
    orthogonal,
    views,
)


class _Pass(NamedTuple):
    """What a backward pass needs of its forward pass."""

    gates: Tensor  # [K, R, 3 M] reset and update gates and candidates
    product: Tensor  # [K, R, M] of the candidate's weights with what was remembered
    memories: Tensor  # [K, S + R, M], see `StackedRecurrent.memories`
    counts: Sequence[int]


class StackedRecurrent:
    """K networks of one shape; network k is row k of ``parameters``.

    The cell, for what it remembers ``h`` and what it reads ``x``::

        r = sigmoid(W_r x + b_r + U_r h)      z = sigmoid(W_z x + b_z + U_z h)
        n = tanh(W_n x + b_n + r * (U_n h + c))
        h' = (1 - z) * n + z * h

    It is torch's ``nn.GRUCell`` without the biases that only add up to another one. A forward pass is followed by its
    backward pass, if any, before the next forward pass. Nothing here is recorded by autograd.

    Source: Cho et al. 2014, eq. 5 to 8, https://arxiv.org/abs/1406.1078 (as computed by cuDNN: ``r`` after the product)
    """

    def __init__(
        self,
        shape: RecurrentShape,
        parameters: Tensor,
        statistics: Tensor,
        learns: bool = False,
    ) -> None:
        """
        Args:
            shape: of every network.
            parameters: [K, P] float, used as it is, see `create`.
            statistics: [K, S] float, of ``shape.before``.
            learns: whether a backward pass computes the parameters' gradient.
        """
        self.shape = shape
        self.parameters = parameters
        self.statistics = statistics
        self.gradient = torch.zeros_like(parameters) if learns else parameters.new_empty(0)
        self._learns = learns
        self._scratch = Scratch()
        self._parts = views(shape.parts, parameters)
        self._statistics = views(shape.statistics, statistics)
        self._gradient_parts = views(shape.parts, self.gradient) if learns else {}
        before, behind = shape.place_before, shape.place_behind
        of_before, of_behind = (self.gradient[:, p] if learns else None for p in (before, behind))
        self.before = StackedMlp(
            shape.before, parameters[:, before], statistics, learns=learns, gradient=of_before
        )
        self._behind = StackedMlp(
            shape.behind, parameters[:, behind], statistics[:, :0], learns=learns, gradient=of_behind
        )
        self._last: Any = None
        self._name_parts()

    def _name_parts(self) -> None:
        """Give the cell's weights names of their own."""
        size, weight = self.shape.memory_size, self._parts["memory.weight"]
        self._gate_weight, self._candidate_weight = weight[:, : 2 * size], weight[:, 2 * size :]
        self._candidate_bias = self._parts["memory.bias"].unsqueeze(1)

    @classmethod
    def create(
        cls,
        shape: RecurrentShape,
        num_networks: int,
        device: torch.device,
        generator: torch.Generator,
        initialisation: Initialisation = UNIFORM,
    ) -> "StackedRecurrent":
        """New networks, drawn on the CPU so that a seed gives the same ones on every device.

        Weights of the cell are drawn uniformly within ``1 / sqrt(H)`` as torch's, or orthogonally, gate by gate.
        """
        cpu, size = torch.device("cpu"), shape.cell_size
        inner = Initialisation(initialisation.orthogonal, 1.0)
        before = StackedMlp.create(shape.before, num_networks, cpu, generator, inner)
        behind = StackedMlp.create(shape.behind, num_networks, cpu, generator, initialisation)
        parameters = torch.zeros(num_networks, row_width(shape.parts), device="cpu")
        parameters[:, shape.place_before] = before.parameters
        parameters[:, shape.place_behind] = behind.parameters
        parts = views(shape.parts, parameters)
        of_inputs, of_memory = parts[f"{shape.before.output_layer}.weight"], parts["memory.weight"]
        if initialisation.orthogonal:
            for gate in range(shape.cell.num_gates):
                place = slice(gate * size, (gate + 1) * size)
                of_inputs[:, place] = orthogonal(num_networks, of_inputs.shape[2], size, generator)
                of_memory[:, place] = orthogonal(num_networks, size, size, generator)
        else:
            bound = 1.0 / math.sqrt(size)
            biases = [
                parts[name] for name in (f"{shape.before.output_layer}.bias", "memory.bias") if name in parts
            ]
            for part in (of_inputs, of_memory, *biases):
                part.copy_(torch.rand(part.shape, generator=generator, device="cpu") * (2 * bound) - bound)
        return cls(shape, parameters.to(device), before.statistics.to(device), learns=True)

    @property
    def num_networks(self) -> int:
        """K."""
        return self.parameters.shape[0]

    def target_copy(self) -> "StackedRecurrent":
        """A copy that does not learn."""
        return type(self)(self.shape, self.parameters.clone(), self.statistics.clone())

    def acting_copy(self, device: torch.device) -> "StackedRecurrent":
        """A copy on another device that does not learn and shares nothing."""
        parameters, statistics = self.parameters.to(device, copy=True), self.statistics.to(device, copy=True)
        return type(self)(self.shape, parameters, statistics)

    def part(self, name: str) -> Tensor:
        """View [K, ...] of one parameter or statistic, see `RecurrentShape.parts`."""
        return self._parts[name] if name in self._parts else self._statistics[name]

    def part_gradient(self, name: str) -> Tensor:
        """View [K, ...] of one parameter's gradient, of a stack that learns."""
        return self._gradient_parts[name]

    def tensors(self) -> dict[str, Tensor]:
        """All parameters and statistics by name, as views [K, ...]."""
        return self._parts | self._statistics

    def copy_weights(self, other: "StackedRecurrent") -> None:
        """Take over another's parameters and statistics in place, from any device."""
        self.parameters.copy_(other.parameters)
        self.statistics.copy_(other.statistics)

    @torch.no_grad()
    def __call__(
        self, inputs: Tensor, memory: Tensor, counts: Sequence[int], held: Tensor | None = None
    ) -> Tensor:
        """Outputs [K, R, out] of S sequences of inputs [K, R, in], which lie step by step (see the module).

        Args:
            inputs: may be expanded over K where all networks see the same.
            memory: [K, S, M], what is remembered before the first step.
            counts: number of sequences at every step, ``counts[0] = S``, none above the one before it; R in all.
            held: [K, R] 0/1, 1 = what is remembered stays as it is in this step.
        """
        size, num_sequences = self.shape.memory_size, memory.shape[1]
        gates = self._scratch.empty("gates", 0, inputs, NUM_GATES * size)
        self.before(inputs, out=gates)
        if held is not None:
            # The update gate's sigmoid is then exactly 1, and its gradient exactly 0.
            gates[..., size : 2 * size].masked_fill_(held.unsqueeze(-1) > 0, math.inf)
        memories = self._scratch.empty("memories", 0, gates, size, extra_rows=num_sequences)
        product = self._scratch.empty("product", 0, gates, size)
        memories[:, :num_sequences] = memory
        of_gates, of_candidate = self._gate_weight.transpose(1, 2), self._candidate_weight.transpose(1, 2)
        before, start = 0, 0
        for count in counts:
            remembered, rows = memories[:, before : before + count], slice(start, start + count)
            both, candidate = gates[:, rows, : 2 * size], gates[:, rows, 2 * size :]
            both.baddbmm_(remembered, of_gates).sigmoid_()
            known = torch.baddbmm(self._candidate_bias, remembered, of_candidate, out=product[:, rows])
            candidate.addcmul_(both[..., :size], known).tanh_()
            before, start = num_sequences + start, start + count
            torch.lerp(candidate, remembered, both[..., size:], out=memories[:, before : before + count])
        self._last = _Pass(gates, product, memories, counts)
        return self._behind(memories[:, num_sequences:])

    @property
    def memories(self) -> Tensor:
        """[K, S + R, M] of the last pass: before the first step, then after every row; until the next pass."""
        assert self._last is not None
        memories: Tensor = self._last.memories
        return memories

    @torch.no_grad()
    def backward(self, gradient: Tensor) -> Tensor:
        """Differentiate the last pass through all its steps: fills ``self.gradient``.

        Args:
            gradient: [K, R, out] of a loss by the outputs.

        Returns:
            [K, R, H], the loss's gradient by the first layer's product, see `StackedMlp.backward`.

        Raises:
            RuntimeError: if there was another pass since, or this one was differentiated before.
        """
        self._behind.backward(gradient)
        last: _Pass = self._last
        self._last = None
        size, head = self.shape.memory_size, self._parts["head.weight"]
        of_memories = self._scratch.empty("gradient", 0, last.gates, size)
        product = torch.mul if head.shape[1] == 1 else torch.bmm  # with one output an outer product
        product(gradient, head, out=of_memories)
        self._through_time(last, of_memories)
        of_weight = self._gradient_parts["memory.weight"]
        remembered = before_each_row(last.memories, last.counts)
        torch.bmm(last.gates[..., : 2 * size].transpose(1, 2), remembered, out=of_weight[:, : 2 * size])
        torch.bmm(last.product.transpose(1, 2), remembered, out=of_weight[:, 2 * size :])
        torch.sum(last.product, 1, out=self._gradient_parts["memory.bias"])
        return self.before.backward(last.gates)

    def _through_time(self, last: _Pass, of_memories: Tensor) -> None:
        """Replace gates and products by their gradients, from the last step to the first.

        Args:
            of_memories: [K, R, M], the gradient by what is remembered after each row, as far as it comes from the
                outputs; used up.
        """
        size, num_sequences = self.shape.memory_size, last.counts[0]
        spare = self._scratch.empty("spare", 0, last.gates[:, :num_sequences], NUM_GATES * size)
        start = last.gates.shape[1]
        for step in reversed(range(len(last.counts))):
            count = last.counts[step]
            start -= count
            rows, before = slice(start, start + count), 0
            if step:
                before = num_sequences + start - last.counts[step - 1]
            remembered = last.memories[:, before : before + count]
            both, candidate = last.gates[:, rows, : 2 * size], last.gates[:, rows, 2 * size :]
            reset, update, product = both[..., :size], both[..., size:], last.product[:, rows]
            of_both, of_candidate = spare[:, :count, : 2 * size], spare[:, :count, 2 * size :]
            of_new = of_memories[:, rows]
            torch.sub(remembered, candidate, out=of_both[..., size:]).mul_(of_new)
            torch.addcmul(of_new, of_new, update, value=-1.0, out=of_candidate)
            if step:
                of_old = of_memories[:, before - num_sequences : before - num_sequences + count]
                of_old.addcmul_(of_new, update)
            torch.ops.aten.tanh_backward.grad_input(of_candidate, candidate, grad_input=candidate)
            torch.mul(candidate, product, out=of_both[..., :size])
            torch.mul(candidate, reset, out=product)
            torch.ops.aten.sigmoid_backward.grad_input(of_both, both, grad_input=both)
            if step:
                of_old.baddbmm_(both, self._gate_weight).baddbmm_(product, self._candidate_weight)


def before_each_row(memories: Tensor, counts: Sequence[int]) -> Tensor:
    """What was remembered before each row [K, R, M], given `StackedRecurrent.memories`."""
    num_sequences = counts[0]
    if counts[-1] == num_sequences:
        return memories[:, : memories.shape[1] - num_sequences]
    return memories.index_select(1, places_before(counts).to(memories.device))


Stack = StackedMlp | StackedRecurrent


def input_gradient(net: Stack, of_first: Tensor, num_inputs: int) -> Tensor:
    """A loss's gradient [K, R, num_inputs] by the first inputs, of what ``net.backward`` returned."""
    return torch.bmm(of_first, net.part("0.weight")[:, :, :num_inputs])
