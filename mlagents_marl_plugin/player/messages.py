"""Messages of the ML-Agents protocol 1.5.0: from a scene's rows to bytes, from an answer to actions.

What is sent rarely is built with the protobuf library; agent infos, thousands a second, come from
``RowEncoder``.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from mlagents_envs.communicator_objects.unity_message_pb2 import UnityMessageProto
from mlagents_envs.communicator_objects.unity_output_pb2 import UnityOutputProto
from mlagents_envs.communicator_objects.unity_rl_input_pb2 import UnityRLInputProto
from numpy.typing import NDArray

from mlagents_marl_plugin.player.action_decoder import ActionDecoder
from mlagents_marl_plugin.player.row_encoder import length_delimited
from mlagents_marl_plugin.player.scene import Actions, Behavior

PROTOCOL_VERSION = "1.5.0"
OK = 200
QUIT = 400


class MessageError(ValueError):
    """The trainer sent something that does not fit what the scene asked."""


def handshake(product: str, package_version: str) -> bytes:
    """The first message: who is calling, in which version, and what it can do (everything)."""
    message = UnityMessageProto()
    message.header.status = OK
    hello = message.unity_output.rl_initialization_output
    hello.name = product
    hello.communication_version = PROTOCOL_VERSION
    hello.package_version = package_version
    for capability in hello.capabilities.DESCRIPTOR.fields:
        setattr(hello.capabilities, capability.name, True)
    return message.SerializeToString()


def bare(status: int) -> bytes:
    """A message with a header only: ``OK`` asks for the first command, ``QUIT`` says good-bye."""
    message = UnityMessageProto()
    message.header.status = status
    return message.SerializeToString()


def introduction(behaviors: Sequence[Behavior]) -> bytes:
    """The part of an output that names behaviours; it goes with the first infos of their agents."""
    output = UnityOutputProto()
    for behavior in behaviors:
        brain = output.rl_initialization_output.brain_parameters.add()
        brain.brain_name = behavior.id
        brain.is_training = True
        brain.action_spec.num_continuous_actions = behavior.actions.continuous
        brain.action_spec.num_discrete_actions = len(behavior.actions.branches)
        brain.action_spec.discrete_branch_sizes.extend(behavior.actions.branches)
    return output.SerializeToString()


def tick(infos: Mapping[str, bytes], side_channel: bytes, introduced: bytes = b"") -> bytes:
    """One tick's message: encoded infos by behaviour id, side-channel bytes, an ``introduction`` if any."""
    parts = []
    for behavior, encoded in infos.items():
        entry = length_delimited(1, behavior.encode()) + length_delimited(2, encoded)
        parts.append(length_delimited(2, entry))
    if side_channel:
        parts.append(length_delimited(3, side_channel))
    return bare(OK) + length_delimited(2, length_delimited(1, b"".join(parts)) + introduced)


def read_actions(
    rl_input: UnityRLInputProto, behavior: Behavior, decode: ActionDecoder, seat: NDArray[np.int64]
) -> Actions:
    """The actions for the rows of ``behavior`` that asked for a decision, which sit on ``seat``.

    All zero where the trainer sent none for the whole behaviour: an agent that hears nothing does nothing.

    Raises:
        MessageError: if the number of actions or their size is not the one asked for.
    """
    n, num_continuous, num_branches = len(seat), behavior.actions.continuous, len(behavior.actions.branches)
    if behavior.id not in rl_input.agent_actions:
        return Actions(seat, np.zeros((n, num_continuous), np.float32), np.zeros((n, num_branches), np.int64))
    received, continuous, discrete = decode(rl_input.agent_actions[behavior.id])
    if received != n or (continuous.size, discrete.size) != (n * num_continuous, n * num_branches):
        raise MessageError(
            f"actions of {behavior.id}: expected {n} agents with {num_continuous} continuous and "
            f"{num_branches} discrete values each, got {received} agents with {continuous.size} and "
            f"{discrete.size} in all; "
            "answer every agent of the last decision steps, in their order"
        )
    return Actions(seat, continuous.reshape(n, num_continuous), discrete.reshape(n, num_branches))
