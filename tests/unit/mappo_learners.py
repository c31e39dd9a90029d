"""Small learners of the MAPPO family, and what they play."""

import torch

from mlagents_marl_plugin.algorithms.mappo import MappoConfig, MappoLearner
from mlagents_marl_plugin.core.types import GroupSpec, RolloutBatch
from tests.unit.groups import CPU

DISCOUNT = 0.9


def make(
    spec: GroupSpec, config: MappoConfig | None = None, seed: int = 0, normalize: bool = False, **more: int
) -> MappoLearner:
    """A learner with two hidden layers of 16 units, or of ``hidden_units``."""
    return MappoLearner(
        spec,
        MappoConfig() if config is None else config,
        hidden_units=more.get("hidden_units", 16),
        num_layers=2,
        normalize=normalize,
        discount=DISCOUNT,
        device=CPU,
        seed=seed,
    )


def played_by(learner: MappoLearner, batch: RolloutBatch) -> RolloutBatch:
    """The same observations with what the learner's own actors do there, and how likely it is."""
    spec, generator = learner.spec, torch.Generator().manual_seed(7)
    action, log_prob = batch.action.clone(), batch.log_prob.clone()
    for i, role in enumerate(spec.roles):
        obs = spec.role_obs(batch.obs[: len(action)], i).flatten(0, 1)
        allowed = spec.role_allowed(batch.allowed, i).flatten(0, 1)
        slot = torch.arange(role.num_slots).repeat(len(action))
        drawn, likely = learner.actor.sample_rows(obs, allowed, slot, generator, role=i)
        spec.role_action(action, i).copy_(drawn.view(len(action), role.num_slots, -1))
        log_prob[:, spec.slots(i)] = likely.view(len(action), -1)
    return batch._replace(action=action, log_prob=log_prob)
