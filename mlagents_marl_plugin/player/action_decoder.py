"""Actions out of protobuf messages, for all agents of a behaviour at once; the opposite of ``row_encoder``.

All agents of a behaviour answer with the same fields, and mostly in the same lengths: then their bytes are an array of
records, and numpy reads the values between what is constant. Others are read value by value, which is slower.
"""

from itertools import chain
from typing import NamedTuple

import numpy as np
from mlagents_envs.communicator_objects.agent_action_pb2 import AgentActionProto
from mlagents_envs.communicator_objects.unity_rl_input_pb2 import UnityRLInputProto
from numpy.typing import NDArray

from mlagents_marl_plugin.player.row_encoder import length_delimited
from mlagents_marl_plugin.player.scene import ActionSpec

_LARGEST_OF_ONE_BYTE = 0x7F


class Answers(NamedTuple):
    """All values that agents sent, one agent after another."""

    num_agents: int
    continuous: NDArray[np.float32]
    discrete: NDArray[np.int64]


class ActionDecoder:
    """Reads what agents with these actions are answered."""

    def __init__(self, actions: ActionSpec) -> None:
        num_continuous, num_branches = actions.continuous, len(actions.branches)
        zeros = AgentActionProto(
            continuous_actions=[0.0] * num_continuous, discrete_actions=[0] * num_branches
        )
        # Fields come in the order of their numbers: floats, then choices at the very end.
        floats = AgentActionProto(continuous_actions=[0.0] * num_continuous).ByteSize()
        record = length_delimited(1, zeros.SerializeToString())
        end_of_floats = len(record) - zeros.ByteSize() + floats
        self._continuous = slice(end_of_floats - 4 * num_continuous, end_of_floats)
        self._discrete = slice(len(record) - num_branches, len(record))
        self._record = np.frombuffer(record, np.uint8)
        constant = np.ones(len(record), bool)
        constant[self._continuous] = constant[self._discrete] = False
        self._constant = constant.nonzero()[0]

    def __call__(self, sent: UnityRLInputProto.ListAgentActionProto) -> Answers:
        """Their values, whether or not they are as many as they should be."""
        packed = np.frombuffer(sent.SerializeToString(), np.uint8)
        if len(packed) % len(self._record) == 0:
            records = packed.reshape(-1, len(self._record))
            choices = records[:, self._discrete]
            alike = (records[:, self._constant] == self._record[self._constant]).all()
            if alike and (choices <= _LARGEST_OF_ONE_BYTE).all():
                values = np.ascontiguousarray(records[:, self._continuous]).view("<f4")
                return Answers(len(records), values.ravel(), choices.ravel().astype(np.int64))
        continuous = chain.from_iterable(answer.continuous_actions for answer in sent.value)
        discrete = chain.from_iterable(answer.discrete_actions for answer in sent.value)
        return Answers(len(sent.value), np.fromiter(continuous, np.float32), np.fromiter(discrete, np.int64))
