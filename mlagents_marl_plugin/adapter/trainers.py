"""The host's trainer of off-policy algorithms: takes in trajectories, updates, saves, reports."""

import os
import threading
import time
import zlib
from collections import defaultdict
from typing import Any

import numpy as np
import torch
from mlagents.torch_utils import default_device
from mlagents.trainers.agent_processor import AgentManagerQueue
from mlagents.trainers.behavior_id_utils import BehaviorIdentifiers, get_global_agent_id
from mlagents.trainers.exception import TrainerConfigError, UnityTrainerException
from mlagents.trainers.optimizer.torch_optimizer import TorchOptimizer
from mlagents.trainers.policy import Policy
from mlagents.trainers.policy.checkpoint_manager import ModelCheckpoint, ModelCheckpointManager
from mlagents.trainers.settings import RewardSignalType, ScheduleType, TrainerSettings
from mlagents.trainers.trainer.rl_trainer import RLTrainer
from mlagents.trainers.trajectory import Trajectory
from mlagents_envs.base_env import BehaviorSpec
from mlagents_envs.logging_util import get_logger
from mlagents_envs.timers import hierarchical_timer, timed

from mlagents_marl_plugin.adapter import checkpoint
from mlagents_marl_plugin.adapter.acting import Acting
from mlagents_marl_plugin.adapter.assembler import Assembler
from mlagents_marl_plugin.adapter.grouping import FirstAgents, Grouping, decide_layout
from mlagents_marl_plugin.adapter.metrics import Reporter
from mlagents_marl_plugin.adapter.model_files import ModelFiles
from mlagents_marl_plugin.adapter.policy import MarlPolicy, Table
from mlagents_marl_plugin.adapter.restarts import on_restart
from mlagents_marl_plugin.adapter.roster import Departure, Roster
from mlagents_marl_plugin.adapter.scores import ScoreBoard
from mlagents_marl_plugin.adapter.settings import SlotsBy, check_supported
from mlagents_marl_plugin.adapter.specs import role_from_behavior
from mlagents_marl_plugin.adapter.staging import StagingTable
from mlagents_marl_plugin.adapter.store import ReplayStore
from mlagents_marl_plugin.algorithms import ALGORITHMS
from mlagents_marl_plugin.core.exploration import ExplorationSchedule, Explorer
from mlagents_marl_plugin.core.replay import Replay
from mlagents_marl_plugin.core.rewards import RewardShaping
from mlagents_marl_plugin.core.types import GroupSpec

logger = get_logger(__name__)


class OffPolicyMarlTrainer(RLTrainer):
    """Trains a group from a replay; one class per registered trainer type says which algorithm."""

    trainer_type: str

    def __init__(
        self,
        behavior_name: str,
        reward_buff_cap: int,
        trainer_settings: TrainerSettings,
        training: bool,
        load: bool,
        seed: int,
        artifact_path: str,
    ):
        """See the host's TrainerFactory, which calls this."""
        check_supported(behavior_name, trainer_settings)
        super().__init__(behavior_name, trainer_settings, training, load, artifact_path, reward_buff_cap)
        self.algorithm = ALGORITHMS[self.trainer_type]
        self.hyperparameters: Any = trainer_settings.hyperparameters
        # The host makes trainers in an order that differs from process to process.
        self.seed = zlib.crc32(f"{seed}/{behavior_name}".encode())
        self.device = torch.device(default_device())
        self.table = Table(behavior_name)
        self.table.on_first_agents = self._build
        self.learning_lock = threading.RLock()  # around an update, a swap and a save
        self._saving = threading.Event()
        self.board = ScoreBoard(self.hyperparameters.solved_when, self.hyperparameters.stop_when)
        self.files = ModelFiles(artifact_path, behavior_name)
        self.reporter = Reporter(self)
        self.specs: dict[str, BehaviorSpec] = {}
        self.learner: Any = None
        self.replay: Replay | None = None
        self.updates = 0
        self._debt_origin = self.hyperparameters.buffer_init_steps  # the step from which updates are owed
        self._debt_paid = 0
        self._reward_sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self._resumed = self._read_checkpoint()
        on_restart(self._player_restarted)

    # --- the host's life cycle --------------------------------------------------------------------

    @classmethod
    def get_trainer_name(cls) -> str:  # type: ignore[override]
        return cls.trainer_type

    def create_policy(
        self, parsed_behavior_id: BehaviorIdentifiers, behavior_spec: BehaviorSpec
    ) -> MarlPolicy:
        role_from_behavior(self.brain_name, behavior_spec, 1)
        self.specs[parsed_behavior_id.behavior_id] = behavior_spec
        return MarlPolicy(
            self.seed,
            parsed_behavior_id.behavior_id,
            behavior_spec,
            self.trainer_settings.network_settings,
            self.table,
        )

    def add_policy(self, parsed_behavior_id: BehaviorIdentifiers, policy: Policy) -> None:
        if self.table.roster is not None and parsed_behavior_id.behavior_id not in self.policies:
            raise UnityTrainerException(
                f"{parsed_behavior_id.behavior_id}: expected all teams of {self.brain_name} to be there "
                f"from the first decision on, got a new one; let one agent of every team exist when the "
                f"scene starts"
            )
        self.policies[parsed_behavior_id.behavior_id] = policy
        self.table.behavior_ids = sorted(self.policies)
        policy.set_step(self._step)  # type: ignore[attr-defined]

    def create_optimizer(self) -> TorchOptimizer:
        raise UnityTrainerException(f"{self.trainer_type}: the learner keeps its own optimisers")

    def advance(self) -> None:
        """Take in what has come, update as often as is owed, hand the new actor to the policies."""
        if not self.threaded:
            self._advance()
        elif self.table.failure is None:
            try:
                self._advance()
            except Exception as error:
                # Here it would only end the host's thread of this trainer; the next decision raises it.
                self.table.failure = error
        else:
            self._discard()

    def _advance(self) -> None:
        with self.table.lock:
            departed = self._take_departed()
        self._drain()
        with hierarchical_timer("assemble"), self.table.lock:
            self._collect(departed)
        if self.should_still_train and self._is_ready_update():
            with hierarchical_timer("_update_policy"):
                if self._update_policy():
                    for queue in self.policy_queues:
                        queue.put(self.get_policy(queue.behavior_id))

    @property
    def should_still_train(self) -> bool:
        return super().should_still_train and self.board.stopped_at is None

    def _player_restarted(self) -> None:
        with self.table.lock:
            if self.table.roster is not None:
                self.table.roster.reset()
                logger.info(f"{self.brain_name}: a player was replaced; what was under way is left out.")

    def end_episode(self) -> None:
        """The host has reset the scene, for a new lesson say."""
        super().end_episode()
        self._reward_sums.clear()
        with self.table.lock:
            if self.table.roster is not None:
                self.table.roster.reset_in_order()

    # --- data -------------------------------------------------------------------------------------

    def _discard(self) -> None:
        """Empty the queues: the host waits where one is full, and would never ask for the next decision."""
        for queue in self.trajectory_queues:
            while not queue.empty():
                queue.get_nowait()
        time.sleep(0.01)

    def _take_departed(self) -> list[Departure]:
        roster = self.table.roster
        if roster is None:
            return []
        departed, roster.departed = roster.departed, []
        return departed

    def _drain(self) -> None:
        with hierarchical_timer("process_trajectory"):
            for queue in self.trajectory_queues:
                waiting = queue.qsize()
                for _ in range(waiting):
                    try:
                        self._process_trajectory(queue.get_nowait())
                    except AgentManagerQueue.Empty:
                        break
                if self.threaded and not waiting:
                    time.sleep(0.0001)  # leave the processor to the environment

    def _process_trajectory(self, trajectory: Trajectory) -> None:
        super()._process_trajectory(trajectory)
        sums = self._reward_sums[trajectory.agent_id]
        for step in trajectory.steps:
            sums[0] += float(step.reward)
            sums[1] += float(step.group_reward)
        if self.table.roster is not None:
            with self.table.lock:
                self.assembler.deliver(trajectory, role=0)
        if trajectory.done_reached:
            own, group = self._reward_sums.pop(trajectory.agent_id)
            self.reporter.agent_ended(own, group)
            self.cumulative_returns_since_policy_update.append(own + group)
            self.reward_buffer.appendleft(own + group)  # what lessons with "measure: reward" look at

    def _collect(self, departed: list[Departure]) -> None:
        if self.table.roster is None:
            return
        self.assembler.give_up(departed)
        for gone in departed:
            self._reward_sums.pop(get_global_agent_id(gone.worker, gone.agent), None)
        if self.acting.explorer is not None and departed:
            size = self.table.roster.layout.group_size
            members = [gone.lane * size + gone.slot for gone in departed if gone.lane >= 0]
            self.acting.explorer.reset(torch.tensor(members, dtype=torch.int64, device="cpu"))
        self.assembler.flush()
        for episode in self.assembler.episodes:
            was_solved = self.board.solved_at
            self.board.add(episode)
            self.reporter.group_ended(episode)
            if self.board.solved_at != was_solved:
                self.reporter.announce_solved()
            if self.is_training and self.board.improved():
                self.files.remember_best(self._state(), self.learner.actor, self.board.mean)
        self.assembler.episodes.clear()

    # --- learning ---------------------------------------------------------------------------------

    def _build(self, first: list[FirstAgents]) -> None:
        """Everything that depends on who plays with whom, once the first agents have been seen."""
        hyper = self.hyperparameters
        layout = decide_layout(self.brain_name, first, hyper.grouping, hyper.group_size, hyper.max_group_size)
        self._check_slots(layout.members)
        behavior = self.specs[self.table.behavior_ids[0]]
        role = role_from_behavior(self.brain_name, behavior, layout.group_size)
        self.spec = GroupSpec((role,))
        if self.device.type == "cpu":
            torch.set_num_threads(hyper.torch_threads)
        network = self.trainer_settings.network_settings
        signal = self.trainer_settings.reward_signals[RewardSignalType.EXTRINSIC]
        self.learner = self.algorithm.learner(
            self.spec,
            hyper,
            hidden_units=network.hidden_units,
            num_layers=network.num_layers,
            normalize=network.normalize,
            discount=signal.gamma,
            device=self.device,
            seed=self.seed,
        )
        generator = torch.Generator(device=torch.device(hyper.act_device)).manual_seed(self.seed + 1)
        explorer = None
        if self.is_training and not network.deterministic:
            schedule = ExplorationSchedule(
                hyper.noise_scale, hyper.noise_floor, hyper.noise_decay, hyper.random_steps
            )
            explorer = Explorer(
                role.action, hyper.noise_type, schedule, generator, hyper.epsilon, hyper.noise_theta
            )
        self.acting = Acting(
            self.learner.actor,
            role.action,
            torch.device(hyper.act_device),
            explorer,
            generator,
            lambda: self._step,
        )
        self.store: ReplayStore | None = None
        if self.is_training:
            self.replay = Replay(
                self.spec,
                hyper.buffer_size,
                self.device,
                torch.Generator(device=self.device).manual_seed(self.seed + 2),
            )
            shaping = RewardShaping(
                hyper.positive_reward_scale, hyper.survival_bonus, hyper.reward_function or None
            )
            self.store = ReplayStore(
                self.replay, self.learner, hyper.reward_sharing, hyper.reward_mix, signal.strength, shaping
            )
        staging = StagingTable(self.spec)
        roster = Roster(self.brain_name, layout, staging, layout.grouping == Grouping.GROUP_ID)
        self.assembler = Assembler(roster, self.store, signal.gamma)
        if self._resumed is not None:
            self._restore(self._resumed)
            self._resumed = None
        self.acting.swap(self.learner.actor)
        self.table.decide = self.acting
        self.table.roster = roster

    @property
    def roster(self) -> Roster:
        assert self.table.roster is not None
        return self.table.roster

    def _check_slots(self, members: tuple) -> None:
        hyper = self.hyperparameters
        if hyper.share_actor.value == "shared" or hyper.slots_by == SlotsBy.ORDER or max(members) == 1:
            return
        raise TrainerConfigError(
            f"behaviors.{self.brain_name}.hyperparameters.share_actor: expected shared for agents that "
            f"differ in neither behavior name nor team id, got {hyper.share_actor.value}; set slots_by: "
            f"order if the order of agent ids within a group always means the same, or give the agents "
            f"different team ids"
        )

    def _is_ready_update(self) -> bool:
        if self.replay is None:
            return False
        if len(self.replay) < self.hyperparameters.batch_size or self._step < self._debt_origin:
            if self._debt_paid == 0:
                self._debt_origin = max(self._debt_origin, self._step)
            return False
        return self._updates_owed() > 0

    def _updates_owed(self) -> int:
        return int((self._step - self._debt_origin) / self.hyperparameters.steps_per_update) - self._debt_paid

    @timed
    def _update_policy(self) -> bool:
        hyper, learner, replay = self.hyperparameters, self.learner, self.replay
        assert replay is not None
        self.cumulative_returns_since_policy_update.clear()
        learner.set_learning_rate_fraction(self.learning_rate_fraction())
        share = hyper.non_positive_share if self._step < hyper.non_positive_steps else 1.0
        owed = self._updates_owed()
        for _ in range(owed):
            if self._saving.is_set():
                break  # whoever saves in another thread would have to wait for all of them
            with self.learning_lock:
                learner.update(replay.sample(hyper.batch_size, hyper.n_step, learner.discount, share))
                self.updates += 1
                self._debt_paid += 1
        with self.learning_lock, self.table.lock:
            self.acting.swap(learner.actor)
        return owed > 0

    def learning_rate_fraction(self) -> float:
        """What the schedule leaves of the learning rates at this step, in (0, 1]."""
        if self.hyperparameters.learning_rate_schedule == ScheduleType.CONSTANT:
            return 1.0
        return max(1.0 - self._step / self.get_max_steps, 1e-7)

    # --- reporting and saving ---------------------------------------------------------------------

    def _write_summary(self, step: int) -> None:
        with self.learning_lock:
            if self.learner is not None and not self.learner.is_finite():
                self._raise_if_not_finite("weights")
            self.reporter.summarise()
        super()._write_summary(step)

    def _raise_if_not_finite(self, what: str | None) -> None:
        if what is not None:
            raise UnityTrainerException(
                f"behaviors.{self.brain_name}: expected finite weights, got NaN or Inf at step {self._step} "
                f"({what}); the last checkpoint is from before that. Lower learning_rate and "
                f"critic_learning_rate, set max_gradient_norm, or normalize: true, and --resume"
            )

    def _maybe_save_model(self, step_after_process: int) -> None:
        if self.is_training and self.learner is not None:
            super()._maybe_save_model(step_after_process)

    @timed
    def _checkpoint(self) -> ModelCheckpoint:
        self._saving.set()
        with self.learning_lock, self.table.lock:
            self._saving.clear()
            state = self._state()
            self._raise_if_not_finite(checkpoint.not_finite(state["learner"]))
            replay = None
            if self.hyperparameters.save_replay_buffer and self.replay is not None:
                replay = self.replay.state_dict()
            model, others = self.files.save(state, replay, self.learner.actor, self.spec, self._sample_obs())
        saved = ModelCheckpoint(
            int(self._step), model, self._policy_mean_reward(), time.time(), auxillary_file_paths=others
        )
        ModelCheckpointManager.add_checkpoint(self.brain_name, saved, self.trainer_settings.keep_checkpoints)
        return saved

    def save_model(self) -> None:
        if self.learner is None:
            logger.warning(f"{self.brain_name}: no agent has acted yet, nothing to save.")
            return
        if checkpoint.not_finite(self.learner.state_dict()):
            logger.error(
                f"{self.brain_name}: not saved, the weights are not finite; the last checkpoint stays."
            )
            return
        saved = self._checkpoint()
        final = self.files.publish(saved)
        ModelCheckpointManager.track_final_checkpoint(self.brain_name, final)

    def _sample_obs(self) -> list[np.ndarray] | None:
        """Real observations to check exported models with, per sensor [R, *shape]; None at first."""
        staging = self.assembler.staging
        if staging.head == 0:
            return None
        rows = np.arange(max(0, staging.head - 64), staging.head)
        rows = rows[staging.present[rows % staging.capacity].any(axis=1)]
        present = staging.present[rows % staging.capacity]
        flat = staging.obs[0][rows % staging.capacity][present][:64]
        if not len(flat):
            return None
        shapes = self.spec.roles[0].observation_shapes
        parts = np.split(flat, np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1], axis=1)
        return [part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]

    def _state(self) -> dict[str, Any]:
        """All that the next update and the next decision depend on, but for the replay."""
        return {
            "format": checkpoint.FORMAT,
            "trainer": self.trainer_type,
            "step": self._step,
            "updates": self.updates,
            "debt_origin": self._debt_origin,
            "debt_paid": self._debt_paid,
            "learner": self.learner.state_dict(),
            "act_device": self.acting.device.type,
            "explorer": self.acting.explorer.state_dict() if self.acting.explorer else None,
            "scores": self.board.state_dict(),
        }

    def _read_checkpoint(self) -> dict[str, Any] | None:
        """The state to go on from, read before the scene is asked: a bad file is known at once."""
        path = self.trainer_settings.init_path
        if self.load:
            if path is not None:
                logger.warning(f"{self.brain_name}: --resume was given, so init_path ({path}) has no effect.")
            path = os.path.join(self.artifact_path, checkpoint.LAST)
        if path is None:
            return None
        state = checkpoint.read(path, torch.device("cpu"))
        if self.load:
            self._step = state["step"]
            try:
                self.board.load_state_dict(state["scores"])
            except ValueError as error:
                raise TrainerConfigError(f"behaviors.{self.brain_name}.{error}") from None
            logger.info(f"Resuming from {path} at step {self._step}.")
        else:
            logger.info(f"Initializing from {path}.")
        return state

    def _restore(self, state: dict[str, Any]) -> None:
        where = f"behaviors.{self.brain_name}: the checkpoint does not fit"
        try:
            if not self.load:
                self._take_over(state)
                return
            if state["trainer"] != self.trainer_type:
                raise ValueError(
                    f"trainer_type: expected {state['trainer']}, got {self.trainer_type}; change it back"
                )
            self.learner.load_state_dict(state["learner"])
            explorer = self.acting.explorer
            # Random numbers of another kind of device cannot be continued.
            if explorer is not None and state["explorer"] and state["act_device"] == self.acting.device.type:
                explorer.load_state_dict(state["explorer"])
            self.updates = state["updates"]
            self._debt_origin = self._step + self.hyperparameters.buffer_init_steps
            if self.replay is not None and self.hyperparameters.save_replay_buffer:
                saved = self.files.read_replay(self._step)
                if saved is not None:
                    self.replay.load_state_dict(saved)
                    self._debt_origin, self._debt_paid = state["debt_origin"], state["debt_paid"]
        except ValueError as error:
            raise UnityTrainerException(f"{where}: {error}") from None

    def _take_over(self, state: dict[str, Any]) -> None:
        """Begin with the weights of another run."""
        if state["trainer"] == self.trainer_type:
            self.learner.load_weights(state["learner"])
            return
        self.learner.load_weights(state["learner"], only_actor=True)
        logger.info(
            f"{self.brain_name}: the checkpoint is of trainer_type {state['trainer']}; its actor is taken "
            f"over, the critic of {self.trainer_type} starts anew."
        )


class MaddpgTrainer(OffPolicyMarlTrainer):
    """``trainer_type: maddpg``."""

    trainer_type = "maddpg"


class Matd3Trainer(OffPolicyMarlTrainer):
    """``trainer_type: matd3``."""

    trainer_type = "matd3"


class IddpgTrainer(OffPolicyMarlTrainer):
    """``trainer_type: iddpg``."""

    trainer_type = "iddpg"


class MaddpgSharedTrainer(OffPolicyMarlTrainer):
    """``trainer_type: maddpg_shared``."""

    trainer_type = "maddpg_shared"


class Matd3SharedTrainer(OffPolicyMarlTrainer):
    """``trainer_type: matd3_shared``."""

    trainer_type = "matd3_shared"
