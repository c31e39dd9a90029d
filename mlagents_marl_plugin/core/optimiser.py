"""Adam over stacked parameters."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim import adam

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


class StackedAdam:
    """Adam for a few large tensors, each [K, P] with a row per network.

    ``torch.optim.Adam`` serves many small tensors; for two large ones its bookkeeping costs more than the step. The
    arithmetic is torch's: its fused kernel where the device has one, else the same written with tensor operations.

    Source: Kingma & Ba 2015, Algorithm 1, https://arxiv.org/abs/1412.6980
    """

    def __init__(self, parameters: Sequence[Tensor], learning_rate: float) -> None:
        self._parameters = [p.detach() for p in parameters]
        self._learning_rate = learning_rate
        device = self._parameters[0].device
        self._rate = torch.full((), learning_rate, device=device)
        self._first = [torch.zeros_like(p) for p in self._parameters]
        self._second = [torch.zeros_like(p) for p in self._parameters]
        self._steps = [torch.zeros((), device=device) for _ in self._parameters]
        self._fused = _has_fused(device)

    def set_learning_rate_fraction(self, fraction: float) -> None:
        self._rate.fill_(self._learning_rate * fraction)

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor]) -> None:
        """Change the parameters against ``gradients``, which have their shapes."""
        if self._fused:
            adam.adam(
                self._parameters,
                list(gradients),
                self._first,
                self._second,
                [],
                self._steps,
                fused=True,
                amsgrad=False,
                beta1=_BETA1,
                beta2=_BETA2,
                lr=self._rate,
                weight_decay=0.0,
                eps=_EPSILON,
                maximize=False,
            )
            return
        for parameter, gradient, first, second, step in zip(
            self._parameters, gradients, self._first, self._second, self._steps
        ):
            step += 1
            first.lerp_(gradient, 1.0 - _BETA1)
            second.mul_(_BETA2).addcmul_(gradient, gradient, value=1.0 - _BETA2)
            root = (second / (1.0 - _BETA2**step)).sqrt_().add_(_EPSILON)
            parameter.sub_(first / root * (self._rate / (1.0 - _BETA1**step)))

    def tensors(self) -> dict[str, Tensor]:
        """The state by name, not copied."""
        named = {}
        for i, (first, second, step) in enumerate(zip(self._first, self._second, self._steps)):
            named.update({f"{i}.first_moment": first, f"{i}.second_moment": second, f"{i}.steps": step})
        return named


def _has_fused(device: torch.device) -> bool:
    """Whether this torch has a fused Adam for the device; for the CPU it came after 2.1."""
    probe, steps = [torch.zeros(1, device=device)], [torch.zeros((), device=device)]
    settings = {"beta1": _BETA1, "beta2": _BETA2, "lr": 0.0, "weight_decay": 0.0, "eps": _EPSILON}
    try:
        adam.adam(
            probe,
            probe,
            [probe[0].clone()],
            [probe[0].clone()],
            [],
            steps,
            fused=True,
            amsgrad=False,
            maximize=False,
            **settings,
        )
    except (RuntimeError, NotImplementedError):
        return False
    return True
