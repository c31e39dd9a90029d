"""TorchRL's multi-agent networks, mixer and QMIX loss in a plain loop, as its QMIX example has them. Needs torchrl."""

import warnings
from collections.abc import Callable
from importlib.metadata import version

warnings.filterwarnings("ignore")

import torch  # noqa: E402
from tensordict import TensorDict  # noqa: E402
from tensordict.nn import TensorDictModule, TensorDictSequential  # noqa: E402
from torch import nn  # noqa: E402
from torchrl.data import LazyTensorStorage, RandomSampler, ReplayBuffer  # noqa: E402
from torchrl.modules import MultiAgentMLP, QValueModule  # noqa: E402
from torchrl.modules.models.multiagent import QMixer  # noqa: E402
from torchrl.objectives import SoftUpdate, ValueEstimators  # noqa: E402
from torchrl.objectives.multiagent import QMixerLoss  # noqa: E402
from turns import CAPACITY, HIDDEN, OBS, serve  # noqa: E402
from value_task import CHOICES, MIXING  # noqa: E402


def build(agents: int, batch: int, device: str) -> Callable[[], object]:
    """One update of a full replay; separate networks, no double Q."""
    obs, action, value, chosen = (
        ("agents", name) for name in ("observation", "action", "action_value", "chosen_action_value")
    )
    networks = MultiAgentMLP(
        n_agent_inputs=OBS,
        n_agent_outputs=CHOICES,
        n_agents=agents,
        centralized=False,
        share_params=False,
        depth=2,
        num_cells=HIDDEN,
        activation_class=nn.ReLU,
        device=device,
    )
    values = TensorDictSequential(
        TensorDictModule(networks, [obs], [value]),
        QValueModule(action_value_key=value, out_keys=[action, value, chosen], action_space="categorical"),
    )
    mixer = QMixer(state_shape=(agents, OBS), mixing_embed_dim=MIXING, n_agents=agents, device=device)
    mixing = TensorDictModule(mixer, [chosen, obs], ["chosen_action_value"])
    loss = QMixerLoss(values, mixing, delay_value=True, loss_function="l2", action_space="categorical")
    loss.set_keys(
        action_value=value,
        local_value=chosen,
        global_value="chosen_action_value",
        action=action,
        priority=("agents", "error"),
    )
    loss.make_value_estimator(ValueEstimators.TD0, gamma=0.99)
    target = SoftUpdate(loss, tau=0.01)
    optimiser = torch.optim.Adam(loss.parameters(), lr=5e-4)
    replay = ReplayBuffer(
        storage=LazyTensorStorage(CAPACITY, device=device), sampler=RandomSampler(), batch_size=batch
    )
    replay.extend(steps(agents))

    def update() -> None:
        loss(replay.sample())["loss"].backward()
        torch.nn.utils.clip_grad_norm_(loss.parameters(), 10.0)
        optimiser.step()
        optimiser.zero_grad()
        target.step()

    return update


def steps(agents: int) -> TensorDict:
    """Random experience."""
    size = [CAPACITY]
    ends = torch.rand(CAPACITY, 1) < 0.01
    seen = [{"observation": torch.randn(CAPACITY, agents, OBS)} for _ in range(2)]
    done = torch.randint(CHOICES, (CAPACITY, agents))
    now = TensorDict({"agents": TensorDict({**seen[0], "action": done}, size)}, size)
    now["next"] = TensorDict(
        {
            "agents": TensorDict(seen[1], size),
            "reward": torch.randn(CAPACITY, 1),
            "done": ends,
            "terminated": ends,
        },
        size,
    )
    return now


if __name__ == "__main__":
    serve(f"TorchRL {version('torchrl')}", build)
