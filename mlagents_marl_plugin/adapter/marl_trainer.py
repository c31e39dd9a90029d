"""The host's trainer, as far as all algorithms share it: life cycle, joint steps in, models and figures out."""

import threading
import zlib
from typing import Any

import torch
from mlagents.torch_utils import default_device
from mlagents.trainers.behavior_id_utils import BehaviorIdentifiers
from mlagents.trainers.exception import UnityTrainerException
from mlagents.trainers.optimizer.torch_optimizer import TorchOptimizer
from mlagents.trainers.policy import Policy
from mlagents.trainers.policy.checkpoint_manager import ModelCheckpoint
from mlagents.trainers.settings import RewardSignalType, TrainerSettings
from mlagents_envs.base_env import BehaviorSpec
from mlagents_envs.logging_util import get_logger
from mlagents_envs.timers import hierarchical_timer, timed

from mlagents_marl_plugin.adapter.acting import Acting
from mlagents_marl_plugin.adapter.assembler import Assembler
from mlagents_marl_plugin.adapter.blocks import Store
from mlagents_marl_plugin.adapter.grouping import FirstAgents, Grouping, Layout, decide_layout
from mlagents_marl_plugin.adapter.intake import Intake
from mlagents_marl_plugin.adapter.joint import name_of, stay_alone
from mlagents_marl_plugin.adapter.metrics import Reporter
from mlagents_marl_plugin.adapter.policy import MarlPolicy, Table
from mlagents_marl_plugin.adapter.restarts import on_restart
from mlagents_marl_plugin.adapter.roster import Roster
from mlagents_marl_plugin.adapter.saving import Saving
from mlagents_marl_plugin.adapter.scores import ScoreBoard
from mlagents_marl_plugin.adapter.settings import check_actions, check_slots, check_supported
from mlagents_marl_plugin.adapter.specs import role_from_behavior
from mlagents_marl_plugin.adapter.staging import StagingTable
from mlagents_marl_plugin.adapter.state_sensor import announce_states, with_state
from mlagents_marl_plugin.adapter.store import Rewards
from mlagents_marl_plugin.algorithms import ALGORITHMS
from mlagents_marl_plugin.core.rewards import RewardShaping
from mlagents_marl_plugin.core.sequences import Memory
from mlagents_marl_plugin.core.types import GroupSpec, RoleSpec

logger = get_logger(__name__)


class MarlTrainer(Intake):
    """Trains groups of agents. A subclass per data regime says how to act, what to keep and when to update."""

    trainer_type: str  # a key of ALGORITHMS, in the classes that are registered

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
        self.table = self._make_table()
        self.learning_lock = threading.RLock()  # around an update, a swap and a save
        self.self_play = trainer_settings.self_play is not None
        solved_when, stop_when = self.hyperparameters.solved_when, self.hyperparameters.stop_when
        self.board = ScoreBoard(solved_when, stop_when if training else None)  # --inference is never done
        self.reporter = Reporter(self)
        self.saving = self._make_saving()
        self.specs: dict[str, BehaviorSpec] = {}
        self.learner: Any = None
        self.updates = 0
        self._resumed = self.saving.read()
        if training and not load:
            self.saving.files.start_anew()
        on_restart(self._player_restarted)

    # --- what a joint run has otherwise, see `joint_trainers` -------------------------------------

    def _make_table(self) -> Table:
        """Where this behaviour's policies meet."""
        stay_alone(self)
        table = Table(self.brain_name)
        table.on_first_agents = self._build
        return table

    def _make_saving(self) -> Saving:
        return Saving(self)

    def _decide_group(self, first: list[FirstAgents]) -> tuple[Layout, GroupSpec]:
        """How agents form groups, and what such a group is to the learner."""
        hyper = self.hyperparameters
        asked = (hyper.grouping, hyper.group_size, hyper.max_group_size)
        layout = decide_layout(self.brain_name, first, *asked, sides=self.self_play)
        check_slots(self.brain_name, hyper, layout.members)
        return layout, GroupSpec((self.make_role(self.table.behavior_ids[0], layout.group_size),))

    def make_role(self, behavior_id: str, num_slots: int) -> RoleSpec:
        """What this behaviour is in a group of its agents."""
        behavior, network = self.specs[behavior_id], self.trainer_settings.network_settings
        role = role_from_behavior(self.brain_name, behavior, num_slots, network)
        return with_state(role, behavior, self.hyperparameters.state_sensor)

    def _make_decide(self) -> dict[str, Acting]:
        """By behaviour id, who decides; in self-play each side has its own, which follows snapshots."""
        names = self.table.behavior_ids
        if self.self_play:
            return {name: self._make_acting(self._act_generator(name)) for name in names}
        return dict.fromkeys(names, self.acting)

    # --- what a data regime says ------------------------------------------------------------------

    def _make_acting(self, generator: torch.Generator) -> Acting:
        """How policies act; ``generator`` is on ``act_device``."""
        raise NotImplementedError

    def _make_store(self, rewards: Rewards) -> Store:
        """What keeps joint steps for updates."""
        raise NotImplementedError

    def cadence(self) -> dict[str, Any]:
        """When the next update is due, for checkpoints."""
        raise NotImplementedError

    def resume_cadence(self, saved: dict[str, Any]) -> None:
        """Go on from what `cadence` said."""
        raise NotImplementedError

    def replay_state(self) -> dict[str, Any] | None:
        """What a checkpoint keeps of the experience, if it is asked to."""
        return None

    def figures(self) -> dict[str, float]:
        """What a summary shows of this regime, by the name in TensorBoard."""
        raise NotImplementedError

    def look_at(self, measured: dict[str, torch.Tensor]) -> None:
        """See what the learner has measured, at a summary."""

    # --- the host's life cycle --------------------------------------------------------------------

    @classmethod
    def get_trainer_name(cls) -> str:  # type: ignore[override]
        return cls.trainer_type

    def create_policy(
        self, parsed_behavior_id: BehaviorIdentifiers, behavior_spec: BehaviorSpec
    ) -> MarlPolicy:
        self.specs[parsed_behavior_id.behavior_id] = behavior_spec
        role = self.make_role(parsed_behavior_id.behavior_id, 1)
        check_actions(self.brain_name, self.algorithm, self.hyperparameters, role.action)
        if self.self_play:
            self._meet_team(parsed_behavior_id.behavior_id)  # of the others only this is told
        return MarlPolicy(
            self.seed,
            parsed_behavior_id.behavior_id,
            behavior_spec,
            self.trainer_settings.network_settings,
            self.table,
            self.role,
        )

    def add_policy(self, parsed_behavior_id: BehaviorIdentifiers, policy: Policy) -> None:
        self._meet_team(parsed_behavior_id.behavior_id)
        self.policies[parsed_behavior_id.behavior_id] = policy
        policy.set_step(self._step)  # type: ignore[attr-defined]

    def get_policy(self, name_behavior_id: str) -> Policy:
        """In self-play the host asks by names that it never added; all stand for the same actor."""
        return self.policies.get(name_behavior_id) or next(iter(self.policies.values()))

    def _meet_team(self, behavior_id: str) -> None:
        known = self.table.behavior_ids
        if self.table.roster is not None and behavior_id not in known:
            raise UnityTrainerException(
                f"{behavior_id}: expected all teams of {self.brain_name} to be there from the first "
                f"decision on, got a new one; let one agent of every team exist when the scene starts"
            )
        self.table.add(behavior_id)

    def create_optimizer(self) -> TorchOptimizer:
        raise UnityTrainerException(f"{self.trainer_type}: the learner keeps its own optimisers")

    def advance(self) -> None:
        """Take in what has come, update if it is time, hand the new actor to the policies."""
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
        # Until then the host's thread may be about to restore the weights.
        if self.is_built and self.should_still_train and self._is_ready_update():
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
        with self.table.lock:
            if self.table.roster is not None:
                self.table.roster.reset_in_order()

    # --- learning ---------------------------------------------------------------------------------

    def _build(self, first: list[FirstAgents]) -> None:
        """Everything that depends on who plays with whom, once the first agents have been seen."""
        hyper = self.hyperparameters
        layout, self.spec = self._decide_group(first)
        announce_states(self.spec)
        if self.device.type == "cpu":
            torch.set_num_threads(hyper.torch_threads)
        network = self.trainer_settings.network_settings
        signal = self.trainer_settings.reward_signals[RewardSignalType.EXTRINSIC]
        memory = {}
        if network.memory is not None:
            memory = {"memory": Memory(self.memory_size, network.memory.sequence_length)}
        self.learner = self.algorithm.learner(
            self.spec,
            hyper,
            hidden_units=network.hidden_units,
            num_layers=network.num_layers,
            normalize=network.normalize,
            discount=signal.gamma,
            device=self.device,
            seed=self.seed,
            **memory,
        )
        self.acting = self._make_acting(self._act_generator(""))
        decide = self._make_decide()
        self.actings = list(dict.fromkeys((self.acting, *decide.values())))
        self.following = [self.acting] if self.self_play else self.actings
        shaping = RewardShaping(
            hyper.positive_reward_scale, hyper.survival_bonus, hyper.reward_function or None
        )
        self.rewards = Rewards(self.spec, hyper.reward_sharing, hyper.reward_mix, signal.strength, shaping)
        store = self._make_store(self.rewards) if self.is_training else None
        roster = Roster(
            self.brain_name,
            layout,
            StagingTable(self.spec, memory_size=self.memory_size),
            layout.grouping == Grouping.GROUP_ID,
            [name_of(behavior_id) for behavior_id in self.table.behavior_ids],
        )
        self.assembler = Assembler(roster, store, signal.gamma)
        if self._resumed is not None:
            self.saving.restore(self._resumed)
            self._resumed = None
        for acting in self.actings:
            acting.swap(self.learner.actor)
        self.table.act_by(self.acting, decide)
        self.table.roster = roster

    @property
    def is_built(self) -> bool:
        """Whether there is a learner that has gone on from what was saved: nothing else may be saved over that."""
        return self.learner is not None and self.table.roster is not None

    @property
    def memory_size(self) -> int:
        """Numbers that an agent remembers; 0 without a memory."""
        memory = self.trainer_settings.network_settings.memory
        return 0 if memory is None else memory.memory_size

    def _act_generator(self, behavior_id: str) -> torch.Generator:
        """For a side's own draws; the empty name is for all who share one acting copy."""
        generator = torch.Generator(device=torch.device(self.hyperparameters.act_device))
        return generator.manual_seed(self.seed + 1 + zlib.crc32(behavior_id.encode()))

    @property
    def roster(self) -> Roster:
        assert self.table.roster is not None
        return self.table.roster

    # --- reporting and saving ---------------------------------------------------------------------

    def _write_summary(self, step: int) -> None:
        with self.learning_lock:
            if self.is_built and not self.learner.is_finite():
                self.saving.raise_not_finite("weights")
            self.reporter.summarise()
        super()._write_summary(step)

    def _maybe_save_model(self, step_after_process: int) -> None:
        if self.is_training and self.is_built:
            try:
                super()._maybe_save_model(step_after_process)
            except OSError as error:
                logger.error(
                    f"{self.brain_name}: not saved at step {self.get_step} ({error}). The last checkpoint stays, "
                    f"and training goes on; make room on the disk, or close what holds the file, before the next one."
                )

    @timed
    def _checkpoint(self) -> ModelCheckpoint:
        return self.saving.checkpoint()

    def save_model(self) -> None:
        self.saving.save_final()
