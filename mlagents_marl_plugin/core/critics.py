"""Critics of joint actions: centralised (everybody's observations and actions) and independent (one's own).

Both give the value of every slot from ``C`` twins (1, or 2 for clipped double Q-learning) and know how to ask "what if
slot i did something else", which is what a deterministic policy gradient differentiates.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from mlagents_marl_plugin.core.networks import LayerNormalisation, MlpShape, Sharing, StackedMlp
from mlagents_marl_plugin.core.types import GroupSpec


class Critic(Protocol):
    """Q of every slot of a group. Observations are normalised, and 0 for absent slots, as are actions."""

    nets: list[StackedMlp]

    def __call__(self, obs: Tensor, action: Tensor, row_weight: Tensor | None = None) -> Tensor:
        """Q of the joint action for every slot, [C, B, N].

        Args:
            obs: [B, joint].
            action: [B, joint].
            row_weight: [B, N] 0/1, see `StackedMlp.__call__`.
        """

    def with_own_action(self, obs: Tensor, action: Tensor, own: Sequence[Tensor]) -> Tensor:
        """Q of every slot if it alone acted otherwise, by the first twin, [B, N].

        Only ``own`` gets a gradient, and slot i's value only from slot i's action.

        Args:
            obs: [B, joint].
            action: [B, joint], what everybody did.
            own: per role [B, N_role, A_role], what each slot would do instead.
        """

    def copy(self) -> "Critic":
        """A copy without gradient, as target."""


class CentralisedCritic:
    """Every slot's critic sees all observations and all actions, ``Q_i(o_1..o_N, a_1..a_N)``.

    Source: Lowe et al. 2017, section 4, https://arxiv.org/abs/1706.02275
    """

    def __init__(self, spec: GroupSpec, sharing: Sharing, num_twins: int, net: StackedMlp) -> None:
        self.spec = spec
        self.sharing = sharing
        self.num_twins = num_twins
        self.nets = [net]

    @classmethod
    def create(
        cls,
        spec: GroupSpec,
        sharing: Sharing,
        num_twins: int,
        hidden: tuple[int, ...],
        normalisation: LayerNormalisation,
        device: torch.device,
        generator: torch.Generator,
    ) -> "CentralisedCritic":
        id_size = spec.num_slots if sharing is Sharing.SHARED_WITH_ID else 0
        shape = MlpShape(spec.obs_size + spec.action_size + id_size, hidden, 1, normalisation)
        num_networks = num_twins * (spec.num_slots if sharing is Sharing.SEPARATE else 1)
        return cls(spec, sharing, num_twins, StackedMlp.create(shape, num_networks, device, generator))

    def copy(self) -> "CentralisedCritic":
        return CentralisedCritic(self.spec, self.sharing, self.num_twins, self.nets[0].copy())

    def __call__(self, obs: Tensor, action: Tensor, row_weight: Tensor | None = None) -> Tensor:
        net, batch_size, num_slots = self.nets[0], obs.shape[0], self.spec.num_slots
        joint = torch.cat([obs, action], -1)  # [B, I]
        if self.sharing is Sharing.SEPARATE:
            weight = None if row_weight is None else row_weight.t().repeat(self.num_twins, 1)
            q = net(joint.expand(net.num_networks, -1, -1), weight)  # [C*N, B, 1]
            return q.view(self.num_twins, num_slots, batch_size).transpose(1, 2)
        rows = self._shared_rows(joint.unsqueeze(1).expand(-1, num_slots, -1))
        weight = None if row_weight is None else row_weight.reshape(1, -1).expand(self.num_twins, -1)
        return net(rows.expand(self.num_twins, -1, -1), weight).view(self.num_twins, batch_size, num_slots)

    def with_own_action(self, obs: Tensor, action: Tensor, own: Sequence[Tensor]) -> Tensor:
        batch_size, num_slots = obs.shape[0], self.spec.num_slots
        joint = torch.cat([obs, action], -1)
        if self.sharing is Sharing.SEPARATE:
            net = self.nets[0].frozen(num_slots)
            hidden = net.first_product(joint.expand(num_slots, -1, -1))
            hidden = hidden + self._effect_of_own_action(net.part("0.weight"), action, own)
            return net.after_first_product(hidden).squeeze(-1).t()  # [N, B, 1] -> [B, N]
        net = self.nets[0].frozen(1)
        rows = joint.unsqueeze(1).repeat(1, num_slots, 1)  # [B, N, I]
        for role, slots, columns in self._own_columns():
            for i in range(role.num_slots):
                place = slice(columns + i * role.action.size, columns + (i + 1) * role.action.size)
                rows[:, slots.start + i, place] = own[self.spec.roles.index(role)][:, i]
        return net(self._shared_rows(rows)).view(batch_size, num_slots)

    def _effect_of_own_action(self, weight: Tensor, action: Tensor, own: Sequence[Tensor]) -> Tensor:
        """How the first layer's product changes if slot i's action is replaced, [N, B, H].

        Instead of N joint inputs that differ in a few columns only these columns are multiplied.
        """
        effects = []
        for i, (role, slots, start) in enumerate(self._own_columns()):
            n, size = role.num_slots, role.action.size
            block = weight[slots, :, start : start + n * size].unflatten(-1, (n, size))  # [n, H, n, A]
            own_weight = block.diagonal(dim1=0, dim2=2)  # [H, A, n]
            change = own[i] - self.spec.role_action(action, i)  # [B, n, A]
            effects.append(torch.bmm(change.transpose(0, 1), own_weight.permute(2, 1, 0)))
        return effects[0] if len(effects) == 1 else torch.cat(effects)

    def _own_columns(self):  # type: ignore[no-untyped-def]
        """Per role: the role, its slots, and where its actions begin in the critic's input."""
        start = self.spec.obs_size
        for i, role in enumerate(self.spec.roles):
            yield role, self.spec.slots(i), start
            start += role.num_slots * role.action.size

    def _shared_rows(self, rows: Tensor) -> Tensor:
        """Rows [B, N, I] for one network, [1, B*N, I'], with the slot's id where asked."""
        batch_size, num_slots, _ = rows.shape
        if self.sharing is Sharing.SHARED_WITH_ID:
            slot_id = torch.eye(num_slots, device=rows.device).expand(batch_size, -1, -1)
            rows = torch.cat([rows, slot_id], -1)
        return rows.reshape(1, batch_size * num_slots, -1)


class IndependentCritic:
    """Every slot's critic sees its own observation and action only, ``Q_i(o_i, a_i)``; one stack per role."""

    def __init__(self, spec: GroupSpec, sharing: Sharing, num_twins: int, nets: Sequence[StackedMlp]) -> None:
        self.spec = spec
        self.sharing = sharing
        self.num_twins = num_twins
        self.nets = list(nets)

    @classmethod
    def create(
        cls,
        spec: GroupSpec,
        sharing: Sharing,
        num_twins: int,
        hidden: tuple[int, ...],
        normalisation: LayerNormalisation,
        device: torch.device,
        generator: torch.Generator,
    ) -> "IndependentCritic":
        nets = []
        for role in spec.roles:
            id_size = role.num_slots if sharing is Sharing.SHARED_WITH_ID else 0
            shape = MlpShape(role.obs_size + role.action.size + id_size, hidden, 1, normalisation)
            num_networks = num_twins * (role.num_slots if sharing is Sharing.SEPARATE else 1)
            nets.append(StackedMlp.create(shape, num_networks, device, generator))
        return cls(spec, sharing, num_twins, nets)

    def copy(self) -> "IndependentCritic":
        return IndependentCritic(self.spec, self.sharing, self.num_twins, [net.copy() for net in self.nets])

    def __call__(self, obs: Tensor, action: Tensor, row_weight: Tensor | None = None) -> Tensor:
        own = [self.spec.role_action(action, i) for i in range(len(self.spec.roles))]
        return self._values(self.nets, self.num_twins, obs, own, row_weight)

    def with_own_action(self, obs: Tensor, action: Tensor, own: Sequence[Tensor]) -> Tensor:
        del action  # what the others did is not seen
        first = [net.frozen(net.num_networks // self.num_twins) for net in self.nets]
        return self._values(first, 1, obs, own, None).squeeze(0)

    def _values(
        self,
        nets: Sequence[StackedMlp],
        num_twins: int,
        obs: Tensor,
        own: Sequence[Tensor],
        row_weight: Tensor | None,
    ) -> Tensor:
        values = []
        for i, (net, role) in enumerate(zip(nets, self.spec.roles)):
            rows = torch.cat([self.spec.role_obs(obs, i), own[i]], -1)  # [B, n, O + A]
            batch_size, n, _ = rows.shape
            weight = None if row_weight is None else row_weight[:, self.spec.slots(i)]
            if self.sharing is Sharing.SEPARATE:
                weight = None if weight is None else weight.t().repeat(num_twins, 1)
                q = net(rows.transpose(0, 1).repeat(num_twins, 1, 1), weight)  # [C*n, B, 1]
                values.append(q.view(num_twins, n, batch_size).transpose(1, 2))
                continue
            if self.sharing is Sharing.SHARED_WITH_ID:
                slot_id = torch.eye(n, device=rows.device).expand(batch_size, -1, -1)
                rows = torch.cat([rows, slot_id], -1)
            weight = None if weight is None else weight.reshape(1, -1).expand(num_twins, -1)
            q = net(rows.reshape(1, batch_size * n, -1).expand(num_twins, -1, -1), weight)
            values.append(q.view(num_twins, batch_size, n))
        return values[0] if len(values) == 1 else torch.cat(values, -1)
