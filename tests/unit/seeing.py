"""A group that sees small pictures and vectors, with an encoder that needs no ML-Agents."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from mlagents_marl_plugin.core.types import GroupSpec, RoleSpec
from tests.unit.groups import CONTINUOUS, HYBRID

PICTURE, VECTOR = (2, 4, 3), (3,)
NUM_FEATURES = 5


class Encoder(nn.Module):
    """Pictures to two features, vectors as they are."""

    def __init__(self, shapes: list[tuple[int, ...]]) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(shape[0], 2, shape[1:]) if len(shape) == 3 else nn.Identity() for shape in shapes
        )

    def forward(self, observations: list[Tensor]) -> Tensor:
        parts = zip(self.convolutions, observations, strict=True)
        return torch.cat([torch.tanh(part(obs)).flatten(1) for part, obs in parts], 1)


def seeing_role(num_slots: int = 2, name: str = "a") -> RoleSpec:
    """Agents that see a picture and a vector."""
    shapes = (PICTURE, VECTOR)
    role = RoleSpec(name, num_slots, shapes, CONTINUOUS)
    return replace(role, encoder=lambda sensors: Encoder([shapes[i] for i in sensors]))


def seeing(num_slots: int = 2) -> GroupSpec:
    """Like agents that see."""
    return GroupSpec((seeing_role(num_slots),))


def seeing_and_blind() -> GroupSpec:
    """Two who see, and one who is told a vector."""
    return GroupSpec((seeing_role(), RoleSpec("b", 1, ((2,),), HYBRID)))
