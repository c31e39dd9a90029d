"""Privileged observations in critics and mixers: whose state is whose value's, and what stands in for the absent."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from mlagents_marl_plugin.algorithms import ALGORITHMS
from mlagents_marl_plugin.algorithms.qmix import QmixConfig, QmixLearner
from mlagents_marl_plugin.core.critic_view import view_columns, view_obs_size
from mlagents_marl_plugin.core.critics import CentralisedCritic, Critic, IndependentCritic
from mlagents_marl_plugin.core.group_state import group_state, share_states_, state_size
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.stacked_mlp import UNIFORM
from mlagents_marl_plugin.core.types import GroupSpec, RoleSpec
from mlagents_marl_plugin.core.value_critics import IndependentValueCritic, JointCritic, OwnViewCritic
from tests.unit.groups import CONTINUOUS, CPU, DISCRETE, HYBRID, random_batch, random_rollout

SHARINGS = list(Sharing)
# Two of one kind that send a state of 2, and one of another kind whose state is 1.
SPEC = GroupSpec((RoleSpec("a", 2, ((2,), (3,)), CONTINUOUS, 0), RoleSpec("b", 1, ((2,), (1,)), HYBRID, 1)))
EVERY_SLOT = [{0, 1, 2}] * 3
OWN_AND_FIRST = [{0, 2}, {1}, {0, 1, 2}]  # of the other kind the first one's


def one_kind(**changes: Any) -> GroupSpec:
    return GroupSpec((replace(RoleSpec("a", 3, ((2,), (4,)), DISCRETE, 1), **changes),))


def joint_obs(rows: int = 7, width: int = 0) -> Tensor:
    return torch.randn(rows, width or SPEC.obs_size, generator=torch.Generator().manual_seed(1))


def states(joint: Tensor) -> list[Tensor]:
    """Views of every slot's state."""
    return [
        role.state(spec_obs[:, k])
        for role, spec_obs in ((role, SPEC.role_obs(joint, i)) for i, role in enumerate(SPEC.roles))
        for k in range(role.num_slots)
    ]


def moved_by(value: Any, joint: Tensor) -> list[set[int]]:
    """For every slot's state, the slots whose values [.., N] it moves."""
    before, moved = value(joint).clone(), []
    for slot in range(3):
        other = joint.clone()
        states(other)[slot].add_(1.0)
        difference = (value(other) - before).abs().flatten(0, -2).amax(0)
        moved.append({i for i in range(3) if difference[i] > 1e-6})
    return moved


# --- states -----------------------------------------------------------------------------------------------


def test_the_absent_have_the_state_of_the_first_who_is_there() -> None:
    joint = torch.arange(4.0 * SPEC.obs_size).view(4, -1)
    was = [state.clone() for state in states(joint)]
    obs = [role.actor_obs(SPEC.role_obs(joint, i)).clone() for i, role in enumerate(SPEC.roles)]
    share_states_(SPEC, joint, torch.tensor([[1.0, 1, 1], [0, 1, 1], [1, 0, 0], [0, 0, 1]]))
    now = states(joint)
    assert torch.equal(now[0], torch.stack([was[0][0], was[1][1], was[0][2], was[0][3]]))
    assert torch.equal(now[1], torch.stack([was[1][0], was[1][1], was[0][2], was[1][3]]))
    assert torch.equal(now[2], was[2])
    assert torch.equal(group_state(SPEC, joint), torch.cat([now[0], now[2]], 1)) and state_size(SPEC) == 3
    for i, role in enumerate(SPEC.roles):
        assert torch.equal(role.actor_obs(SPEC.role_obs(joint, i)), obs[i])


def test_a_view_holds_observations_then_states_then_actions() -> None:
    """Joint: a0 = [0 1 | 2 3 4], a1 = [5 6 | 7 8 9], b0 = [10 11 | 12], actions [13 14], [15 16], [17 to 20]."""
    actions = [13, 14, 15, 16, 17, 18, 19, 20]
    fixed = [[2, 3, 4, 7, 8, 9, 10, 11, *state, 12, *actions] for state in ([0, 1], [5, 6], [0, 1])]
    assert view_columns(SPEC, own_first=False) == fixed and view_obs_size(SPEC) == 11
    turned = [7, 8, 9, 2, 3, 4, 10, 11, 5, 6, 12, 15, 16, 13, 14, 17, 18, 19, 20]
    assert view_columns(SPEC, own_first=True) == [fixed[0], turned, fixed[2]]


# --- critics ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sharing", SHARINGS)
def test_a_value_of_ones_own_depends_on_ones_own_state(sharing: Sharing) -> None:
    rest = ((8,), LayerNormalisation.NONE, UNIFORM, CPU, torch.Generator().manual_seed(0))
    central = OwnViewCritic.create(SPEC, sharing, *rest)
    assert moved_by(central, joint_obs()) == OWN_AND_FIRST
    assert moved_by(IndependentValueCritic.create(SPEC, sharing, *rest), joint_obs()) == [{0}, {1}, {2}]


@pytest.mark.parametrize("per_agent", [True, False])
def test_a_critic_of_the_group_reads_the_first_state(per_agent: bool) -> None:
    rest = ((8,), LayerNormalisation.NONE, UNIFORM, CPU, torch.Generator().manual_seed(0))
    critic = JointCritic.create(SPEC, per_agent, *rest)
    assert moved_by(critic, joint_obs()) == [{0, 1, 2}, set(), {0, 1, 2}]


@pytest.mark.parametrize("kind", ["own view", "own view, separate", "group", "independent"])
def test_the_gradient_by_what_a_value_critic_read_is_that_of_the_value(kind: str) -> None:
    """Against differences of the values themselves, in every direction of the joint observation."""
    rest = ((8,), LayerNormalisation.NONE, UNIFORM, CPU, torch.Generator().manual_seed(0))
    sharing = Sharing.SEPARATE if "separate" in kind else Sharing.SHARED
    critic: Any = JointCritic.create(SPEC, False, *rest)
    if kind != "group":
        which: Any = IndependentValueCritic if kind == "independent" else OwnViewCritic
        critic = which.create(SPEC, sharing, *rest)
    joint, weight = joint_obs(), torch.randn(7, 3, generator=torch.Generator().manual_seed(4))
    critic(joint)
    gradient, step = critic.joint_gradient(weight.clone()), 1e-2
    for column in range(SPEC.obs_size):
        moved = torch.zeros_like(joint)
        moved[:, column] = step
        slope = ((critic(joint + moved) - critic(joint - moved)) * weight).sum(1) / (2 * step)
        assert torch.isclose(gradient[:, column], slope, rtol=2e-2, atol=2e-3).float().mean() > 0.8


def make_critic(sharing: Sharing, centralised: bool, num_asked: int = 1) -> Critic:
    kind = CentralisedCritic if centralised else IndependentCritic
    generator = torch.Generator().manual_seed(0)
    made: Critic = kind.create(SPEC, sharing, 2, (8,), LayerNormalisation.NONE, CPU, generator, num_asked)
    for net in made.nets:
        net.parameters.copy_(torch.randn(net.parameters.shape, generator=generator) * 0.4)
    return made


@pytest.mark.parametrize("sharing", SHARINGS)
@pytest.mark.parametrize("centralised", [True, False])
def test_a_critic_of_actions_reads_its_own_state_too(sharing: Sharing, centralised: bool) -> None:
    critic, joint = make_critic(sharing, centralised), joint_obs(7, SPEC.obs_size + SPEC.action_size)
    assert moved_by(critic, joint) == (OWN_AND_FIRST if centralised else [{0}, {1}, {2}])
    other = torch.randn(7, SPEC.action_size, generator=torch.Generator().manual_seed(2))
    own = [SPEC.role_action(other, i) for i in range(2)]
    q = critic.with_own_action(joint, own)
    for slot, (i, k) in enumerate([(0, 0), (0, 1), (1, 0)]):
        replaced = joint.clone()
        SPEC.role_action(replaced[:, SPEC.obs_size :], i)[:, k] = own[i][:, k]
        torch.testing.assert_close(q[..., slot], critic(replaced)[:1, :, slot], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sharing", SHARINGS)
@pytest.mark.parametrize("centralised", [True, False])
def test_the_gradient_by_own_actions_is_that_of_the_value(sharing: Sharing, centralised: bool) -> None:
    """Against differences of the values themselves, in every direction of every slot's action."""
    critic = make_critic(sharing, centralised, num_asked=2)
    joint = joint_obs(7, SPEC.obs_size + SPEC.action_size)
    weight = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(4))
    own = [SPEC.role_action(joint[:, SPEC.obs_size :].flip(0), i).clone() for i in range(2)]
    critic.with_own_action(joint, own)
    gradients, step = critic.own_action_gradient(weight), 1e-2
    for i, gradient in enumerate(gradients):
        for k, a in product(range(gradient.shape[1]), range(gradient.shape[2])):
            moved = []
            for direction in (step, -step):
                shifted = [action.clone() for action in own]
                shifted[i][:, k, a] += direction
                moved.append((critic.with_own_action(joint, shifted) * weight).sum((0, 2)))
            slope = (moved[0] - moved[1]) / (2 * step)
            assert torch.isclose(gradient[:, k, a], slope, rtol=2e-2, atol=5e-2).float().mean() > 0.8


# --- learners ---------------------------------------------------------------------------------------------


def make(name: str, spec: GroupSpec) -> Any:
    algorithm = ALGORITHMS[name]
    sizes = {"hidden_units": 8, "num_layers": 1, "normalize": True, "discount": 0.9}
    return algorithm.learner(spec, algorithm.config(), **sizes, device=CPU, seed=0)


def updated(name: str, change: Any) -> Any:
    """A learner after one update from a random group in which slot 0 is absent in every third row."""
    spec = one_kind()
    learner = make(name, spec)
    batch: Any = random_batch(spec) if ALGORITHMS[name].data_regime == "off_policy" else random_rollout(spec)
    batch.agent_mask[::3, 0] = 0.0
    if hasattr(batch, "acted"):
        batch.acted[::3, 0] = 0.0
    change(spec, batch)
    learner.observe(batch.obs, batch.agent_mask)
    learner.update(batch)
    return learner


def weights(learner: Any, part: str) -> dict[str, Tensor]:
    found: dict[str, Tensor] = learner.state_dict()[part]
    return found


@pytest.mark.parametrize("name", ALGORITHMS)
def test_what_stands_in_the_place_of_an_absent_one_changes_nothing(name: str) -> None:
    def spoil(spec: GroupSpec, batch: Any) -> None:
        spec.role_obs(batch.obs, 0)[::3, 0] = float("nan")
        spec.role_action(batch.action, 0)[::3, 0] = 0.0

    def clear(spec: GroupSpec, batch: Any) -> None:
        spec.role_obs(batch.obs, 0)[::3, 0] = 0.0
        spec.role_action(batch.action, 0)[::3, 0] = 0.0

    one, other = updated(name, spoil), updated(name, clear)
    for part in ("actor", "critic", "mixer"):
        if part in one.state_dict():
            mine, its = weights(one, part), weights(other, part)
            assert all(torch.equal(mine[key], its[key]) for key in mine)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_learner_keeps_it_from_its_actors(name: str) -> None:
    learner = updated(name, lambda spec, batch: None)
    obs, role = torch.randn(6, 6, generator=torch.Generator().manual_seed(5)), one_kind().roles[0]
    other = obs.clone()
    role.state(other).add_(3.0)
    networks = getattr(learner.actor, "networks", learner.actor)
    slots = torch.arange(6) % 3
    assert torch.equal(networks.forward_rows(other, slots), networks.forward_rows(obs, slots))


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if name not in ("vdn", "iql", "iql_shared")])
def test_every_learner_shows_it_to_its_critics(name: str) -> None:
    def other_state(spec: GroupSpec, batch: Any) -> None:
        spec.roles[0].state(spec.role_obs(batch.obs, 0)).mul_(-1.0)

    one, other = updated(name, lambda spec, batch: None), updated(name, other_state)
    part = "mixer" if name == "qmix" else "critic"
    mine, its = weights(one, part), weights(other, part)
    assert any(not torch.equal(mine[key], its[key]) for key in mine)


def test_mixing_follows_the_state_and_who_is_there_and_nothing_else() -> None:
    spec = one_kind()
    learner = QmixLearner(
        spec,
        QmixConfig(),
        hidden_units=8,
        num_layers=1,
        normalize=False,
        discount=0.9,
        device=CPU,
        seed=0,
    )
    chosen, mask = torch.ones(5, 6), torch.ones(5, 3)

    def mixed(joint: Tensor, mask: Tensor) -> Tensor:
        joint = learner._joint_obs(joint, mask)
        return learner.mixer(chosen, torch.ones(5, 6), learner._mixed_by(joint, mask)).clone()

    joint = torch.randn(5, spec.obs_size, generator=torch.Generator().manual_seed(6))
    before = mixed(joint, mask)
    for slot, same in ((0, False), (1, True)):  # the first one's is the group's
        other = joint.clone()
        spec.roles[0].state(spec.role_obs(other, 0)[:, slot]).add_(1.0)
        assert torch.equal(mixed(other, mask), before) is same
    other = joint.clone()
    spec.role_obs(other, 0)[..., :2] += 1.0  # what actors see
    assert torch.equal(mixed(other, mask), before)
    fewer = mask.clone()
    fewer[:, 2] = 0.0
    assert not torch.equal(mixed(joint, fewer), before)


@pytest.mark.parametrize("name", ["mappo", "qmix", "masac"])
def test_a_checkpoint_of_another_state_is_refused_by_its_entry(name: str) -> None:
    saved = make(name, one_kind()).state_dict()
    with pytest.raises(ValueError, match=r"checkpoint entry .+: expected shape .+, got"):
        make(name, one_kind(state_sensor=None)).load_state_dict(saved)
