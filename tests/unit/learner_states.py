"""What a learner consists of, before and after: which parts an update changed, and whether two are the same."""

from typing import Any

import torch
from torch import Tensor


def weights(learner: Any, *parts: str) -> dict[str, Tensor]:
    """Copies of the tensors of some parts of a learner's state; of all networks if none is named."""
    state = learner.state_dict()
    named = parts or [part for part in learner._weights() if part != "normaliser"]
    return {f"{part}.{key}": value for part in named for key, value in state[part].items()}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """Names of the tensors that are not what they were."""
    return {name for name in before if not torch.equal(before[name], after[name])}


def changed_parts(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """Parts with such tensors."""
    return {name.split(".")[0] for name in changed(before, after)}


def same_state(one: Any, other: Any) -> bool:
    """Whether two states, or parts of them, are alike to the last bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_state(one[key], other[key]) for key in one)
    return torch.equal(one, other) if isinstance(one, Tensor) else bool(one == other)
