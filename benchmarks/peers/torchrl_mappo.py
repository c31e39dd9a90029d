"""TorchRL's multi-agent networks and clipped PPO loss in a plain loop, as its MAPPO example has them. Needs torchrl."""

import warnings
from collections.abc import Callable
from importlib.metadata import version

warnings.filterwarnings("ignore")

import torch  # noqa: E402
from on_policy_task import EPOCHS, FRAMES, LANES, LENGTH  # noqa: E402
from tensordict import TensorDict  # noqa: E402
from tensordict.nn import NormalParamExtractor, TensorDictModule  # noqa: E402
from torch import nn  # noqa: E402
from torchrl.data import LazyTensorStorage, ReplayBuffer, SamplerWithoutReplacement  # noqa: E402
from torchrl.modules import MultiAgentMLP, ProbabilisticActor, TanhNormal  # noqa: E402
from torchrl.objectives import ClipPPOLoss, ValueEstimators  # noqa: E402
from turns import ACTION, HIDDEN, OBS, serve  # noqa: E402


def networks(num_outputs: int, agents: int, centralised: bool, device: str) -> MultiAgentMLP:
    """One network per agent."""
    return MultiAgentMLP(
        n_agent_inputs=OBS,
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
    """One update: values, advantages and all epochs on a rollout of random steps."""
    obs, action, value = (("agents", name) for name in ("observation", "action", "value"))
    loc, scale, log_prob = (("agents", name) for name in ("loc", "scale", "log_prob"))
    head = nn.Sequential(networks(2 * ACTION, agents, False, device), NormalParamExtractor())
    actor = ProbabilisticActor(
        TensorDictModule(head, [obs], [loc, scale]),
        in_keys=[loc, scale],
        out_keys=[action],
        distribution_class=TanhNormal,
        distribution_kwargs={"low": -1.0, "high": 1.0},
        return_log_prob=True,
        log_prob_key=log_prob,
    )
    critic = TensorDictModule(networks(1, agents, True, device), [obs], [value])
    loss = ClipPPOLoss(actor, critic, clip_epsilon=0.2, entropy_coeff=0.01, normalize_advantage=False)
    names = ("reward", "done", "terminated", "advantage", "value_target")
    loss.set_keys(
        action=action, value=value, sample_log_prob=log_prob, **{name: ("agents", name) for name in names}
    )
    loss.make_value_estimator(ValueEstimators.GAE, gamma=0.99, lmbda=0.95)
    optimiser = torch.optim.Adam(loss.parameters(), lr=5e-4)
    buffer = ReplayBuffer(
        storage=LazyTensorStorage(FRAMES, device=device),
        sampler=SamplerWithoutReplacement(),
        batch_size=batch,
    )
    with torch.no_grad():
        played = actor(steps(agents).to(device)).reshape(LANES, LENGTH)

    def update() -> None:
        rollout = played.clone(recurse=True)
        with torch.no_grad():
            loss.value_estimator(
                rollout, params=loss.critic_network_params, target_params=loss.target_critic_network_params
            )
        buffer.extend(rollout.reshape(-1))
        for _ in range(EPOCHS * (FRAMES // batch)):
            losses = loss(buffer.sample())
            (losses["loss_objective"] + losses["loss_critic"] + losses["loss_entropy"]).backward()
            torch.nn.utils.clip_grad_norm_(loss.parameters(), 10.0)
            optimiser.step()
            optimiser.zero_grad()

    return update


def steps(agents: int) -> TensorDict:
    """Random experience."""
    size = [FRAMES]

    def of_agents(**tensors: torch.Tensor) -> TensorDict:
        return TensorDict({"agents": TensorDict(tensors, size)}, size)

    now = of_agents(observation=torch.randn(FRAMES, agents, OBS))
    ends = (torch.rand(FRAMES, 1, 1) < 0.01).expand(-1, agents, -1)
    now["next"] = of_agents(
        observation=torch.randn(FRAMES, agents, OBS),
        reward=torch.randn(FRAMES, agents, 1),
        done=ends,
        terminated=ends,
    )
    return now


if __name__ == "__main__":
    serve(f"TorchRL {version('torchrl')}", build)
