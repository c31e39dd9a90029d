"""One class per registered trainer type: the host tells types apart by their class."""

from typing import Any

from mlagents.trainers.settings import TrainerSettings

from mlagents_marl_plugin.adapter.marl_trainer import MarlTrainer
from mlagents_marl_plugin.algorithms import ALGORITHMS


def trainer_class(trainer_type: str) -> type[MarlTrainer]:
    """The trainer of an entry of `ALGORITHMS`, which says what it learns from."""
    base = _REGIMES[ALGORITHMS[trainer_type].data_regime]()
    name = "".join(word.capitalize() for word in trainer_type.split("_")) + "Trainer"
    made = type(name, (base,), {"__module__": __name__, "trainer_type": trainer_type})
    if ALGORITHMS[trainer_type].supports_roles:
        _make_joint(made)
    return made


def _make_joint(made: type[MarlTrainer]) -> None:
    """Have a trainer class make, for a behaviour of a joint run, the trainer of its part in that."""
    from mlagents_marl_plugin.adapter.joint_trainers import JointLeader, JointMember

    leader, member = (
        type(f"{part.__name__}{made.__name__}", (part, made), {"__module__": __name__})
        for part in (JointLeader, JointMember)
    )

    def new(cls: type, behavior_name: str, _: int, settings: TrainerSettings, *__: Any, **___: Any) -> Any:
        joint = settings.hyperparameters.joint
        if joint is not None:
            cls = leader if joint.members[0] == behavior_name else member
        return object.__new__(cls)

    made.__new__ = new  # type: ignore[method-assign, assignment]


# Imported when asked for: what is wrong with one does not take the others along.
def _off_policy() -> type[MarlTrainer]:
    from mlagents_marl_plugin.adapter.off_policy_trainer import OffPolicyMarlTrainer

    return OffPolicyMarlTrainer


def _on_policy() -> type[MarlTrainer]:
    from mlagents_marl_plugin.adapter.on_policy_trainer import OnPolicyMarlTrainer

    return OnPolicyMarlTrainer


_REGIMES = {"off_policy": _off_policy, "on_policy": _on_policy}
