"""Updates of networks with a memory, beside their matrix products, torch's own cells, and the same without a memory.

    uv run python benchmarks/recurrent_speed.py [--device cuda]

Networks of 2 x 128, a GRU or an LSTM of 128 behind them and a linear layer behind that, observation 24, action 2,
sequences of 16 steps; forwards and backwards. The bare nn.GRU and nn.LSTM have nothing before or behind them, learn by
autograd. The products are those that an update cannot do without, with the shapes that they have in it, one after the
other. Whole updates: see memory_cost.py.

All take turns in one process; times are of its own processor on the CPU, of the clock on a GPU. The table is printed
and written to benchmarks/results/recurrent_speed_<device>.md.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path

import torch
from torch import nn

from mlagents_marl_plugin.core.mlp_shape import MlpShape
from mlagents_marl_plugin.core.recurrent_shape import Cell
from mlagents_marl_plugin.core.stacked_mlp import StackedMlp
from mlagents_marl_plugin.core.stacked_recurrent import StackedRecurrent
from mlagents_marl_plugin.core.stacks import create_stack

sys.path.insert(0, str(Path(__file__).resolve().parent / "peers"))

from turns import ACTION, HIDDEN, OBS, rate

FOLDER = Path(__file__).resolve().parent
STEPS, MEMORY = 16, 128
SIZES = ((1, 64), (2, 64), (2, 640))  # networks, sequences
Update = Callable[[], object]


def ours(cell: Cell, networks: int, sequences: int, device: torch.device) -> Update:
    """The stack with a memory, whose layer behind reads MEMORY numbers."""
    generator, shape = torch.Generator().manual_seed(0), MlpShape(OBS, (HIDDEN, HIDDEN), ACTION)
    size = MEMORY if cell is Cell.GRU else 2 * MEMORY
    net = create_stack(shape, size, networks, device, generator, cell=cell)
    assert isinstance(net, StackedRecurrent)
    rows = torch.randn(networks, sequences * STEPS, OBS, device=device)
    memory = torch.randn(networks, sequences, size, device=device)
    gradient, counts = torch.randn(*rows.shape[:2], ACTION, device=device), (sequences,) * STEPS

    def update() -> None:
        net(rows, memory, counts)
        net.backward(gradient)

    return update


def without_memory(networks: int, sequences: int, device: torch.device) -> Update:
    """The stack of the same hidden layers, feed-forward."""
    shape = MlpShape(OBS, (HIDDEN, HIDDEN), ACTION)
    net = StackedMlp.create(shape, networks, device, torch.Generator().manual_seed(0))
    rows = torch.randn(networks, sequences * STEPS, OBS, device=device)
    gradient = torch.randn(*rows.shape[:2], ACTION, device=device)

    def update() -> None:
        net(rows)
        net.backward(gradient)

    return update


def bare(kind: type[nn.GRU] | type[nn.LSTM], networks: int, sequences: int, device: torch.device) -> Update:
    """Torch's own layer, one after the other, with gradients by its inputs as hidden layers before it need them."""
    cells = [kind(HIDDEN, MEMORY).to(device) for _ in range(networks)]
    inputs = torch.randn(STEPS, sequences, HIDDEN, device=device, requires_grad=True)
    gradient = torch.randn(STEPS, sequences, MEMORY, device=device)

    def update() -> None:
        for cell in cells:
            outputs, _ = cell(inputs)
            torch.autograd.grad(outputs, [inputs, *cell.parameters()], gradient)

    return update


def products(cell: Cell, networks: int, sequences: int, device: torch.device) -> Update:
    """The matrix products of `ours`."""
    whole, gates = sequences * STEPS, cell.num_gates * MEMORY
    # Forwards and by the weights; by the inputs of all layers but the first; each step's, there and back.
    shapes = [(whole, a, b) for a, b in ((OBS, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, gates), (MEMORY, ACTION))]
    shapes += [(b, r, a) for r, a, b in shapes] + [(r, b, a) for r, a, b in shapes[1:]]
    shapes += [(gates, whole, MEMORY)] + STEPS * [(sequences, MEMORY, gates), (sequences, gates, MEMORY)]

    def tensor(rows: int, columns: int) -> torch.Tensor:
        return torch.randn(networks, rows, columns, device=device)

    given = {shape: (tensor(shape[0], shape[1]), tensor(shape[1], shape[2])) for shape in shapes}
    out = {shape: tensor(shape[0], shape[2]) for shape in shapes}

    def update() -> None:
        for shape in shapes:
            torch.bmm(*given[shape], out=out[shape])

    return update


def medians(updates: dict[str, Update], turns: int, seconds: float, device: str) -> dict[str, list[float]]:
    """Milliseconds per update, turn by turn."""
    times: dict[str, list[float]] = {name: [] for name in updates}
    for _ in range(turns):
        for name, update in updates.items():
            times[name].append(1e3 / rate(update, seconds, device))
    return times


def ratio(times: dict[str, list[float]], one: str, other: str) -> float:
    """The median over turns of one's time in the other's."""
    return statistics.median(a / b for a, b in zip(times[one], times[other], strict=True))


def lines(options: argparse.Namespace) -> list[str]:
    """The table."""
    device = torch.device(options.device)
    found = [
        f"On {options.device}, one thread, torch {torch.__version__}, median of {options.turns} turns.",
        "",
        "| cell | networks x sequences | ours, ms | share of its products' rate | times nn.GRU | times nn.LSTM "
        "| times feed-forward |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for cell, (networks, sequences) in product(Cell, SIZES):
        size = (networks, sequences, device)
        updates = {
            "ours": ours(cell, *size),
            "products": products(cell, *size),
            "gru": bare(nn.GRU, *size),
            "lstm": bare(nn.LSTM, *size),
            "feed-forward": without_memory(*size),
        }
        times = medians(updates, options.turns, options.seconds, options.device)
        share = ratio(times, "products", "ours")
        others = [f"{ratio(times, 'ours', name):.2f}" for name in ("gru", "lstm", "feed-forward")]
        cells = [
            cell.value.upper(),
            f"{networks} x {sequences}",
            f"{statistics.median(times['ours']):.1f}",
            f"{share:.0%}",
            *others,
        ]
        found.append(f"| {' | '.join(cells)} |")
        print(found[-1], flush=True)
    found.append("")
    return found


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="per turn")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    begin = time.perf_counter()
    table = lines(options)
    (FOLDER / "results" / f"recurrent_speed_{options.device}.md").write_text(
        "\n".join(table), encoding="utf-8"
    )
    print("\n".join(table), f"{time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
