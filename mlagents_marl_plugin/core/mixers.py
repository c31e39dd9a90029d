"""Mixers: from the values of what each agent chose to the value of what the group did, or of what each is to learn.

They read chosen values [B, M], a column per agent (and branch), and which columns are there [B, M] 0/1. A column
that is not there contributes exactly nothing, whatever stands in it, and gets no gradient. So a group may change its
size from step to step.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from mlagents_marl_plugin.core.action_values import ActionValues
from mlagents_marl_plugin.core.learnt import Network
from mlagents_marl_plugin.core.mlp_shape import MlpShape
from mlagents_marl_plugin.core.stacked_mlp import Scratch, StackedMlp
from mlagents_marl_plugin.core.stacked_recurrent import input_gradient


class Mixer(Protocol):
    """``E`` values made of the chosen ones: 1 for a group's value, N for independent agents.

    Nothing here is recorded by autograd.
    """

    nets: list[StackedMlp]

    @property
    def learnt(self) -> Sequence[Network]:
        """See `core.learnt`."""

    def __call__(self, chosen_q: Tensor, present: Tensor, state: Tensor) -> Tensor:
        """Values [B, E].

        Args:
            chosen_q: [B, M].
            present: [B, M] 0/1.
            state: [B, S], what the group's value depends on besides.
        """

    def backward(self, gradient: Tensor) -> Tensor:
        """Differentiate the last call by its parameters and by ``chosen_q`` [B, M], given the gradient [B, E]."""

    def sensitivity(self) -> Tensor:
        """How much the last call's result grows with each chosen value, [B, M] >= 0; 0 for those not there."""

    def target_copy(self) -> "Mixer":
        """A copy that does not learn."""


class NoMixer:
    """Every agent for itself: the mean over its branches."""

    def __init__(self, values: ActionValues) -> None:
        """Args: values, which know whose column is whose."""
        self.nets: list[StackedMlp] = []
        self.learnt: Sequence[Network] = self.nets
        self._values = values
        self._present: Tensor | None = None

    def __call__(self, chosen_q: Tensor, present: Tensor, state: Tensor) -> Tensor:
        self._present = present
        return self._values.slot_mean(chosen_q.masked_fill(present == 0, 0.0))

    def backward(self, gradient: Tensor) -> Tensor:
        assert self._present is not None, "NoMixer: expected a call before"
        return self._values.column_share(gradient).mul_(self._present)

    def sensitivity(self) -> Tensor:
        assert self._present is not None, "NoMixer: expected a call before"
        return self._present

    def target_copy(self) -> "NoMixer":
        return NoMixer(self._values)


class SumMixer:
    """The sum over who is there, ``Q_total = sum_i q_i`` (VDN).

    Source: Sunehag et al. 2018, eq. 1, https://arxiv.org/abs/1706.05296
    """

    def __init__(self) -> None:
        self.nets: list[StackedMlp] = []
        self.learnt: Sequence[Network] = self.nets
        self._present: Tensor | None = None

    def __call__(self, chosen_q: Tensor, present: Tensor, state: Tensor) -> Tensor:
        self._present = present
        return chosen_q.masked_fill(present == 0, 0.0).sum(1, keepdim=True)

    def backward(self, gradient: Tensor) -> Tensor:
        return gradient * self.sensitivity()

    def sensitivity(self) -> Tensor:
        assert self._present is not None, "SumMixer: expected a call before"
        return self._present

    def target_copy(self) -> "SumMixer":
        return SumMixer()


class _Pass(NamedTuple):
    """What the backward pass needs of its forward pass."""

    chosen_q: Tensor  # [B, M], 0 where not there
    present: Tensor  # [B, M] 0/1
    raw: Tensor  # [1, B, P] of the hypernetwork
    first: Tensor  # [B, M, W] >= 0
    hidden: Tensor  # [B, W]
    second: Tensor  # [B, W] >= 0


class MonotonicMixer:
    """``Q_total = |w2(s)| . elu(|W1(s)| q + b1(s)) + v(s)``, which rises with every agent's value (QMIX).

    So what is best for the group is what is best in every agent's own values, and agents can act alone. One
    hypernetwork reads the state and puts out W1, w2, b1 and v.

    Source: Rashid et al. 2018, eq. 5 and section 4.1, https://arxiv.org/abs/1803.11485
    """

    def __init__(self, num_columns: int, width: int, net: StackedMlp) -> None:
        self.num_columns = num_columns
        self.width = width
        self.nets = [net]
        self.learnt: Sequence[Network] = self.nets
        self._sizes = _sizes(num_columns, width)
        self._scratch = Scratch()
        self._last: _Pass | None = None
        self._of_first: Tensor | None = None  # the last gradient by the hypernetwork's first layer

    @classmethod
    def create(
        cls,
        num_columns: int,
        state_size: int,
        width: int,
        hidden_units: int,
        device: torch.device,
        generator: torch.Generator,
    ) -> "MonotonicMixer":
        """A new mixer of ``num_columns`` values, W = ``width``; ``hidden_units`` are the hypernetwork's."""
        shape = MlpShape(state_size, (hidden_units,), sum(_sizes(num_columns, width)))
        net = StackedMlp.create(shape, 1, device, generator)
        # The stack's own small last layer would make all weights, and so all gradients of the agents, nearly 0.
        for name in ("1.weight", "1.bias"):
            part = net.part(name)
            drawn = torch.rand(part.shape, generator=generator, device="cpu")
            part.copy_((2.0 * drawn - 1.0) / hidden_units**0.5)
        return cls(num_columns, width, net)

    def target_copy(self) -> "MonotonicMixer":
        return MonotonicMixer(self.num_columns, self.width, self.nets[0].target_copy())

    @torch.no_grad()
    def __call__(self, chosen_q: Tensor, present: Tensor, state: Tensor) -> Tensor:
        state, shape = state.unsqueeze(0), (self.num_columns, self.width)
        raw = self.nets[0](state, out=self._scratch.empty("raw", 0, state, sum(self._sizes)))
        first, second, bias, value = raw.squeeze(0).split(self._sizes, 1)
        positive = self._scratch.empty("first", 0, state, self.num_columns * self.width).squeeze(0)
        first = torch.abs(first, out=positive).unflatten(1, shape)
        second = second.abs()
        chosen_q = chosen_q.masked_fill(present == 0, 0.0)
        hidden = _elu((chosen_q.unsqueeze(2) * first).sum(1).add_(bias))
        self._last = _Pass(chosen_q, present, raw, first, hidden, second)
        mixed: Tensor = (hidden * second).sum(1, keepdim=True).add_(value)
        return mixed

    @torch.no_grad()
    def backward(self, gradient: Tensor) -> Tensor:
        assert self._last is not None, "MonotonicMixer: expected a call before"
        chosen_q, present, raw, first, hidden, second = self._last
        of_hidden = gradient * second * _elu_slope(hidden)  # before the ELU
        raw_first, raw_second, _, _ = raw.squeeze(0).split(self._sizes, 1)
        of_raw = self._scratch.empty("gradient", 0, raw, raw.shape[2])
        of_first, of_second, of_bias, of_value = of_raw.squeeze(0).split(self._sizes, 1)
        outer = of_first.unflatten(1, (self.num_columns, self.width))
        torch.mul(chosen_q.unsqueeze(2), of_hidden.unsqueeze(1), out=outer)  # [B, M, W]
        # sign is the derivative of abs.
        of_first.mul_(raw_first.sign_())
        torch.mul(gradient * hidden, raw_second.sign_(), out=of_second)
        of_bias.copy_(of_hidden)
        of_value.copy_(gradient)
        self._of_first = self.nets[0].backward(of_raw)
        return _matrix_vector(first, of_hidden).mul_(present)

    @torch.no_grad()
    def state_gradient(self, size: int) -> Tensor:
        """The loss's gradient by the first columns of the state [B, size], right after `backward`."""
        assert self._of_first is not None, "MonotonicMixer: expected a backward pass before"
        return input_gradient(self.nets[0], self._of_first, size).squeeze(0)

    @torch.no_grad()
    def sensitivity(self) -> Tensor:
        assert self._last is not None, "MonotonicMixer: expected a call before"
        _, present, _, first, hidden, second = self._last
        return _matrix_vector(first, second * _elu_slope(hidden)).mul_(present)


def _sizes(num_columns: int, width: int) -> tuple[int, int, int, int]:
    """Widths of W1, w2, b1 and v."""
    return num_columns * width, width, width, 1


def _elu(value: Tensor) -> Tensor:
    """``max(x, 0) + exp(min(x, 0)) - 1``; torch's own takes eight times as long on a CPU, element by element."""
    return value.clamp_max(0.0).exp_().sub_(1.0).add_(value.relu_())


def _elu_slope(hidden: Tensor) -> Tensor:
    """ELU's derivative, from its result: 1 above 0, else ``exp(x) = elu(x) + 1``."""
    return hidden.clamp_max(0.0).add_(1.0)


def _matrix_vector(matrix: Tensor, vector: Tensor) -> Tensor:
    """[B, M, W] and [B, W] -> [B, M]; a third of the time of so many small batched products."""
    return (matrix * vector.unsqueeze(1)).sum(2)
