"""Files of a joint run: the leader's checkpoint holds everything, the others' say whose it is and hold their models.

results/<run>/<leader>/checkpoint.pt     all weights, of all members
results/<run>/<member>/checkpoint.pt     the member's step, and the joint run that it belongs to
results/<run>/<member>.onnx              each member's own actor, as ever
"""

from typing import TYPE_CHECKING, Any

import torch
from mlagents.trainers.policy.checkpoint_manager import ModelCheckpoint
from mlagents_envs.logging_util import get_logger

from mlagents_marl_plugin.adapter import checkpoint
from mlagents_marl_plugin.adapter.joint import JointRun
from mlagents_marl_plugin.adapter.saving import Saving

if TYPE_CHECKING:
    from mlagents_marl_plugin.adapter.marl_trainer import MarlTrainer

logger = get_logger(__name__)


class LeaderSaving(Saving):
    """Saves for all members at once."""

    def __init__(self, trainer: "MarlTrainer", joint: JointRun):
        super().__init__(trainer)
        self.joint = joint

    def _state(self) -> dict[str, Any]:
        acting = {name: acting.state_dict() for name, acting in self._actings()}
        joint = {"name": self.joint.name, "members": list(self.joint.members)}
        return super()._state() | {"acting": acting, "joint": joint}

    def _actings(self) -> list[tuple[str, Any]]:
        return list(zip(self.joint.members, self.trainer.actings, strict=True))

    def _members(self) -> list[str]:
        return self.joint.members

    def _resume_acting(self, saved: dict[str, Any]) -> None:
        for name, acting in self._actings():
            acting.load_state_dict(saved[name])

    def remember_best(self, score: float) -> None:
        """See `Saving.remember_best`."""
        super().remember_best(score)
        for saving in self._others():
            saving.files.remember_best(saving.state(), self.trainer.learner.actor, score)

    def publish(self, saved: ModelCheckpoint) -> None:
        """See `Saving.publish`."""
        super().publish(saved)
        for saving in self._others():
            saving.publish_last()

    def _save_others(self) -> None:
        for saving in self._others():
            saving.save_beside(self.trainer)

    def _others(self) -> "list[MemberSaving]":
        return [member.saving for member in self.joint.others if isinstance(member.saving, MemberSaving)]


class MemberSaving(Saving):
    """Writes a member's files when the leader saves."""

    def __init__(self, trainer: "MarlTrainer", joint: JointRun):
        super().__init__(trainer)
        self.joint = joint
        self._saved: ModelCheckpoint | None = None

    def state(self) -> dict[str, Any]:
        """What a member's file holds."""
        return {
            "format": checkpoint.FORMAT,
            "trainer": self.trainer.trainer_type,
            "step": self.trainer.get_step,
            "joint": {"name": self.joint.name, "members": list(self.joint.members)},
        }

    def save_beside(self, leader: "MarlTrainer") -> None:
        """Write the member's file and models, from the leader's learner, which stands still."""
        sample = leader.saving.sample_obs(self.trainer.role)
        files = self.files.save(self.state(), None, leader.learner.actor, leader.spec, sample)
        self._saved = self.enter(*files)

    def publish_last(self) -> None:
        """See `Saving.publish`."""
        if self._saved is not None:
            self.publish(self._saved)

    def save_final(self) -> None:
        """Nothing: the leader saves for all, if it has anything."""
        leader = self.joint.leader
        if leader is None or not leader.is_built:
            logger.warning(
                f"{self.trainer.brain_name}: joint '{self.joint.name}' never had all its members, nothing to save."
            )

    def read(self) -> None:
        """Take up the member's step count; its weights are in the leader's checkpoint.

        Raises:
            UnityTrainerException: if the file is missing or belongs to no such joint run.
        """
        path = self._source()
        if path is None:
            return
        state = checkpoint.read_any(path, torch.device("cpu"))
        self._check_members(path, state)
        if self.trainer.load:
            self.trainer._step = state["step"]

    def _members(self) -> list[str]:
        return self.joint.members

    def _last(self) -> str | None:
        """None where the run was killed after the leader's first checkpoint and before this member's."""
        path = super()._last()
        if path is None or checkpoint.is_there(path):
            return path
        logger.warning(f"{self.trainer.brain_name}: {path} is not there; its steps are counted from 0.")
        return None
