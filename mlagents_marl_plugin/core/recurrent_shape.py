"""The shape of a network with a memory, and how its parameters lie in one row of memory."""

from dataclasses import dataclass
from functools import cached_property

from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation, MlpShape, Part, placed, row_width

NUM_GATES = 3  # reset, update, candidate


@dataclass(frozen=True)
class RecurrentShape:
    """Sizes of a network whose hidden layers feed a gated recurrent unit, which feeds a linear layer.

    The unit's products of its inputs are the last layer of the MLP before it (``before``); the linear layer behind it
    is an MLP without hidden layers (``behind``), whose ``free`` parameters are the network's.
    """

    num_inputs: int
    hidden: tuple[int, ...]
    memory_size: int
    num_outputs: int
    normalisation: LayerNormalisation = LayerNormalisation.NONE
    free: int = 0

    @cached_property
    def before(self) -> MlpShape:
        """Inputs to gates."""
        return MlpShape(self.num_inputs, self.hidden, NUM_GATES * self.memory_size, self.normalisation)

    @cached_property
    def behind(self) -> MlpShape:
        """What is remembered to outputs."""
        return MlpShape(self.memory_size, (), self.num_outputs, free=self.free)

    @cached_property
    def parts(self) -> dict[str, Part]:
        """Every parameter by name: those of ``before``, ``memory.weight`` [3 M, M] and ``memory.bias`` [M] of the
        candidate, ``head.weight``, ``head.bias`` and ``free`` of ``behind``.
        """
        shapes = {name: part.shape for name, part in self.before.parts.items()}
        size = self.memory_size
        shapes |= {"memory.weight": (NUM_GATES * size, size), "memory.bias": (size,)}
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
