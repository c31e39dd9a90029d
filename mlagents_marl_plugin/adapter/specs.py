"""From a behaviour's specification in the host to a role of ours, refusing what our networks cannot read."""

from mlagents.trainers.exception import UnityTrainerException
from mlagents_envs.base_env import BehaviorSpec, DimensionProperty, ObservationType

from mlagents_marl_plugin.adapter.scene_limits import check_sizes
from mlagents_marl_plugin.core.types import ActionLayout, RoleSpec


def role_from_behavior(name: str, behavior: BehaviorSpec, num_slots: int) -> RoleSpec:
    """The role of ``num_slots`` agents of a behaviour.

    Raises:
        UnityTrainerException: if the behaviour has a camera, a variable-length or a goal sensor, or no
            action.
    """
    check_sizes(name, behavior)
    for sensor in behavior.observation_specs:
        if len(sensor.shape) != 1:
            variable = DimensionProperty.VARIABLE_SIZE in sensor.dimension_property
            kind = "a variable-length sensor" if variable else "a camera or grid sensor"
            raise UnityTrainerException(
                f"behaviors.{name}: sensor '{sensor.name}': expected a vector observation, got {kind} of "
                f"shape {tuple(sensor.shape)}; this trainer reads vectors only, use ppo, sac or poca for "
                f"this behavior"
            )
        if sensor.observation_type == ObservationType.GOAL_SIGNAL:
            raise UnityTrainerException(
                f"behaviors.{name}: sensor '{sensor.name}': expected an ordinary observation, got a goal "
                f"signal; set the sensor's Observation Type to Default in Unity, it is then read like any "
                f"other vector"
            )
    action = behavior.action_spec
    layout = ActionLayout(action.continuous_size, tuple(int(size) for size in action.discrete_branches))
    if layout.size == 0:
        raise UnityTrainerException(
            f"behaviors.{name}: expected at least one action, got none; set Actions in Unity's Behavior "
            f"Parameters"
        )
    shapes = tuple(tuple(int(size) for size in sensor.shape) for sensor in behavior.observation_specs)
    return RoleSpec(name, num_slots, shapes, layout)
