"""How many updates a second the machine's matrix products would allow: their operations at a batched product's rate."""

from collections.abc import Callable

import torch
from turns import ACTION, HIDDEN, OBS, serve


def operations(agents: int, batch: int) -> float:
    """Floating-point operations in the matrix products of one MADDPG update."""
    actor = OBS * HIDDEN + HIDDEN * HIDDEN + HIDDEN * ACTION
    first = agents * (OBS + ACTION) * HIDDEN
    critic = first + HIDDEN * HIDDEN + HIDDEN
    own = HIDDEN * HIDDEN + HIDDEN + ACTION * HIDDEN  # back to the own action
    # Both targets; critic there and back, without its input's gradient; critic's own question; actor there and back.
    products = actor + critic + (3 * critic - first) + critic + own + (3 * actor - OBS * HIDDEN)
    return 2.0 * products * agents * batch


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
