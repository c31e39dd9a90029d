"""The copy of the actor that acts."""

import pytest
import torch

from mlagents_marl_plugin.adapter.acting import ExploringActing, SamplingActing
from mlagents_marl_plugin.algorithms.maddpg import MaddpgConfig, MaddpgLearner
from mlagents_marl_plugin.algorithms.mappo import MappoConfig, MappoLearner
from mlagents_marl_plugin.core.exploration import ExplorationSchedule, Explorer, NoiseType
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.types import ActionLayout, GroupSpec, RoleSpec

CPU = torch.device("cpu")
LAYOUT = ActionLayout(2, (3,))
SPEC = GroupSpec((RoleSpec("A", 2, ((4,),), LAYOUT),))


def learner(**config) -> MaddpgLearner:
    sizes = {"hidden_units": 8, "num_layers": 1, "normalize": False, "discount": 0.99}
    return MaddpgLearner(SPEC, MaddpgConfig(**config), **sizes, device=CPU, seed=3)


def acting(
    learned: MaddpgLearner, step: int = 0, scale: float | None = None, random_steps: int = 0
) -> ExploringActing:
    generator = torch.Generator().manual_seed(1)
    explorer = None
    if scale is not None:
        schedule = ExplorationSchedule(scale, 0.0, 0.5, random_steps)
        explorer = Explorer(LAYOUT, NoiseType.GAUSSIAN, schedule, generator)
    return ExploringActing(learned.actor, LAYOUT, CPU, explorer, lambda: step)


def ask(act: ExploringActing, rows: int = 6, allowed: torch.Tensor | None = None) -> torch.Tensor:
    obs = torch.linspace(-1, 1, rows * 4).view(rows, 4)
    allowed = torch.ones(rows, 3) if allowed is None else allowed
    return act(obs, allowed, torch.arange(rows) % 2, torch.arange(rows)).action


def test_greedy_without_an_explorer():
    act = acting(learner())
    first = ask(act)
    assert torch.equal(first, ask(act))
    assert first.shape == (6, 5)
    assert torch.equal(first[:, 2:].sum(1), torch.ones(6))


def test_noise_fades_with_the_trainers_step():
    learned = learner()
    greedy = ask(acting(learned))[:, :2]
    near = ask(acting(learned, step=30, scale=0.3))[:, :2]
    assert torch.allclose(near, greedy, atol=1e-6)
    assert not torch.allclose(ask(acting(learned, step=0, scale=0.3))[:, :2], greedy, atol=1e-2)


def test_a_nudge_adds_noise_where_it_had_faded():
    learned = learner()
    act = acting(learned, step=30, scale=0.3)
    act.explorer.nudge = 0.4
    assert not torch.allclose(ask(act)[:, :2], ask(acting(learned))[:, :2], atol=1e-2)


def test_random_steps_come_first_and_keep_to_what_is_allowed():
    allowed = torch.tensor([[0.0, 1.0, 0.0]]).repeat(400, 1)
    chosen = ask(acting(learner(), step=9, scale=0.0, random_steps=10), 400, allowed)
    assert chosen[:, 3].all()
    assert chosen[:, :2].min() < -0.9
    assert chosen[:, :2].max() > 0.9


def test_forbidden_choices_are_never_made():
    allowed = torch.tensor([[1.0, 0.0, 1.0]]).repeat(2_000, 1)
    for act in (acting(learner()), acting(learner(), scale=0.3)):
        assert not ask(act, 2_000, allowed)[:, 3].any()


@pytest.mark.parametrize("sharing", list(Sharing))
def test_a_swap_takes_the_weights_over_and_no_reference(sharing):
    learned = learner(share_actor=sharing)
    act = acting(learned)
    before = ask(act)
    with torch.no_grad():
        for net in learned.actor.nets:
            net.parameters.add_(0.5)
    assert torch.equal(ask(act), before), "the copy must not follow by itself"
    act.swap(learned.actor)
    assert not torch.allclose(ask(act)[:, :2], before[:, :2])
    assert torch.equal(ask(act), ask(acting(learned)))


def test_separate_actors_act_by_slot():
    act = acting(learner(share_actor=Sharing.SEPARATE))
    same = torch.ones(2, 4)
    chosen = act(same, torch.ones(2, 3), torch.tensor([0, 1]), torch.tensor([0, 1])).action
    assert not torch.allclose(chosen[0, :2], chosen[1, :2])
    swapped = act(same, torch.ones(2, 3), torch.tensor([1, 0]), torch.tensor([0, 1])).action
    assert torch.allclose(chosen[:, :2], swapped.flip(0)[:, :2], atol=1e-6)


def sampling(learned: MappoLearner, greedy: bool = False, seed: int = 1) -> SamplingActing:
    return SamplingActing(learned.actor, CPU, torch.Generator().manual_seed(seed), greedy)


def on_policy_learner(**config) -> MappoLearner:
    sizes = {"hidden_units": 8, "num_layers": 1, "normalize": False, "discount": 0.99}
    return MappoLearner(SPEC, MappoConfig(policy_gain=1.0, **config), **sizes, device=CPU, seed=3)


def test_a_drawn_action_comes_with_its_own_log_probability():
    learned = on_policy_learner()
    obs, allowed, slots = (
        torch.randn(500, 4),
        torch.tensor([[1.0, 0.0, 1.0]]).repeat(500, 1),
        torch.zeros(500).long(),
    )
    action, log_prob, _ = sampling(learned)(obs, allowed, slots, slots)
    assert torch.allclose(log_prob, learned.actor.log_prob_rows(obs, allowed, slots, action), atol=1e-6)
    assert action[:, :2].abs().max() > 1, "values are as drawn"
    assert not action[:, 3].any()
    assert torch.equal(action[:, 2:].sum(1), torch.ones(500))


def test_a_greedy_sampler_plays_the_mode():
    learned = on_policy_learner()
    obs, allowed, slots = torch.randn(50, 4), torch.ones(50, 3), torch.zeros(50).long()
    action, log_prob, _ = sampling(learned, greedy=True)(obs, allowed, slots, slots)
    assert torch.equal(action, learned.actor.mode_rows(obs, allowed, slots))
    assert torch.allclose(log_prob, learned.actor.log_prob_rows(obs, allowed, slots, action))
    drawn = sampling(learned)(obs, allowed, slots, slots)
    assert log_prob.mean() > drawn.log_prob.mean()


def test_draws_go_on_where_they_stopped():
    learned = on_policy_learner()
    obs, allowed, slots = torch.randn(5, 4), torch.ones(5, 3), torch.zeros(5).long()
    first = sampling(learned)
    first(obs, allowed, slots, slots)
    again = sampling(learned, seed=99)
    again.load_state_dict(first.state_dict())
    assert torch.equal(first(obs, allowed, slots, slots).action, again(obs, allowed, slots, slots).action)
    with pytest.raises(
        ValueError, match="acting: expected entry 'generator', got none; the file is incomplete"
    ):
        again.load_state_dict({})


def test_a_sampler_follows_the_learner_only_when_swapped():
    learned = on_policy_learner()
    act, obs, slots = sampling(learned, greedy=True), torch.randn(5, 4), torch.zeros(5).long()
    before = act(obs, torch.ones(5, 3), slots, slots).action
    with torch.no_grad():
        for net in learned.actor.nets:
            net.parameters.add_(0.5)
    assert torch.equal(act(obs, torch.ones(5, 3), slots, slots).action, before)
    act.swap(learned.actor)
    assert not torch.allclose(act(obs, torch.ones(5, 3), slots, slots).action, before)
