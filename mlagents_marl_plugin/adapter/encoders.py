"""The host's encoders for what MLPs cannot read: cameras and grids, lists of variable length, goals.

They are what the host's own trainers use, with its settings ``vis_encode_type`` and ``goal_conditioning_type``, but for
the place of the goal's layer: there it is the last of ``num_layers``, here it comes before them.
"""

from collections.abc import Sequence

from mlagents.trainers.exception import UnityTrainerException
from mlagents.trainers.settings import ConditioningType, EncoderType, NetworkSettings
from mlagents.trainers.torch_entities.conditioning import ConditionalEncoder
from mlagents.trainers.torch_entities.networks import ObservationEncoder
from mlagents.trainers.torch_entities.utils import ModelUtils
from mlagents_envs.base_env import BehaviorSpec, DimensionProperty, ObservationSpec, ObservationType
from torch import Tensor, nn


class SensorEncoder(nn.Module):
    """Observations of one agent, [R, *shape] each, to features [R, F].

    Pictures become ``hidden_units`` features each, all lists together 128, vectors stay what they are. Where goals
    condition, all of that passes a layer whose weights are made of the goals: F is ``hidden_units`` then.
    """

    def __init__(self, sensors: Sequence[ObservationSpec], network: NetworkSettings) -> None:
        super().__init__()
        size = network.hidden_units
        self.observation_encoder = ObservationEncoder(list(sensors), size, network.vis_encode_type)
        goal_size = self.observation_encoder.total_goal_enc_size
        self.goal_layer: ConditionalEncoder | None = None
        if goal_size and network.goal_conditioning_type is ConditioningType.HYPER:
            num_inputs = self.observation_encoder.total_enc_size
            self.goal_layer = ConditionalEncoder(num_inputs, goal_size, size, 1, 1)

    def forward(self, observations: list[Tensor]) -> Tensor:
        """See the class."""
        features: Tensor = self.observation_encoder(observations)
        if self.goal_layer is not None:
            features = self.goal_layer(features, self.observation_encoder.get_goal_encoding(observations))
        return features


class EncoderFactory:
    """Makes encoders of some of a behaviour's sensors, by their numbers."""

    def __init__(self, behavior: BehaviorSpec, network: NetworkSettings) -> None:
        self._sensors = behavior.observation_specs
        self._network = network

    def __call__(self, numbers: tuple[int, ...]) -> nn.Module:
        """A new encoder, drawn by torch's default generator."""
        return SensorEncoder([self._sensors[i] for i in numbers], self._network)


def encoder_factory(name: str, behavior: BehaviorSpec, network: NetworkSettings) -> EncoderFactory | None:
    """For a behaviour's sensors; None where all are vectors that networks read as they are.

    Raises:
        UnityTrainerException: if the host has no encoder for a sensor; names the sensor and the setting.
    """
    for sensor in behavior.observation_specs:
        _check(f"behaviors.{name}", sensor, network)
    conditioned = network.goal_conditioning_type is ConditioningType.HYPER
    if any(len(s.shape) != 1 or (conditioned and _is_goal(s)) for s in behavior.observation_specs):
        return EncoderFactory(behavior, network)
    return None


def _check(where: str, sensor: ObservationSpec, network: NetworkSettings) -> None:
    shape, properties = tuple(sensor.shape), tuple(sensor.dimension_property)
    if properties in ModelUtils.VALID_VISUAL_PROP and len(shape) == 3:
        _check_resolution(where, sensor, network.vis_encode_type)
    elif properties in ModelUtils.VALID_VAR_LEN_PROP and len(shape) == 2:
        if _is_goal(sensor) and network.goal_conditioning_type is ConditioningType.HYPER:
            raise UnityTrainerException(
                f"{where}.network_settings.goal_conditioning_type: expected none where a goal is a list (sensor "
                f"'{sensor.name}'), got hyper; set it to none, the goal is then read like any other observation"
            )
    elif len(shape) != 1 or DimensionProperty.VARIABLE_SIZE in properties:
        raise UnityTrainerException(
            f"{where}: sensor '{sensor.name}': expected a vector, a picture (channels, height, width) or a list "
            f"(most entries, values of each), got shape {shape} with dimension properties "
            f"{[prop.name for prop in properties]}; use one of Unity's own sensors"
        )


def _check_resolution(where: str, sensor: ObservationSpec, kind: EncoderType) -> None:
    least = ModelUtils.MIN_RESOLUTION_FOR_ENCODER[kind]
    _, height, width = sensor.shape
    if min(height, width) >= least:
        return
    fitting = [
        k.value for k, size in ModelUtils.MIN_RESOLUTION_FOR_ENCODER.items() if size <= min(height, width)
    ]
    raise UnityTrainerException(
        f"{where}.network_settings.vis_encode_type: expected one for pictures of {width} x {height} (sensor "
        f"'{sensor.name}'), got {kind.value}, which needs {least} x {least}; enlarge the picture, or use "
        f"{' or '.join(fitting)}"
    )


def _is_goal(sensor: ObservationSpec) -> bool:
    return sensor.observation_type == ObservationType.GOAL_SIGNAL
