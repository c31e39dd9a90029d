"""Trainers that learn from a replay: so many updates per agent step, each from a batch drawn at random."""

from pathlib import Path
from typing import Any

import torch
from mlagents.trainers.exception import UnityTrainerException
from mlagents.trainers.settings import ScheduleType
from mlagents_envs.logging_util import get_logger
from mlagents_envs.timers import timed

from mlagents_marl_plugin.adapter.acting import ExploringActing, SamplingActing
from mlagents_marl_plugin.adapter.demonstrations import load_demonstrations
from mlagents_marl_plugin.adapter.marl_trainer import MarlTrainer
from mlagents_marl_plugin.adapter.store import ReplayStore, Rewards, SequenceStore
from mlagents_marl_plugin.core.exploration import Explorer
from mlagents_marl_plugin.core.replay import Replay
from mlagents_marl_plugin.core.sequence_replay import SequenceBatch, SequenceReplay, SequenceSize
from mlagents_marl_plugin.core.stochastic_actor import StochasticActor
from mlagents_marl_plugin.core.types import Batch

logger = get_logger(__name__)

STUCK_UPDATES = 100  # an actor that has had no usable gradient for so long is told of


class OffPolicyMarlTrainer(MarlTrainer):
    """Owes an update per ``steps_per_update`` agent steps, from ``buffer_init_steps`` on."""

    acting: ExploringActing | SamplingActing

    def __init__(self, *arguments: Any, **settings: Any):
        """See the host's TrainerFactory, which calls this."""
        super().__init__(*arguments, **settings)
        self.replay: Replay | None = None
        self._saved_replay: dict[str, Any] | None = None  # to go on with, until it is in the replay
        self._debt_origin = self.hyperparameters.buffer_init_steps  # the step from which updates are owed
        self._debt_paid = -self.hyperparameters.demonstration_updates
        self._stuck = False

    def _make_acting(self, generator: torch.Generator, role: int = 0) -> ExploringActing | SamplingActing:
        greedy = not self.is_training or self.trainer_settings.network_settings.deterministic
        actor, layout, device = self.learner.actor, self.spec.roles[role].action, generator.device
        if isinstance(actor, StochasticActor):
            return SamplingActing(actor, device, generator, greedy, role)
        explorer = None if greedy else self.hyperparameters.make_explorer(layout, generator)
        return ExploringActing(actor, layout, device, explorer, lambda: self._step, role)

    def _make_store(self, rewards: Rewards) -> ReplayStore:
        generator = torch.Generator(device=self.device).manual_seed(self.seed + 2)
        size = (self.spec, self.hyperparameters.buffer_size, self.device, generator)
        sequences = self._sequences
        if sequences is None:
            self.replay = Replay(*size)
            store = ReplayStore(self.replay, self.learner, rewards)
        else:
            self.replay = SequenceReplay(*size, sequences.memory_size)
            store = SequenceStore(self.replay, self.learner, rewards)
        if self._resumed is not None and self.load and self.hyperparameters.save_replay_buffer:
            self._saved_replay = self.saving.files.read_replay(self._step)
        if self.hyperparameters.demonstrations and self._saved_replay is None:
            self._show(store, self.hyperparameters.demonstrations)
        return store

    def _show(self, store: ReplayStore, path: str) -> None:
        """Begin with demonstrations."""
        behavior, hyper = self.specs[self.table.behavior_ids[0]], self.hyperparameters
        size = (self.spec.num_slots, self.memory_size)
        shown = load_demonstrations(Path(path), behavior, *size, store, hyper.buffer_size)
        if hyper.demonstration_updates and hyper.batch_size > shown.steps:
            raise UnityTrainerException(
                f"batch_size: expected at most {shown.steps}, the steps that {path} shows, for updates from them "
                f"alone, got {hyper.batch_size}; lower it, record more, or set demonstration_updates: 0"
            )
        store.rewards.take_means()  # the first summary tells of what was played
        logger.info(
            f"{self.brain_name}: begins with {shown.steps} demonstrated steps of {shown.episodes} episodes, mean score "
            f"{shown.mean_score:.3f}, from {path}."
        )

    @property
    def _sequences(self) -> SequenceSize | None:
        """What batches of sequences the learner asks for; None: of single transitions."""
        wanted: SequenceSize | None = getattr(self.learner, "sequences", None)
        return wanted

    def _batch(self, replay: Replay, non_positive_share: float) -> Batch | SequenceBatch:
        """What the next update learns from."""
        hyper, discount, size = self.hyperparameters, self.learner.discount, self._sequences
        if size is None or not isinstance(replay, SequenceReplay):
            return replay.sample(hyper.batch_size, hyper.n_step, discount, non_positive_share)
        number = max(1, hyper.batch_size // size.length)
        return replay.sample_sequences(number, size, discount, non_positive_share)

    # --- updates ----------------------------------------------------------------------------------

    def _is_ready_update(self) -> bool:
        if self.replay is None:
            return False
        early = self._step < self._debt_origin and self._debt_paid >= 0  # below 0: from demonstrations alone
        if len(self.replay) < self.hyperparameters.batch_size or early:
            if self._debt_paid == 0:
                self._debt_origin = max(self._debt_origin, self._step)
            return False
        return self._updates_owed() > 0

    def _updates_owed(self) -> int:
        played = max(0, self._step - self._debt_origin)
        return int(played / self.hyperparameters.steps_per_update) - self._debt_paid

    @timed
    def _update_policy(self) -> bool:
        hyper, learner, replay = self.hyperparameters, self.learner, self.replay
        assert replay is not None
        self.cumulative_returns_since_policy_update.clear()
        learner.set_learning_rate_fraction(self.learning_rate_fraction())
        share = hyper.non_positive_share if self._step < hyper.non_positive_steps else 1.0
        owed = self._updates_owed()
        for _ in range(owed):
            if self.saving.wanted.is_set():
                break  # whoever saves in another thread would have to wait for all of them
            with self.learning_lock:
                learner.update(self._batch(replay, share))
                self.updates += 1
                self._debt_paid += 1
        with self.learning_lock, self.table.lock:
            for acting in self.following:
                acting.swap(learner.actor)
        return owed > 0

    def learning_rate_fraction(self) -> float:
        """What the schedule leaves of the learning rates at this step, in (0, 1]."""
        if self.hyperparameters.learning_rate_schedule == ScheduleType.CONSTANT:
            return 1.0
        return max(1.0 - self._step / self.get_max_steps, 1e-7)

    # --- saving and reporting ---------------------------------------------------------------------

    def cadence(self) -> dict[str, Any]:
        rate = self.hyperparameters.steps_per_update
        return {"debt_origin": self._debt_origin, "debt_paid": self._debt_paid, "steps_per_update": rate}

    def resume_cadence(self, saved: dict[str, Any]) -> None:
        """With its replay a run goes on as if never stopped; without, it collects before it updates."""
        self._debt_origin, self._debt_paid = self._step + self.hyperparameters.buffer_init_steps, 0
        if self.replay is not None and self._saved_replay is not None:
            self.replay.load_state_dict(self._saved_replay)
            self._saved_replay = None
            self._resume_debt(saved)

    def _resume_debt(self, saved: dict[str, Any]) -> None:
        """Owe what was owed. With another ``steps_per_update`` the steps played so far count as paid for."""
        self._debt_origin, self._debt_paid = saved["debt_origin"], saved["debt_paid"]
        rate = self.hyperparameters.steps_per_update
        if saved.get("steps_per_update", rate) != rate:  # checkpoints of early versions do not tell
            self._debt_origin = max(self._debt_origin, self._step)
            self._debt_paid = min(self._debt_paid, 0)  # below 0: updates from demonstrations to come

    def replay_state(self) -> dict[str, Any] | None:
        if self.replay is None or not self.hyperparameters.save_replay_buffer:
            return None
        return self.replay.state_dict()

    def figures(self) -> dict[str, float]:
        assert self.replay is not None
        shown = {f"Replay/{name.replace('_', ' ').title()}": n for name, n in self.replay.metrics().items()}
        explorer = getattr(self.acting, "explorer", None)  # what is drawn from a policy explores by itself
        strengths = {} if explorer is None else explorer.figures(self._step)
        for name, value in (strengths | self.learner.scheduled()).items():
            shown[f"Policy/{name.replace('_', ' ').title()}"] = value
        return shown

    def look_at(self, measured: dict[str, torch.Tensor]) -> None:
        """Warn once when an actor gets no gradient any more, and shake it if the YAML asks for that."""
        if "updates_without_gradient" not in measured:
            return  # action values have no actors, and critics may be updated before them for the first time
        self._watch_gradient(
            measured["updates_without_gradient"].tolist(), measured["saturated_share"].tolist()
        )

    def _watch_gradient(self, without: list[float], saturated: list[float]) -> None:
        stuck = [slot for slot, updates in enumerate(without) if updates >= STUCK_UPDATES]
        nudge = self.hyperparameters.saturation_nudge if stuck else 0.0
        for acting in self.actings:
            explorer = getattr(acting, "explorer", None)
            if isinstance(explorer, Explorer):
                explorer.nudge = nudge
        if stuck and not self._stuck:
            slot = stuck[0]
            remedy = (
                f"noise is raised by {nudge} until it does" if nudge else "saturation_nudge: 0.2 adds noise"
            )
            logger.warning(
                f"{self.brain_name}: the actor of slot {slot} has had no usable gradient in its last "
                f"{int(without[slot])} updates, with {saturated[slot]:.0%} of its actions at their limits. "
                f"Raise logit_regularisation, or lower learning_rate; {remedy}."
            )
        self._stuck = bool(stuck)
