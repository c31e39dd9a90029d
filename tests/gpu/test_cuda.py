"""The learners on a CUDA device: the same update as on the CPU, without waiting, and checkpoints that move over."""

from typing import Any

import pytest
import torch

from mlagents_marl_plugin.algorithms import ALGORITHMS
from mlagents_marl_plugin.algorithms.maddpg import MaddpgLearner
from mlagents_marl_plugin.algorithms.masac import MasacLearner
from tests.gpu.course import NUM_STEPS, act, batch_of, learner_of, played, tensors
from tests.unit.groups import CONTINUOUS, CPU, one_role, two_roles

CUDA = torch.device("cuda", torch.cuda.current_device())
OFF_POLICY = [name for name, algorithm in ALGORITHMS.items() if algorithm.data_regime == "off_policy"]
ON_POLICY = [name for name in ALGORITHMS if name not in OFF_POLICY]
DRAWS_NOTHING: dict[Any, dict[str, Any]] = {  # that would matter, since draws differ between devices
    MaddpgLearner: {"target_noise": 0.0, "policy_delay": 1},
    MasacLearner: {
        "initial_std": 1e-6,
        "min_std": 1e-6,
        "initial_temperature": 1e-8,
        "temperature_learning_rate": 0.0,
    },
}
EVERY_ALGORITHM = pytest.mark.parametrize("name", ALGORITHMS)


def trained(name: str, device: torch.device, num_updates: int, **config: Any) -> Any:
    """A learner after updates on steps that are the same for every device."""
    spec = one_role(3, CONTINUOUS)
    learner = learner_of(name, spec, device, **config)
    for seed in range(num_updates):
        steps = played(spec, seed)
        learner.observe(steps.obs.to(device), steps.agent_mask.to(device))
        # Drawn on the CPU, since draws differ between devices.
        batch = batch_of(name, spec, CPU, steps)
        learner.update(type(batch)(*(part.to(device) for part in batch)))
    return learner


def assert_alike(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(
            other[name].cpu(),
            value.cpu(),
            rtol=2e-3,
            atol=2e-4,
            msg=lambda text, name=name: f"{name}: {text}",
        )


@pytest.mark.parametrize("name", OFF_POLICY)
def test_an_update_is_that_of_the_cpu(name: str) -> None:
    here, there = (
        trained(name, device, 1, **DRAWS_NOTHING.get(ALGORITHMS[name].learner, {})) for device in (CPU, CUDA)
    )
    one, other = (
        {title: figure for title, figure in learner.metrics().items() if "entropy" not in title}
        for learner in (here, there)
    )
    assert_alike(one, other)
    nets, others = (
        [*learner.actor.nets, *getattr(learner, "mixer", getattr(learner, "critic", None)).nets]
        for learner in (here, there)
    )
    for net, other in zip(nets, others, strict=True):
        torch.testing.assert_close(other.gradient.cpu(), net.gradient, rtol=2e-3, atol=1e-5)
    assert {value.device for value in there.metrics().values()} == {CUDA}


@pytest.mark.parametrize("name", ON_POLICY)
def test_an_update_on_all_that_was_played_is_that_of_the_cpu(name: str) -> None:
    # In one piece and once: the order of mini-batches is drawn on the device.
    config = {"batch_size": 100_000, "num_epoch": 1}
    here, there = (trained(name, device, 1, **config) for device in (CPU, CUDA))
    assert_alike(here.metrics(), there.metrics())


@EVERY_ALGORITHM
def test_everything_stays_on_the_device(name: str) -> None:
    spec = two_roles()
    steps = played(spec)
    learner = learner_of(name, spec, CUDA)
    batch = batch_of(name, spec, CUDA, steps)
    assert {part.device for part in batch} == {CUDA}
    learner.update(batch)
    learner.update(batch_of(name, spec, CUDA, steps))
    assert learner.is_finite()
    assert {figure.device for figure in learner.metrics().values()} == {CUDA}


@pytest.mark.parametrize("name", OFF_POLICY)
def test_an_update_does_not_wait_for_the_device(name: str) -> None:
    spec = two_roles()
    learner = learner_of(name, spec, CUDA)
    batch = batch_of(name, spec, CUDA, played(spec))
    learner.update(batch)
    torch.cuda.set_sync_debug_mode("error")
    try:
        learner.update(batch)
        learner.update(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@EVERY_ALGORITHM
@pytest.mark.parametrize(("origin", "goal"), [(CPU, CUDA), (CUDA, CPU), (CUDA, CUDA)])
def test_a_checkpoint_moves_to_another_device(name: str, origin: torch.device, goal: torch.device) -> None:
    first = trained(name, origin, 2)
    saved = first.state_dict()
    assert {tensor.device for tensor in tensors(saved).values()} == {CPU}
    again = learner_of(name, first.spec, goal)
    again.load_state_dict(saved)
    again_saved = tensors(again.state_dict())
    weights = [entry for entry in tensors(saved) if "random" not in entry]
    assert all(torch.equal(again_saved[entry], tensors(saved)[entry]) for entry in weights)
    obs, allowed = played(first.spec).obs[:, :5], torch.ones(NUM_STEPS + 1, 0)
    chosen, expected = act(again, obs, allowed, CPU), act(first, obs, allowed, CPU)
    torch.testing.assert_close(chosen, expected)
    torch.testing.assert_close(act(again, obs, allowed, goal).cpu(), expected, rtol=1e-4, atol=1e-5)
