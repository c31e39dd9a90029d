import numpy as np
import pytest
from mlagents_envs.communicator_objects.unity_message_pb2 import UnityMessageProto
from mlagents_envs.communicator_objects.unity_rl_input_pb2 import UnityRLInputProto
from mlagents_envs.environment import UnityEnvironment
from mlagents_envs.rpc_utils import behavior_spec_from_proto

from mlagents_marl_plugin.player import messages
from mlagents_marl_plugin.player.action_decoder import ActionDecoder
from mlagents_marl_plugin.player.row_encoder import RowEncoder
from mlagents_marl_plugin.player.scene import ActionSpec, Behavior, Rows, SensorSpec

BEHAVIOR = Behavior("Walker", (SensorSpec("VectorSensor_size4", (4,), (1,)),), ActionSpec(2, (3, 5)), team=1)
SEATS = np.array([4, 2, 9])
DECODE = ActionDecoder(BEHAVIOR.actions)


def rl_input(agents, continuous=(0.5, -1.0), discrete=(2, 4)):
    given = UnityRLInputProto()
    for agent in range(agents):
        action = given.agent_actions[BEHAVIOR.id].value.add()
        action.continuous_actions.extend([value + agent for value in continuous])
        action.discrete_actions.extend(discrete)
    return given


def test_handshake_matches_what_the_host_accepts():
    hello = UnityMessageProto.FromString(messages.handshake("name", "1.2.3"))
    assert hello.header.status == 200
    initialisation = hello.unity_output.rl_initialization_output
    assert initialisation.communication_version == UnityEnvironment.API_VERSION
    assert initialisation.package_version == "1.2.3"
    assert initialisation.capabilities == UnityEnvironment._get_capabilities_proto()


def test_a_tick_carries_infos_statistics_and_the_introduction():
    rows = Rows(np.arange(2), (np.ones((2, 4), np.float32),))
    infos = {BEHAVIOR.id: RowEncoder(BEHAVIOR)(rows, np.array([1, 2]))}
    sent = UnityMessageProto.FromString(messages.tick(infos, b"side", messages.introduction([BEHAVIOR])))
    assert sent.header.status == 200
    assert sent.unity_output.rl_output.side_channel == b"side"
    agents = sent.unity_output.rl_output.agentInfos["Walker?team=1"].value
    assert [agent.id for agent in agents] == [1, 2]
    (brain,) = sent.unity_output.rl_initialization_output.brain_parameters
    assert brain.brain_name == "Walker?team=1"
    spec = behavior_spec_from_proto(brain, agents[0])
    assert (spec.action_spec.continuous_size, spec.action_spec.discrete_branches) == (2, (3, 5))
    assert spec.observation_specs[0].shape == (4,)


def test_a_header_alone_asks_for_the_first_command():
    sent = UnityMessageProto.FromString(messages.bare(messages.OK))
    assert sent.header.status == 200
    assert not sent.HasField("unity_output")


def test_actions_are_read_in_the_order_of_the_seats_that_asked():
    actions = messages.read_actions(rl_input(3), BEHAVIOR, DECODE, SEATS)
    np.testing.assert_array_equal(actions.seat, SEATS)
    np.testing.assert_array_equal(actions.continuous, [[0.5, -1.0], [1.5, 0.0], [2.5, 1.0]])
    np.testing.assert_array_equal(actions.discrete, [[2, 4]] * 3)


def test_a_behaviour_that_the_trainer_leaves_out_does_nothing():
    actions = messages.read_actions(UnityRLInputProto(), BEHAVIOR, DECODE, SEATS)
    np.testing.assert_array_equal(actions.continuous, np.zeros((3, 2)))
    np.testing.assert_array_equal(actions.discrete, np.zeros((3, 2)))


@pytest.mark.parametrize(
    "given", [rl_input(2), rl_input(4), rl_input(3, continuous=(1.0,)), rl_input(3, discrete=(1, 1, 1))]
)
def test_actions_that_do_not_fit_are_refused(given):
    with pytest.raises(
        messages.MessageError, match=r"actions of Walker\?team=1: expected 3 agents .* in their order"
    ):
        messages.read_actions(given, BEHAVIOR, DECODE, SEATS)
