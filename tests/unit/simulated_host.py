"""The host's own trainer controller, managers and processors in this process, with scenes instead of players.

Everything is mlagents' code but for what its environment manager does with subprocesses: which workers answer
first is drawn at random, and a worker can be made to die and come back as the host brings it back.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from mlagents.plugins.trainer_type import register_trainer_plugins
from mlagents.trainers import subprocess_env_manager
from mlagents.trainers.action_info import ActionInfo
from mlagents.trainers.env_manager import EnvironmentStep, EnvManager
from mlagents.trainers.environment_parameter_manager import EnvironmentParameterManager
from mlagents.trainers.settings import RunOptions
from mlagents.trainers.trainer import TrainerFactory
from mlagents.trainers.trainer_controller import TrainerController
from mlagents_envs.base_env import (
    ActionSpec,
    BehaviorSpec,
    DecisionSteps,
    DimensionProperty,
    ObservationSpec,
    ObservationType,
    TerminalSteps,
)

from mlagents_marl_plugin.player.agent_ids import AgentIds
from mlagents_marl_plugin.player.scene import Actions, Frame, Rows, Scene

register_trainer_plugins()


class Worker:
    """One environment process: a scene, its agent ids, and the truth of what happened in it."""

    def __init__(self, scene: Scene):
        self.scene = scene
        self.ids = AgentIds(scene.num_seats)
        self.lines: list[dict[str, Any]] = []  # one per decision whose outcome is known, as the event log's
        self._asking: dict[str, tuple[Rows, np.ndarray]] = {}
        self._acting: dict[int, dict[str, Any]] = {}

    def reset(self) -> dict[str, tuple[DecisionSteps, TerminalSteps]]:
        self._acting.clear()
        return self._report(self.scene.reset())

    def step(self, infos: dict[str, ActionInfo]) -> dict[str, tuple[DecisionSteps, TerminalSteps]]:
        actions = {}
        for behavior, (rows, row_ids) in self._asking.items():
            info = infos.get(behavior)
            if info is None or not len(info.agent_ids):
                continue
            asked = _deciding(rows)
            assert list(info.agent_ids) == row_ids[asked].tolist()
            action = info.env_action
            actions[behavior] = Actions(rows.seat[asked], action.continuous, action.discrete)
            for number, row in enumerate(asked.tolist()):
                self._acting[int(row_ids[row])] = {
                    "agent": int(row_ids[row]),
                    "obs": rows.observations[0][row].tolist(),
                    "continuous": action.continuous[number].tolist(),
                    "discrete": action.discrete[number].tolist(),
                }
        return self._report(self.scene.step(actions))

    def _report(self, frame: Frame) -> dict[str, tuple[DecisionSteps, TerminalSteps]]:
        ids = self.ids.assign(frame)
        for behavior, rows in frame.items():
            for row, agent in enumerate(ids[behavior].tolist()):
                line = self._acting.pop(agent, None)
                if line is not None:
                    line |= {
                        name: float(_column(rows, name)[row])
                        for name in ("reward", "group_reward", "done", "interrupted")
                    }
                    self.lines.append(line | {"next_obs": rows.observations[0][row].tolist()})
        self._asking = {behavior: (rows, ids[behavior]) for behavior, rows in frame.items()}
        return {behavior: _to_host(rows, ids[behavior]) for behavior, rows in frame.items()}


def _column(rows: Rows, name: str) -> np.ndarray:
    value = getattr(rows, name)
    return np.zeros(len(rows.seat), np.float32) if value is None else value


def _deciding(rows: Rows) -> np.ndarray:
    return np.flatnonzero(~_column(rows, "done").astype(bool))


def _to_host(rows: Rows, ids: np.ndarray) -> tuple[DecisionSteps, TerminalSteps]:
    done = _column(rows, "done").astype(bool)
    group = _column(rows, "group").astype(np.int32)
    reward = _column(rows, "reward").astype(np.float32)
    group_reward = _column(rows, "group_reward").astype(np.float32)
    interrupted = _column(rows, "interrupted").astype(bool)
    masks = None if rows.forbidden is None else [rows.forbidden[~done]]
    decisions = DecisionSteps(
        [obs[~done] for obs in rows.observations],
        reward[~done],
        ids[~done],
        masks,
        group[~done],
        group_reward[~done],
    )
    ends = TerminalSteps(
        [obs[done] for obs in rows.observations],
        reward[done],
        interrupted[done],
        ids[done],
        group[done],
        group_reward[done],
    )
    return decisions, ends


class SceneManager(EnvManager):
    """The host's environment manager over scenes in this process."""

    def __init__(self, make_scene: Callable[[int], Scene], num_workers: int = 1, seed: int = 0):
        super().__init__()
        self.make_scene = make_scene
        self.random = np.random.default_rng(seed)
        self.workers = [Worker(make_scene(number)) for number in range(num_workers)]
        self.ended: list[Worker] = []  # processes that died
        self.previous: dict[int, EnvironmentStep] = {}
        self.infos: dict[int, dict[str, ActionInfo]] = {}
        self.waiting: set[int] = set()
        self.steps = 0
        self.stop_after: int | None = None
        self.kill_at: dict[int, int] = {}  # step -> worker
        self.reset_at: set[int] = set()  # steps after which the host resets all workers
        self.on_step: Callable[[], None] = lambda: None

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What really happened, in all processes that ever ran."""
        return [line for worker in (*self.ended, *self.workers) for line in worker.lines]

    @property
    def training_behaviors(self) -> dict[str, BehaviorSpec]:
        return {
            behavior.id: BehaviorSpec(
                [
                    ObservationSpec(
                        sensor.shape,
                        tuple(
                            map(DimensionProperty, sensor.dimension_properties or (1,) * len(sensor.shape))
                        ),
                        ObservationType.GOAL_SIGNAL if sensor.goal_signal else ObservationType.DEFAULT,
                        sensor.name,
                    )
                    for sensor in behavior.sensors
                ],
                ActionSpec(behavior.actions.continuous, behavior.actions.branches),
            )
            for behavior in self.workers[0].scene.behaviors
        }

    def set_env_parameters(self, config: dict | None = None) -> None:
        pass

    def close(self) -> None:
        pass

    def _reset_env(self, config: dict | None = None) -> list[EnvironmentStep]:
        for number in self.waiting:  # the host waits for them and throws away what they say
            self.workers[number].step(self.infos[number])
        self.waiting.clear()
        for number, worker in enumerate(self.workers):
            self.previous[number] = EnvironmentStep(worker.reset(), number, {}, {})
        return list(self.previous.values())

    def _step(self) -> list[EnvironmentStep]:
        self.steps += 1
        self.on_step()
        if self.stop_after is not None and self.steps > self.stop_after:
            raise KeyboardInterrupt
        self._queue_steps()
        if self.steps in self.kill_at:
            number = self.kill_at[self.steps]
            self.waiting.discard(number)
            subprocess_env_manager.logger.warning(f"Restarting worker[{number}] after 'a test'")
            self.ended.append(self.workers[number])
            self.workers[number] = Worker(self.make_scene(number))
            self.reset()
            self._queue_steps()
        ready = [number for number in sorted(self.waiting) if self.random.random() < 0.6]
        answers = []
        for number in ready or [min(self.waiting)]:
            self.waiting.discard(number)
            result = self.workers[number].step(self.infos[number])
            self.previous[number] = EnvironmentStep(result, number, self.infos[number], {})
            answers.append(self.previous[number])
        return answers

    def _queue_steps(self) -> None:
        for number, previous in self.previous.items():
            if number not in self.waiting:
                self.infos[number] = {
                    behavior: self.policies[behavior].get_action(decisions, number)
                    for behavior, (decisions, _) in previous.current_all_step_result.items()
                    if behavior in self.policies
                }
                self.waiting.add(number)


def options(
    behavior: str,
    trainer_type: str = "maddpg",
    hyperparameters: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
) -> RunOptions:
    """Run options as the host reads them from a YAML of one behaviour."""
    config = {
        "trainer_type": trainer_type,
        "hyperparameters": hyperparameters or {},
        "network_settings": {"hidden_units": 8, "num_layers": 1},
        "max_steps": 1_000,
        "time_horizon": 16,
        "summary_freq": 100_000,
        "checkpoint_interval": 100_000,
        **(settings or {}),
    }
    return RunOptions.from_dict({"behaviors": {behavior: config}})


class Run:
    """One run of the host's controller over scenes."""

    def __init__(
        self,
        folder: Path,
        run_options: RunOptions,
        manager: SceneManager,
        *,
        train: bool = True,
        load: bool = False,
        seed: int = 1,
    ):
        self.manager = manager
        parameters = EnvironmentParameterManager(run_options.environment_parameters, seed, restore=False)
        factory = TrainerFactory(run_options.behaviors, str(folder), train, load, seed, parameters)
        self.controller = TrainerController(factory, str(folder), "run", parameters, train, seed)
        look_at_lessons = self.controller.reset_env_if_ready

        def reset_env_if_ready(env: SceneManager) -> None:
            """As at a lesson's end with ``require_reset``, only at the steps that a test wants."""
            look_at_lessons(env)
            if env.steps in env.reset_at:
                self.controller._reset_env(env)
                self.controller.end_trainer_episodes()

        self.controller.reset_env_if_ready = reset_env_if_ready

    def start(self) -> "Run":
        """Until ``max_steps`` or the manager's ``stop_after``."""
        self.controller.start_learning(self.manager)
        return self

    @property
    def trainer(self) -> Any:
        return next(iter(self.controller.trainers.values()))
