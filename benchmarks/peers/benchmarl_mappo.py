"""BenchMARL's MAPPO: its own loss, buffer and optimiser loop, with a network per agent. Needs benchmarl."""

import warnings
from collections.abc import Callable
from importlib.metadata import version
from types import SimpleNamespace

warnings.filterwarnings("ignore")

import torch  # noqa: E402
from benchmarl.algorithms import MappoConfig  # noqa: E402
from benchmarl.experiment import Experiment, ExperimentConfig  # noqa: E402
from benchmarl.models import MlpConfig  # noqa: E402
from on_policy_task import EPOCHS, FRAMES, LANES, LENGTH  # noqa: E402
from torch import nn  # noqa: E402
from torchrl.data import Bounded, Composite, Unbounded  # noqa: E402
from torchrl_mappo import steps  # noqa: E402
from turns import ACTION, HIDDEN, OBS, serve  # noqa: E402

GROUP = "agents"


def experiment(agents: int, batch: int, device: str) -> SimpleNamespace:
    """As much of an Experiment as its algorithm and its optimiser loop look at, without an environment."""
    config = ExperimentConfig.get_from_yaml()
    config.train_device = config.buffer_device = device
    config.share_policy_params = False
    config.on_policy_collected_frames_per_batch, config.on_policy_n_envs_per_worker = FRAMES, LANES
    config.on_policy_minibatch_size, config.on_policy_n_minibatch_iters = batch, EPOCHS
    algorithm = MappoConfig.get_from_yaml()
    algorithm.share_param_critic = False
    model = MlpConfig.get_from_yaml()
    model.num_cells, model.activation_class = [HIDDEN, HIDDEN], nn.ReLU

    def of_agents(name: str, spec: object) -> Composite:
        return Composite({GROUP: Composite({name: spec}, shape=(agents,))})

    whole = SimpleNamespace(
        config=config,
        algorithm_config=algorithm,
        model_config=model,
        critic_model_config=model,
        on_policy=True,
        group_map={GROUP: [f"agent_{number}" for number in range(agents)]},
        observation_spec=of_agents("observation", Unbounded((agents, OBS), device=device)),
        action_spec=of_agents("action", Bounded(-1.0, 1.0, (agents, ACTION), device=device)),
        state_spec=None,
        action_mask_spec=None,
        task=None,
        target_updaters={GROUP: None},
    )
    whole.algorithm = algorithm.get_algorithm(whole)
    whole.replay_buffers = {GROUP: whole.algorithm.get_replay_buffer(GROUP)}
    whole.losses = {GROUP: whole.algorithm.get_loss_and_updater(GROUP)[0]}
    parameters = whole.algorithm.get_parameters(GROUP)
    whole.optimizers = {
        GROUP: {
            name: torch.optim.Adam(those, lr=config.lr, eps=config.adam_eps)
            for name, those in parameters.items()
        }
    }
    whole._grad_clip = lambda optimiser: Experiment._grad_clip(whole, optimiser)
    whole._on_train_step = lambda batch, group: None
    return whole


def build(agents: int, batch: int, device: str) -> Callable[[], object]:
    """One update: values, advantages and all epochs on a rollout of random steps."""
    whole = experiment(agents, batch, device)
    algorithm, buffer = whole.algorithm, whole.replay_buffers[GROUP]
    with torch.no_grad():
        played = algorithm.get_policy_for_collection()(steps(agents).to(device)).reshape(LANES, LENGTH)

    def update() -> None:
        rollout = algorithm.process_batch(GROUP, played.clone(recurse=True))
        buffer.extend(rollout.reshape(-1))
        for _ in range(EPOCHS * (FRAMES // batch)):
            Experiment._optimizer_loop(whole, GROUP)

    return update


if __name__ == "__main__":
    serve(f"BenchMARL {version('benchmarl')}", build)
