"""What a trainer saves and goes on from: checkpoints with their models, the best so far, another run's weights."""

import re
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from mlagents.trainers.exception import TrainerConfigError, UnityTrainerException
from mlagents.trainers.policy.checkpoint_manager import ModelCheckpoint
from mlagents_envs.logging_util import get_logger

from mlagents_marl_plugin.adapter import checkpoint, interrupts, run_files
from mlagents_marl_plugin.adapter.model_files import ModelFiles

if TYPE_CHECKING:
    from mlagents_marl_plugin.adapter.marl_trainer import MarlTrainer

logger = get_logger(__name__)


class Saving:
    """Checkpoints of one trainer."""

    def __init__(self, trainer: "MarlTrainer"):
        self.trainer = trainer
        self.files = ModelFiles(trainer.artifact_path, trainer.brain_name, trainer.role)
        self.wanted = threading.Event()  # somebody waits to save: updates may be put off
        if trainer.is_training:
            checkpoint.remove_unfinished(trainer.artifact_path)
            run_files.remove_unfinished(Path(trainer.artifact_path).parent)
            if trainer.load:
                run_files.enter_missing(trainer.brain_name, Path(trainer.artifact_path))

    # --- writing ----------------------------------------------------------------------------------

    def checkpoint(self) -> ModelCheckpoint:
        """Write a checkpoint and its models, and enter it in the host's list.

        Raises:
            UnityTrainerException: if the weights are not finite (nothing is written then), or a model does
                not compute what the actor does.
        """
        trainer = self.trainer
        self.wanted.set()
        with trainer.learning_lock, trainer.table.lock:
            self.wanted.clear()
            state = self._state() | {"generation": run_files.next_generation()}
            self.raise_not_finite(checkpoint.not_finite(state["learner"]))
            model, others = self.files.save(
                state, trainer.replay_state(), trainer.learner.actor, trainer.spec, self.sample_obs()
            )
            saved = self.enter(model, others)
            self._save_others()
        run_files.write(Path(trainer.artifact_path).parent)
        return saved

    def _save_others(self) -> None:
        """What is to be written together with a checkpoint; the learner stands still."""

    def enter(self, model: str, others: list[str]) -> ModelCheckpoint:
        """Add a checkpoint that is written to the host's list; the oldest ones go, with their files."""
        trainer = self.trainer
        saved = ModelCheckpoint(
            int(trainer.get_step),
            model,
            trainer._policy_mean_reward(),
            time.time(),
            auxillary_file_paths=others,
        )
        run_files.enter(trainer.brain_name, saved, trainer.trainer_settings.keep_checkpoints)
        return saved

    def save_final(self) -> None:
        """The last checkpoint of a run, its models copied to where Unity users look for them."""
        trainer = self.trainer
        if not trainer.is_built:
            logger.warning(f"{trainer.brain_name}: nothing has been learnt yet, nothing to save.")
            return
        if checkpoint.not_finite(trainer.learner.state_dict()):
            logger.error(
                f"{trainer.brain_name}: not saved, the weights are not finite; the last checkpoint stays."
            )
            return
        with interrupts.held_back():
            self.publish(trainer._checkpoint())

    def publish(self, saved: ModelCheckpoint) -> None:
        """Copy the last models to where Unity users look for them."""
        final = self.files.publish(saved)
        run_files.enter_final(self.trainer.brain_name, final)

    def remember_best(self, score: float) -> None:
        """Keep the present state in memory, to be written with the next checkpoint."""
        self.files.remember_best(self._state(), self.trainer.learner.actor, score)

    def raise_not_finite(self, what: str | None) -> None:
        """Raises UnityTrainerException if ``what`` names something that is not finite."""
        if what is not None:
            raise UnityTrainerException(
                f"behaviors.{self.trainer.brain_name}: expected finite weights, got NaN or Inf at step "
                f"{self.trainer.get_step} ({what}); the last checkpoint is from before that. Lower "
                f"learning_rate and critic_learning_rate, set max_gradient_norm, or normalize: true, and "
                f"--resume"
            )

    def _state(self) -> dict[str, Any]:
        """All that the next update and the next decision depend on, but for the experience."""
        trainer = self.trainer
        return {
            "format": checkpoint.FORMAT,
            "trainer": trainer.trainer_type,
            "step": trainer.get_step,
            "updates": trainer.updates,
            "cadence": trainer.cadence(),
            "learner": trainer.learner.state_dict(),
            "act_device": trainer.acting.device.type,
            "acting": trainer.acting.state_dict(),
            "scores": trainer.board.state_dict(),
        }

    def sample_obs(self, role: int = 0) -> list[np.ndarray] | None:
        """Real observations to check exported models with, per sensor [R, *shape]; None at first."""
        staging = self.trainer.assembler.staging
        if staging.head == 0:
            return None
        rows = np.arange(max(0, staging.head - 64), staging.head) % staging.capacity
        present = staging.present[rows, staging.spec.slots(role)]
        flat = staging.obs[role][rows][present][:64]
        if not len(flat):
            return None
        shapes = self.trainer.spec.roles[role].observation_shapes
        parts = np.split(flat, np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1], axis=1)
        return [part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]

    # --- reading ----------------------------------------------------------------------------------

    def read(self) -> dict[str, Any] | None:
        """The state to go on from, read before the scene is asked: a bad file is known at once.

        Raises:
            UnityTrainerException: if the file is missing or is no checkpoint of ours.
            TrainerConfigError: if the run has stopped by its own criterion.
        """
        state = self._read()
        if self.trainer.is_training:
            # One that is killed before its first checkpoint, or was in the middle of one, leaves them too.
            run_files.write(Path(self.trainer.artifact_path).parent)
        return state

    def _read(self) -> dict[str, Any] | None:
        trainer, path = self.trainer, self._source()
        if path is None:
            return None
        state = checkpoint.read(path, torch.device("cpu"))
        self._check_members(path, state)
        if trainer.load:
            trainer._step = state["step"]
            run_files.go_on_from(state.get("generation", 0))
            try:
                trainer.board.load_state_dict(state["scores"])
            except ValueError as error:
                raise TrainerConfigError(f"behaviors.{trainer.brain_name}.{error}") from None
            logger.info(f"Resuming from {path} at step {trainer.get_step}.")
        else:
            logger.info(f"Initializing from {path}.")
        return state

    def _source(self) -> str | None:
        """The file to begin with; None for a run that begins with nothing."""
        trainer, path = self.trainer, self.trainer.trainer_settings.init_path
        if not trainer.load:
            return path
        if path is not None:
            logger.warning(f"{trainer.brain_name}: --resume was given, so init_path ({path}) has no effect.")
        return self._last()

    def _members(self) -> list[str]:
        """Whose actors are in a checkpoint, role by role."""
        return [self.trainer.brain_name]

    def _check_members(self, path: str, state: dict[str, Any]) -> None:
        expected, joint = self._members(), state.get("joint")
        got = (
            expected if joint is None and len(expected) == 1 else (joint or {}).get("members", "one behavior")
        )
        if got != expected:
            raise UnityTrainerException(
                f"{path}: expected a checkpoint of {' and '.join(expected)} (hyperparameters.joint.members), got one "
                f"of {got}; use a run with the same members in the same order"
            )

    def _last(self) -> str | None:
        """The newest whole checkpoint of this run; None if it ended before there was any."""
        trainer, folder = self.trainer, Path(self.trainer.artifact_path)
        last = folder / checkpoint.LAST
        if last.is_file():
            return str(last)
        name = re.escape(trainer.brain_name)
        numbered = [path for path in folder.glob("*.pt") if re.fullmatch(rf"{name}-\d+\.pt", path.name)]
        if numbered:
            return str(max(numbered, key=lambda path: int(path.stem.rpartition("-")[2])))
        others = sorted(folder.parent.glob(f"*/{checkpoint.LAST}"))
        if others or not trainer.is_training:
            return str(last)  # which is told of as missing: this behaviour has another name than it had
        logger.warning(f"{trainer.brain_name}: {folder} has no checkpoint yet; starting at step 0.")
        return None

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `read` found, once the learner is there.

        Raises:
            UnityTrainerException: if it does not fit; names the entry.
        """
        try:
            if self.trainer.load:
                self._resume(state)
            else:
                self._take_over(state)
        except ValueError as error:
            raise UnityTrainerException(
                f"behaviors.{self.trainer.brain_name}: the checkpoint does not fit: {error}"
            ) from None

    def _resume(self, state: dict[str, Any]) -> None:
        trainer = self.trainer
        if state["trainer"] != trainer.trainer_type:
            raise ValueError(
                f"trainer_type: expected {state['trainer']}, got {trainer.trainer_type}; change it back"
            )
        trainer.learner.load_state_dict(state["learner"])
        # Random numbers of another kind of device cannot be continued.
        if state["act_device"] == trainer.acting.device.type:
            self._resume_acting(state["acting"])
        trainer.updates = state["updates"]
        trainer.resume_cadence(state["cadence"])

    def _resume_acting(self, saved: dict[str, Any]) -> None:
        self.trainer.acting.load_state_dict(saved)

    def _take_over(self, state: dict[str, Any]) -> None:
        """Begin with the weights of another run."""
        trainer = self.trainer
        if state["trainer"] == trainer.trainer_type:
            trainer.learner.load_weights(state["learner"])
            return
        trainer.learner.load_weights(state["learner"], only_actor=True)
        logger.info(
            f"{trainer.brain_name}: the checkpoint is of trainer_type {state['trainer']}; its actor is taken "
            f"over, the critic of {trainer.trainer_type} starts anew."
        )
