"""The shape of an MLP and how its parameters lie in one row of memory."""

import math
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

# Parts start at multiples of 64 bytes, where matrix products are fastest and equal bit by bit from run to
# run.
_ALIGNMENT = 16


class LayerNormalisation(Enum):
    """What stands between a hidden layer's product and its ReLU; the values are what users write in YAML."""

    NONE = "none"
    LAYER = "layer"
    BATCH = "batch"


@dataclass(frozen=True)
class Part:
    """One parameter's place in a network's row, and its shape."""

    place: slice
    shape: tuple[int, ...]


@dataclass(frozen=True)
class MlpShape:
    """Sizes of an MLP with ReLU: inputs, hidden layers, outputs.

    ``free`` is a number of further parameters that no layer reads, called ``free``: what a user of the network
    learns beside it, such as a policy's standard deviation.
    """

    num_inputs: int
    hidden: tuple[int, ...]
    num_outputs: int
    normalisation: LayerNormalisation = LayerNormalisation.NONE
    free: int = 0

    @cached_property
    def layers(self) -> tuple[tuple[int, int], ...]:
        """(in, out) of every layer."""
        return tuple(zip((self.num_inputs, *self.hidden), (*self.hidden, self.num_outputs), strict=True))

    @cached_property
    def parts(self) -> dict[str, Part]:
        """Every parameter of a network by name: ``0.weight`` [out, in], ``0.bias`` [out], with normalisation
        also ``0.scale`` and ``0.shift``, and so on; at last ``free``, if there are any.
        """
        shapes: dict[str, tuple[int, ...]] = {}
        for i, (num_in, num_out) in enumerate(self.layers):
            shapes[f"{i}.weight"], shapes[f"{i}.bias"] = (num_out, num_in), (num_out,)
            if self.normalisation is not LayerNormalisation.NONE and i < len(self.hidden):
                shapes[f"{i}.scale"], shapes[f"{i}.shift"] = (num_out,), (num_out,)
        if self.free:
            shapes["free"] = (self.free,)
        return placed(shapes)

    @property
    def output_layer(self) -> str:
        """The name of the last layer: its parameters are ``<name>.weight`` and ``<name>.bias``."""
        return str(len(self.hidden))

    @cached_property
    def statistics(self) -> dict[str, Part]:
        """BatchNorm's running ``0.mean`` and ``0.variance`` and so on; empty without."""
        if self.normalisation is not LayerNormalisation.BATCH:
            return {}
        names = ("mean", "variance")
        return placed({f"{i}.{name}": (size,) for i, size in enumerate(self.hidden) for name in names})


def row_width(parts: dict[str, Part]) -> int:
    """Length of a row that holds all parts."""
    stop = max((part.place.stop for part in parts.values()), default=0)
    return -(-stop // _ALIGNMENT) * _ALIGNMENT


def placed(shapes: dict[str, tuple[int, ...]]) -> dict[str, Part]:
    """Parts of the given shapes one after the other, each aligned."""
    parts, start = {}, 0
    for name, shape in shapes.items():
        size = math.prod(shape)
        parts[name] = Part(slice(start, start + size), shape)
        start += -(-size // _ALIGNMENT) * _ALIGNMENT
    return parts
