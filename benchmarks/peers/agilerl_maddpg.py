"""AgileRL's MADDPG with the networks of the comparison. Needs agilerl and peft."""

import warnings
from collections.abc import Callable
from importlib.metadata import version

warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from agilerl.algorithms import MADDPG  # noqa: E402
from agilerl.components.replay_buffer import ReplayBuffer  # noqa: E402
from agilerl.modules.mlp import EvolvableMLP  # noqa: E402
from gymnasium.spaces import Box, Dict  # noqa: E402
from tensordict import TensorDict  # noqa: E402
from turns import ACTION, CAPACITY, HIDDEN, OBS, serve  # noqa: E402

PLAIN = {"hidden_size": [HIDDEN, HIDDEN], "activation": "ReLU", "layer_norm": False}


class JointCritic(EvolvableMLP):
    """The library asks critics with a dictionary of observations and a tensor of all actions."""

    def forward(self, obs: dict[str, torch.Tensor], actions: torch.Tensor | None = None) -> torch.Tensor:
        """Q of the joint action."""
        return super().forward(obs if actions is None else torch.cat([*obs.values(), actions], dim=1))


def build(agents: int, batch: int, device: str) -> Callable[[], object]:
    """One update of a full replay; separate actors and critics."""
    ids = [f"agent{i}_0" for i in range(agents)]  # unlike names, or the library would share their networks
    actors = [
        EvolvableMLP(num_inputs=OBS, num_outputs=ACTION, output_activation="Tanh", device=device, **PLAIN)
        for _ in ids
    ]
    critics = [
        JointCritic(num_inputs=agents * (OBS + ACTION), num_outputs=1, device=device, **PLAIN) for _ in ids
    ]
    learner = MADDPG(
        Dict({i: Box(-np.inf, np.inf, (OBS,), np.float32) for i in ids}),
        Dict({i: Box(-1, 1, (ACTION,), np.float32) for i in ids}),
        agent_ids=ids,
        batch_size=batch,
        lr_actor=1e-3,
        lr_critic=1e-3,
        gamma=0.99,
        tau=0.01,
        learn_step=1,
        actor_networks=actors,
        critic_networks=critics,
        device=device,
    )
    replay = ReplayBuffer(CAPACITY, device=device)
    replay.add(
        TensorDict(
            {
                "obs": {i: torch.randn(CAPACITY, OBS) for i in ids},
                "action": {i: torch.rand(CAPACITY, ACTION) * 2 - 1 for i in ids},
                "reward": {i: torch.randn(CAPACITY, 1) for i in ids},
                "next_obs": {i: torch.randn(CAPACITY, OBS) for i in ids},
                "done": {i: (torch.rand(CAPACITY, 1) < 0.01).float() for i in ids},
            },
            batch_size=[CAPACITY],
        )
    )
    return lambda: learner.learn(replay.sample(batch))


if __name__ == "__main__":
    serve(f"AgileRL {version('agilerl')}", build)
