"""Which of a behaviour's sensors is its state: read by critics and mixers, kept from the actors (``state_sensor``)."""

from dataclasses import replace

from mlagents.trainers.exception import UnityTrainerException
from mlagents_envs.base_env import BehaviorSpec
from mlagents_envs.logging_util import get_logger

from mlagents_marl_plugin.core.types import GroupSpec, RoleSpec

logger = get_logger(__name__)


def with_state(role: RoleSpec, behavior: BehaviorSpec, sensor: str) -> RoleSpec:
    """The role with its state; as it is where ``sensor`` is empty.

    Raises:
        UnityTrainerException: if the behaviour has no sensor of this name, or no other one.
    """
    if not sensor:
        return role
    where = f"behaviors.{role.name}.hyperparameters.state_sensor"
    names = [spec.name for spec in behavior.observation_specs]
    if names.count(sensor) != 1:
        sent = ", ".join(f"'{name}'" for name in names)
        raise UnityTrainerException(
            f"{where}: expected the name of one sensor of this behavior, which sends {sent}, got '{sensor}'; "
            f"copy one of these names, or set Sensor Name of a Vector Sensor component in Unity"
        )
    if len(names) == 1:
        raise UnityTrainerException(
            f"{where}: expected a sensor besides those that the actor reads, got '{sensor}', which is the only "
            f"one; add a Vector Sensor component for the state in Unity"
        )
    return replace(role, state_sensor=names.index(sensor))


def announce_states(spec: GroupSpec) -> None:
    """Say in one line per role who reads what."""
    for role in spec.roles:
        if role.state_sensor is not None:
            logger.info(
                f"{role.name}: the state is sensor {role.state_sensor} ({role.state_size} numbers); actors read the "
                f"other {role.actor_size}."
            )
