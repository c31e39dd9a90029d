"""This project's QMIX as shipped, clipping, double Q and all, but with separate networks."""

from collections.abc import Callable
from importlib.metadata import version

import torch
import torch.nn.functional as F
from turns import CAPACITY, HIDDEN, OBS, serve
from value_task import CHOICES, HYPERNETWORK, MIXING

from mlagents_marl_plugin.algorithms import ALGORITHMS
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.replay import Replay
from mlagents_marl_plugin.core.types import ActionLayout, GroupSpec, RoleSpec


def build(agents: int, batch: int, device: str) -> Callable[[], object]:
    """One update, its batch drawn from a full replay of random steps."""
    algorithm = ALGORITHMS["qmix"]
    config = algorithm.config(
        batch_size=batch,
        mixing_width=MIXING,
        mixing_hidden_units=HYPERNETWORK,
        share_actor=Sharing.SEPARATE,
    )
    spec = GroupSpec((RoleSpec("Agent", agents, ((OBS,),), ActionLayout(0, (CHOICES,))),))
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
    present = torch.ones(CAPACITY, agents)
    replay.append(torch.randn(CAPACITY, spec.obs_size), present, torch.ones(CAPACITY, spec.allowed_size))
    rows, ends = torch.arange(CAPACITY - 1), (torch.rand(CAPACITY - 1, 1) < 0.01).float()
    replay.complete(
        rows,
        F.one_hot(torch.randint(CHOICES, (CAPACITY - 1, agents)), CHOICES).float().flatten(1),
        torch.randn(CAPACITY - 1, 1).expand(-1, agents),
        present[1:],
        ends.expand(-1, agents),
        rows + 1,
        torch.zeros(CAPACITY - 1),
    )
    return lambda: learner.update(replay.sample(batch, config.n_step, learner.discount))


if __name__ == "__main__":
    serve(f"mlagents_marl_plugin {version('mlagents_marl_plugin')}", build)
