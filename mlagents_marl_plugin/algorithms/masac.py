"""MASAC and ISAC: stochastic actors that are paid for entropy, twin critics of joint actions, learning from a replay.

Sources:
    SAC            Haarnoja et al. 2018, https://arxiv.org/abs/1801.01290; temperatures: https://arxiv.org/abs/1812.05905
    with choices   Christodoulou 2019, https://arxiv.org/abs/1910.07207; both kinds: Delalleau et al. 2019, 1912.11077
    MASAC          SAC with the centralised critics of Lowe et al. 2017, https://arxiv.org/abs/1706.02275
    Munchausen     Vieillard et al. 2020, https://arxiv.org/abs/2007.14430
    advantage-weighted actors (AWAC)   Nair et al. 2020, https://arxiv.org/abs/2006.09359
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from mlagents_marl_plugin.algorithms.masac_actors import ActorGradients
from mlagents_marl_plugin.algorithms.masac_config import (
    ActorLoss,
    IsacConfig,
    IsacSharedConfig,
    MasacConfig,
    MasacSharedConfig,
)
from mlagents_marl_plugin.core import state
from mlagents_marl_plugin.core.critics import Critic
from mlagents_marl_plugin.core.diagnostics import CriticStep, critic_metrics
from mlagents_marl_plugin.core.encoded_q_critics import create_critic
from mlagents_marl_plugin.core.joint_input import JointInput
from mlagents_marl_plugin.core.learner_state import LearnerState
from mlagents_marl_plugin.core.learnt import Network, clip_gradients_
from mlagents_marl_plugin.core.losses import (
    masked_mean,
    soft_update_,
    td_target,
    value_loss_gradient,
)
from mlagents_marl_plugin.core.networks import Sharing, mean_weight
from mlagents_marl_plugin.core.optimiser import StackedAdam
from mlagents_marl_plugin.core.scheduled_learner import ScheduledLearner
from mlagents_marl_plugin.core.soft_diagnostics import SoftActorStep, soft_actor_metrics
from mlagents_marl_plugin.core.squashed import Draw, SquashedDistribution
from mlagents_marl_plugin.core.stacked_mlp import Initialisation
from mlagents_marl_plugin.core.stochastic_actor import StochasticActor
from mlagents_marl_plugin.core.temperatures import Temperatures
from mlagents_marl_plugin.core.types import Batch, GroupSpec

__all__ = [
    "ActorLoss",
    "IsacConfig",
    "IsacSharedConfig",
    "MasacConfig",
    "MasacLearner",
    "MasacSharedConfig",
]


class MasacLearner(ScheduledLearner):
    """Two soft critics and one decentralised stochastic actor per agent.

    All agents' networks run as one (see `core.stacked_mlp`): there is no loop over agents or samples here, only
    over roles.
    """

    def __init__(
        self,
        spec: GroupSpec,
        config: MasacConfig,
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
            seed: of weights and draws.

        Raises:
            ValueError: if there are continuous actions and ``config.munchausen`` is not 0.
        """
        for role in spec.roles:
            config.check_layout(role.action)
        self.spec = spec
        self.config = config
        self.discount = discount
        self.device = torch.device(device)
        self._state = LearnerState(self.device, seed)
        self._last_critic: CriticStep | None = None
        self._last_actor: SoftActorStep | None = None
        self._is_soft = config.actor_loss is ActorLoss.SOFT
        weights = torch.Generator("cpu").manual_seed(seed)
        hidden, norm = (hidden_units,) * num_layers, config.layer_normalisation
        self._input = JointInput(spec, normalize, config.observation_clip, self.device)
        normalisers = self._input.normalisers
        sharing, initialisation = config.share_actor, Initialisation()
        self.actor: StochasticActor = StochasticActor.create(
            spec, sharing, config.head, hidden, norm, initialisation, normalisers, self.device, weights
        )
        critics = (config.centralised_critic, config.share_critic, 2)
        self.critic: Critic = create_critic(spec, *critics, hidden, norm, self.device, weights, num_asked=2)
        self.target_critic = self.critic.target_copy()
        target_entropies = (config.target_value_entropy, config.target_choice_entropy)
        self.temperatures = Temperatures(spec, config.initial_temperature, target_entropies, self.device)
        self._actor_optimiser = StackedAdam(self.actor.learnt, config.learning_rate)
        self._critic_optimiser = StackedAdam(self.critic.learnt, config.critic_learning_rate)
        self._temperature_optimiser = StackedAdam([self.temperatures], config.temperature_learning_rate)

    def observe(self, joint_obs: Tensor, agent_mask: Tensor) -> None:
        """Show newly collected observations [B, joint] with masks [B, N] to the normalisers, each once."""
        self._input.observe(joint_obs, agent_mask)

    @torch.no_grad()
    def metrics(self) -> dict[str, Tensor]:
        """Figures of the last update, 0-d or [N]; empty before the first."""
        if self._last_critic is None or self._last_actor is None:
            return {}
        figures = critic_metrics(self.spec, self._last_critic)
        if self._is_soft:
            figures |= self.temperatures.shown()
        return figures | soft_actor_metrics(self.spec, self.actor, self._last_actor)

    @torch.no_grad()
    def update(self, batch: Batch) -> None:
        """One step of all critics, actors and temperatures, and of the target critics behind them."""
        joint = self._input(batch.obs, batch.action, batch.agent_mask)  # [B, I]
        self._update_critics(batch, joint)
        self._update_actors(batch, joint)
        online, target = self.critic.learnt, self.target_critic.learnt
        soft_update_([n.parameters for n in target], [n.parameters for n in online], self.config.tau)
        self._state.updates += 1

    def _update_critics(self, batch: Batch, joint: Tensor) -> None:
        """Minimise the mean of ``loss(Q_i(x, a_1..a_N) - y_i)`` for both twins (Haarnoja et al. 2018, eq. 5)."""
        config = self.config
        reward = batch.reward + self._bonus(batch, joint) if config.munchausen > 0.0 else batch.reward
        target = td_target(reward, self._next_soft_value(batch), batch.bootstrap)
        target.masked_fill_(batch.value_mask == 0, 0.0)
        q = self.critic(joint)  # [2, B, N]
        one_network = config.centralised_critic and config.share_critic is not Sharing.SEPARATE
        weight = mean_weight(self.spec, batch.value_mask, config.share_critic, one_network)
        self.critic.backward(value_loss_gradient(q, target, config.critic_loss).mul_(weight))
        norms = clip_gradients_(self.critic, config.max_gradient_norm)
        self._critic_optimiser.step()
        self._last_critic = CriticStep(q, target, config.critic_loss, batch.value_mask, norms)

    def _next_soft_value(self, batch: Batch) -> Tensor:
        """The successor's value [B, N]: the smaller twin's, of what everybody would do now, and one's own entropy if it
        is paid for.
        """
        # The actions taken are there to be overwritten.
        joint = self._input(batch.next_obs, batch.action, batch.next_agent_mask)
        distributions = self._distributions(joint, batch.next_allowed)
        draws = [distribution.draw(self._state.generator) for distribution in distributions]
        for i, draw in enumerate(draws):
            absent = (batch.next_agent_mask[:, self.spec.slots(i)] == 0).unsqueeze(-1)  # [B, n, 1]
            self._done(joint, i).copy_(draw.action.masked_fill_(absent, 0.0))
        next_q = self.target_critic(joint).amin(0)  # [2, B, N] -> [B, N]
        if not self._is_soft:
            return next_q
        worth = self._temperatures_times_entropy(*_entropies(distributions, draws))
        return next_q.addcmul_(worth, batch.next_agent_mask)

    def _bonus(self, batch: Batch, joint: Tensor) -> Tensor:
        """``munchausen * max(choice temperature * log pi_i(a_i), munchausen_floor)`` of what was done, [B, N].

        Source: Vieillard et al. 2020, section 2, https://arxiv.org/abs/2007.14430
        """
        log_prob = torch.cat(
            [
                distribution.log_prob(self._done(joint, i))
                for i, distribution in enumerate(self._distributions(joint, batch.allowed))
            ],
            -1,
        )
        bonus = (self.temperatures.of_choices * log_prob).clamp_min_(self.config.munchausen_floor)
        return bonus.mul_(self.config.munchausen).mul_(batch.agent_mask)

    def _done(self, joint: Tensor, role: int) -> Tensor:
        """What a role's agents did, a view [B, N_role, A_role]."""
        return self.spec.role_action(joint[:, self.spec.obs_size :], role)

    def _update_actors(self, batch: Batch, joint: Tensor) -> None:
        """One step of all actors, and of the temperatures that pay for their entropy."""
        distributions = self._distributions(joint, batch.allowed)
        draws = [distribution.draw(self._state.generator) for distribution in distributions]
        gradients = ActorGradients(self.spec, self.actor, self.critic, self.config.share_actor)
        if self._is_soft:
            gradients.soft(joint, batch.agent_mask, distributions, draws, self.temperatures)
        else:
            temperature = self.config.advantage_temperature
            gradients.advantage_weighted(joint, batch.agent_mask, distributions, draws, temperature)
        norms = clip_gradients_(self.actor, self.config.max_gradient_norm)
        self._actor_optimiser.step()
        entropies = _entropies(distributions, draws)
        self._last_actor = SoftActorStep(
            joint, batch.allowed, batch.agent_mask, distributions, draws, *entropies, self.critic, norms
        )
        if self._is_soft:
            self._update_temperatures(batch, *entropies)

    def _update_temperatures(self, batch: Batch, of_values: Tensor, of_choices: Tensor) -> None:
        """Raise what entropy is worth where there is less of it than wanted, lower it where there is more."""
        if self.config.temperature_learning_rate == 0.0:
            return
        values_target, choices_target = self.temperatures.targets(batch.allowed)
        mask = batch.agent_mask
        self.temperatures.differentiate(
            masked_mean(of_values - values_target, mask, 0), masked_mean(of_choices - choices_target, mask, 0)
        )
        self._temperature_optimiser.step()
        self.temperatures.bound()

    def _temperatures_times_entropy(self, of_values: Tensor, of_choices: Tensor) -> Tensor:
        """What entropies [B, N] are worth together, [B, N]."""
        return self.temperatures.of_values * of_values + self.temperatures.of_choices * of_choices

    def _distributions(self, joint: Tensor, allowed: Tensor) -> list[SquashedDistribution]:
        distributions = []
        for i in range(len(self.spec.roles)):
            distribution = self.actor.distribution(joint, self.spec, allowed, i)
            assert isinstance(distribution, SquashedDistribution)
            distributions.append(distribution)
        return distributions

    def _learnt(self) -> Sequence[Network]:
        return [*self.critic.learnt, *self.actor.learnt]

    def _optimisers(self) -> dict[str, StackedAdam]:
        return {
            "learning_rate": self._actor_optimiser,
            "critic_learning_rate": self._critic_optimiser,
            "temperature_learning_rate": self._temperature_optimiser,
        }

    def _loaded(self) -> None:
        self._input.loaded()

    def _weights(self) -> dict[str, dict[str, Tensor]]:
        return {
            "actor": state.numbered(net.tensors() for net in self.actor.learnt),
            "critic": state.numbered(net.tensors() for net in self.critic.learnt),
            "target_critic": state.numbered(net.tensors() for net in self.target_critic.learnt),
            "normaliser": self._input.tensors(),
            "temperatures": self.temperatures.tensors(),
        }

    def _tensors(self) -> dict[str, dict[str, Tensor]]:
        return self._weights() | {
            "actor_optimiser": self._actor_optimiser.tensors(),
            "critic_optimiser": self._critic_optimiser.tensors(),
            "temperature_optimiser": self._temperature_optimiser.tensors(),
        }


def _entropies(distributions: Sequence[SquashedDistribution], draws: Sequence[Draw]) -> tuple[Tensor, Tensor]:
    """Of continuous values, by one draw, and of choices, each [B, N]; 0 for roles without."""
    of_values = torch.cat([-draw.log_prob for draw in draws], -1)
    return of_values, torch.cat([distribution.entropy() for distribution in distributions], -1)
