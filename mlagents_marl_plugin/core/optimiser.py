"""Adam over stacked parameters."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


class Learnt(Protocol):
    """Anything with parameters [K, P] and their gradient."""

    parameters: Tensor
    gradient: Tensor


class StackedAdam:
    """Adam for a few large tensors, each [K, P] with a row per network.

    ``torch.optim.Adam`` serves many small tensors; for a few large ones its bookkeeping costs as much as the
    step. The arithmetic is torch's: its fused kernel where there is one, else the same with tensor
    operations.

    Attributes:
        learning_rate: of the next step.

    Source: Kingma & Ba 2015, Algorithm 1, https://arxiv.org/abs/1412.6980
    """

    def __init__(self, nets: Sequence[Learnt], learning_rate: float) -> None:
        """
        Args:
            nets: what learns, such as stacks of networks.
            learning_rate: above 0.
        """
        self._parameters = [net.parameters for net in nets]
        self._gradients = [net.gradient for net in nets]
        self.learning_rate = self._configured_rate = learning_rate
        device = self._parameters[0].device
        self._rate = torch.full((), learning_rate, device=device)
        self._first = [torch.zeros_like(p) for p in self._parameters]
        self._second = [torch.zeros_like(p) for p in self._parameters]
        self._steps = [torch.zeros((), device=device) for _ in self._parameters]
        self._fused = _has_fused(device)

    def set_learning_rate_fraction(self, fraction: float) -> None:
        """Scale the rate that was configured."""
        self.set_learning_rate(self._configured_rate * fraction)

    def set_learning_rate(self, rate: float) -> None:
        self.learning_rate = rate
        self._rate.fill_(rate)

    @torch.no_grad()
    def step(self) -> None:
        """Change the parameters against their stacks' gradients."""
        for step in self._steps:
            step.add_(1)
        if self._fused:
            _fused_adam(self._parameters, self._gradients, self._first, self._second, self._steps, self._rate)
            return
        for parameter, gradient, first, second, step in zip(
            self._parameters, self._gradients, self._first, self._second, self._steps, strict=True
        ):
            first.lerp_(gradient, 1.0 - _BETA1)
            second.mul_(_BETA2).addcmul_(gradient, gradient, value=1.0 - _BETA2)
            root = (second / (1.0 - _BETA2**step)).sqrt_().add_(_EPSILON)
            parameter.sub_(first / root * (self._rate / (1.0 - _BETA1**step)))

    def tensors(self) -> dict[str, Tensor]:
        """The state by name, not copied."""
        named = {}
        for i, (first, second, step) in enumerate(zip(self._first, self._second, self._steps, strict=True)):
            named.update({f"{i}.first_moment": first, f"{i}.second_moment": second, f"{i}.steps": step})
        return named


def _fused_adam(
    parameters: list[Tensor],
    gradients: list[Tensor],
    first: list[Tensor],
    second: list[Tensor],
    steps: list[Tensor],
    rate: Tensor,
) -> None:
    """The kernel behind ``torch.optim.Adam(fused=True)``; steps are those after this one."""
    torch._fused_adam_(
        parameters,
        gradients,
        first,
        second,
        [],
        steps,
        lr=rate,
        beta1=_BETA1,
        beta2=_BETA2,
        weight_decay=0.0,
        eps=_EPSILON,
        amsgrad=False,
        maximize=False,
    )


def _has_fused(device: torch.device) -> bool:
    """Whether this torch has that kernel for the device; for the CPU it came after 2.1."""
    value = [torch.zeros(1, device=device)]
    step, rate = [torch.ones((), device=device)], torch.zeros((), device=device)
    try:
        _fused_adam(value, value, [value[0].clone()], [value[0].clone()], step, rate)
    except (AttributeError, RuntimeError, NotImplementedError, TypeError):
        return False
    return True
