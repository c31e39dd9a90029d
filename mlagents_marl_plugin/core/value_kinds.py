"""How continuous actions come from what actors' networks put out.

Networks of one shape can be read in several ways, and as a policy of another kind they would play badly without a word.
So what is saved says how it is read.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any

ENTRY = "value_kind"


class ValueKind(Enum):
    """The values are what checkpoints hold."""

    NONE = "none"
    TANH = "tanh"
    GAUSSIAN = "gaussian"
    GAUSSIAN_OF_TANH = "gaussian_of_tanh"
    SQUASHED = "squashed"
    GRID = "grid"


_TEXTS = {
    ValueKind.NONE.value: "no continuous actions",
    ValueKind.TANH.value: "tanh of outputs (maddpg's family)",
    ValueKind.GAUSSIAN.value: "Gaussians around outputs, cut off (mappo's family)",
    ValueKind.GAUSSIAN_OF_TANH.value: "Gaussians around tanh of outputs, cut off (mappo's family with tanh_mean)",
    ValueKind.SQUASHED.value: "Gaussians around outputs, bounded by tanh (masac's family)",
    ValueKind.GRID.value: "choices among a few values (qmix's family and coma, with discretise)",
}


def check(saved: Mapping[str, Any], own: ValueKind) -> None:
    """Whether what is saved is to be read as ``own``. What was saved before there was such an entry does not say.

    Raises:
        ValueError: naming both kinds.
    """
    found = saved.get(ENTRY, own.value)
    if found != own.value:
        raise ValueError(
            f"checkpoint entry {ENTRY}: expected continuous actions to be {_TEXTS[own.value]}, got "
            f"{_TEXTS.get(found, found)}; use a run of the same family, with the same actions and settings, or train "
            "anew"
        )
