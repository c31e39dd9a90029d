"""MADDPG, MATD3 and independent DDPG: deterministic actors, critics of joint actions, learning from a replay.

Sources:
    MADDPG  Lowe et al. 2017, https://arxiv.org/abs/1706.02275
    MATD3   Ackermann et al. 2019, https://arxiv.org/abs/1910.01465
    TD3     Fujimoto et al. 2018, https://arxiv.org/abs/1802.09477
    DDPG    Lillicrap et al. 2016, https://arxiv.org/abs/1509.02971
"""

from collections.abc import Callable, Sequence

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
from mlagents_marl_plugin.core.critics import Critic
from mlagents_marl_plugin.core.diagnostics import ActorStep, CriticStep, actor_metrics, critic_metrics
from mlagents_marl_plugin.core.encoded_q_critics import create_critic
from mlagents_marl_plugin.core.joint_input import JointInput
from mlagents_marl_plugin.core.learner_state import LearnerState
from mlagents_marl_plugin.core.learnt import Network, clip_gradients_
from mlagents_marl_plugin.core.losses import (
    soft_update_,
    td_target,
    value_loss_gradient,
)
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation
from mlagents_marl_plugin.core.networks import DecentralisedActor, Sharing, mean_weight
from mlagents_marl_plugin.core.optimiser import StackedAdam
from mlagents_marl_plugin.core.scheduled_learner import ScheduledLearner
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


class MaddpgLearner(ScheduledLearner):
    """One critic and one decentralised actor per agent (Lowe et al. 2017, Algorithm 1); with MATD3's
    additions.

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
        self._state = LearnerState(self.device, seed)
        self._last_critic: CriticStep | None = None
        self._last_actor: ActorStep | None = None
        self._updates_without_gradient = torch.zeros(spec.num_slots, dtype=torch.int64, device=self.device)

        weights = torch.Generator("cpu").manual_seed(seed)
        hidden, norm = (hidden_units,) * num_layers, config.layer_normalisation
        self._joint_input = JointInput(spec, normalize, config.observation_clip, self.device)
        self.actor: DecentralisedActor = DecentralisedActor.create(
            spec, config.share_actor, hidden, norm, self._joint_input.normalisers, self.device, weights
        )
        num_twins = 2 if config.twin_critics else 1
        critics = (config.centralised_critic, config.share_critic, num_twins)
        self.critic: Critic = create_critic(spec, *critics, hidden, norm, self.device, weights)
        self.target_actor = self.actor.target_copy()
        self.target_critic = self.critic.target_copy()
        self._actor_optimiser = StackedAdam(self.actor.learnt, config.learning_rate)
        self._critic_optimiser = StackedAdam(self.critic.learnt, config.critic_learning_rate)

    def observe(self, joint_obs: Tensor, agent_mask: Tensor) -> None:
        """Show newly collected observations [B, joint] with masks [B, N] to the normalisers, each once."""
        self._joint_input.observe(joint_obs, agent_mask)

    @torch.no_grad()
    def metrics(self) -> dict[str, Tensor]:
        """Figures [N] of the last critic update and the last actor update; empty before the first."""
        figures = {} if self._last_critic is None else critic_metrics(self.spec, self._last_critic)
        if self._last_actor is not None:
            figures |= actor_metrics(self.spec, self._last_actor)
            figures["updates_without_gradient"] = self._updates_without_gradient.clone()
        return figures

    @torch.no_grad()
    def update(self, batch: Batch) -> None:
        """One step of all critics and, every ``policy_delay`` steps, of all actors and targets."""
        joint = self._joint_input(batch.obs, batch.action, batch.agent_mask)  # [B, I]
        self._update_critics(batch, joint)
        self._state.updates += 1
        if self._state.updates % self.config.policy_delay == 0:
            self._update_actors(batch, joint)
            self._update_targets()

    def _update_critics(self, batch: Batch, joint: Tensor) -> None:
        """Minimise the mean of ``loss(Q_i(x, a_1..a_N) - y_i)``, per critic (Lowe et al. 2017, eq. 6)."""
        config = self.config
        next_q = self.target_critic(self._next_joint_input(batch)).amin(0)  # [C, B, N] -> [B, N]
        target = td_target(batch.reward, next_q, batch.bootstrap)
        target.masked_fill_(batch.value_mask == 0, 0.0)
        q = self.critic(joint, self._batch_norm_rows(batch.value_mask))  # [C, B, N]
        one_network = config.centralised_critic and config.share_critic is not Sharing.SEPARATE
        weight = mean_weight(self.spec, batch.value_mask, config.share_critic, one_network)
        self.critic.backward(value_loss_gradient(q, target, config.critic_loss).mul_(weight))
        norms = clip_gradients_(self.critic, config.max_gradient_norm)
        self._critic_optimiser.step()
        self._last_critic = CriticStep(q, target, config.critic_loss, batch.value_mask, norms)

    def _update_actors(self, batch: Batch, joint: Tensor) -> None:
        """Maximise the mean of ``Q_i(x, a_1.., mu_i(o_i), ..a_N)``, per actor (Lowe et al. 2017, eq. 5).

        ``logit_regularisation`` times the mean square of the raw outputs is taken off.
        """
        config = self.config
        raw = self.actor(joint, self.spec, self._batch_norm_rows(batch.agent_mask))
        weight = mean_weight(self.spec, batch.agent_mask, config.share_actor, one_network=False)
        own, pullbacks = self._own_actions(raw, batch)
        q = self.critic.with_own_action(joint, own).squeeze(0)  # [1, B, N] -> [B, N]
        of_raw = []
        for i, of_own in enumerate(self.critic.own_action_gradient(-weight.unsqueeze(0))):
            strength = 2.0 * config.logit_regularisation / raw[i].shape[-1]
            of_size = weight[:, self.spec.slots(i)].unsqueeze(-1)  # [B, N] -> [B, n, 1]
            of_raw.append(pullbacks[i](of_own).addcmul_(raw[i], of_size, value=strength))
        self.actor.backward(of_raw)
        norms = clip_gradients_(self.actor, config.max_gradient_norm)
        self._actor_optimiser.step()
        slot_norm = _concatenated(
            [norm.expand(role.num_slots) for norm, role in zip(norms, self.spec.roles, strict=True)]
        )
        self._updates_without_gradient.add_(1).mul_(slot_norm < _USABLE_GRADIENT)
        self._last_actor = ActorStep(q, raw, batch.agent_mask, slot_norm)

    def _update_targets(self) -> None:
        online = [*self.critic.learnt, *self.actor.learnt]
        target = [*self.target_critic.learnt, *self.target_actor.learnt]
        soft_update_([n.parameters for n in target], [n.parameters for n in online], self.config.tau)
        if self.config.layer_normalisation is LayerNormalisation.BATCH:
            soft_update_([n.statistics for n in target], [n.statistics for n in online], self.config.tau)

    def _next_joint_input(self, batch: Batch) -> Tensor:
        """The successor's joint input, [B, I], with the target actors' actions; smoothed as in TD3 (eq. 14)."""
        # The actions taken are there to be overwritten.
        joint = self._joint_input(batch.next_obs, batch.action, batch.next_agent_mask)
        for i, raw in enumerate(self.target_actor(joint, self.spec)):
            layout, slots = self.spec.roles[i].action, self.spec.slots(i)
            allowed = self.spec.role_allowed(batch.next_allowed, i)
            action = actions.sample(layout, raw, allowed, self._state.generator)
            if self.config.target_noise > 0.0 and layout.continuous:
                self._smooth_(action[..., : layout.continuous])
            absent = (batch.next_agent_mask[:, slots] == 0).unsqueeze(-1)  # [B, n, 1]
            place = self.spec.role_action(joint[:, self.spec.obs_size :], i)
            place.copy_(action.masked_fill_(absent, 0.0))
        return joint

    def _smooth_(self, action: Tensor) -> None:
        noise = torch.randn(action.shape, generator=self._state.generator, device=self.device)
        limit = self.config.target_noise_clip
        action.add_(noise.mul_(self.config.target_noise).clamp_(-limit, limit)).clamp_(-1.0, 1.0)

    def _own_actions(
        self, raw: list[Tensor], batch: Batch
    ) -> tuple[list[Tensor], list[Callable[[Tensor], Tensor]]]:
        """What each slot would do now, per role [B, N_role, A], and the way of gradients back to ``raw``."""
        own, pullbacks = [], []
        for i, role in enumerate(self.spec.roles):
            allowed, temperature = self.spec.role_allowed(batch.allowed, i), self.config.gumbel_temperature
            action, pullback = actions.relaxed_with_pullback(
                role.action, raw[i], allowed, temperature, self._state.generator
            )
            own.append(action)
            pullbacks.append(pullback)
        return own, pullbacks

    def _batch_norm_rows(self, mask: Tensor) -> Tensor | None:
        return mask if self.config.layer_normalisation is LayerNormalisation.BATCH else None

    def _learnt(self) -> Sequence[Network]:
        return [*self.critic.learnt, *self.actor.learnt]

    def _optimisers(self) -> dict[str, StackedAdam]:
        return {"learning_rate": self._actor_optimiser, "critic_learning_rate": self._critic_optimiser}

    def _loaded(self) -> None:
        self._joint_input.loaded()

    def _weights(self) -> dict[str, dict[str, Tensor]]:
        networks: dict[str, Sequence[Network]] = {
            "actor": self.actor.learnt,
            "target_actor": self.target_actor.learnt,
            "critic": self.critic.learnt,
            "target_critic": self.target_critic.learnt,
        }
        weights = {name: state.numbered(net.tensors() for net in nets) for name, nets in networks.items()}
        return weights | {"normaliser": self._joint_input.tensors()}

    def _tensors(self) -> dict[str, dict[str, Tensor]]:
        return self._weights() | {
            "actor_optimiser": self._actor_optimiser.tensors(),
            "critic_optimiser": self._critic_optimiser.tensors(),
            "counters": {"updates_without_gradient": self._updates_without_gradient},
        }


def _concatenated(parts: list[Tensor]) -> Tensor:
    """Per-role tensors [.., N_role] as one [.., N]."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, -1)
