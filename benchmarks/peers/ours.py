"""This project's MADDPG as shipped, clipping and all, but with separate actors and critics."""

from collections.abc import Callable
from importlib.metadata import version

import torch
from turns import ACTION, CAPACITY, HIDDEN, OBS, serve

from mlagents_marl_plugin.algorithms import ALGORITHMS
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.replay import Replay
from mlagents_marl_plugin.core.types import ActionLayout, GroupSpec, RoleSpec


def build(agents: int, batch: int, device: str) -> Callable[[], object]:
    """One update, its batch drawn from a full replay of random steps."""
    algorithm = ALGORITHMS["maddpg"]
    config = algorithm.config(batch_size=batch, share_actor=Sharing.SEPARATE, share_critic=Sharing.SEPARATE)
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
    replay = Replay(spec, CAPACITY, torch.device(device))
    replay.append(torch.randn(CAPACITY, spec.obs_size), torch.ones(CAPACITY, agents), torch.ones(CAPACITY, 0))
    rows, shape = torch.arange(CAPACITY - 1), (CAPACITY - 1, agents)
    replay.complete(
        rows,
        torch.rand(CAPACITY - 1, spec.action_size) * 2 - 1,
        torch.randn(shape),
        torch.ones(shape),
        (torch.rand(shape) < 0.01).float(),
        rows + 1,
        torch.zeros(CAPACITY - 1),
    )
    return lambda: learner.update(replay.sample(batch, config.n_step, learner.discount))


if __name__ == "__main__":
    serve(f"mlagents_marl_plugin {version('mlagents_marl_plugin')}", build)
