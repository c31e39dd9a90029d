"""A run that begins with the actors of another trainer type (`--initialize-from`): all pairs of types."""

from itertools import permutations
from typing import Any

import pytest
import torch
from torch import Tensor

from mlagents_marl_plugin.algorithms import ALGORITHMS
from mlagents_marl_plugin.core import actions
from mlagents_marl_plugin.core.distributions import StdType
from mlagents_marl_plugin.core.types import ActionLayout, GroupSpec
from tests.unit.groups import CONTINUOUS, CPU, DISCRETE, one_role
from tests.unit.learner_states import same_state

NUM_ROWS = 6
FAMILIES = [
    {"maddpg", "maddpg_shared", "matd3", "matd3_shared", "iddpg"},
    {name for name in ALGORITHMS if name.startswith(("mappo", "ippo", "maa2c", "ia2c"))},
    {"masac", "masac_shared", "isac", "isac_shared"},
    {"coma", "qmix", "vdn", "iql", "iql_shared"},  # with values cut into choices
]


def learners(spec: GroupSpec) -> dict[str, Any]:
    """One of each type, with weights and observations of its own."""
    made = {}
    for seed, (name, algorithm) in enumerate(ALGORITHMS.items()):
        cut = not algorithm.supports_continuous and spec.roles[0].action.continuous
        config = algorithm.config(discretise=3) if cut else algorithm.config()
        made[name] = algorithm.learner(
            spec, config, hidden_units=8, num_layers=1, normalize=True, discount=0.9, device=CPU, seed=seed
        )
        drawn = torch.Generator().manual_seed(seed)
        seen = 2.0 + torch.randn(20 + seed, spec.obs_size, generator=drawn)
        made[name].observe(seen, torch.ones(len(seen), spec.num_slots))
        if ALGORITHMS[name].data_regime == "on_policy":  # as an update's end does
            made[name]._input.copy_from(made[name]._collecting)
    return made


def greedy(learner: Any, layout: ActionLayout) -> Tensor:
    """What its actors do in some situations, where some choices are forbidden."""
    obs = 2.0 + torch.randn(NUM_ROWS, 5, generator=torch.Generator().manual_seed(99))
    slot, allowed = torch.arange(NUM_ROWS) % 2, torch.ones(NUM_ROWS, layout.num_choices)
    if layout.branches:
        allowed[::2, 0] = 0.0
    actor = learner.actor.acting_copy(CPU)
    if hasattr(actor, "mode_rows"):
        done: Tensor = actor.mode_rows(obs, allowed, slot)
        return done
    return actions.mode(layout, actor.forward_rows(obs, slot), allowed)


@pytest.mark.parametrize("layout", [DISCRETE, CONTINUOUS], ids=["choices", "values"])
def test_every_type_begins_with_the_actors_of_every_other_of_the_same_shape(layout: ActionLayout) -> None:
    made = learners(one_role(2, layout))
    acts = {name: greedy(learner, layout) for name, learner in made.items()}
    states = {name: learner.state_dict() for name, learner in made.items()}
    for source, name in permutations(made, 2):
        learner, own, its = made[name], states[name], states[source]
        if layout.continuous and not any({source, name} <= family for family in FAMILIES):
            with pytest.raises(
                ValueError, match=r"^checkpoint entry value_kind: expected .+ family.*\), got .+ family"
            ):
                learner.load_weights(its, only_actor=True)
            assert same_state(own, learner.state_dict())
            continue
        learner.load_weights(its, only_actor=True)
        assert torch.equal(greedy(learner, layout), acts[source]), (source, name)
        now = learner.state_dict()
        for part, tensors in now.items():
            expected = own[part]
            if part in ("actor", "target_actor"):
                expected = its["actor"]
            elif part in ("normaliser", "collecting_normaliser", "collecting"):
                expected = its["normaliser"]
            assert same_state(tensors, expected), (source, name, part)
        learner.load_state_dict(own)
        assert torch.equal(greedy(learner, layout), acts[name])


GAUSSIAN, OF_TANH = "Gaussians around outputs, cut off", "Gaussians around tanh of outputs, cut off"
SQUASHED, GRID = "Gaussians around outputs, bounded by tanh", "choices among a few values"
NARROW: dict[str, dict[str, Any]] = {  # networks of one shape: two outputs for each continuous value
    GAUSSIAN: {"name": "mappo", "std_type": StdType.STATE_DEPENDENT},
    OF_TANH: {"name": "mappo", "std_type": StdType.STATE_DEPENDENT, "tanh_mean": True},
    SQUASHED: {"name": "masac"},
    GRID: {"name": "qmix", "discretise": 2},
}


def narrow(kind: str, layout: ActionLayout) -> Any:
    setting = dict(NARROW[kind])
    algorithm = ALGORITHMS[setting.pop("name")]
    sizes = {"hidden_units": 8, "num_layers": 1, "normalize": False, "discount": 0.9}
    return algorithm.learner(one_role(2, layout), algorithm.config(**setting), **sizes, device=CPU, seed=0)


@pytest.mark.parametrize(("source", "kind"), list(permutations(NARROW, 2)))
def test_networks_of_one_shape_that_mean_something_else_are_refused(source: str, kind: str) -> None:
    learner, its = narrow(kind, CONTINUOUS), narrow(source, CONTINUOUS).state_dict()
    own = learner.state_dict()
    shapes = [{name: value.shape for name, value in saved["actor"].items()} for saved in (own, its)]
    assert shapes[0] == shapes[1]
    both = rf"^checkpoint entry value_kind: expected continuous actions to be {kind} .+, got {source} .+; use a run"
    for load in (learner.load_state_dict, learner.load_weights):
        with pytest.raises(ValueError, match=both):
            load(its)
    with pytest.raises(ValueError, match=both):
        learner.load_weights(its, only_actor=True)
    assert same_state(own, learner.state_dict())


def test_without_continuous_actions_all_mean_the_same() -> None:
    learner, its = narrow(SQUASHED, DISCRETE), narrow(OF_TANH, DISCRETE).state_dict()
    learner.load_weights(its, only_actor=True)
    assert same_state(learner.state_dict()["actor"], its["actor"])


def test_what_was_saved_before_the_kind_was_is_taken() -> None:
    learner, own = narrow(SQUASHED, CONTINUOUS), narrow(SQUASHED, CONTINUOUS).state_dict()
    del own["value_kind"]
    learner.load_state_dict(own)
    learner.load_weights(own)
