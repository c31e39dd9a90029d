"""QMIX, VDN and independent Q-learning: a network of action values per agent, mixed into the group's value or not.

Sources:
    QMIX           Rashid et al. 2018, https://arxiv.org/abs/1803.11485
    VDN            Sunehag et al. 2018, https://arxiv.org/abs/1706.05296
    IQL            Tampuu et al. 2017, https://arxiv.org/abs/1511.08779
    Double Q       van Hasselt et al. 2016, https://arxiv.org/abs/1509.06461
    Munchausen     Vieillard et al. 2020, https://arxiv.org/abs/2007.14430
    Q(lambda)      Peng & Williams 1996, https://doi.org/10.1007/BF00114731
    memories       Kapturowski et al. 2019 (R2D2), https://openreview.net/forum?id=r1lyTjAqYX
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from mlagents_marl_plugin.algorithms.qmix_config import (
    IqlConfig,
    IqlSharedConfig,
    Mixing,
    QmixConfig,
    VdnConfig,
)
from mlagents_marl_plugin.algorithms.qmix_sequences import recurrence_of, target_of, wanted_sequences
from mlagents_marl_plugin.core import state, value_grid
from mlagents_marl_plugin.core.action_values import ActionValues
from mlagents_marl_plugin.core.encoded_mixer import EncodedMixer
from mlagents_marl_plugin.core.group_encoder import GroupEncoder
from mlagents_marl_plugin.core.group_state import group_state, share_states_, state_size, state_spec
from mlagents_marl_plugin.core.learner_state import LearnerState
from mlagents_marl_plugin.core.learnt import Network, clip_gradients_
from mlagents_marl_plugin.core.losses import (
    masked_mean,
    soft_update_,
    value_loss_gradient,
)
from mlagents_marl_plugin.core.mixers import Mixer, MonotonicMixer, NoMixer, SumMixer
from mlagents_marl_plugin.core.mixing_diagnostics import ValueUpdate, greedy_diversity, value_figures
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation
from mlagents_marl_plugin.core.networks import DecentralisedActor, Sharing, mean_weight
from mlagents_marl_plugin.core.normalisation import RunningNormaliser
from mlagents_marl_plugin.core.optimiser import StackedAdam
from mlagents_marl_plugin.core.rewards import RewardSharing
from mlagents_marl_plugin.core.rows import zero_absent_action, zero_absent_obs
from mlagents_marl_plugin.core.scheduled_learner import ScheduledLearner
from mlagents_marl_plugin.core.sequence_replay import SequenceBatch
from mlagents_marl_plugin.core.sequences import Memory
from mlagents_marl_plugin.core.types import Batch, GroupSpec
from mlagents_marl_plugin.core.value_passes import ValuePasses

__all__ = ["IqlConfig", "IqlSharedConfig", "QmixConfig", "QmixLearner", "VdnConfig"]

_COMMON_REWARD = (RewardSharing.GROUP_MEAN, RewardSharing.GROUP_SUM)


class QmixLearner(ScheduledLearner):
    """Action values per agent, learnt through the value of the whole group (Rashid et al. 2018, eq. 6), or each
    from its own return.

    All agents' networks run as one (see `core.stacked_mlp`): there is no loop over agents or samples here, only
    over roles and branches.
    """

    def __init__(
        self,
        spec: GroupSpec,
        config: QmixConfig,
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
            hidden_units, num_layers: of every agent's network, >= 1.
            normalize: whether observations are normalised by their running mean and deviation.
            discount: gamma per step, in [0, 1]; whoever draws the batches applies it.
            device: where everything lives.
            seed: of weights.
            memory: what agents remember from step to step; None: nothing.

        Attributes:
            sequences: what `update` wants batches of; None: of single transitions.

        Raises:
            ValueError: if there are continuous actions and ``config.discretise`` is 0, or agents with a memory and
                BatchNorm.
        """
        if memory is not None and config.layer_normalisation is LayerNormalisation.BATCH:
            raise ValueError(
                "layer_normalisation: expected none or layer with network_settings.memory, got batch; steps that "
                "follow each other are no sample of what is seen"
            )
        self.spec = spec
        self.config = config
        self.discount = discount
        self.device = torch.device(device)
        self.memory = memory
        self.sequences = wanted_sequences(config, memory)
        self._state = LearnerState(self.device, seed)
        self._last: ValueUpdate | None = None
        self._is_mixed = config.mixing is not Mixing.NONE
        self._is_cut = value_grid.must_be_cut(spec, config.discretise)
        self._choices = value_grid.choices_spec(spec, config.discretise) if self._is_cut else spec
        self._values = ActionValues(self._choices, self.device)
        weights = torch.Generator("cpu").manual_seed(seed)
        self._normalisers = [
            RunningNormaliser.of(role, config.observation_clip, self.device) if normalize else None
            for role in spec.roles
        ]
        self._networks = DecentralisedActor.create(
            self._choices,
            config.share_actor,
            (hidden_units,) * num_layers,
            config.layer_normalisation,
            self._normalisers,
            self.device,
            weights,
            0 if memory is None else memory.size,
        )
        self.mixer = self._new_mixer(weights)
        self._target_networks = self._networks.target_copy()
        self._target_mixer = self.mixer.target_copy()
        self._passes = ValuePasses(
            self._networks,
            self._target_networks,
            self._choices,
            double_q=config.double_q and config.munchausen == 0.0,
            asks_target_now=config.munchausen > 0.0,
            batch_norm=config.layer_normalisation is LayerNormalisation.BATCH,
        )
        self._optimiser = StackedAdam([*self._networks.learnt, *self.mixer.learnt], config.learning_rate)
        self.actor: DecentralisedActor = self._networks
        if self._is_cut:
            self.actor = value_grid.GridActor(spec, config.discretise, self._networks)

    def _new_mixer(self, weights: torch.Generator) -> Mixer:
        config = self.config
        if config.mixing is Mixing.NONE:
            return NoMixer(self._values)
        if config.mixing is Mixing.SUM:
            return SumMixer()
        read = state_spec(self.spec) if state_size(self.spec) else self.spec
        encoder = GroupEncoder.create(read, Sharing.SHARED, self.device, weights)
        num_state = read.obs_size if encoder is None else encoder.features.obs_size
        sizes = (self._values.num_columns, num_state + self.spec.num_slots)
        widths = (config.mixing_width, config.mixing_hidden_units)
        mixer = MonotonicMixer.create(*sizes, *widths, self.device, weights)
        return mixer if encoder is None else EncodedMixer(read, encoder, mixer)

    def observe(self, joint_obs: Tensor, agent_mask: Tensor) -> None:
        """Show newly collected observations [B, joint] with masks [B, N] to the normalisers, each once."""
        for i, normaliser in enumerate(self._normalisers):
            if normaliser is not None:
                normaliser.observe(self.spec.role_obs(joint_obs, i), agent_mask[:, self.spec.slots(i)])

    @torch.no_grad()
    def metrics(self) -> dict[str, Tensor]:
        """Figures of the last update, 0-d or [N]; empty before the first."""
        last = self._last
        if last is None:
            return {}
        figures = value_figures(self._values, last, self.mixer.sensitivity())
        diversity = greedy_diversity(self._choices, self._networks, last.joint, last.allowed)
        return figures | {"action_diversity": diversity}

    @torch.no_grad()
    def update(self, batch: Batch | SequenceBatch) -> None:
        """One gradient step of all networks, and of the targets every ``target_update_interval`` steps."""
        config, values = self.config, self._values
        in_turn = batch if isinstance(batch, SequenceBatch) else None
        steps = batch.steps if isinstance(batch, SequenceBatch) else batch
        action, allowed, next_allowed = self._as_choices(steps)
        num_rows = len(action)
        # From a step's row to its successor's.
        offset = num_rows if in_turn is None else in_turn.num_sequences
        # Who has ended may still be seen in the successor, for the last time; nothing follows for it.
        next_mask = steps.next_agent_mask * (steps.bootstrap > 0)
        behind = next_mask if in_turn is None else steps.next_agent_mask[-offset:]
        joint = self._joint_obs(
            torch.cat([steps.obs, steps.next_obs[-offset:]]), torch.cat([steps.agent_mask, behind])
        )
        recurrence = None if in_turn is None else recurrence_of(in_turn, self.memory)
        said = self._passes(joint, offset, steps.agent_mask, recurrence)

        reward, bootstrap, valid = self._outcome(steps)  # [R, E]
        if config.munchausen > 0.0:
            reward = reward + self._bonus(said.target_now, action, allowed, steps.agent_mask)
            next_q = values.soft_maximum(said.target, next_allowed, config.munchausen_temperature)
        else:
            next_q = values.best(said.target, said.chooser, next_allowed)
        next_joint = joint[offset:]
        if in_turn is not None:  # there they may still be acting in their own rows
            next_joint = self._hide_absent_(next_joint.clone(), next_mask)
        next_state = self._mixed_by(next_joint, next_mask)
        next_value = self._target_mixer(next_q, values.by_column(next_mask), next_state)
        target = target_of(config, reward, next_value, bootstrap, in_turn).masked_fill_(valid == 0, 0.0)

        joint = joint[:num_rows]
        chosen = values.chosen(said.online, action)  # [R, M]
        mixed_by = self._mixed_by(joint, steps.agent_mask)
        prediction = self.mixer(chosen, values.by_column(steps.agent_mask), mixed_by)  # [R, E]
        gradient = value_loss_gradient(prediction, target, config.critic_loss).mul_(self._weight(valid))
        of_chosen = self.mixer.backward(gradient)
        self._passes.backward(values.backward(of_chosen, action), offset, recurrence is not None)
        norms = clip_gradients_(self._networks, config.max_gradient_norm)
        mixer_norms = clip_gradients_(self.mixer, config.max_gradient_norm)
        self._optimiser.step()
        self._state.updates += 1
        if self._state.updates % config.target_update_interval == 0:
            self._update_targets()
        self._last = ValueUpdate(
            joint,
            allowed,
            steps.agent_mask if in_turn is None else steps.agent_mask * in_turn.learnt.unsqueeze(1),
            chosen,
            prediction,
            target,
            valid,
            config.critic_loss,
            norms,
            mixer_norms,
        )

    def _as_choices(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """What was done, what was permitted then and what is permitted next, in choices; actions 0 where absent."""
        action = batch.action.clone()
        zero_absent_action(self.spec, action, batch.agent_mask)
        if not self._is_cut:
            return action, batch.allowed, batch.next_allowed
        spec, k = self.spec, self.config.discretise
        return (
            value_grid.joint_choices(spec, k, action, batch.agent_mask),
            value_grid.joint_allowed(spec, k, batch.allowed),
            value_grid.joint_allowed(spec, k, batch.next_allowed),
        )

    def _joint_obs(self, joint: Tensor, agent_mask: Tensor) -> Tensor:
        """Joint observations [R, joint], normalised in place, 0 where absent."""
        for i, normaliser in enumerate(self._normalisers):
            if normaliser is not None:
                normaliser.normalise_(self.spec.role_obs(joint, i))
        return self._hide_absent_(joint, agent_mask)

    def _hide_absent_(self, joint: Tensor, agent_mask: Tensor) -> Tensor:
        zero_absent_obs(self.spec, joint, agent_mask)
        share_states_(self.spec, joint, agent_mask)
        return joint

    def _mixed_by(self, joint: Tensor, agent_mask: Tensor) -> Tensor:
        """What the mixing networks read besides agents' values [R, S]: the scene's state if it sends one, else the
        joint observation; and who is there.
        """
        seen = group_state(self.spec, joint) if state_size(self.spec) else joint
        return torch.cat([seen, agent_mask], 1)

    def _bonus(self, raw: list[Tensor], action: Tensor, allowed: Tensor, agent_mask: Tensor) -> Tensor:
        """``munchausen * max(temperature * log_prob, munchausen_floor)`` of what was done, [B, E].

        It is the mean over branches, and over who is there where the value is the group's.

        Source: Vieillard et al. 2020, section 2 and appendix B.1, https://arxiv.org/abs/2007.14430
        """
        config, values = self.config, self._values
        temperature = config.munchausen_temperature
        log_prob = values.log_prob(raw, action, allowed, temperature)  # [B, M], <= 0
        bonus = (log_prob * temperature).clamp_min_(config.munchausen_floor)
        per_slot = values.slot_mean(bonus) * config.munchausen
        return masked_mean(per_slot, agent_mask, 1).unsqueeze(1) if self._is_mixed else per_slot

    def _outcome(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Reward, bootstrap factor and 0/1 whether it is to be learnt, each [B, E].

        A group's reward is the mean over its agents; it goes on while one of them does.
        """
        if not self._is_mixed:
            return batch.reward, batch.bootstrap, batch.value_mask * batch.agent_mask
        valued = batch.value_mask
        bootstrap = (batch.bootstrap * valued).amax(1, keepdim=True)
        counted = valued
        if self.config.reward_sharing in _COMMON_REWARD:
            # All get the same while they last, so that sums over several steps differ only by who ended first.
            going = valued * (batch.bootstrap > 0)
            counted = torch.where(going.any(1, keepdim=True), going, valued)
        reward = masked_mean(batch.reward, counted, 1).unsqueeze(1)  # [B] -> [B, 1]
        return reward, bootstrap, valued.amax(1, keepdim=True)

    def _weight(self, valid: Tensor) -> Tensor:
        """Weights [B, E] that make a sum the mean over valid rows; for independent agents added over networks."""
        if self._is_mixed:
            return valid / valid.sum().clamp_min(1.0)
        return mean_weight(self._choices, valid, self.config.share_actor, one_network=False)

    def _update_targets(self) -> None:
        online = [*self._networks.learnt, *self.mixer.learnt]
        target = [*self._target_networks.learnt, *self._target_mixer.learnt]
        soft_update_([n.parameters for n in target], [n.parameters for n in online], self.config.tau)
        if self.config.layer_normalisation is LayerNormalisation.BATCH:
            soft_update_([n.statistics for n in target], [n.statistics for n in online], self.config.tau)

    def _learnt(self) -> Sequence[Network]:
        return [*self._networks.learnt, *self.mixer.learnt]

    def _optimisers(self) -> dict[str, StackedAdam]:
        return {"learning_rate": self._optimiser}

    def _loaded(self) -> None:
        for normaliser in self._normalisers:
            if normaliser is not None:
                normaliser.loaded()

    def _weights(self) -> dict[str, dict[str, Tensor]]:
        networks: dict[str, Sequence[Network]] = {
            "actor": self._networks.learnt,
            "target_actor": self._target_networks.learnt,
            "mixer": self.mixer.learnt,
            "target_mixer": self._target_mixer.learnt,
        }
        weights = {name: state.numbered(net.tensors() for net in nets) for name, nets in networks.items()}
        normalisers = (n.tensors() for n in self._normalisers if n is not None)
        return weights | {"normaliser": state.numbered(normalisers)}

    def _tensors(self) -> dict[str, dict[str, Tensor]]:
        return self._weights() | {"optimiser": self._optimiser.tensors()}
