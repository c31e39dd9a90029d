"""The files of a run: checkpoints beside their ONNX models, the final and the best model, the replay.

results/<run>/<behavior>.onnx                 the last model; slot 0 where agents have actors of their own
results/<run>/<behavior>-slot1.onnx           further slots
results/<run>/<behavior>-best.onnx            the best so far, by the mean score over 100 episodes
results/<run>/<behavior>/checkpoint.pt        to resume from
results/<run>/<behavior>/<behavior>-<step>.pt and .onnx, as many as keep_checkpoints says
results/<run>/<behavior>/best.pt              the best so far, outside that count
"""

import os
import re
import shutil
from pathlib import Path
from typing import Any

import attr
import numpy as np
import torch
from mlagents.trainers.exception import UnityTrainerException
from mlagents.trainers.policy.checkpoint_manager import ModelCheckpoint
from mlagents_envs.logging_util import get_logger

from mlagents_marl_plugin.adapter import checkpoint
from mlagents_marl_plugin.adapter.export import ExportError, FlatObservations, export_actor
from mlagents_marl_plugin.adapter.patience import patiently
from mlagents_marl_plugin.core.networks import DecentralisedActor, Sharing
from mlagents_marl_plugin.core.stochastic_actor import StochasticActor
from mlagents_marl_plugin.core.types import GroupSpec

logger = get_logger(__name__)

BEST = "best.pt"

Actor = DecentralisedActor | StochasticActor


class ModelFiles:
    """Writes and reads them. The caller holds the learner still meanwhile."""

    def __init__(self, artifact_path: str, behavior_name: str, role: int = 0):
        """Args: role, whose actors' models are written, of a group's roles."""
        self.folder = artifact_path
        self.behavior_name = behavior_name
        self.role = role
        self._best: tuple[dict[str, Any], Actor, float] | None = None

    def start_anew(self) -> None:
        """Remove what an earlier run of the same id left (``--force``): none of it may pass for the new run's."""
        step = rf"{re.escape(self.behavior_name)}-\d+(\.pt|(-slot\d+)?\.onnx)"
        saved = rf"{step}|{checkpoint.LAST}|{checkpoint.REPLAY}|{BEST}"
        old = [*self._models(r"(-best)?(-slot\d+)?"), *_matching(Path(self.folder), saved)]
        for path in old:
            path.unlink()
        if old:
            logger.info(f"{self.behavior_name}: removed {len(old)} files of the run that is overwritten.")

    def _models(self, ending: str) -> list[Path]:
        """The last or best models; ``ending`` matches what comes after the behaviour's name."""
        folder = Path(self.folder)
        return _matching(folder.parent, rf"{re.escape(folder.name)}{ending}\.onnx")

    def _remove_other_slots(self, kind: str, num_models: int) -> None:
        """Remove models of slots beyond those just written, left by a run with more actors; kind: "" or "-best"."""
        written = {f"{Path(self.folder).name}{kind}-slot{slot}" for slot in range(num_models)}
        for path in self._models(rf"{kind}-slot\d+"):
            if path.stem not in written:
                path.unlink()
                logger.info(f"Removed {path}: this run has no actor of that slot.")

    def save(
        self,
        state: dict[str, Any],
        replay: dict[str, Any] | None,
        actor: Actor,
        spec: GroupSpec,
        sample_obs: list[np.ndarray] | None,
    ) -> tuple[str, list[str]]:
        """Write a checkpoint, its models and the best if it is new; returns the model and the other files.

        Raises:
            UnityTrainerException: if a model does not compute what the actor does. The checkpoint is
                written by then.
        """
        base = os.path.join(self.folder, f"{self.behavior_name}-{state['step']}")
        checkpoint.write(state, f"{base}.pt")
        checkpoint.write(state, os.path.join(self.folder, checkpoint.LAST))
        if replay is not None:
            checkpoint.write({**replay, "step": state["step"]}, os.path.join(self.folder, checkpoint.REPLAY))
        models = self._export(actor, spec, base, sample_obs)
        if self._best is not None:
            best, best_actor, score = self._best
            checkpoint.write(best, os.path.join(self.folder, BEST))
            best_models = self._export(best_actor, spec, f"{self.folder}-best", sample_obs)
            self._remove_other_slots("-best", len(best_models))
            logger.info(f"{self.behavior_name}: kept the best model so far, mean score {score:.3f}.")
            self._best = None
        return models[0], [f"{base}.pt", *models[1:]]

    def _export(
        self, actor: Actor, spec: GroupSpec, base: str, sample_obs: list[np.ndarray] | None
    ) -> list[str]:
        role, sharing, paths = spec.roles[self.role], actor.roles[self.role].sharing, []
        for slot in range(1 if sharing is Sharing.SHARED else role.num_slots):
            path = f"{base}.onnx" if slot == 0 else f"{base}-slot{slot}.onnx"
            module = actor.slot_module(slot, self.role)
            try:
                export_actor(
                    FlatObservations(module) if role.encoder is None else module,
                    role.action,
                    role.observation_shapes,
                    path,
                    sample_obs=sample_obs,
                    stochastic=isinstance(actor, StochasticActor),
                    squashed=isinstance(actor, StochasticActor) and actor.head.squashed,
                    memory_size=actor.memory_size,
                )
            except ExportError as error:
                raise UnityTrainerException(f"{error} The checkpoint {base}.pt is kept.") from error
            paths.append(path)
        logger.info(f"Exported {', '.join(paths)}")
        return paths

    def publish(self, saved: ModelCheckpoint) -> ModelCheckpoint:
        """Copy a checkpoint's models to where Unity users look for the final ones."""
        models = [path for path in (saved.file_path, *saved.auxillary_file_paths) if path.endswith(".onnx")]
        base = os.path.splitext(saved.file_path)[0]
        for path in models:
            target = self.folder + path[len(base) :]
            patiently(shutil.copyfile, path, target)
            logger.info(f"Copied {path} to {target}.")
        self._remove_other_slots("", len(models))
        return attr.evolve(saved, file_path=f"{self.folder}.onnx")

    def remember_best(self, state: dict[str, Any], actor: Actor, score: float) -> None:
        """Keep a copy in memory, to be written with the next checkpoint."""
        self._best = (state, actor.acting_copy(torch.device("cpu")), score)

    def read_replay(self, step: int) -> dict[str, Any] | None:
        """The replay that belongs to the checkpoint of ``step``; None, with a warning, if there is none."""
        path = os.path.join(self.folder, checkpoint.REPLAY)
        if not os.path.isfile(path):
            logger.warning(f"{path}: no replay was saved; collecting anew before the next update.")
            return None
        try:
            saved = checkpoint.load(path, torch.device("cpu"))
        except UnityTrainerException as error:
            logger.warning(f"{error}. Collecting anew.")
            return None
        found = saved.get("step") if isinstance(saved, dict) else None
        if found != step:
            logger.warning(
                f"{path}: expected the replay of step {step}, got that of step {found}; collecting anew."
            )
            return None
        return saved


def _matching(folder: Path, pattern: str) -> list[Path]:
    return [path for path in folder.glob("*") if path.is_file() and re.fullmatch(pattern, path.name)]
