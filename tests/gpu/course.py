"""What any registered algorithm goes through between a scene and an action, on one device."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from mlagents_marl_plugin.algorithms import ALGORITHMS
from mlagents_marl_plugin.core import actions
from mlagents_marl_plugin.core.networks import DecentralisedActor
from mlagents_marl_plugin.core.replay import Replay
from mlagents_marl_plugin.core.rollout import Rollout
from mlagents_marl_plugin.core.types import Batch, GroupSpec, RolloutBatch
from tests.unit.groups import random_action

NUM_STEPS = 64


class OnlyOn(TorchDispatchMode):
    """Refuses operations with tensors of any other device than the one given; a few accept such mixtures in silence."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_flatten((args, kwargs, result))[0]:
            if isinstance(value, Tensor):
                assert value.device == self.device, f"{func}: expected {self.device}, got {value.device}"
        return result


class Played(NamedTuple):
    """Group steps on the CPU: T decisions, and one observation more."""

    obs: Tensor  # [T + 1, joint]
    agent_mask: Tensor  # [T + 1, N]
    allowed: Tensor  # [T + 1, joint choices]
    action: Tensor  # [T, joint]
    reward: Tensor  # [T, N]
    terminated: Tensor  # [T, N]
    cut: Tensor  # [T]
    log_prob: Tensor  # [T, N]


def played(spec: GroupSpec, seed: int = 0) -> Played:
    """Random steps in episodes of eight, whose last slot is absent in every fourth step."""
    draw = torch.Generator("cpu").manual_seed(seed)
    number = torch.arange(NUM_STEPS)
    here = torch.ones(NUM_STEPS + 1, spec.num_slots)
    here[::4, -1] = 0
    ends = (number % 8 == 7).float()
    return Played(
        obs=torch.randn(NUM_STEPS + 1, spec.obs_size, generator=draw),
        agent_mask=here,
        allowed=torch.ones(NUM_STEPS + 1, spec.allowed_size),
        action=random_action(spec, NUM_STEPS, draw),
        reward=torch.randn(NUM_STEPS, spec.num_slots, generator=draw),
        terminated=ends.unsqueeze(1).expand(-1, spec.num_slots).clone(),
        cut=ends,
        log_prob=torch.full((NUM_STEPS, spec.num_slots), -1.0),
    )


def learner_of(name: str, spec: GroupSpec, device: torch.device, **config: Any) -> Any:
    """A new learner with normalised observations; continuous actions are cut into choices where they have to be."""
    algorithm = ALGORITHMS[name]
    if not algorithm.supports_continuous:
        config = {"discretise": 3, **config}
    return algorithm.learner(
        spec,
        algorithm.config(**{"batch_size": 32, **config}),
        hidden_units=16,
        num_layers=2,
        normalize=True,
        discount=0.9,
        device=device,
        seed=0,
    )


def batch_of(name: str, spec: GroupSpec, device: torch.device, steps: Played) -> Batch | RolloutBatch:
    """What the algorithm's memory makes of the steps."""
    on_policy = ALGORITHMS[name].data_regime == "on_policy"
    memory: Any = (
        Rollout(spec, NUM_STEPS, device)
        if on_policy
        else Replay(spec, 2 * NUM_STEPS, device, torch.Generator(device).manual_seed(1))
    )
    first = memory.append(steps.obs, steps.agent_mask, steps.allowed)
    rows = torch.arange(first, first + NUM_STEPS, device="cpu")
    here = steps.agent_mask[:NUM_STEPS]
    outcome = [rows, steps.action, steps.reward, here, steps.terminated, rows + 1, steps.cut]
    memory.complete(*outcome, *([steps.log_prob, here] if on_policy else []))
    batch: Batch | RolloutBatch = memory.take() if on_policy else memory.sample(32, 3, 0.9)
    return batch


def act(learner: Any, obs: Tensor, allowed: Tensor, device: torch.device) -> Tensor:
    """Greedy actions [R, A] of role 0's slot 0 by a copy of the actor."""
    actor = learner.actor.acting_copy(device)
    slot = torch.zeros(len(obs), dtype=torch.int64, device=device)
    if isinstance(actor, DecentralisedActor):
        raw = actor.forward_rows(obs.to(device), slot)
        return actions.mode(learner.spec.roles[0].action, raw, allowed.to(device))
    greedy: Tensor = actor.mode_rows(obs.to(device), allowed.to(device), slot)
    return greedy


def tensors(state: Any, name: str = "") -> dict[str, Tensor]:
    """All tensors of nested containers, by where they stand."""
    if isinstance(state, Tensor):
        return {name: state}
    if isinstance(state, dict):
        return {k: v for key, part in state.items() for k, v in tensors(part, f"{name}.{key}").items()}
    return {}
