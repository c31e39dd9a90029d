"""A trainer that only acknowledges: whatever a scene says, its agents act at random, drawn beforehand."""

import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
from mlagents_envs.communicator_objects import command_pb2
from mlagents_envs.communicator_objects.unity_message_pb2 import UnityMessageProto

_SERVICE = "communicator_objects.UnityToExternalProto"
_OK, _ANSWERS = 200, 64  # that each are given again and again


class Acknowledging:
    """Serves one player for a number of steps. Numbers of agents that were seen have their answers made once.

    Attributes:
        port: where it listens.
    """

    def __init__(self, num_areas: int, steps: int) -> None:
        self._num_areas, self._steps = num_areas, steps
        self._messages = 0
        self._actions: dict[str, Any] = {}
        self._made: dict[tuple[tuple[str, int], ...], list[bytes]] = {}
        self._random = np.random.default_rng(0)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._server = grpc.server(ThreadPoolExecutor(1), options=(("grpc.max_receive_message_length", -1),))
        exchange = grpc.unary_unary_rpc_method_handler(lambda request, _: self._answer(request))
        handler = grpc.method_handlers_generic_handler(_SERVICE, {"Exchange": exchange})
        self._server.add_generic_rpc_handlers((handler,))
        self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()

    def stop(self) -> None:
        """Listen no more."""
        self._server.stop(None).wait()

    def _answer(self, request: bytes) -> bytes:
        self._messages += 1
        if self._messages == 1:
            return self._welcome()
        if self._messages == 2:
            return _command(command_pb2.RESET).SerializeToString()
        if self._messages > 2 + self._steps:
            return _command(command_pb2.QUIT).SerializeToString()
        said = UnityMessageProto.FromString(request).unity_output
        for brain in said.rl_initialization_output.brain_parameters:
            self._actions[brain.brain_name] = brain.action_spec
        asking = tuple(
            (name, sum(not info.done for info in infos.value))
            for name, infos in sorted(said.rl_output.agentInfos.items())
        )
        if asking not in self._made:
            self._made[asking] = [self._step(asking) for _ in range(_ANSWERS)]
        return self._made[asking][self._messages % _ANSWERS]

    def _welcome(self) -> bytes:
        welcome = UnityMessageProto()
        welcome.header.status = _OK
        settings = welcome.unity_input.rl_initialization_input
        settings.seed, settings.num_areas = 1, self._num_areas
        settings.communication_version, settings.package_version = "1.5.0", "1.1.0"
        return welcome.SerializeToString()

    def _step(self, asking: tuple[tuple[str, int], ...]) -> bytes:
        step = _command(command_pb2.STEP)
        for name, agents in asking:
            spec, answers = self._actions[name], step.unity_input.rl_input.agent_actions[name]
            for _ in range(agents):
                answer = answers.value.add()
                answer.continuous_actions.extend(
                    self._random.uniform(-1.0, 1.0, spec.num_continuous_actions).tolist()
                )
                answer.discrete_actions.extend(
                    int(self._random.integers(size)) for size in spec.discrete_branch_sizes
                )
        return step.SerializeToString()


def _command(command: int) -> UnityMessageProto:
    message = UnityMessageProto()
    message.header.status = _OK
    message.unity_input.rl_input.command = command
    return message
