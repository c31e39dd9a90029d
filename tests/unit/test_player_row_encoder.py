import numpy as np
import pytest
from mlagents_envs.communicator_objects.unity_rl_output_pb2 import UnityRLOutputProto

from mlagents_marl_plugin.player.row_encoder import RowEncoder, encode_with_library, row_encoder, varint
from mlagents_marl_plugin.player.scene import ActionSpec, Behavior, Rows, SensorSpec

LARGEST_ID = 2**31 - 1
PLAIN = Behavior("Plain", (SensorSpec("VectorSensor_size3", (3,), (1,)),), ActionSpec(continuous=2))
RICH = Behavior(
    "Rich",
    (
        SensorSpec("camera", (2, 3, 4), (1, 2, 2)),
        SensorSpec("goal", (5,), (1,), goal_signal=True),
        SensorSpec("others", (40, 6), (4, 1)),
    ),
    ActionSpec(continuous=1, branches=(3, 2)),
    team=1,
)


def parsed(encoded):
    return UnityRLOutputProto.ListAgentInfoProto.FromString(encoded)


def full_rows(behavior, n, seed=0):
    random = np.random.default_rng(seed)
    observations = tuple(random.normal(size=(n, *s.shape)).astype(np.float32) for s in behavior.sensors)
    return Rows(
        np.arange(n),
        observations,
        reward=random.normal(size=n).astype(np.float32),
        done=np.arange(n) % 2 == 0,
        interrupted=np.arange(n) % 4 == 0,
        group=np.arange(n) * 1000,
        group_reward=random.normal(size=n).astype(np.float32),
        forbidden=random.random((n, 5)) < 0.5 if behavior.actions.branches else None,
    )


@pytest.mark.parametrize("behavior", [PLAIN, RICH])
def test_fast_bytes_say_what_the_protobuf_library_would_say(behavior):
    rows = full_rows(behavior, 7)
    ids = np.array([0, 1, 127, 128, 300_000, LARGEST_ID - 1, LARGEST_ID])
    assert parsed(RowEncoder(behavior)(rows, ids)) == parsed(encode_with_library(behavior, rows, ids))


def test_fields_reach_the_fields_of_their_name():
    rows = full_rows(RICH, 5)
    infos = parsed(RowEncoder(RICH)(rows, np.array([9, 8, 7, 6, LARGEST_ID]))).value
    assert [info.id for info in infos] == [9, 8, 7, 6, LARGEST_ID]
    assert [info.done for info in infos] == [True, False, True, False, True]
    assert [info.max_step_reached for info in infos] == [True, False, False, False, True]
    assert [info.group_id for info in infos] == [0, 1000, 2000, 3000, 4000]
    np.testing.assert_array_equal([info.reward for info in infos], rows.reward)
    np.testing.assert_array_equal([info.group_reward for info in infos], rows.group_reward)
    np.testing.assert_array_equal([info.action_mask for info in infos], rows.forbidden)
    camera = infos[3].observations[0]
    assert (camera.name, list(camera.shape), list(camera.dimension_properties)) == (
        "camera",
        [2, 3, 4],
        [1, 2, 2],
    )
    np.testing.assert_array_equal(camera.float_data.data, rows.observations[0][3].ravel())


def test_absent_columns_are_zero():
    rows = Rows(np.arange(2), (np.ones((2, 3), np.float32),))
    (first, second) = parsed(RowEncoder(PLAIN)(rows, np.array([4, 5]))).value
    assert (first.reward, first.done, first.group_id, first.group_reward) == (0.0, False, 0, 0.0)
    assert second.id == 5


def test_an_encoder_keeps_nothing_from_the_rows_before():
    encode = RowEncoder(PLAIN)
    encode(full_rows(PLAIN, 4), np.arange(4))
    bare = Rows(np.arange(2), (np.zeros((2, 3), np.float32),))
    assert parsed(encode(bare, np.arange(2))) == parsed(encode_with_library(PLAIN, bare, np.arange(2)))


def test_no_rows_are_an_empty_list():
    none = Rows(np.zeros(0, int), (np.zeros((0, 3), np.float32),))
    assert len(parsed(RowEncoder(PLAIN)(none, np.zeros(0, int))).value) == 0


def test_png_files_of_different_lengths_are_passed_on():
    behavior = Behavior("Camera", (SensorSpec("camera", (3, 20, 20), png=True),), ActionSpec(branches=(2,)))
    rows = Rows(np.arange(2), ([b"\x89PNG one", b"\x89PNG the other"],))
    infos = parsed(row_encoder(behavior)(rows, np.array([3, 4]))).value
    assert [info.observations[0].compressed_data for info in infos] == rows.observations[0]
    assert infos[0].observations[0].compression_type == 1
    assert list(infos[0].action_mask) == [False, False]


@pytest.mark.parametrize(
    ("value", "encoded"), [(0, b"\x00"), (127, b"\x7f"), (128, b"\x80\x01"), (300, b"\xac\x02")]
)
def test_varint(value, encoded):
    assert varint(value) == encoded
