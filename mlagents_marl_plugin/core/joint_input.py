"""What centralised networks read: everybody's observations, normalised, and actions."""

import torch
from torch import Tensor

from mlagents_marl_plugin.core.group_state import share_states_
from mlagents_marl_plugin.core.normalisation import RunningNormaliser
from mlagents_marl_plugin.core.types import GroupSpec


class JointInput:
    """Makes inputs [B, I] of a group's steps, and keeps the normalisers that they need.

    Attributes:
        normalisers: one per role, or None for none.
    """

    def __init__(self, spec: GroupSpec, normalize: bool, clip: float, device: torch.device) -> None:
        """
        Args:
            normalize: whether observations are normalised by their running mean and deviation.
            clip: largest absolute value of a normalised observation.
        """
        self.spec = spec
        self.normalisers = [
            RunningNormaliser.of(role, clip, device) if normalize else None for role in spec.roles
        ]
        columns = [size for role in spec.roles for size in [role.obs_size] * role.num_slots]
        columns += [size for role in spec.roles for size in [role.action.size] * role.num_slots]
        slots = [slot % spec.num_slots for slot, size in enumerate(columns) for _ in range(size)]
        self._slot_of_column = torch.tensor(slots, device="cpu").to(device)  # [I]

    def observe(self, joint_obs: Tensor, agent_mask: Tensor) -> None:
        """Show newly collected observations [B, joint] with masks [B, N] to the normalisers, each once."""
        for i, normaliser in enumerate(self.normalisers):
            if normaliser is not None:
                normaliser.observe(self.spec.role_obs(joint_obs, i), agent_mask[:, self.spec.slots(i)])

    def __call__(self, obs: Tensor, action: Tensor, agent_mask: Tensor) -> Tensor:
        """Joint observation [B, joint], normalised, and joint action, side by side; 0 where absent, but for the state
        (`share_states_`).
        """
        return self._normalised(torch.cat([obs, action], 1), agent_mask)

    def observations(self, obs: Tensor, agent_mask: Tensor) -> Tensor:
        """The joint observation alone [B, joint], as above."""
        return self._normalised(obs.clone(), agent_mask)

    def _normalised(self, joint: Tensor, agent_mask: Tensor) -> Tensor:
        for i, normaliser in enumerate(self.normalisers):
            if normaliser is not None:
                normaliser.normalise_(self.spec.role_obs(joint, i))
        absent = (agent_mask == 0).index_select(1, self._slot_of_column[: joint.shape[1]])  # [B, N] -> [B, I]
        joint.masked_fill_(absent, 0.0)
        share_states_(self.spec, joint, agent_mask)
        return joint

    def tensors(self) -> dict[str, Tensor]:
        """The normalisers' state by name, not copied."""
        present = [normaliser for normaliser in self.normalisers if normaliser is not None]
        return {f"{i}.{name}": t for i, part in enumerate(present) for name, t in part.tensors().items()}

    def copy_from(self, other: "JointInput") -> None:
        """Take over another's normalisers' state."""
        for mine, its in zip(self.normalisers, other.normalisers, strict=True):
            if mine is not None and its is not None:
                mine.copy_from(its)

    def loaded(self) -> None:
        """The tensors were overwritten."""
        for normaliser in self.normalisers:
            if normaliser is not None:
                normaliser.loaded()
