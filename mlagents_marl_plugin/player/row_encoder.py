"""Agent infos as protobuf bytes, for all rows of a behaviour at once.

Building each info as a protobuf object would cost more than the physics. All infos of a behaviour have the
same fields in the same lengths, so one is laid out once as a template with gaps, and numpy fills the gaps of
all rows. Ids are written as varints padded to five bytes (a longer spelling that every parser reads), so that
lengths stay equal. The tests parse the result with the protobuf library. PNG files differ in length, so their
behaviours go through the library.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from mlagents_envs.communicator_objects.agent_info_pb2 import AgentInfoProto
from mlagents_envs.communicator_objects.observation_pb2 import GOAL_SIGNAL, PNG, ObservationProto
from mlagents_envs.communicator_objects.unity_rl_output_pb2 import UnityRLOutputProto
from numpy.typing import NDArray

from mlagents_marl_plugin.player.scene import Behavior, Rows, SensorSpec

_LENGTH_DELIMITED, _VARINT, _FIXED32 = 2, 0, 5
_REWARD, _DONE, _MAX_STEP, _ID, _MASK, _OBSERVATION, _GROUP, _GROUP_REWARD = 7, 8, 9, 10, 11, 13, 14, 15
_FLOAT_DATA, _FLOATS = 4, 1

_PADDED_SHIFT = np.arange(0, 35, 7)
_PADDED_MORE = np.array([0x80, 0x80, 0x80, 0x80, 0x00], dtype=np.uint8)

Encode = Callable[[Rows, NDArray[np.int64]], bytes]


def row_encoder(behavior: Behavior) -> Encode:
    """A function from rows and their agent ids to the bytes of a ``ListAgentInfoProto``."""
    if any(sensor.png for sensor in behavior.sensors):
        return lambda rows, ids: encode_with_library(behavior, rows, ids)
    return RowEncoder(behavior)


class RowEncoder:
    """Encodes rows whose observations are all float32."""

    def __init__(self, behavior: Behavior) -> None:
        body = _Template()
        body.gap("reward", _REWARD, _FIXED32, "<f4")
        body.gap("done", _DONE, _VARINT, "u1")
        body.gap("interrupted", _MAX_STEP, _VARINT, "u1")
        body.gap("id", _ID, _VARINT, ("u1", 5))
        if behavior.actions.branches:
            body.gap("forbidden", _MASK, _LENGTH_DELIMITED, ("u1", sum(behavior.actions.branches)))
        for index, sensor in enumerate(behavior.sensors):
            body.observation(f"observation{index}", sensor)
        body.gap("group", _GROUP, _VARINT, ("u1", 5))
        body.gap("group_reward", _GROUP_REWARD, _FIXED32, "<f4")

        head = tag(1, _LENGTH_DELIMITED) + varint(len(body.content))
        self._record = np.frombuffer(head + body.content, dtype=np.uint8)
        self._layout = np.dtype(
            {
                "names": list(body.offsets),
                "formats": list(body.formats.values()),
                "offsets": [len(head) + offset for offset in body.offsets.values()],
                "itemsize": len(self._record),
            }
        )
        self._observations = [f"observation{index}" for index in range(len(behavior.sensors))]

    @property
    def row_size(self) -> int:
        """Bytes of one row; all rows are equally long."""
        return len(self._record)

    def __call__(self, rows: Rows, ids: NDArray[np.int64]) -> bytes:
        raw = np.empty((len(ids), len(self._record)), dtype=np.uint8)
        raw[:] = self._record
        record = raw.view(self._layout)[:, 0]
        record["id"] = _padded_varint(ids)
        for name, observation in zip(self._observations, rows.observations, strict=True):
            record[name] = observation
        for name in ("reward", "done", "interrupted", "group_reward", "forbidden"):
            values = getattr(rows, name)
            if values is not None:
                record[name] = values
        record["group"] = _padded_varint(np.zeros(len(ids), np.int64) if rows.group is None else rows.group)
        return raw.tobytes()


class _Template:
    """The bytes of one agent info, zero where values go, and where these places are."""

    def __init__(self) -> None:
        self.content = b""
        self.offsets: dict[str, int] = {}
        self.formats: dict[str, Any] = {}

    def gap(self, name: str, number: int, wire_type: int, format: Any) -> None:
        size = np.dtype(format).itemsize
        self.content += tag(number, wire_type) + (varint(size) if wire_type == _LENGTH_DELIMITED else b"")
        self.offsets[name], self.formats[name] = len(self.content), format
        self.content += bytes(size)

    def observation(self, name: str, sensor: SensorSpec) -> None:
        head = _described(sensor).SerializeToString()
        num_bytes = 4 * int(np.prod(sensor.shape))
        floats = tag(_FLOATS, _LENGTH_DELIMITED) + varint(num_bytes) + bytes(num_bytes)
        data = length_delimited(_FLOAT_DATA, floats)
        # Fields of a message may come in any order, so the data can follow all that describes it.
        self.content += length_delimited(_OBSERVATION, head + data)
        self.offsets[name], self.formats[name] = len(self.content) - num_bytes, ("<f4", sensor.shape)


def encode_with_library(behavior: Behavior, rows: Rows, ids: NDArray[np.int64]) -> bytes:
    """The same message through protobuf objects; slower, and takes PNG observations."""
    infos = UnityRLOutputProto.ListAgentInfoProto()
    for row, agent_id in enumerate(ids.tolist()):
        info: AgentInfoProto = infos.value.add()
        info.id = agent_id
        for name, field in (
            ("reward", "reward"),
            ("done", "done"),
            ("interrupted", "max_step_reached"),
            ("group", "group_id"),
            ("group_reward", "group_reward"),
        ):
            values = getattr(rows, name)
            if values is not None:
                setattr(info, field, values[row].item())
        if behavior.actions.branches:
            forbidden = (
                np.zeros(sum(behavior.actions.branches), bool)
                if rows.forbidden is None
                else rows.forbidden[row]
            )
            info.action_mask.extend(forbidden.tolist())
        for sensor, observation in zip(behavior.sensors, rows.observations, strict=True):
            sent = info.observations.add()
            sent.CopyFrom(_described(sensor))
            if sensor.png:
                sent.compressed_data = observation[row]
            else:
                sent.float_data.data.extend(np.ravel(observation[row]).tolist())
    return infos.SerializeToString()


def tag(number: int, wire_type: int) -> bytes:
    """What stands before a field's value."""
    return varint(number << 3 | wire_type)


def varint(value: int) -> bytes:
    """A non-negative integer, seven bits a byte, lowest first."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def length_delimited(number: int, payload: bytes) -> bytes:
    """A field that holds a string, bytes or a message."""
    return tag(number, _LENGTH_DELIMITED) + varint(len(payload)) + payload


def _padded_varint(values: NDArray[np.int64]) -> NDArray[np.uint8]:
    """[n] integers in [0, 2^31) to [n, 5] bytes."""
    return (values[:, None] >> _PADDED_SHIFT & 0x7F).astype(np.uint8) | _PADDED_MORE


def _described(sensor: SensorSpec) -> ObservationProto:
    """An observation without its data."""
    described = ObservationProto(name=sensor.name, shape=sensor.shape)
    described.dimension_properties.extend(sensor.dimension_properties)
    if sensor.goal_signal:
        described.observation_type = GOAL_SIGNAL
    if sensor.png:
        described.compression_type = PNG
    return described
