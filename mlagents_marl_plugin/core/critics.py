"""Critics of joint actions: centralised (everybody's observations and actions) and independent (one's own).

They read a joint input [B, I], the joint observation followed by the joint action, both normalised and 0 for
absent slots. They give the value of every slot from ``C`` twins (1, or 2 for clipped double Q-learning), and
can say what it would be if slot i alone acted otherwise, which is what the gradient of a policy needs; ``D`` of the
twins are asked that (the first one is enough for TD3, soft actor-critic takes the smaller of both).
"""

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from mlagents_marl_plugin.core.critic_view import (
    back_to_joint,
    fixed_view,
    per_slot,
    role_of_slots,
    view_columns,
    view_obs_size,
)
from mlagents_marl_plugin.core.learnt import Network
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation, MlpShape
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.stacked_mlp import StackedMlp
from mlagents_marl_plugin.core.stacked_recurrent import input_gradient
from mlagents_marl_plugin.core.types import GroupSpec


class Critic(Protocol):
    """Q of every slot of a group."""

    nets: list[StackedMlp]

    def __call__(self, joint: Tensor, row_weight: Tensor | None = None) -> Tensor:
        """Q of the joint action for every slot, [C, B, N].

        Args:
            joint: [B, I].
            row_weight: [B, N] 0/1, see `StackedMlp.__call__`.
        """

    def backward(self, gradient: Tensor) -> None:
        """Differentiate the last call by the critics' parameters, given the loss's gradient [C, B, N] by Q."""

    def with_own_action(self, joint: Tensor, own: Sequence[Tensor], repeats: int = 1) -> Tensor:
        """Q of every slot if it alone acted otherwise, by the first ``num_asked`` twins, [D, B, N].

        Args:
            joint: [B / repeats, I], with what everybody did; each row stands for so many.
            own: per role [B, N_role, A_role], what each slot would do instead.
        """

    def own_action_gradient(self, gradient: Tensor) -> list[Tensor]:
        """Differentiate the last `with_own_action` by ``own``, given the loss's gradient [D, B, N] by its result.

        Slot i's value has a gradient into slot i's action only. The critic's parameters get none.
        """

    def target_copy(self) -> "Critic":
        """A copy without gradient."""

    @property
    def learnt(self) -> Sequence[Network]:
        """See `core.learnt`."""


class FeatureQCritic(Critic, Protocol):
    """One that others may stand in front of."""

    def joint_gradient(self, gradient: Tensor) -> Tensor:
        """As `Critic.backward`; returns the loss's gradient [B, joint] by the joint observation."""


class CentralisedCritic:
    """Every slot's critic sees all observations and all actions, ``Q_i(o_1..o_N, a_1..a_N)``.

    A shared critic sees the joint input once from every slot's side: the slot itself first, then its mates in
    turn. So it can tell whose value is asked for, and one step of N like agents gives it N samples.

    Source: Lowe et al. 2017, section 4, https://arxiv.org/abs/1706.02275
    """

    def __init__(
        self, spec: GroupSpec, sharing: Sharing, num_twins: int, net: StackedMlp, num_asked: int = 1
    ) -> None:
        self.spec = spec
        self.sharing = sharing
        self.num_twins = num_twins
        self.num_asked = num_asked
        self.nets = [net]
        self.learnt: Sequence[Network] = self.nets
        self._asked = net.frozen(num_asked * (net.num_networks // num_twins))
        self._own_actions = _own_actions(spec)
        self._own_weights = [self._own_weight(role) for role in range(len(spec.roles))]
        self._widest_action = max(role.action.size for role in spec.roles)
        device = net.parameters.device
        own_first = view_columns(spec, own_first=True)
        self._own_first = torch.tensor(own_first, device="cpu").to(device)  # [N, V]
        self._fixed = fixed_view(spec, True, device)  # [N, V], for networks of their own
        self._role = role_of_slots(spec).to(device)  # [N, roles or 0]

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
        num_asked: int = 1,
    ) -> "CentralisedCritic":
        """New critics."""
        num_inputs = view_obs_size(spec) + spec.action_size + sharing.id_size(spec.num_slots)
        if sharing is not Sharing.SEPARATE:
            num_inputs += role_of_slots(spec).shape[1]
        shape = MlpShape(num_inputs, hidden, 1, normalisation)
        num_networks = num_twins * sharing.num_networks(spec.num_slots)
        net = StackedMlp.create(shape, num_networks, device, generator)
        return cls(spec, sharing, num_twins, net, num_asked)

    def target_copy(self) -> "CentralisedCritic":
        net = self.nets[0].target_copy()
        return CentralisedCritic(self.spec, self.sharing, self.num_twins, net, self.num_asked)

    def __call__(self, joint: Tensor, row_weight: Tensor | None = None) -> Tensor:
        net, num_twins = self.nets[0], self.num_twins
        if self.sharing is not Sharing.SEPARATE:
            return _values(net, self.sharing, num_twins, self._from_each_side(joint), row_weight)
        mask = None if row_weight is None else row_weight.t().repeat(num_twins, 1)
        q = net(self._by_network(joint, num_twins), mask)  # [C*N, B, 1]
        return q.view(num_twins, self.spec.num_slots, -1).transpose(1, 2)

    def backward(self, gradient: Tensor) -> None:
        self.nets[0].backward(_network_gradient(self.sharing, gradient))

    def joint_gradient(self, gradient: Tensor) -> Tensor:
        net, width = self.nets[0], view_obs_size(self.spec)
        of_first = net.backward(_network_gradient(self.sharing, gradient))
        of_rows = _added(input_gradient(net, of_first, width).unflatten(0, (self.num_twins, -1)))  # [K, R, V]
        columns = self._own_first
        if self.sharing is Sharing.SEPARATE:
            if self._fixed is None:
                return of_rows.sum(0)
            columns = self._fixed
        of_views = self.sharing.slot_rows(of_rows, self.spec.num_slots)
        return back_to_joint(of_views, columns[:, :width], self.spec)

    def with_own_action(self, joint: Tensor, own: Sequence[Tensor], repeats: int = 1) -> Tensor:
        if repeats > 1:
            joint = joint.repeat_interleave(repeats, 0)
        if self.sharing is Sharing.SEPARATE:
            change, weight = self._change(joint, own)
            q = self._asked(self._by_network(joint, self.num_asked), None, change, weight)  # [D*N, B, 1]
            return q.view(self.num_asked, self.spec.num_slots, -1).transpose(1, 2)
        views = self._from_each_side(joint)
        for i, (slots, place) in enumerate(self._own_actions):
            views[:, slots, place.start : place.start + own[i].shape[-1]] = own[i]
        return _values(self._asked, self.sharing, self.num_asked, views, None)

    def own_action_gradient(self, gradient: Tensor) -> list[Tensor]:
        of_hidden = self._asked.backward(_network_gradient(self.sharing, gradient))
        if self.sharing is Sharing.SEPARATE:
            of_hidden = of_hidden.unflatten(0, (self.num_asked, -1))  # [D, N, B, H]
            return [
                _added(torch.matmul(of_hidden[:, slots], weight)).transpose(0, 1)  # [D, n, B, A] -> [B, n, A]
                for (slots, _), weight in zip(self._own_actions, self._own_weights, strict=True)
            ]
        of_hidden = of_hidden.unflatten(1, (-1, self.spec.num_slots))  # [D, B, N, H]
        return [
            _added(torch.matmul(of_hidden[:, :, slots], weight))
            for (slots, _), weight in zip(self._own_actions, self._own_weights, strict=True)
        ]

    def _by_network(self, joint: Tensor, num_twins: int) -> Tensor:
        """The joint input as networks of their own read it, [twins * N, B, V]."""
        if self._fixed is None:
            return joint.expand(num_twins * self.spec.num_slots, -1, -1)
        return per_slot(joint, self._fixed).transpose(0, 1).repeat(num_twins, 1, 1)

    def _from_each_side(self, joint: Tensor) -> Tensor:
        """The joint input as every slot sees it, [B, N, V]: itself first, its role last if there are several."""
        views = per_slot(joint, self._own_first)
        if not self._role.shape[1]:
            return views
        return torch.cat([views, self._role.expand(len(joint), -1, -1)], -1)

    def _change(self, joint: Tensor, own: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Change of every slot's own action [D*N, B, A], and the first layer's weights for it [D*N, H, A].

        The N inputs that a slot's own action makes of a joint input differ in a few columns; only these are
        multiplied for each slot.
        """
        changes = []
        joint_action = joint[:, self.spec.obs_size :]
        for i in range(len(self.spec.roles)):
            change = own[i] - self.spec.role_action(joint_action, i)  # [B, n, A]
            changes.append(_widened(change, self._widest_action).transpose(0, 1))
        weights = [_widened(weight, self._widest_action) for weight in self._own_weights]  # [D, n, H, A]
        change = changes[0] if len(changes) == 1 else torch.cat(changes)
        if self.num_asked > 1:
            change = change.repeat(self.num_asked, 1, 1)
        return change, (weights[0] if len(weights) == 1 else torch.cat(weights, 1)).flatten(0, 1)

    def _own_weight(self, role: int) -> Tensor:
        """View of the first layer's weights for a role's own actions, [D, n, H, A] if separate, else [D, 1, H, A]."""
        (slots, place), weight = self._own_actions[role], self._asked.part("0.weight")
        if self.sharing is not Sharing.SEPARATE:
            own_first = slice(place.start, place.start + self.spec.roles[role].action.size)
            return weight[:, None, :, own_first]
        by_twin = weight.unflatten(0, (self.num_asked, -1))[:, slots, :, place]
        by_slot = by_twin.unflatten(-1, (self.spec.roles[role].num_slots, -1))  # [D, n, H, n, A]
        own: Tensor = by_slot.diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)  # [D, H, A, n] -> [D, n, H, A]
        return own


class IndependentCritic:
    """Every slot's critic sees its own observation and action only, ``Q_i(o_i, a_i)``; a stack per role."""

    def __init__(
        self,
        spec: GroupSpec,
        sharing: Sharing,
        num_twins: int,
        nets: Sequence[StackedMlp],
        num_asked: int = 1,
    ) -> None:
        self.spec = spec
        self.sharing = sharing
        self.num_twins = num_twins
        self.num_asked = num_asked
        self.nets = list(nets)
        self.learnt: Sequence[Network] = self.nets
        self._asked = [net.frozen(num_asked * (net.num_networks // num_twins)) for net in nets]

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
        num_asked: int = 1,
    ) -> "IndependentCritic":
        """New critics."""
        nets = []
        for role in spec.roles:
            num_inputs = role.obs_size + role.action.size + sharing.id_size(role.num_slots)
            shape = MlpShape(num_inputs, hidden, 1, normalisation)
            num_networks = num_twins * sharing.num_networks(role.num_slots)
            nets.append(StackedMlp.create(shape, num_networks, device, generator))
        return cls(spec, sharing, num_twins, nets, num_asked)

    def target_copy(self) -> "IndependentCritic":
        nets = [net.target_copy() for net in self.nets]
        return IndependentCritic(self.spec, self.sharing, self.num_twins, nets, self.num_asked)

    def __call__(self, joint: Tensor, row_weight: Tensor | None = None) -> Tensor:
        action = joint[:, self.spec.obs_size :]
        own = [self.spec.role_action(action, i) for i in range(len(self.spec.roles))]
        return self._role_values(self.nets, self.num_twins, joint, own, row_weight)

    def backward(self, gradient: Tensor) -> None:
        for i, net in enumerate(self.nets):
            net.backward(_network_gradient(self.sharing, gradient[..., self.spec.slots(i)]))

    def joint_gradient(self, gradient: Tensor) -> Tensor:
        parts = []
        for i, (net, role) in enumerate(zip(self.nets, self.spec.roles, strict=True)):
            of_first = net.backward(_network_gradient(self.sharing, gradient[..., self.spec.slots(i)]))
            of_rows = input_gradient(net, of_first, role.obs_size).unflatten(0, (self.num_twins, -1))
            parts.append(self.sharing.slot_rows(_added(of_rows), role.num_slots).flatten(1))
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def with_own_action(self, joint: Tensor, own: Sequence[Tensor], repeats: int = 1) -> Tensor:
        if repeats > 1:
            joint = joint.repeat_interleave(repeats, 0)
        return self._role_values(self._asked, self.num_asked, joint, own, None)

    def own_action_gradient(self, gradient: Tensor) -> list[Tensor]:
        gradients = []
        for i, (net, role) in enumerate(zip(self._asked, self.spec.roles, strict=True)):
            of_role = gradient[..., self.spec.slots(i)]  # [D, B, n]
            of_hidden = net.backward(_network_gradient(self.sharing, of_role))  # [D*K, R, H]
            own_weight = net.part("0.weight")[:, :, role.obs_size : role.obs_size + role.action.size]
            of_own = torch.bmm(of_hidden, own_weight).unflatten(0, (self.num_asked, -1))
            gradients.append(self.sharing.slot_rows(_added(of_own), role.num_slots))
        return gradients

    def _role_values(
        self,
        nets: Sequence[StackedMlp],
        num_twins: int,
        joint: Tensor,
        own: Sequence[Tensor],
        row_weight: Tensor | None,
    ) -> Tensor:
        values = []
        for i, net in enumerate(nets):
            per_slot = torch.cat([self.spec.role_obs(joint, i), own[i]], -1)  # [B, n, O + A]
            mask = None if row_weight is None else row_weight[:, self.spec.slots(i)]
            values.append(_values(net, self.sharing, num_twins, per_slot, mask))
        return values[0] if len(values) == 1 else torch.cat(values, -1)


def _values(
    net: StackedMlp, sharing: Sharing, num_twins: int, per_slot: Tensor, row_weight: Tensor | None
) -> Tensor:
    """Values [C, B, N] of inputs [B, N, I], one per slot."""
    rows = sharing.network_rows(sharing.with_id(per_slot))  # [K, R, I]
    mask = None if row_weight is None else sharing.network_rows(row_weight)
    if num_twins > 1:
        rows = rows.repeat(num_twins, 1, 1)
        mask = None if mask is None else mask.repeat(num_twins, 1)
    q = net(rows, mask).unflatten(0, (num_twins, -1)).squeeze(-1)  # [C, K, R]
    return torch.stack([sharing.slot_rows(twin, per_slot.shape[1]) for twin in q])


def _network_gradient(sharing: Sharing, gradient: Tensor) -> Tensor:
    """A gradient [C, B, N] by values as the gradient [C*K, R, 1] by the networks' outputs."""
    if sharing is Sharing.SEPARATE:
        return gradient.transpose(1, 2).flatten(0, 1).unsqueeze(-1)
    return gradient.flatten(1).unsqueeze(-1)


def _added(by_twin: Tensor) -> Tensor:
    """Sum over twins, [D, ...] -> [...]."""
    return by_twin[0] if len(by_twin) == 1 else by_twin.sum(0)


def _own_actions(spec: GroupSpec) -> list[tuple[slice, slice]]:
    """Per role: its slots, and where its actions stand in a view."""
    places, start = [], view_obs_size(spec)
    for i, role in enumerate(spec.roles):
        stop = start + role.num_slots * role.action.size
        places.append((spec.slots(i), slice(start, stop)))
        start = stop
    return places


def _widened(value: Tensor, width: int) -> Tensor:
    """A tensor [..., A] with zeros up to ``width``, for roles whose actions are narrower than another's."""
    missing = width - value.shape[-1]
    return value if missing == 0 else F.pad(value, (0, missing))
