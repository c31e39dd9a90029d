"""How many updates a second the machine's matrix products would allow: their operations at a batched product's rate."""

from collections.abc import Callable

import torch
from turns import HIDDEN, OBS, serve
from value_task import CHOICES, HYPERNETWORK, MIXING


def operations(agents: int, batch: int) -> float:
    """Floating-point operations in the matrix products of one QMIX update."""
    agent = OBS * HIDDEN + HIDDEN * HIDDEN + HIDDEN * CHOICES
    state = agents * (OBS + 1)
    weights = HYPERNETWORK * (agents * MIXING + 2 * MIXING + 1)
    mixing = agents * MIXING + MIXING
    # The target's and the chooser's say; there and back, without the gradient of observations and state.
    products = agents * (2 * agent + 3 * agent - OBS * HIDDEN)
    products += 3 * state * HYPERNETWORK + 4 * weights + 4 * mixing
    return 2.0 * products * batch


def build(agents: int, batch: int, device: str) -> Callable[[], object]:
    """As many products of a hidden layer as make up an update."""
    left = torch.randn(agents, batch, HIDDEN, device=device)
    right, out = torch.randn(agents, HIDDEN, HIDDEN, device=device), torch.empty_like(left)
    times = round(operations(agents, batch) / (2.0 * agents * batch * HIDDEN * HIDDEN))

    def update() -> None:
        for _ in range(times):
            torch.bmm(left, right, out=out)

    return update


if __name__ == "__main__":
    serve("matrix products", build)
