"""COMA: stochastic actors whose choices are judged by one centralised critic against their other choices.

Source: Foerster et al. 2018, https://arxiv.org/abs/1705.08926
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mlagents_marl_plugin.algorithms.coma_config import ComaConfig
from mlagents_marl_plugin.algorithms.coma_sequences import (
    CriticBatch,
    CriticBatches,
    Lived,
    draw_behind_,
)
from mlagents_marl_plugin.core import state, value_grid
from mlagents_marl_plugin.core.counterfactual import counterfactual_advantage
from mlagents_marl_plugin.core.counterfactual_critic import CounterfactualCritic
from mlagents_marl_plugin.core.distributions import ActionDistribution, GaussianHead
from mlagents_marl_plugin.core.gae import gae
from mlagents_marl_plugin.core.grid_policy import GridPolicy
from mlagents_marl_plugin.core.joint_input import JointInput
from mlagents_marl_plugin.core.learner_state import LearnerState
from mlagents_marl_plugin.core.learnt import Network, clip_gradients_
from mlagents_marl_plugin.core.losses import soft_update_, value_loss_gradient
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
from mlagents_marl_plugin.core.on_policy_samples import split_size
from mlagents_marl_plugin.core.optimiser import StackedAdam
from mlagents_marl_plugin.core.rollout_values import RolloutValues
from mlagents_marl_plugin.core.saved_learner import SavedLearner
from mlagents_marl_plugin.core.schedules import FallingNumber, Schedule
from mlagents_marl_plugin.core.sequences import Memory
from mlagents_marl_plugin.core.stacked_mlp import Initialisation
from mlagents_marl_plugin.core.stochastic_actor import StochasticActor
from mlagents_marl_plugin.core.types import GroupSpec, RolloutBatch

__all__ = ["ComaConfig", "ComaLearner"]

_HUBER_THRESHOLD = 1.0
_OF_MANY_STEPS = ("ratio_mean", "approx_kl", "clip_fraction")  # one step per update leaves them as they are


class ComaLearner(SavedLearner):
    """Decentralised actors, and one critic that says what each of an agent's choices is worth (Algorithm 1).

    All agents' networks run as one (see `core.stacked_mlp`): there is no loop over agents or samples here, only over
    roles, branches, epochs and mini-batches.
    """

    def __init__(
        self,
        spec: GroupSpec,
        config: ComaConfig,
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
            config: its settings.
            hidden_units, num_layers: of every network, >= 1.
            normalize: whether observations are normalised by their running mean and deviation.
            discount: gamma per step, in [0, 1].
            device: where everything lives.
            seed: of weights, draws and the order of samples.
            memory: what agents remember from step to step; None: nothing.

        Raises:
            ValueError: if there are continuous actions and ``config.discretise`` is 0.
        """
        self.spec = spec
        self.config = config
        self.discount = discount
        self.device = torch.device(device)
        self.memory = memory
        self._state = LearnerState(self.device, seed)
        self._is_cut = value_grid.must_be_cut(spec, config.discretise)
        self._choices = value_grid.choices_spec(spec, config.discretise) if self._is_cut else spec
        weights = torch.Generator("cpu").manual_seed(seed)
        hidden, norm = (hidden_units,) * num_layers, config.layer_normalisation
        # Two of each: policies are learnt under the normalisation that they acted with, and seen data go to the other.
        self._input, self._collecting = (
            JointInput(self._choices, normalize, config.observation_clip, self.device) for _ in range(2)
        )
        self._policy = StochasticActor.create(
            self._choices,
            config.share_actor,
            GaussianHead(),
            hidden,
            norm,
            Initialisation(),
            self._input.normalisers,
            self.device,
            weights,
            0 if memory is None else memory.size,
            config.memory_cell,
        )
        self.actor: StochasticActor | GridPolicy = self._policy
        if self._is_cut:
            self.actor = GridPolicy(spec, config.discretise, self._policy)
        self.critic = CounterfactualCritic.create(
            self._choices,
            config.share_critic,
            hidden,
            norm,
            self.device,
            weights,
            memory.size if memory is not None and config.recurrent_critic else 0,
            config.memory_cell,
        )
        self.target_critic = self.critic.target_copy()
        self._target_values = RolloutValues(self.target_critic)
        self._features = None if self.critic.memory is None else RolloutValues(self.critic.memory)
        self._actor_optimiser = StackedAdam(self._policy.learnt, config.learning_rate)
        self._critic_optimiser = StackedAdam(self.critic.learnt, config.critic_learning_rate)
        self._played: Played | None = None
        self._policy_step: PolicyStep | None = None
        self._value_step: ValueStep | None = None
        self._distributions: list[ActionDistribution] = []
        self._actor_norms: list[Tensor] = []
        self._critic_norms: list[Tensor] = []
        self.set_progress(0.0, 0)

    def observe(self, joint_obs: Tensor, agent_mask: Tensor) -> None:
        """Show newly collected observations [B, joint] with masks [B, N] to the normalisers, each once.

        They are used after the next update.
        """
        self._collecting.observe(joint_obs, agent_mask)

    def set_progress(self, step_fraction: float, episodes: int) -> None:
        """Move all schedules to where the run is, see `OnPolicyLearner.set_progress`."""
        config = self.config

        def now(start: float, schedule: Schedule) -> float:
            return FallingNumber(start, schedule, 1.0, 0.0).at(step_fraction, episodes)

        self._scheduled = {
            "learning_rate": now(config.learning_rate, config.learning_rate_schedule),
            "critic_learning_rate": now(config.critic_learning_rate, config.learning_rate_schedule),
            "beta": now(config.beta, config.beta_schedule),
        }
        self._actor_optimiser.set_learning_rate(self._scheduled["learning_rate"])
        self._critic_optimiser.set_learning_rate(self._scheduled["critic_learning_rate"])

    def scheduled(self) -> dict[str, float]:
        """``learning_rate``, ``critic_learning_rate`` and ``beta``."""
        return dict(self._scheduled)

    @torch.no_grad()
    def metrics(self) -> dict[str, Tensor]:
        """Figures of the last update, 0-d or [N]; empty before the first."""
        if self._played is None or self._policy_step is None or self._value_step is None:
            return {}
        norms = zip(self._actor_norms, self.spec.roles, strict=True)
        actor_norm = torch.cat([norm.expand(role.num_slots) for norm, role in norms])
        figures = played_metrics(self._played)
        figures |= policy_metrics([self._policy_step], self._distributions, 0.0, actor_norm)
        figures |= value_metrics(self._value_step, self._critic_norms[0].expand(self.spec.num_slots))
        for name in _OF_MANY_STEPS:
            del figures[name]
        figures["action_diversity"] = action_diversity(
            self._choices, self._policy, self._played, self._played.memory
        )
        return figures

    @torch.no_grad()
    def update(self, batch: RolloutBatch) -> None:
        """All gradient steps of the critics on what was played, then one of the actors."""
        every, allowed = self._joint_input(batch)  # [R + E, I], [R, joint choices]
        joint = every[: len(batch.action)]
        said, of_critic = self._target_values(batch, every)
        target = self._returns(batch, said)
        lived = None
        if self.memory is not None:
            lived = Lived.of(batch, self.memory, self.config.burn_in, of_critic)
        played = CriticBatch(joint, target, batch.value_mask)
        split = split_size(self.config.batch_size, self.config.buffer_size)
        in_turn = None if self.critic.memory is None else lived
        sizes = (batch.num_agent_steps, split, self._state.generator)
        self._update_critics(CriticBatches(played, in_turn, *sizes))
        features = None if self._features is None else self._features(batch, every)[0][: len(joint)]
        read = self.critic.read(joint, features)
        mask = batch.acted * batch.value_mask
        advantage = self._update_actors(joint, allowed, self._choice_values(joint, read), mask, lived)
        value = self.critic.values(read)
        self._played = Played(joint, allowed, value, target, advantage, mask, batch.value_mask, batch.memory)
        online, behind = self.critic.learnt, self.target_critic.learnt
        soft_update_([n.parameters for n in behind], [n.parameters for n in online], self.config.tau)
        # Only now, so that what was learnt from was played by the policy that learnt.
        self._input.copy_from(self._collecting)
        self._state.updates += 1

    def _joint_input(self, batch: RolloutBatch) -> tuple[Tensor, Tensor]:
        """What critics read of all rows and of the observations behind them [R + E, I], and masks [R, joint choices].

        Nothing was done yet in the E: there the policies are drawn from.
        """
        choices, num_rows = self._choices, len(batch.action)
        action, allowed, k = batch.action, batch.allowed, self.config.discretise
        behind = batch.allowed_behind
        if behind is None:
            behind = allowed.new_ones(len(batch.obs) - num_rows, allowed.shape[1])
        if self._is_cut:
            action = value_grid.joint_choices(self.spec, k, action, batch.agent_mask[:num_rows])
            allowed, behind = (value_grid.joint_allowed(self.spec, k, mask) for mask in (allowed, behind))
        nothing = action.new_zeros(len(batch.obs) - num_rows, choices.action_size)
        joint = self._input(batch.obs, torch.cat([action, nothing]), batch.agent_mask)
        draw_behind_(self._policy, choices, batch, joint, behind, self._state.generator)
        return joint, allowed

    def _returns(self, batch: RolloutBatch, q: Tensor) -> Tensor:
        """TD(lambda) returns [R, N] of what was done, given values [R + E, N] (section 4 and Algorithm 1)."""
        value, next_value = q[: len(batch.action)], q.index_select(0, batch.successor)
        ends = (batch.terminated, batch.cut, batch.successor)
        beyond = gae(batch.reward, value, next_value, *ends, self.discount, self.config.lambd)
        return (beyond + value).masked_fill_(batch.value_mask == 0, 0.0)

    def _update_critics(self, batches: CriticBatches) -> None:
        """Minimise the mean of ``loss(Q_i(s, u_1..u_N) - return_i)`` in mini-batches."""
        for _ in range(self.config.num_epoch):
            for batch in batches.epoch():
                self._critic_step(batch)

    def _critic_step(self, batch: CriticBatch) -> None:
        config, (_, target, mask, _) = self.config, batch
        q = self.critic(batch.joint, batch.recurrence)  # [B, N]
        one_network = config.share_critic is not Sharing.SEPARATE
        weight = mean_weight(self.spec, mask, config.share_critic, one_network)
        self.critic.backward(value_loss_gradient(q, target, config.critic_loss).mul_(weight))
        norms = clip_gradients_(self.critic, config.max_gradient_norm)
        self._critic_norms = [norm.amax(0, keepdim=True) for norm in norms]
        self._critic_optimiser.step()
        self._value_step = ValueStep(q, target, mask, config.critic_loss, _HUBER_THRESHOLD)

    def _choice_values(self, joint: Tensor, read: Tensor) -> list[Tensor]:
        """What each choice of each agent is worth, per role [R, N_role, choices]; ``read``: see the critic."""
        return self.critic.choice_values(read, self._own_actions(joint))

    def _own_actions(self, joint: Tensor) -> list[Tensor]:
        action = joint[:, self._choices.obs_size :]
        return [self._choices.role_action(action, i) for i in range(len(self._choices.roles))]

    def _update_actors(
        self, joint: Tensor, allowed: Tensor, values: list[Tensor], mask: Tensor, lived: Lived | None = None
    ) -> Tensor:
        """One step along the mean of ``A_i grad log pi_i(u_i)`` (eq. 5 and 7), and of the entropy.

        Each branch has an advantage of its own. Returns those summed over branches, [R, N].
        """
        choices, packed, recurrence, num_rows = self._choices, None, None, len(joint)
        if lived is not None:
            packed, recurrence = lived.at_once()
            joint, allowed = joint[packed.rows], allowed[packed.rows]
            values = [value[packed.rows] for value in values]
            mask = mask[packed.rows] * (1.0 - packed.warm_up.unsqueeze(1))
        own, weight = self._own_actions(joint), mean_weight(choices, mask, self.config.share_actor, False)
        of_entropy, advantages = weight * -self._scheduled["beta"], list[Tensor]()
        self._distributions = []
        for i, value in enumerate(values):
            distribution = self._policy.distribution(joint, choices, allowed, i, recurrence)
            slots = choices.slots(i)
            by_branch = counterfactual_advantage(distribution, own[i], value)  # [R, n, K]
            of_log_prob = by_branch * -weight[:, slots].unsqueeze(-1)
            of_raw = distribution.choices_gradient(own[i], of_log_prob, of_entropy[:, slots])
            self._policy.backward(i, of_raw, None)
            advantages.append(by_branch.sum(-1))
            self._distributions.append(distribution)
        limit = self.config.max_gradient_norm
        self._actor_norms = [norm.amax(0, keepdim=True) for norm in clip_gradients_(self._policy, limit)]
        self._actor_optimiser.step()
        advantage = torch.cat(advantages, -1)
        self._policy_step = PolicyStep(torch.zeros_like(advantage), advantage, mask)
        return advantage if packed is None else packed.by_row(advantage, num_rows)

    def load_weights(self, saved: Mapping[str, Any], only_actor: bool = False) -> None:
        """See `SavedLearner`; what is seen from here on goes on from the normalisers that are taken over."""
        super().load_weights(saved, only_actor)
        self._collecting.copy_from(self._input)

    def _learnt(self) -> Sequence[Network]:
        return [*self.critic.learnt, *self._policy.learnt]

    def _loaded(self) -> None:
        self._input.loaded()
        self._collecting.loaded()

    def _weights(self) -> dict[str, dict[str, Tensor]]:
        return {
            "actor": state.numbered(net.tensors() for net in self._policy.learnt),
            "critic": state.numbered(net.tensors() for net in self.critic.learnt),
            "target_critic": state.numbered(net.tensors() for net in self.target_critic.learnt),
            "normaliser": self._input.tensors(),
        }

    def _tensors(self) -> dict[str, dict[str, Tensor]]:
        return self._weights() | {
            "collecting": self._collecting.tensors(),
            "actor_optimiser": self._actor_optimiser.tensors(),
            "critic_optimiser": self._critic_optimiser.tensors(),
        }
