"""MAPPO, IPPO, MAA2C and IA2C: stochastic actors, critics of states, learning from what was just played.

Sources:
    MAPPO   Yu et al. 2022, https://arxiv.org/abs/2103.01955
    IPPO    de Witt et al. 2020, https://arxiv.org/abs/2011.09533
    PPO     Schulman et al. 2017, https://arxiv.org/abs/1707.06347
    MAA2C   Papoudakis et al. 2021, https://arxiv.org/abs/2006.07869 (Central-V in Foerster et al. 2018, 1705.08926)
    IA2C    Mnih et al. 2016, https://arxiv.org/abs/1602.01783, one learner per agent
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mlagents_marl_plugin.algorithms.mappo_config import (
    Ia2cConfig,
    Ia2cSharedConfig,
    IppoConfig,
    IppoSharedConfig,
    Maa2cConfig,
    Maa2cSharedConfig,
    MappoConfig,
    MappoSharedConfig,
)
from mlagents_marl_plugin.core import state
from mlagents_marl_plugin.core.bounded_critic import BoundedCritic
from mlagents_marl_plugin.core.distributions import ActionDistribution, GaussianHead, StdType
from mlagents_marl_plugin.core.encoded_critics import create_value_critic
from mlagents_marl_plugin.core.gae import gae
from mlagents_marl_plugin.core.joint_input import JointInput
from mlagents_marl_plugin.core.kl_penalty import KlPenalty
from mlagents_marl_plugin.core.learner_state import LearnerState
from mlagents_marl_plugin.core.learnt import Network, clip_gradients_
from mlagents_marl_plugin.core.losses import masked_mean
from mlagents_marl_plugin.core.mini_batches import (
    MiniBatch,
    RowBatches,
    SequenceBatches,
    played_sequences,
    remembered,
)
from mlagents_marl_plugin.core.networks import Sharing, mean_weight
from mlagents_marl_plugin.core.on_policy_diagnostics import (
    Played,
    PolicyStep,
    ValueStep,
    action_diversity,
    played_metrics,
    policy_metrics,
    value_metrics,
)
from mlagents_marl_plugin.core.on_policy_samples import (
    GradientSum,
    SampleColumns,
    normalised_advantage,
    split_size,
)
from mlagents_marl_plugin.core.optimiser import StackedAdam
from mlagents_marl_plugin.core.policy_losses import (
    clipped_value_gradient,
    divergence,
    log_ratio,
    surrogate_gradient,
)
from mlagents_marl_plugin.core.reward_scale import RewardScale
from mlagents_marl_plugin.core.rollout_values import RolloutValues
from mlagents_marl_plugin.core.saved_learner import SavedLearner
from mlagents_marl_plugin.core.sequences import Memory, Recurrence
from mlagents_marl_plugin.core.stacked_mlp import Initialisation
from mlagents_marl_plugin.core.stochastic_actor import StochasticActor
from mlagents_marl_plugin.core.types import GroupSpec, RolloutBatch
from mlagents_marl_plugin.core.value_critics import ValueCritic
from mlagents_marl_plugin.core.value_normalisation import ValueNormaliser

__all__ = [
    "Ia2cConfig",
    "Ia2cSharedConfig",
    "IppoConfig",
    "IppoSharedConfig",
    "Maa2cConfig",
    "Maa2cSharedConfig",
    "MappoConfig",
    "MappoLearner",
    "MappoSharedConfig",
]

_CRITIC_GAIN = 0.1  # of the last layer: first values near the mean, which is all that a new critic can know


class MappoLearner(SavedLearner):
    """Decentralised actors and a critic of the group's state (Yu et al. 2022, Algorithm 1).

    All agents' networks run as one (see `core.stacked_mlp`): there is no loop over agents or samples here, only over
    roles, epochs and mini-batches.
    """

    def __init__(
        self,
        spec: GroupSpec,
        config: MappoConfig,
        *,
        hidden_units: int,
        num_layers: int,
        normalize: bool,
        discount: float,
        device: torch.device,
        seed: int,
        memory: Memory | None = None,
    ) -> None:
        """
        Args:
            spec: the group.
            config: of the family, or any subclass of it.
            hidden_units, num_layers: of every network, >= 1.
            normalize: whether observations are normalised by their running mean and deviation.
            discount: gamma per step, in [0, 1].
            device: where everything lives.
            seed: of weights and of the order of samples.
            memory: what agents remember from step to step; None: nothing.
        """
        self.spec = spec
        self.config = config
        self.discount = discount
        self.device = torch.device(device)
        self._state = LearnerState(self.device, seed)
        self.memory = memory
        weights = torch.Generator("cpu").manual_seed(seed)
        hidden = (hidden_units,) * num_layers
        # Two of each: policies are learnt under the normalisation that they acted with, and seen data go to the other.
        self._input, self._collecting = (
            JointInput(spec, normalize, config.observation_clip, self.device) for _ in range(2)
        )
        self.actor: StochasticActor = StochasticActor.create(
            spec,
            config.share_actor,
            GaussianHead(config.std_type, config.initial_std, config.min_std, config.tanh_mean),
            hidden,
            config.layer_normalisation,
            Initialisation(config.orthogonal_initialisation, config.policy_gain),
            self._input.normalisers,
            self.device,
            weights,
            0 if memory is None else memory.size,
            config.memory_cell,
        )
        critic_memory = memory.size if memory is not None and config.recurrent_critic else 0
        critic = create_value_critic(
            spec,
            config.value_output if config.centralised_critic else None,
            config.share_critic,
            hidden,
            config.layer_normalisation,
            Initialisation(config.orthogonal_initialisation, _CRITIC_GAIN),
            self.device,
            weights,
            critic_memory,
            config.memory_cell,
        )
        self.critic: ValueCritic = critic
        if config.value_bound > 0.0:
            self.critic = BoundedCritic(critic, config.value_bound)
        self._rollout_values = RolloutValues(self.critic, config.micro_batch_size)
        self._values = ValueNormaliser(config.value_normalisation, config.value_norm_decay, self.critic)
        self._reward_scale = RewardScale(discount, self.device)
        self._actor_optimiser = StackedAdam(self.actor.learnt, config.learning_rate)
        self._critic_optimiser = StackedAdam(self.critic.learnt, config.critic_learning_rate)
        self._kl_penalty = KlPenalty(config.kl_penalty, config.target_kl, self.device)
        self._played: Played | None = None
        self._policy_steps: list[PolicyStep] = []
        self._distributions: list[ActionDistribution] = []  # of the last micro-batch, per role
        self._value_step: ValueStep | None = None
        self._actor_norms: list[Tensor] = []
        self._critic_norms: list[Tensor] = []
        self._epochs = 0
        self._columns = SampleColumns.of(spec)
        self._may_stop_early = config.target_kl > 0.0 and config.kl_penalty == 0.0
        self.set_progress(0.0, 0)

    def observe(self, joint_obs: Tensor, agent_mask: Tensor) -> None:
        """Show newly collected observations [B, joint] with masks [B, N] to the normalisers, each once.

        They are used after the next update.
        """
        self._collecting.observe(joint_obs, agent_mask)

    def set_progress(self, step_fraction: float, episodes: int) -> None:
        """Move all schedules to where the run is, see `OnPolicyLearner.set_progress`.

        A deviation that is annealed changes with the end of the next update.
        """
        self._scheduled = self.config.scheduled(step_fraction, episodes)
        self._actor_optimiser.set_learning_rate(self._scheduled["learning_rate"])
        self._critic_optimiser.set_learning_rate(self._scheduled["critic_learning_rate"])

    def scheduled(self) -> dict[str, float]:
        """``learning_rate``, ``critic_learning_rate``, ``epsilon``, ``beta``, and ``std`` if it is annealed."""
        return dict(self._scheduled)

    @torch.no_grad()
    def metrics(self) -> dict[str, Tensor]:
        """Figures of the last update, 0-d or [N]; empty before the first."""
        if self._played is None or self._value_step is None:
            return {}
        actor_norm = torch.cat(
            [n.expand(r.num_slots) for n, r in zip(self._actor_norms, self.spec.roles, strict=True)]
        )
        figures = played_metrics(self._played)
        figures |= policy_metrics(
            self._policy_steps, self._distributions, self._scheduled["epsilon"], actor_norm
        )
        figures |= value_metrics(self._value_step, self._critic_norm_per_slot())
        figures["action_diversity"] = action_diversity(
            self.spec, self.actor, self._played, self._played.memory
        )
        figures["epochs"] = torch.full((), float(self._epochs), device=self.device)
        if self.config.kl_penalty > 0.0:
            figures["kl_weight"] = self._kl_penalty.weight.clone()
        return figures

    @torch.no_grad()
    def update(self, batch: RolloutBatch) -> None:
        """All gradient steps on what was played: ``num_epoch`` passes over mini-batches of ``batch_size``."""
        config = self.config
        mini_batches = self._mini_batches(batch)
        for epoch in range(config.num_epoch):
            self._policy_steps = []
            for mini_batch in mini_batches.epoch():
                self._step(mini_batch)
            self._epochs = epoch + 1
            if self._may_stop_early and float(self._divergence()) > config.target_kl:
                break  # to know was the one wait for the device per epoch
        if config.kl_penalty > 0.0:
            self._kl_penalty.adapt(self._divergence())
        # Only now, so that what was learnt from was played by the policy that learnt.
        self._input.copy_from(self._collecting)
        if config.std_type is StdType.ANNEALED:
            self.actor.set_std(self._scheduled["std"])
        self._state.updates += 1

    def _mini_batches(self, batch: RolloutBatch) -> RowBatches | SequenceBatches:
        """What every epoch goes through; values and advantages are computed here, once."""
        config = self.config
        joint = self._input.observations(batch.obs, batch.agent_mask)
        said, of_critic = self._rollout_values(batch, joint)
        samples = self._samples(batch, joint, said)
        split = split_size(config.batch_size, config.buffer_size)
        rest = (batch.num_agent_steps, split, config.micro_batch_size, self._state.generator)
        if self.memory is None:
            return RowBatches(samples, self.spec.num_slots, *rest)
        pieces = played_sequences(batch, self.memory.sequence_length, config.burn_in)
        return SequenceBatches(samples, self._columns, remembered(batch, of_critic), pieces, *rest)

    def _samples(self, batch: RolloutBatch, joint: Tensor, said: Tensor) -> Tensor:
        """Everything that a gradient step needs, packed [R, columns].

        Args:
            joint: [R + E, joint], normalised.
            said: [R + E, N], the values in the units that the critic learns.
        """
        config, num_rows = self.config, len(batch.action)
        reward = self._reward_scale(batch) if config.reward_scaling else batch.reward
        value = self._values.denormalise(said)  # [R + E, N]
        next_value, value = value.index_select(0, batch.successor), value[:num_rows]
        advantage = gae(
            reward,
            value,
            next_value,
            batch.terminated,
            batch.cut,
            batch.successor,
            self.discount,
            config.lambd,
        )
        target = (advantage + value).masked_fill_(batch.value_mask == 0, 0.0)
        actor_mask = batch.acted * batch.value_mask
        self._played = Played(
            joint[:num_rows],
            batch.allowed,
            value,
            target,
            advantage,
            actor_mask,
            batch.value_mask,
            batch.memory,
        )
        said = self._values.normalise(value)
        self._values.observe(target, batch.value_mask)
        parts = {
            "joint": joint[:num_rows],
            "allowed": batch.allowed,
            "action": batch.action,
            "actor_mask": actor_mask,
            "value_mask": batch.value_mask,
            "log_prob": batch.log_prob,
            "advantage": normalised_advantage(advantage, actor_mask, config.advantage_normalisation),
            "target": self._values.normalise(target),
            "old_value": self._values.normalise(value) if self._values.preserves_values else said,
        }
        return self._columns.pack(parts)

    def _step(self, mini_batch: MiniBatch) -> None:
        """One gradient step of all actors and critics."""
        config, columns, samples = self.config, self._columns, mini_batch.samples
        centralised = config.centralised_critic
        one_network = centralised and config.share_critic is not Sharing.SEPARATE
        actor_weight = mean_weight(self.spec, samples[:, columns.actor_mask], config.share_actor, False)
        value_weight = mean_weight(
            self.spec, samples[:, columns.value_mask], config.share_critic, one_network
        )
        pieces = [tensor.split(mini_batch.sizes) for tensor in (samples, actor_weight, value_weight)]
        total = GradientSum([*self.actor.learnt, *self.critic.learnt], len(pieces[0]))
        in_turn = (mini_batch.of_actor, mini_batch.of_critic)
        for piece, actor_weight, value_weight, of_actor, of_critic in zip(*pieces, *in_turn, strict=True):
            self._actor_gradient(piece, actor_weight, of_actor)
            self._critic_gradient(piece, value_weight, of_critic)
            total.add()
        self._actor_norms = clip_gradients_(self.actor, config.max_gradient_norm)
        self._critic_norms = clip_gradients_(self.critic, config.max_gradient_norm)
        self._actor_optimiser.step()
        self._critic_optimiser.step()
        self.actor.bound_std()

    def _actor_gradient(self, samples: Tensor, weight: Tensor, recurrence: Recurrence | None) -> None:
        """Maximise the clipped surrogate and ``beta`` times the entropy (Yu et al. 2022, appendix A)."""
        spec, columns = self.spec, self._columns
        joint, allowed = samples[:, columns.joint], samples[:, columns.allowed]
        action, advantage = samples[:, columns.action], samples[:, columns.advantage]
        roles = range(len(spec.roles))
        distributions = [self.actor.distribution(joint, spec, allowed, i, recurrence) for i in roles]
        log_probs = [distributions[i].log_prob(spec.role_action(action, i)) for i in roles]
        log_prob = log_probs[0] if len(log_probs) == 1 else torch.cat(log_probs, 1)
        change = log_ratio(log_prob, samples[:, columns.log_prob])
        kl_weight = self._kl_penalty.weight if self.config.kl_penalty > 0.0 else None
        of_log_prob = surrogate_gradient(change, advantage, self._scheduled["epsilon"], kl_weight).mul_(
            weight
        )
        of_entropy = weight * -self._scheduled["beta"]
        for i in roles:
            slots = spec.slots(i)
            gradients = distributions[i].backward(
                spec.role_action(action, i), of_log_prob[:, slots], of_entropy[:, slots]
            )
            self.actor.backward(i, *gradients)
        mask = samples[:, columns.actor_mask]
        self._policy_steps.append(PolicyStep(change, advantage, mask))
        self._distributions = distributions

    def _critic_gradient(self, samples: Tensor, weight: Tensor, recurrence: Recurrence | None) -> None:
        """Minimise the (clipped) error of the values in the units that the critic learns."""
        config, columns = self.config, self._columns
        value = self.critic(samples[:, columns.joint], recurrence)
        target, old_value = samples[:, columns.target], samples[:, columns.old_value]
        gradient = clipped_value_gradient(
            value, old_value, target, config.critic_loss, config.value_clip, config.huber_threshold
        )
        self.critic.backward(gradient.mul_(weight))
        mask = samples[:, columns.value_mask]
        self._value_step = ValueStep(value, target, mask, config.critic_loss, config.huber_threshold)

    def _divergence(self) -> Tensor:
        """Mean divergence of the policy that acted from those that the last epoch's mini-batches found, 0-d."""
        change = torch.cat([step.log_ratio for step in self._policy_steps])
        mask = torch.cat([step.mask for step in self._policy_steps])
        return masked_mean(divergence(change), mask, (0, 1))

    def _critic_norm_per_slot(self) -> Tensor:
        norms = self._critic_norms
        if len(norms) == 1:
            return norms[0].expand(self.spec.num_slots)
        return torch.cat([n.expand(r.num_slots) for n, r in zip(norms, self.spec.roles, strict=True)])

    def _learnt(self) -> Sequence[Network]:
        return [*self.critic.learnt, *self.actor.learnt]

    def _loaded(self) -> None:
        self._input.loaded()
        self._collecting.loaded()
        self.actor.bound_std()

    def load_weights(self, saved: Mapping[str, Any], only_actor: bool = False) -> None:
        """See `SavedLearner`; a deviation that is annealed begins anew, with the run."""
        super().load_weights(saved, only_actor)
        if self.config.std_type is StdType.ANNEALED:
            self.actor.set_std(self._scheduled["std"])

    def _weights(self) -> dict[str, dict[str, Tensor]]:
        return {
            "actor": state.numbered(net.tensors() for net in self.actor.learnt),
            "critic": state.numbered(net.tensors() for net in self.critic.learnt),
            "critic_normaliser": self._values.tensors(),
            "normaliser": self._input.tensors(),
            "collecting_normaliser": self._collecting.tensors(),
        }

    def _tensors(self) -> dict[str, dict[str, Tensor]]:
        return self._weights() | {
            "actor_optimiser": self._actor_optimiser.tensors(),
            "critic_optimiser": self._critic_optimiser.tensors(),
            "kl": self._kl_penalty.tensors(),
            "return_scale": self._reward_scale.tensors(),
        }
