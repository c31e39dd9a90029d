"""One class per registered trainer type: the host tells types apart by their class."""

from mlagents_marl_plugin.adapter.marl_trainer import MarlTrainer
from mlagents_marl_plugin.algorithms import ALGORITHMS


def trainer_class(trainer_type: str) -> type[MarlTrainer]:
    """The trainer of an entry of `ALGORITHMS`, which says what it learns from."""
    base = _REGIMES[ALGORITHMS[trainer_type].data_regime]()
    name = "".join(word.capitalize() for word in trainer_type.split("_")) + "Trainer"
    return type(name, (base,), {"__module__": __name__, "trainer_type": trainer_type})


# Imported when asked for: what is wrong with one does not take the others along.
def _off_policy() -> type[MarlTrainer]:
    from mlagents_marl_plugin.adapter.off_policy_trainer import OffPolicyMarlTrainer

    return OffPolicyMarlTrainer


def _on_policy() -> type[MarlTrainer]:
    from mlagents_marl_plugin.adapter.on_policy_trainer import OnPolicyMarlTrainer

    return OnPolicyMarlTrainer


_REGIMES = {"off_policy": _off_policy, "on_policy": _on_policy}
