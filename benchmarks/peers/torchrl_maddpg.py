"""TorchRL's multi-agent networks and DDPG loss in a plain loop, as its MADDPG example has them. Needs torchrl."""

import warnings
from collections.abc import Callable
from importlib.metadata import version

warnings.filterwarnings("ignore")

import torch  # noqa: E402
from tensordict import TensorDict  # noqa: E402
from tensordict.nn import TensorDictModule, TensorDictSequential  # noqa: E402
from torch import nn  # noqa: E402
from torchrl.data import LazyTensorStorage, RandomSampler, ReplayBuffer  # noqa: E402
from torchrl.modules import MultiAgentMLP, ProbabilisticActor, TanhDelta  # noqa: E402
from torchrl.objectives import DDPGLoss, SoftUpdate, ValueEstimators  # noqa: E402
from turns import ACTION, CAPACITY, HIDDEN, OBS, serve  # noqa: E402


def networks(num_inputs: int, num_outputs: int, agents: int, centralised: bool, device: str) -> MultiAgentMLP:
    """One network per agent."""
    return MultiAgentMLP(
        n_agent_inputs=num_inputs,
        n_agent_outputs=num_outputs,
        n_agents=agents,
        centralized=centralised,
        share_params=False,
        depth=2,
        num_cells=HIDDEN,
        activation_class=nn.ReLU,
        device=device,
    )


def build(agents: int, batch: int, device: str) -> Callable[[], object]:
    """One update of a full replay; separate actors and critics."""
    obs, action, value = (("agents", name) for name in ("observation", "action", "value"))
    head = TensorDictModule(networks(OBS, ACTION, agents, False, device), [obs], [("agents", "param")])
    actor = ProbabilisticActor(
        head,
        in_keys=[("agents", "param")],
        out_keys=[action],
        distribution_class=TanhDelta,
        distribution_kwargs={"low": -1.0, "high": 1.0},
        return_log_prob=False,
    )
    both = ("agents", "both")
    critic = TensorDictSequential(
        TensorDictModule(lambda o, a: torch.cat([o, a], -1), [obs, action], [both]),
        TensorDictModule(networks(OBS + ACTION, 1, agents, True, device), [both], [value]),
    )
    loss = DDPGLoss(actor, critic, delay_actor=True, delay_value=True, loss_function="l2")
    ends = {name: ("agents", name) for name in ("reward", "done", "terminated")}
    loss.set_keys(state_action_value=value, priority=("agents", "error"), **ends)
    loss.make_value_estimator(ValueEstimators.TD0, gamma=0.99)
    target = SoftUpdate(loss, tau=0.01)
    optimisers = [
        torch.optim.Adam(list(parameters.flatten_keys().values()), lr=1e-3)
        for parameters in (loss.actor_network_params, loss.value_network_params)
    ]
    replay = ReplayBuffer(
        storage=LazyTensorStorage(CAPACITY, device=device), sampler=RandomSampler(), batch_size=batch
    )
    replay.extend(steps(agents))

    def update() -> None:
        losses = loss(replay.sample())
        (losses["loss_actor"] + losses["loss_value"]).backward()
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad()
        target.step()

    return update


def steps(agents: int) -> TensorDict:
    """Random experience."""
    size = [CAPACITY]

    def of_agents(**tensors: torch.Tensor) -> TensorDict:
        return TensorDict({"agents": TensorDict(tensors, size)}, size)

    now = of_agents(
        observation=torch.randn(CAPACITY, agents, OBS), action=torch.rand(CAPACITY, agents, ACTION) * 2 - 1
    )
    now["next"] = of_agents(
        observation=torch.randn(CAPACITY, agents, OBS),
        reward=torch.randn(CAPACITY, agents, 1),
        done=torch.rand(CAPACITY, agents, 1) < 0.01,
        terminated=torch.rand(CAPACITY, agents, 1) < 0.01,
    )
    return now


if __name__ == "__main__":
    serve(f"TorchRL {version('torchrl')}", build)
