"""Groups and random batches that the tests of learners share."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mlagents_marl_plugin.core.types import ActionLayout, Batch, GroupSpec, RoleSpec, RolloutBatch

CPU = torch.device("cpu")
CONTINUOUS = ActionLayout(2)
DISCRETE = ActionLayout(0, (3, 2))
HYBRID = ActionLayout(1, (3,))


def one_role(num_slots: int = 2, layout: ActionLayout = CONTINUOUS, obs_size: int = 5) -> GroupSpec:
    """Like agents of one behaviour."""
    return GroupSpec((RoleSpec("a", num_slots, ((obs_size,),), layout),))


def two_roles() -> GroupSpec:
    """Two of one kind and one of another, who see and do other things."""
    return GroupSpec((RoleSpec("a", 2, ((5,),), CONTINUOUS), RoleSpec("b", 1, ((2,), (1,)), HYBRID)))


def random_action(spec: GroupSpec, batch_size: int, generator: torch.Generator) -> Tensor:
    """Encoded joint actions, uniform over values and choices."""
    parts = []
    for role in spec.roles:
        shape = (batch_size, role.num_slots)
        encoded = [torch.rand(*shape, role.action.continuous, generator=generator) * 2 - 1]
        for num_choices in role.action.branches:
            choice = torch.randint(0, num_choices, shape, generator=generator)
            encoded.append(F.one_hot(choice, num_choices).float())
        parts.append(torch.cat(encoded, -1).flatten(1))
    return torch.cat(parts, -1)


def random_batch(spec: GroupSpec, batch_size: int = 16, seed: int = 0) -> Batch:
    """Everybody there, everything permitted, about one slot in four ended."""
    generator = torch.Generator().manual_seed(seed)
    here = torch.ones(batch_size, spec.num_slots)
    return Batch(
        obs=torch.randn(batch_size, spec.obs_size, generator=generator),
        action=random_action(spec, batch_size, generator),
        allowed=torch.ones(batch_size, spec.allowed_size),
        agent_mask=here,
        value_mask=here.clone(),
        reward=torch.randn(batch_size, spec.num_slots, generator=generator),
        bootstrap=0.9 * (torch.rand(batch_size, spec.num_slots, generator=generator) > 0.25).float(),
        next_obs=torch.randn(batch_size, spec.obs_size, generator=generator),
        next_allowed=torch.ones(batch_size, spec.allowed_size),
        next_agent_mask=here.clone(),
    )


def masked_batch(spec: GroupSpec, batch_size: int = 24, seed: int = 0) -> Batch:
    """Random choices are forbidden, though never the one taken, and slot 1 is absent now and then."""
    generator = torch.Generator().manual_seed(100 + seed)
    batch, other = random_batch(spec, batch_size, seed), random_batch(spec, batch_size, seed + 50)
    allowed, next_allowed = batch.allowed.clone(), batch.next_allowed.clone()
    for mask, permitted in ((allowed, batch.action), (next_allowed, other.action)):
        for i, role in enumerate(spec.roles):
            taken = spec.role_action(permitted, i)[..., role.action.continuous :]
            drawn = (torch.rand(taken.shape, generator=generator) < 0.6).float()
            spec.role_allowed(mask, i).copy_(torch.maximum(drawn, taken))
    absent, next_absent = (torch.rand(2, batch_size, generator=generator) < 0.3).unbind()
    for mask in (batch.agent_mask, batch.value_mask):
        mask[absent, 1] = 0.0
    batch.next_agent_mask[next_absent, 1] = 0.0
    for obs, gone in ((batch.obs, absent), (batch.next_obs, next_absent)):
        spec.role_obs(obs, 0)[gone, 1] = 0.0
    spec.role_action(batch.action, 0)[absent, 1] = 0.0
    return batch._replace(allowed=allowed, next_allowed=next_allowed)


def random_rollout(spec: GroupSpec, num_rows: int = 24, seed: int = 0) -> RolloutBatch:
    """Three lanes of steps, everybody there, everything permitted; about one step in eight ends a lane."""
    generator, num_lanes = torch.Generator().manual_seed(seed), 3
    here = torch.ones(num_rows + num_lanes, spec.num_slots)
    shape = (num_rows, spec.num_slots)
    terminated = (torch.rand(shape, generator=generator) < 0.1).float()
    return RolloutBatch(
        obs=torch.randn(num_rows + num_lanes, spec.obs_size, generator=generator),
        agent_mask=here,
        action=random_action(spec, num_rows, generator),
        allowed=torch.ones(num_rows, spec.allowed_size),
        log_prob=-torch.rand(shape, generator=generator),
        acted=here[:num_rows].clone(),
        value_mask=here[:num_rows].clone(),
        reward=torch.randn(shape, generator=generator),
        terminated=terminated,
        cut=torch.maximum(terminated.amax(1), (torch.rand(num_rows, generator=generator) < 0.05).float()),
        successor=torch.arange(num_lanes, num_rows + num_lanes),
    )
