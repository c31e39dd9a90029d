from itertools import chain

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from mlagents_envs.communicator_objects.unity_rl_input_pb2 import UnityRLInputProto

from mlagents_marl_plugin.player.action_decoder import ActionDecoder
from mlagents_marl_plugin.player.scene import ActionSpec

FLOATS = st.lists(st.floats(width=32, allow_nan=False), max_size=4)
CHOICES = st.lists(st.sampled_from([0, 1, 9, 127, 128, 300, 20_000]), max_size=4)


def sent(answers, value=0.0):
    message = UnityRLInputProto.ListAgentActionProto()
    for continuous, discrete in answers:
        message.value.add(continuous_actions=continuous, discrete_actions=discrete, value=value)
    return message


@given(st.lists(st.tuples(FLOATS, CHOICES), max_size=5), st.integers(0, 4), st.integers(0, 4), st.booleans())
def test_whatever_is_sent_is_read_as_the_library_reads_it(answers, num_continuous, num_branches, equal):
    if equal:  # in number, so that the values of most drafts lie in records
        answers = [
            ((continuous * 4 + [0.5] * 4)[:num_continuous], (discrete * 4 + [3] * 4)[:num_branches])
            for continuous, discrete in answers
        ]
    read = ActionDecoder(ActionSpec(num_continuous, (999,) * num_branches))(sent(answers))
    assert read.num_agents == len(answers)
    np.testing.assert_array_equal(
        read.continuous, np.array([*chain.from_iterable(c for c, _ in answers)], np.float32)
    )
    np.testing.assert_array_equal(read.discrete, [*chain.from_iterable(d for _, d in answers)])


def test_fields_that_nobody_expects_do_not_shift_the_others():
    read = ActionDecoder(ActionSpec(2, (5,)))(sent([([0.25, -1.0], [4]), ([1.0, 0.0], [2])], value=3.0))
    np.testing.assert_array_equal(read.continuous, [0.25, -1.0, 1.0, 0.0])
    np.testing.assert_array_equal(read.discrete, [4, 2])
