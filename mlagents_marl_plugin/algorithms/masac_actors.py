"""What MASAC's actors learn by: the value of what they would do now, or what is in the replay, the better the more."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from mlagents_marl_plugin.core.advantage_weights import advantage_weights
from mlagents_marl_plugin.core.counterfactual import choice_values
from mlagents_marl_plugin.core.critics import Critic
from mlagents_marl_plugin.core.networks import Sharing, mean_weight
from mlagents_marl_plugin.core.squashed import Draw, SquashedDistribution
from mlagents_marl_plugin.core.stochastic_actor import StochasticActor
from mlagents_marl_plugin.core.temperatures import Temperatures
from mlagents_marl_plugin.core.types import GroupSpec

_OUTERMOST = 0.999  # tanh never gets to 1: recorded values at a limit would outweigh everything else


class ActorGradients(NamedTuple):
    """Differentiates a group's actors, given their distributions [B, N_role] and a draw from each.

    In every method ``joint`` [B, I] is what was seen and done, ``mask`` [B, N] 0/1 who was there.
    """

    spec: GroupSpec
    actor: StochasticActor
    critic: Critic
    share_actor: Sharing

    def soft(
        self,
        joint: Tensor,
        mask: Tensor,
        distributions: Sequence[SquashedDistribution],
        draws: Sequence[Draw],
        temperatures: Temperatures,
    ) -> None:
        """Maximise the mean of ``Q_i(x, a_1.., pi_i(o_i), ..a_N)`` and of the entropy's worth (Haarnoja et al. 2018,
        eq. 9).

        Through continuous values the gradient is that of the draw. For choices it is that of the expectation over each
        branch, the other branches and the values being as drawn: exact for one branch, without bias for several.
        """
        spec, own = self.spec, [draw.action for draw in draws]
        weight = mean_weight(spec, mask, self.share_actor, one_network=False)
        has_values = any(role.action.continuous for role in spec.roles)
        of_own = self._value_gradient(joint, own, -weight) if has_values else own
        by_choice = self._choice_values(joint, own)
        of_log_prob = temperatures.of_values * weight
        of_entropy = -temperatures.of_choices * weight
        for i, (distribution, draw) in enumerate(zip(distributions, draws, strict=True)):
            slots, num_values = spec.slots(i), spec.roles[i].action.continuous
            of_chance = by_choice[i] * -weight[:, slots].unsqueeze(-1)
            of_raw = distribution.draw_gradient(
                draw, of_own[i][..., :num_values], of_log_prob[:, slots], of_chance, of_entropy[:, slots]
            )
            self.actor.backward(i, of_raw, None)

    def advantage_weighted(
        self,
        joint: Tensor,
        mask: Tensor,
        distributions: Sequence[SquashedDistribution],
        draws: Sequence[Draw],
        temperature: float,
    ) -> None:
        """Maximise the mean of ``exp(A_i / temperature) log pi_i(a_i)`` over what was done, where ``A_i`` is how much
        more that is worth than a draw from the policy (Nair et al. 2020, eq. 13).

        Nothing that was never done is made likelier, whatever the critics say of it.
        """
        spec = self.spec
        expected = self.critic.with_own_action(joint, [draw.action for draw in draws]).amin(0)
        advantage = self.critic(joint).amin(0) - expected  # [2, B, N] -> [B, N]
        weight = mean_weight(spec, mask, self.share_actor, one_network=False)
        weight = advantage_weights(advantage, mask, temperature).mul_(weight)
        for i, distribution in enumerate(distributions):
            done = spec.role_action(joint[:, spec.obs_size :], i).clone()
            done[..., : spec.roles[i].action.continuous].clamp_(-_OUTERMOST, _OUTERMOST)
            self.actor.backward(i, distribution.log_prob_gradient(done, -weight[:, spec.slots(i)]), None)

    def _value_gradient(self, joint: Tensor, own: Sequence[Tensor], weight: Tensor) -> list[Tensor]:
        """Gradient by one's own actions of the sum of weighted values, the smaller twin's of each, [B, N] weights."""
        q = self.critic.with_own_action(joint, own)  # [2, B, N]
        return self.critic.own_action_gradient((q == q.amin(0)) * weight)

    def _choice_values(self, joint: Tensor, own: Sequence[Tensor]) -> list[Tensor]:
        """The smaller twin's value of every choice, per role [B, N_role, choices]."""
        if not any(role.action.branches for role in self.spec.roles):
            return [
                action[..., role.action.continuous :]
                for action, role in zip(own, self.spec.roles, strict=True)
            ]
        return [q.amin(0) for q in choice_values(self.critic, self.spec, joint, own)]
