"""Reading saved tensors back, strictly: all entries, right shapes, or an error that names the entry."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

_REMEDY = "resume with the networks, scene and settings that the run was started with, or train anew"


def entry(state: Mapping[str, Any], name: str) -> Any:
    """An entry of a saved state.

    Raises:
        ValueError: if it is missing.
    """
    if name not in state:
        raise ValueError(f"checkpoint entry {name}: expected it to be there, got none; {_REMEDY}")
    return state[name]


def saved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def check(tensors: Mapping[str, Tensor], state: Mapping[str, Any], where: str) -> None:
    """Whether ``state`` holds exactly the tensors that are to be overwritten.

    Raises:
        ValueError: naming the first entry that is missing, too many, no tensor, or of another shape or type.
    """
    for name, tensor in tensors.items():
        value = entry(state, name) if name in state else entry({}, f"{where}.{name}")
        if not isinstance(value, Tensor):
            raise ValueError(f"checkpoint entry {where}.{name}: expected a tensor, got {value!r}; {_REMEDY}")
        if value.shape != tensor.shape or value.dtype != tensor.dtype:
            raise ValueError(
                f"checkpoint entry {where}.{name}: expected shape {tuple(tensor.shape)} of {tensor.dtype}, "
                f"got {tuple(value.shape)} of {value.dtype}; {_REMEDY}"
            )
    unknown = sorted(set(state) - set(tensors))
    if unknown:
        raise ValueError(f"checkpoint entry {where}.{unknown[0]}: expected no such entry, got one; {_REMEDY}")


@torch.no_grad()
def load(tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Overwrite the tensors in place with what `check` found right."""
    for name, tensor in tensors.items():
        tensor.copy_(state[name])


def numbered(parts: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors of several parts under one roof, as ``0.name``, ``1.name`` and so on."""
    return {f"{i}.{name}": tensor for i, part in enumerate(parts) for name, tensor in part.items()}
