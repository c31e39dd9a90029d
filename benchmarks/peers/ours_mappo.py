"""This project's MAPPO as shipped, with separate actors and critics."""

from collections.abc import Callable
from importlib.metadata import version

import torch
from on_policy_task import BATCH, EPOCHS, FRAMES, LANES, LENGTH
from turns import ACTION, HIDDEN, OBS, serve

from mlagents_marl_plugin.algorithms import ALGORITHMS
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.rollout import Rollout
from mlagents_marl_plugin.core.types import ActionLayout, GroupSpec, RoleSpec


def build(agents: int, batch: int, device: str) -> Callable[[], object]:
    """One update: values, advantages and all epochs on a rollout of random steps."""
    algorithm = ALGORITHMS["mappo"]
    config = algorithm.config(
        batch_size=batch * agents,
        buffer_size=FRAMES * agents,
        num_epoch=EPOCHS,
        share_actor=Sharing.SEPARATE,
        share_critic=Sharing.SEPARATE,
    )
    spec = GroupSpec((RoleSpec("Agent", agents, ((OBS,),), ActionLayout(ACTION)),))
    learner = algorithm.learner(
        spec,
        config,
        hidden_units=HIDDEN,
        num_layers=2,
        normalize=False,
        discount=0.99,
        device=torch.device(device),
        seed=1,
    )
    rollout = Rollout(spec, FRAMES + LANES, torch.device(device))
    here = torch.ones(FRAMES + LANES, agents)
    rollout.append(torch.randn(FRAMES + LANES, spec.obs_size), here, torch.ones(FRAMES + LANES, 0))
    obs = torch.randn(FRAMES * agents, OBS, device=device)
    slot = torch.arange(agents, device=device).repeat(FRAMES)
    action, log_prob = learner.actor.sample_rows(obs, torch.ones(FRAMES * agents, 0, device=device), slot)
    rows = torch.arange(FRAMES)  # lane by lane within each time step
    ends = (torch.rand(FRAMES, 1) < 0.01).float()
    rollout.complete(
        rows,
        action.view(FRAMES, -1),
        torch.randn(FRAMES, agents),
        here[:FRAMES],
        ends.expand(-1, agents),
        rows + LANES,
        ends.squeeze(1),
        log_prob.view(FRAMES, agents),
        here[:FRAMES],
    )
    played = rollout.take()
    assert len(played.action) == LANES * LENGTH
    assert batch == BATCH
    return lambda: learner.update(played)


if __name__ == "__main__":
    serve(f"mlagents_marl_plugin {version('mlagents_marl_plugin')}", build)
