"""From a behaviour's specification in the host to a role of ours, refusing what our networks cannot read."""

from mlagents.trainers.exception import UnityTrainerException
from mlagents.trainers.settings import NetworkSettings
from mlagents_envs.base_env import BehaviorSpec

from mlagents_marl_plugin.adapter.encoders import encoder_factory
from mlagents_marl_plugin.adapter.scene_limits import check_sizes
from mlagents_marl_plugin.core.types import ActionLayout, RoleSpec


def role_from_behavior(
    name: str, behavior: BehaviorSpec, num_slots: int, network: NetworkSettings
) -> RoleSpec:
    """The role of ``num_slots`` agents of a behaviour.

    Args:
        network: says how cameras, lists and goals are encoded.

    Raises:
        UnityTrainerException: if the behaviour has a sensor that cannot be read, or no action.
    """
    check_sizes(name, behavior)
    encoder = encoder_factory(name, behavior, network)
    action = behavior.action_spec
    layout = ActionLayout(action.continuous_size, tuple(int(size) for size in action.discrete_branches))
    if layout.size == 0:
        raise UnityTrainerException(
            f"behaviors.{name}: expected at least one action, got none; set Actions in Unity's Behavior "
            f"Parameters"
        )
    shapes = tuple(tuple(int(size) for size in sensor.shape) for sensor in behavior.observation_specs)
    return RoleSpec(name, num_slots, shapes, layout, encoder=encoder)
