"""One slot's stochastic policy as plain torch layers, for export."""

import torch
from torch import Tensor, nn

from mlagents_marl_plugin.core.distributions import GaussianHead
from mlagents_marl_plugin.core.types import ActionLayout


class PolicyModule(nn.Module):
    """What one agent sees, [B, O] -> its policy [B, C + choices + C]: the mean of every continuous value as it acts
    (within [-1, 1] only where tanh bounds it), a logit per choice, and the standard deviation of every value.
    """

    log_std: Tensor

    def __init__(
        self, network: nn.Module, layout: ActionLayout, head: GaussianHead, free: Tensor | None
    ) -> None:
        """
        Args:
            network: [B, O] -> [B, head.num_outputs(layout)].
            free: [C] log-deviations beside the network; None if they are its outputs.
        """
        super().__init__()
        self.network = network
        self.layout = layout
        self.head = head
        self.depends_on_state = free is None
        self.register_buffer("log_std", torch.zeros(0, device="cpu") if free is None else free.clone())

    def forward(self, obs: Tensor) -> Tensor:
        """See the class."""
        return self._policy(self.network(obs))

    def _policy(self, raw: Tensor) -> Tensor:
        num_values, size = self.layout.continuous, self.layout.size
        if not num_values:
            return raw
        mean, logit = raw[:, :num_values], raw[:, num_values:size]
        if self.head.tanh_mean:
            mean = torch.tanh(mean)
        # Adding 0 times the mean gives the deviations the batch's shape with operators that all importers read.
        log_std = raw[:, size:] if self.depends_on_state else self.log_std + mean * 0.0
        return torch.cat([mean, logit, torch.exp(log_std.clamp(*self.head.bounds))], 1)


class RecurrentPolicyModule(PolicyModule):
    """A `PolicyModule` whose network has a memory: also takes what is remembered [B, M], and returns what is then."""

    def forward(self, obs: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """See the class."""
        raw, memory = self.network(obs, memory)
        return self._policy(raw), memory
