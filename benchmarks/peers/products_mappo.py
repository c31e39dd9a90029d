"""How many updates a second the machine's matrix products would allow: their operations at a batched product's rate."""

from collections.abc import Callable

import torch
from on_policy_task import EPOCHS, FRAMES
from turns import ACTION, HIDDEN, OBS, serve


def operations(agents: int) -> float:
    """Floating-point operations in the matrix products of one MAPPO update."""
    actor = OBS * HIDDEN + HIDDEN * HIDDEN + HIDDEN * ACTION
    first = agents * OBS * HIDDEN
    critic = first + HIDDEN * HIDDEN + HIDDEN
    # Values once; then in every epoch both there and back, without their inputs' gradients.
    products = critic + EPOCHS * (3 * actor - OBS * HIDDEN + 3 * critic - first)
    return 2.0 * products * agents * FRAMES


def build(agents: int, batch: int, device: str) -> Callable[[], object]:
    """As many products of a hidden layer as make up an update."""
    left = torch.randn(agents, batch, HIDDEN, device=device)
    right, out = torch.randn(agents, HIDDEN, HIDDEN, device=device), torch.empty_like(left)
    times = round(operations(agents) / (2.0 * agents * batch * HIDDEN * HIDDEN))

    def update() -> None:
        for _ in range(times):
            torch.bmm(left, right, out=out)

    return update


if __name__ == "__main__":
    serve("matrix products", build)
