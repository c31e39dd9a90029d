"""Behaviours that learn as one: where their trainers meet, and whether their settings agree.

The host makes a trainer per behaviour name, in an order that differs from process to process, and tells none of
them of the others. So each looks here for the joint run that its YAML names, in its own results folder.
"""

import os
import threading
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import cattr
from mlagents.trainers.behavior_id_utils import BehaviorIdentifiers
from mlagents.trainers.exception import TrainerConfigError
from mlagents.trainers.settings import TrainerSettings
from mlagents_envs.base_env import DecisionSteps
from mlagents_envs.logging_util import get_logger

from mlagents_marl_plugin.adapter import run_files
from mlagents_marl_plugin.adapter.grouping import FirstAgents, Layout
from mlagents_marl_plugin.adapter.joint_layout import decide_joint_layout
from mlagents_marl_plugin.adapter.joint_settings import OWN_FIELDS, Joint
from mlagents_marl_plugin.adapter.policy import Table
from mlagents_marl_plugin.adapter.settings import check_slots
from mlagents_marl_plugin.core.types import GroupSpec

if TYPE_CHECKING:
    from mlagents_marl_plugin.adapter.marl_trainer import MarlTrainer

logger = get_logger(__name__)


class JointTable(Table):
    """Where the policies of all members meet. Behaviour ids are in the members' order, so that a role's slots
    are side by side.

    Attributes:
        left_out: decisions made before all members were seen.
    """

    def __init__(self, joint: Joint):
        super().__init__(f"joint '{joint.name}'")
        self.members = joint.members
        self.left_out = 0
        self._told = False

    def add(self, behavior_id: str) -> None:
        """See `Table.add`."""
        super().add(behavior_id)
        self.behavior_ids.sort(key=lambda name: (self.role(name), name))

    def role(self, behavior_id: str) -> int:
        """The member whose id it is."""
        return self.members.index(name_of(behavior_id))

    def meet(self, worker_id: int, behavior_id: str, steps: DecisionSteps) -> None:
        """See `Table.meet`."""
        self.left_out += len(steps)
        if behavior_id in self._first.get(worker_id, {}) and not self._told:
            self._told = True
            logger.info(
                f"{self.behavior_name} waits until agents of {', '.join(self.members)} are there at once."
            )
        super().meet(worker_id, behavior_id, steps)

    def _are_enough(self, seen: dict[str, FirstAgents]) -> bool:
        there = {name_of(behavior_id) for behavior_id, agents in seen.items() if len(agents.agent_ids)}
        return len(there) == len(self.members)


class JointRun:
    """The members' trainers that are there so far, and what they share.

    Attributes:
        trainers: by behaviour name.
        leader: who learns for all, once it is made.
        draining: held while trajectories are taken in, by the leader for all, or before it is there by each.
    """

    def __init__(self, joint: Joint):
        self.name = joint.name
        self.members = joint.members
        self.table = JointTable(joint)
        self.trainers: dict[str, MarlTrainer] = {}
        self.leader: MarlTrainer | None = None
        self.draining = threading.Lock()

    @property
    def others(self) -> "list[MarlTrainer]":
        """The further members that are there, in order."""
        return [self.trainers[name] for name in self.members[1:] if name in self.trainers]

    def join(self, trainer: "MarlTrainer") -> None:
        """One more trainer.

        Raises:
            TrainerConfigError: if its settings are not those of the others; names the field.
        """
        for other in self.trainers.values():
            _check_agreement(self.name, trainer, other)
        self.trainers[trainer.brain_name] = trainer

    def decide_group(self, first: list[FirstAgents]) -> tuple[Layout, GroupSpec]:
        """How agents of all members form groups, and what such a group is to the learner."""
        trainers = [self.trainers[name] for name in self.members]
        hyper = trainers[0].hyperparameters
        seen = {name: [a for a in first if name_of(a.behavior_id) == name] for name in self.members}
        sizes = {trainer.brain_name: trainer.hyperparameters.group_size for trainer in trainers}
        layout = decide_joint_layout(self.name, seen, hyper.grouping, sizes, hyper.max_group_size)
        roles, counts = [], iter(layout.members)
        for trainer in trainers:
            slots = tuple(next(counts) for _ in seen[trainer.brain_name])
            check_slots(trainer.brain_name, trainer.hyperparameters, slots)
            roles.append(trainer.make_role(seen[trainer.brain_name][0].behavior_id, sum(slots)))
        return layout, GroupSpec(tuple(roles))

    def tell_who_is_missing(self, trainer: "MarlTrainer") -> None:
        """At a summary, while nothing is learnt because not all members have been seen."""
        if self.table.roster is not None:
            return
        missing = [name for name in self.members if name not in self.trainers]
        named = f"agents of {', '.join(missing)}" if missing else "a step in which every member has an agent"
        trainer.stats_reporter.set_stat("Data/Left Out Before All Members", self.table.left_out)
        logger.warning(
            f"{trainer.brain_name}: joint '{self.name}' waits for {named}; {self.table.left_out} decisions were "
            f"left out so far, and nothing is learnt. Is the Behavior Name in joint.members right, and does "
            f"its entry under behaviors carry the same joint?"
        )


_runs: WeakValueDictionary[tuple[str, str], JointRun] = WeakValueDictionary()
_alone: "WeakValueDictionary[tuple[str, str], MarlTrainer]" = WeakValueDictionary()


def join(trainer: "MarlTrainer") -> JointRun:
    """The joint run that a trainer's settings name, which it is part of from now on.

    Raises:
        TrainerConfigError: if another member has other settings, none of ``joint``, or no entry at all.
    """
    joint, folder = trainer.hyperparameters.joint, _folder(trainer)
    _check_entries(trainer)
    for name in joint.members:
        alone = _alone.get((folder, name))
        if alone is not None:
            _refuse_to_be_alone(alone, joint.name, joint.members, trainer.brain_name)
    for (place, name), other in list(_runs.items()):
        if place == folder and name != joint.name and _waits_for(other, trainer):
            raise TrainerConfigError(
                f"behaviors.{trainer.brain_name}.hyperparameters.joint.name: expected {name} as in "
                f"behaviors.{next(iter(other.trainers))}, which lists it, got {joint.name}; a behavior "
                f"is in one joint run"
            )
    run = _runs.get((folder, joint.name))
    if run is None or trainer.brain_name in run.trainers:  # the host makes one per name and run
        run = _runs[folder, joint.name] = JointRun(joint)
    run.join(trainer)
    return run


def stay_alone(trainer: "MarlTrainer") -> None:
    """A trainer that learns for itself.

    Raises:
        TrainerConfigError: if a joint run waits for it.
    """
    folder = _folder(trainer)
    for (place, name), run in list(_runs.items()):
        if place == folder and _waits_for(run, trainer):
            _refuse_to_be_alone(trainer, name, run.members, next(iter(run.trainers)))
    _alone[folder, trainer.brain_name] = trainer


def _waits_for(run: JointRun, trainer: "MarlTrainer") -> bool:
    return trainer.brain_name in run.members and trainer.brain_name not in run.trainers


def name_of(behavior_id: str) -> str:
    """``Prey`` of ``Prey?team=0``."""
    return BehaviorIdentifiers.from_name_behavior_id(behavior_id).brain_name


def _folder(trainer: "MarlTrainer") -> str:
    return os.path.dirname(os.path.abspath(trainer.artifact_path))


def _refuse_to_be_alone(alone: "MarlTrainer", joint: str, members: list[str], by: str) -> None:
    raise TrainerConfigError(
        f"behaviors.{alone.brain_name}.hyperparameters.joint: expected {{name: {joint}, members: {members}}} as in "
        f"behaviors.{by}, got none; write the same joint under each member"
    )


def _check_entries(trainer: "MarlTrainer") -> None:
    """Every member has an entry in the YAML, with a trainer that can join; looked up where the host tells us."""
    options = run_files.options()
    if options is None or options.behaviors.get(trainer.brain_name) is not trainer.trainer_settings:
        return  # of another run in this process
    joint, mine = trainer.hyperparameters.joint, trainer.trainer_settings.trainer_type
    for name in joint.members:
        entry = options.behaviors.get(name)
        if entry is None and TrainerSettings.default_override is None:
            raise TrainerConfigError(
                f"behaviors.{name}: expected an entry, as joint '{joint.name}' of behaviors.{trainer.brain_name} "
                f"lists it, got none; add one with the same settings, or correct joint.members"
            )
        if entry is not None and entry.trainer_type != mine:
            raise TrainerConfigError(
                f"behaviors.{name}.trainer_type: expected {mine} as in behaviors.{trainer.brain_name}, got "
                f"{entry.trainer_type}; the members of joint '{joint.name}' have one learner"
            )


def _check_agreement(joint: str, trainer: "MarlTrainer", other: "MarlTrainer") -> None:
    mine, its = (_flat(cattr.unstructure(one.trainer_settings)) for one in (trainer, other))
    for field in (*its, *mine):
        if field in OWN_FIELDS:
            continue
        got, expected = mine.get(field), its.get(field)
        if got != expected:
            raise TrainerConfigError(
                f"behaviors.{trainer.brain_name}.{field}: expected {expected} as in behaviors.{other.brain_name}, "
                f"got {got}; the members of joint '{joint}' have one learner, write its settings once (a YAML "
                f"anchor, see docs/joint.md)"
            )
    initialised = [one.brain_name for one in (trainer, other) if one.trainer_settings.init_path is not None]
    if len(initialised) == 1:
        raise TrainerConfigError(
            f"behaviors.{initialised[0]}.init_path: expected one for each member of joint '{joint}' or for none, "
            f"got one here only; --initialize-from gives all of them one"
        )


def _flat(settings: Any, path: str = "") -> dict[str, Any]:
    """Values by dotted path; an empty mapping is a value."""
    if not isinstance(settings, dict) or not settings:
        return {path: settings}
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= _flat(value, f"{path}.{key}" if path else str(key))
    return found
