"""Checks of what comes into core, with messages that a user can act on."""

from torch import Tensor


def check_shape(where: str, name: str, value: Tensor, shape: tuple[int, ...]) -> None:
    """Raise a ValueError that names the tensor unless ``value`` has exactly this shape."""
    if tuple(value.shape) != shape:
        raise ValueError(
            f"{where}: expected {name} of shape {shape}, got {tuple(value.shape)}; "
            "the layout and the tensors must come from the same scene"
        )
