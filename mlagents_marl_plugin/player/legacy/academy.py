"""The conversation with a 0.4 build: Python's half of it.

The build calls, Python answers, and every answer is the next command: seed, RESET, STEP with actions, or the end.
"""

import time
from collections.abc import Mapping
from typing import Any

from google.protobuf.message import DecodeError

from mlagents_marl_plugin.player.legacy.build_process import BuildProcess
from mlagents_marl_plugin.player.legacy.python_side import HungUp, PythonSide
from mlagents_marl_plugin.player.legacy.schema import API_VERSION, OK, QUIT, RESET, UnityMessage
from mlagents_marl_plugin.player.scene import Actions, SceneError

# How soon a build that died is noticed.
_POLL_SECONDS = 0.2
_DEATH_SECONDS = 10.0
_GOOD_BYE_SECONDS = 5.0


class Academy:
    """Speaks with one build that was told to call ``side``.

    Args:
        told: where the build writes its own log, in words for the user; "" if it does not.
        timeout: seconds for each of the build's calls.
    """

    def __init__(self, side: PythonSide, process: BuildProcess, timeout: float, told: str = "") -> None:
        self._side, self._process, self._timeout, self._told = side, process, timeout, told
        self._connected = self._waiting = False

    def shake_hands(self, seed: int) -> Any:
        """The build's ``UnityRLInitializationOutput``.

        Raises:
            SceneError: if what calls is not a build of ML-Agents 0.4, or nothing does.
        """
        hello = self._hear().unity_output.rl_initialization_output
        answer = _message()
        answer.unity_input.rl_initialization_input.seed = seed
        self._say(answer)
        self._hear()  # an empty call, which waits for the first command or to be told to quit
        if hello.version != API_VERSION:
            raise SceneError(
                f"build: expected one that speaks {API_VERSION} (ML-Agents 0.4), got {hello.version or 'none'}; "
                "use the builds that the course links to"
            )
        return hello

    def reset(self, is_training: bool, parameters: Mapping[str, float]) -> Any:
        """Begin all episodes anew; the build's ``UnityRLOutput``."""
        answer = _message()
        rl_input = answer.unity_input.rl_input
        rl_input.is_training = is_training
        # 0.4's Python sends these even if there are none.
        rl_input.environment_parameters.SetInParent()
        rl_input.environment_parameters.float_parameters.update(parameters)
        rl_input.command = RESET
        self._say(answer)
        return self._hear().unity_output.rl_output

    def step(self, actions: Mapping[str, Actions]) -> Any:
        """Answer who asked last, by brain and in the build's order; the build's ``UnityRLOutput``."""
        answer = _message()
        # STEP is 0; setting it makes the input present even with no actions.
        answer.unity_input.rl_input.SetInParent()
        for name, chosen in actions.items():
            for values in chosen.continuous if chosen.continuous.shape[1] else chosen.discrete:
                action = answer.unity_input.rl_input.agent_actions[name].value.add()
                action.vector_actions.extend(values.tolist())
        self._say(answer)
        return self._hear().unity_output.rl_output

    def close(self) -> None:
        """Ask the build to quit, as 0.4's Python does, and see to it that it does."""
        if self._waiting:
            self._say(_message(QUIT))
            self._process.wait(_GOOD_BYE_SECONDS)
        self._side.close()
        self._process.end()

    def _say(self, message: Any) -> None:
        self._waiting = False
        # Several brains in a fixed order: a map has none.
        self._side.answer(message.SerializeToString(deterministic=True))

    def _hear(self) -> Any:
        call = self._wait_for_call()
        try:
            message = UnityMessage.FromString(call)
        except DecodeError as error:
            raise SceneError(
                f"build: expected a message of ML-Agents 0.4, got {len(call)} other bytes; "
                "use the builds that the course links to"
            ) from error
        self._waiting = True
        if message.header.status != OK:
            raise SceneError(
                f"build: expected status {OK}, got {message.header.status}; the build has quit, was its window "
                f"closed?{self._told}"
            )
        self._connected = True
        return message

    def _wait_for_call(self) -> bytes:
        deadline = time.monotonic() + self._timeout
        while time.monotonic() < deadline:
            exit_code = self._process.exit_code  # before the look at calls, which may hold the last one
            try:
                call = self._side.next_call(_POLL_SECONDS)
            except HungUp:
                self._process.wait(_DEATH_SECONDS)
                raise self._gone(self._process.exit_code) from None
            if call is not None:
                return call
            if exit_code is not None:
                raise self._gone(exit_code)
            if self._side.foreign_call:
                raise SceneError(
                    f"build: expected calls of ML-Agents 0.4, got {self._side.foreign_call}; this is a later "
                    "build, so give it to mlagents-learn itself: --env=/path/to/the/build"
                )
        raise self._silent()

    def _gone(self, exit_code: int | None) -> SceneError:
        how = "hung up" if exit_code is None else f"ended with exit code {exit_code}"
        words = self._process.last_words()
        quoted = f" and said '{words}'" if words else ""
        when = "while it played" if self._connected else "before it called"
        return SceneError(
            f"build: expected it to play on, got one that {how} {when}{quoted}; "
            f"start it by hand to see whether it runs on this system{self._told}"
        )

    def _silent(self) -> SceneError:
        if self._connected:
            return SceneError(
                f"build: expected its next call within {self._timeout:g} s, got none; does it wait for a click, "
                "or does the machine sleep? --build-timeout 300 waits longer (and so must mlagents-learn: "
                f"--timeout-wait 360){self._told}"
            )
        return SceneError(
            f"build: expected its first call within {self._timeout:g} s, got none; if a window waits for a click, "
            "click; if it is slow, add --build-timeout 300 (and --timeout-wait 360 to mlagents-learn's own "
            "options); if it was made with ML-Agents 0.15 or later, it needs no bridge: give it to --env"
            f"{self._told}"
        )


def _message(status: int = OK) -> Any:
    message = UnityMessage()
    message.header.status = status
    return message
