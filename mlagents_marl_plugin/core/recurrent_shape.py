"""The shape of a network with a memory, and how its parameters lie in one row of memory."""

from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation, MlpShape, Part, placed, row_width

NUM_GATES = 3  # of a GRU: reset, update, candidate


class Cell(Enum):
    """What remembers; the values are what users write in YAML."""

    GRU = "gru"  # all that it remembers is what the next layer reads
    LSTM = "lstm"  # half of it, the other half is kept inside the cell

    @property
    def num_gates(self) -> int:
        """Gates and candidates."""
        return NUM_GATES if self is Cell.GRU else 4


@dataclass(frozen=True)
class RecurrentShape:
    """Sizes of a network whose hidden layers feed a recurrent cell, which feeds a linear layer.

    The cell's products of its inputs are the last layer of the MLP before it (``before``); the linear layer behind it
    is an MLP without hidden layers (``behind``), whose ``free`` parameters are the network's.
    """

    num_inputs: int
    hidden: tuple[int, ...]
    memory_size: int
    num_outputs: int
    normalisation: LayerNormalisation = LayerNormalisation.NONE
    free: int = 0
    cell: Cell = Cell.GRU

    def __post_init__(self) -> None:
        """Raises: ValueError: if what is remembered has no two halves where it needs to."""
        if self.cell is Cell.LSTM and self.memory_size % 2:
            raise ValueError(
                f"memory_size: expected an even number with memory_cell lstm, which keeps half of it inside the cell, "
                f"got {self.memory_size}; try {self.memory_size + 1}"
            )

    @property
    def cell_size(self) -> int:
        """H, what the layer behind the cell reads: all that is remembered, M, or of an LSTM one half."""
        return self.memory_size if self.cell is Cell.GRU else self.memory_size // 2

    @cached_property
    def before(self) -> MlpShape:
        """Inputs to gates."""
        num_outputs = self.cell.num_gates * self.cell_size
        return MlpShape(self.num_inputs, self.hidden, num_outputs, self.normalisation)

    @cached_property
    def behind(self) -> MlpShape:
        """What is remembered to outputs."""
        return MlpShape(self.cell_size, (), self.num_outputs, free=self.free)

    @cached_property
    def parts(self) -> dict[str, Part]:
        """Every parameter by name: those of ``before``, ``memory.weight`` [gates * H, H] and, of a GRU's candidate,
        ``memory.bias`` [M], ``head.weight``, ``head.bias`` and ``free`` of ``behind``.
        """
        shapes = {name: part.shape for name, part in self.before.parts.items()}
        size = self.cell_size
        shapes["memory.weight"] = (self.cell.num_gates * size, size)
        if self.cell is Cell.GRU:
            shapes["memory.bias"] = (size,)
        shapes |= {_head(name): part.shape for name, part in self.behind.parts.items()}
        return placed(shapes)

    @property
    def statistics(self) -> dict[str, Part]:
        """Those of ``before``."""
        return self.before.statistics

    @property
    def output_layer(self) -> str:
        """The name of the last layer, see `MlpShape.output_layer`."""
        return "head"

    @property
    def place_before(self) -> slice:
        """Where the row of ``before`` lies in the network's."""
        return slice(0, row_width(self.before.parts))

    @property
    def place_behind(self) -> slice:
        """Where the row of ``behind`` lies in the network's."""
        start = self.parts["head.weight"].place.start
        return slice(start, start + row_width(self.behind.parts))


def _head(name: str) -> str:
    """``0.weight`` of the layer behind the memory is called ``head.weight``."""
    return name.replace("0.", "head.", 1)
