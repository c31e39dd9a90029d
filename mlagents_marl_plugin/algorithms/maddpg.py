"""MADDPG, MATD3 and independent DDPG: deterministic actors, critics of joint actions, learning from a replay.

Sources:
    MADDPG  Lowe et al. 2017, https://arxiv.org/abs/1706.02275
    MATD3   Ackermann et al. 2019, https://arxiv.org/abs/1910.01465
    TD3     Fujimoto et al. 2018, https://arxiv.org/abs/1802.09477
    DDPG    Lillicrap et al. 2016, https://arxiv.org/abs/1509.02971
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mlagents_marl_plugin.algorithms.maddpg_config import (
    IddpgConfig,
    MaddpgConfig,
    MaddpgSharedConfig,
    Matd3Config,
    Matd3SharedConfig,
)
from mlagents_marl_plugin.core import actions, state
from mlagents_marl_plugin.core.critics import CentralisedCritic, Critic, IndependentCritic
from mlagents_marl_plugin.core.diagnostics import ActorStep, CriticStep, actor_metrics, critic_metrics
from mlagents_marl_plugin.core.losses import clip_gradient_, soft_update_, td_target, value_loss
from mlagents_marl_plugin.core.networks import DecentralisedActor, LayerNormalisation, RoleActor, Sharing
from mlagents_marl_plugin.core.normalisation import RunningNormaliser
from mlagents_marl_plugin.core.optimiser import StackedAdam
from mlagents_marl_plugin.core.types import Batch, GroupSpec

__all__ = [
    "IddpgConfig",
    "MaddpgConfig",
    "MaddpgLearner",
    "MaddpgSharedConfig",
    "Matd3Config",
    "Matd3SharedConfig",
]

# An actor whose gradient is shorter than this does not learn any more: its tanh or its critic is flat.
_USABLE_GRADIENT = 1e-6


class _Inputs(NamedTuple):
    """A batch as the networks read it: observations normalised, absent slots 0."""

    obs: Tensor  # [B, joint]
    action: Tensor  # [B, joint]
    next_obs: Tensor  # [B, joint]


class MaddpgLearner:
    """One critic and one decentralised actor per agent (Lowe et al. 2017, Algorithm 1), and MATD3's additions.

    All agents' networks run as one (see `core.networks`): there is no loop over agents here, only over roles.
    """

    def __init__(
        self,
        spec: GroupSpec,
        config: MaddpgConfig,
        *,
        hidden_units: int,
        num_layers: int,
        normalize: bool,
        discount: float,
        device: torch.device,
        seed: int,
    ) -> None:
        """
        Args:
            spec: the group.
            config: of the family, or any subclass of it.
            hidden_units, num_layers: of every network, >= 1.
            normalize: whether observations are normalised by their running mean and deviation.
            discount: gamma per step, in [0, 1]; whoever draws the batches applies it.
            device: where everything lives.
            seed: of weights and noise.
        """
        self.spec = spec
        self.config = config
        self.discount = discount
        self.device = torch.device(device)
        self._seed = seed
        self._generator = torch.Generator(self.device).manual_seed(seed)
        self._updates = 0
        self._last_critic: CriticStep | None = None
        self._last_actor: ActorStep | None = None
        self._updates_without_gradient = torch.zeros(spec.num_slots, dtype=torch.int64, device=self.device)

        weights = torch.Generator("cpu").manual_seed(seed)
        hidden = (hidden_units,) * num_layers
        norm = config.layer_normalisation
        self._normalisers = [
            RunningNormaliser(role.obs_size, config.observation_clip, self.device) for role in spec.roles
        ]
        self.actor = DecentralisedActor(
            [
                RoleActor.create(
                    role,
                    config.share_actor,
                    hidden,
                    norm,
                    normaliser if normalize else None,
                    self.device,
                    weights,
                )
                for role, normaliser in zip(spec.roles, self._normalisers)
            ]
        )
        kind = CentralisedCritic if config.centralised_critic else IndependentCritic
        self.critic: Critic = kind.create(
            spec, config.share_critic, 2 if config.twin_critics else 1, hidden, norm, self.device, weights
        )
        self._normalises = normalize
        self._target_actor = self.actor.target_copy()
        self._target_critic = self.critic.copy()
        self._actor_optimiser = StackedAdam(self.actor.parameters(), config.learning_rate)
        self._critic_optimiser = StackedAdam(
            [net.parameters for net in self.critic.nets], config.critic_learning_rate
        )

    # --- learning ---------------------------------------------------------------------------------------------------

    def observe(self, joint_obs: Tensor, agent_mask: Tensor) -> None:
        """Show newly collected observations [B, joint] with masks [B, N] to the normalisers, each once."""
        if not self._normalises:
            return
        for i, normaliser in enumerate(self._normalisers):
            normaliser.observe(self.spec.role_obs(joint_obs, i), agent_mask[:, self.spec.slots(i)])

    def update(self, batch: Batch) -> None:
        """One step of all critics and, every ``policy_delay`` steps, of all actors and targets."""
        inputs = self._inputs(batch)
        self._update_critics(batch, inputs)
        self._updates += 1
        if self._updates % self.config.policy_delay == 0:
            self._update_actors(batch, inputs)
            self._update_targets()

    def _update_critics(self, batch: Batch, inputs: _Inputs) -> None:
        with torch.no_grad():
            next_q = self._target_critic(inputs.next_obs, self._target_action(batch, inputs.next_obs))
            target = td_target(batch.reward, next_q.amin(0), batch.bootstrap)  # [C, B, N] -> [B, N]
        q = self.critic(inputs.obs, inputs.action, self._batch_norm_rows(batch.value_mask))  # [C, B, N]
        error = value_loss(q, target.expand_as(q), self.config.critic_loss)
        weight = self._sample_weight(
            batch.value_mask, self.config.share_critic, self.config.centralised_critic
        )
        loss = _weighted_sum(error, weight)
        parameters = [net.parameters for net in self.critic.nets]
        gradients = torch.autograd.grad(loss, parameters)
        norms = [clip_gradient_(gradient, self.config.max_gradient_norm) for gradient in gradients]
        self._critic_optimiser.step(gradients)
        self._last_critic = CriticStep(q.detach(), target, error.detach(), batch.value_mask, norms)

    def _update_actors(self, batch: Batch, inputs: _Inputs) -> None:
        raw = self._raw(self.actor, inputs.obs, self._batch_norm_rows(batch.agent_mask))
        own = self._relaxed(raw, batch)
        q = self.critic.with_own_action(inputs.obs, inputs.action, own)  # [B, N]
        size = torch.cat([role_raw.square().mean(-1) for role_raw in raw], -1)  # [B, N]
        weight = self._sample_weight(batch.agent_mask, self.config.share_actor, False)
        loss = _weighted_sum(self.config.logit_regularisation * size - q, weight)
        gradients = torch.autograd.grad(loss, self.actor.parameters())
        norms = [clip_gradient_(gradient, self.config.max_gradient_norm) for gradient in gradients]
        self._actor_optimiser.step(gradients)
        slot_norm = self._per_slot(norms)
        self._updates_without_gradient.add_(1).mul_(slot_norm < _USABLE_GRADIENT)
        self._last_actor = ActorStep(q.detach(), [r.detach() for r in raw], batch.agent_mask, slot_norm)

    def _update_targets(self) -> None:
        online = [net.parameters.detach() for net in self.critic.nets] + [
            p.detach() for p in self.actor.parameters()
        ]
        target = [net.parameters for net in self._target_critic.nets] + self._target_actor.parameters()
        soft_update_(target, online, self.config.tau)
        if self.config.layer_normalisation is LayerNormalisation.BATCH:
            online = [net.statistics for net in self.critic.nets] + self.actor.statistics()
            target = [net.statistics for net in self._target_critic.nets] + self._target_actor.statistics()
            soft_update_(target, online, self.config.tau)

    # --- pieces -----------------------------------------------------------------------------------------------------

    def _inputs(self, batch: Batch) -> _Inputs:
        return _Inputs(
            self._prepared_obs(batch.obs, batch.agent_mask),
            self._without_absent(batch.action, batch.agent_mask, GroupSpec.role_action),
            self._prepared_obs(batch.next_obs, batch.next_agent_mask),
        )

    def _prepared_obs(self, joint_obs: Tensor, agent_mask: Tensor) -> Tensor:
        if self._normalises:
            parts = [n(self.spec.role_obs(joint_obs, i)).flatten(1) for i, n in enumerate(self._normalisers)]
            joint_obs = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
        return self._without_absent(joint_obs, agent_mask, GroupSpec.role_obs)

    def _without_absent(self, joint: Tensor, agent_mask: Tensor, view: Any) -> Tensor:
        """Joint tensor [B, joint] with 0 where a slot is absent, whatever stood there."""
        parts = []
        for i in range(len(self.spec.roles)):
            absent = agent_mask[:, self.spec.slots(i)].unsqueeze(-1) == 0
            parts.append(view(self.spec, joint, i).masked_fill(absent, 0.0).flatten(1))
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def _raw(self, actor: DecentralisedActor, obs: Tensor, row_weight: Tensor | None = None) -> list[Tensor]:
        """Raw outputs of all actors, per role [B, N_role, P]."""
        return [
            role(
                self.spec.role_obs(obs, i), None if row_weight is None else row_weight[:, self.spec.slots(i)]
            )
            for i, role in enumerate(actor.roles)
        ]

    def _relaxed(self, raw: list[Tensor], batch: Batch) -> list[Tensor]:
        """What each slot would do now, with a gradient, per role [B, N_role, A]."""
        temperature = self.config.gumbel_temperature
        return [
            actions.relaxed(
                role.action, raw[i], self.spec.role_allowed(batch.allowed, i), temperature, self._generator
            )
            for i, role in enumerate(self.spec.roles)
        ]

    def _target_action(self, batch: Batch, next_obs: Tensor) -> Tensor:
        """What the target actors do in the successor, [B, joint]; smoothed with noise as in TD3 (its eq. 14)."""
        config, parts = self.config, []
        for i, raw in enumerate(self._raw(self._target_actor, next_obs)):
            layout = self.spec.roles[i].action
            allowed = self.spec.role_allowed(batch.next_allowed, i)
            action = actions.sample(layout, raw, allowed, self._generator)
            if config.target_noise > 0.0 and layout.continuous:
                continuous = action[..., : layout.continuous]
                noise = torch.randn(continuous.shape, generator=self._generator, device=self.device)
                noise.mul_(config.target_noise).clamp_(-config.target_noise_clip, config.target_noise_clip)
                continuous.add_(noise).clamp_(-1.0, 1.0)
            parts.append(action.flatten(1))
        joint = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
        return self._without_absent(joint, batch.next_agent_mask, GroupSpec.role_action)

    def _batch_norm_rows(self, mask: Tensor) -> Tensor | None:
        return mask if self.config.layer_normalisation is LayerNormalisation.BATCH else None

    def _sample_weight(self, mask: Tensor, sharing: Sharing, joint: bool) -> Tensor:
        """Weights [B, N] that make a sum the mean over the valid rows of every network, added over networks."""
        count = mask.sum(0)  # [N]
        if sharing is not Sharing.SEPARATE:
            roles = (
                [slice(0, self.spec.num_slots)]
                if joint
                else map(self.spec.slots, range(len(self.spec.roles)))
            )
            count = torch.cat([count[slots].sum().expand_as(count[slots]) for slots in roles])
        return mask / count.clamp_min(1.0)

    def _per_slot(self, norms: list[Tensor]) -> Tensor:
        """Actor norms per network as [N], a shared network's at each of its slots."""
        return torch.cat([norm.expand(role.num_slots) for norm, role in zip(norms, self.spec.roles)])

    # --- around learning --------------------------------------------------------------------------------------------

    @torch.no_grad()
    def metrics(self) -> dict[str, Tensor]:
        """Figures of the last update (of the last actor update, for the actors'), [N] each; empty before the first."""
        figures = {} if self._last_critic is None else critic_metrics(self.spec, self._last_critic)
        if self._last_actor is not None:
            figures |= actor_metrics(self.spec, self._last_actor)
            figures["updates_without_gradient"] = self._updates_without_gradient.clone()
        return figures

    def set_learning_rate_fraction(self, fraction: float) -> None:
        """Scale both learning rates, ``fraction`` in [0, 1]."""
        self._actor_optimiser.set_learning_rate_fraction(fraction)
        self._critic_optimiser.set_learning_rate_fraction(fraction)

    def is_finite(self) -> bool:
        """Whether all weights of actors and critics are finite. Waits for the device."""
        weights = [net.parameters for net in self.critic.nets] + self.actor.parameters()
        return all(bool(torch.isfinite(weight).all()) for weight in weights)

    def _tensors(self) -> dict[str, dict[str, Tensor]]:
        weights = {
            "actor": self.actor.tensors(),
            "target_actor": self._target_actor.tensors(),
            "critic": _critic_tensors(self.critic),
            "target_critic": _critic_tensors(self._target_critic),
            "normaliser": {},
        }
        if self._normalises:
            weights["normaliser"] = {
                f"{role.name}.{name}": tensor
                for role, normaliser in zip(self.spec.roles, self._normalisers)
                for name, tensor in normaliser.tensors().items()
            }
        return weights

    def _all_tensors(self) -> dict[str, dict[str, Tensor]]:
        return self._tensors() | {
            "actor_optimiser": self._actor_optimiser.tensors(),
            "critic_optimiser": self._critic_optimiser.tensors(),
            "counters": {"updates_without_gradient": self._updates_without_gradient},
        }

    def state_dict(self) -> dict[str, Any]:
        """All that the next update depends on, on the CPU."""
        parts: dict[str, Any] = {name: state.saved(tensors) for name, tensors in self._all_tensors().items()}
        random = {"device": self.device.type, "state": self._generator.get_state()}
        return {**parts, "updates": self._updates, "random": random}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continue from `state_dict`.

        Random numbers go on where they stopped; on another kind of device, whose numbers differ anyway, they start
        from the seed and the number of updates.

        Raises:
            ValueError: if an entry is missing, too many or of another shape; nothing was changed.
        """
        parts = self._all_tensors()
        for name, tensors in parts.items():
            state.check(tensors, state.entry(saved, name), name)
        updates, random = state.entry(saved, "updates"), state.entry(saved, "random")
        for name, tensors in parts.items():
            state.load(tensors, saved[name])
        self._updates = updates
        if state.entry(random, "device") == self.device.type:
            self._generator.set_state(state.entry(random, "state").cpu())
        else:
            self._generator.manual_seed(self._seed + updates)
        self._refresh()

    def load_weights(self, saved: Mapping[str, Any]) -> None:
        """Take over networks and normalisers only, to start a new run from.

        Raises:
            ValueError: as `load_state_dict`.
        """
        parts = self._tensors()
        for name, tensors in parts.items():
            state.check(tensors, state.entry(saved, name), name)
        for name, tensors in parts.items():
            state.load(tensors, saved[name])
        self._refresh()

    def _refresh(self) -> None:
        for normaliser in self._normalisers:
            normaliser.loaded()


def _weighted_sum(value: Tensor, weight: Tensor) -> Tensor:
    """Sum of ``value * weight`` where the weight is not 0; what stands elsewhere changes nothing."""
    return (value.masked_fill(weight == 0, 0.0) * weight).sum()


def _critic_tensors(critic: Critic) -> dict[str, Tensor]:
    return {
        f"{i}.{name}": tensor for i, net in enumerate(critic.nets) for name, tensor in net.tensors().items()
    }
