"""Writes down what agents do in a scene as Unity's Demonstration Recorder would: a ``.demo`` file per agent of a group.

A record is made before an agent decides: what it observes, its reward since the last record, and the action that it
took before. The file begins with a message of facts, which has 32 bytes kept for it and is written last.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.internal.encoder import _VarintBytes
from google.protobuf.message import Message
from mlagents_envs.base_env import ActionTuple, BehaviorSpec, DecisionSteps, TerminalSteps
from mlagents_envs.communicator_objects.agent_info_action_pair_pb2 import AgentInfoActionPairProto
from mlagents_envs.communicator_objects.brain_parameters_pb2 import BrainParametersProto
from mlagents_envs.communicator_objects.demonstration_meta_pb2 import DemonstrationMetaProto

from mlagents_marl_plugin.tools.episodes import Place
from mlagents_marl_plugin.tools.model_choice import behavior_name

_API_VERSION = 1
_FIRST_MESSAGE = 33  # what comes after the facts begins here
_LONGEST_NAME = 12  # so that the facts fit


class RecordError(ValueError):
    """There is no place to record to."""


class Recording:
    """The files of a folder: ``<behavior>/area-0/slot-00.demo`` and so on.

    Args:
        folder: made if it is not there.

    Raises:
        RecordError: if it holds recordings already.
    """

    def __init__(self, folder: Path) -> None:
        if folder.exists() and (not folder.is_dir() or any(folder.rglob("*.demo"))):
            raise RecordError(
                f"--record: expected a folder without recordings, got {folder}; name a new one, or delete it"
            )
        self.folder = folder
        self._files: dict[tuple[str, Place], _File] = {}
        self._agents: dict[tuple[str, int], _Agent] = {}

    def decided(
        self,
        behavior_id: str,
        spec: BehaviorSpec,
        decisions: DecisionSteps,
        places: Sequence[Place | None],
        actions: ActionTuple,
    ) -> None:
        """Agents decide; None stands for the place of one that belongs to no group."""
        for row, (agent_id, place) in enumerate(zip(decisions.agent_id.tolist(), places, strict=True)):
            if place is None:
                continue
            agent = self._agents.get((behavior_id, agent_id))
            if agent is None:
                agent = self._agents[behavior_id, agent_id] = _Agent(self._file(behavior_id, spec, place))
            mask = (
                None if decisions.action_mask is None else np.concatenate(decisions.action_mask, axis=1)[row]
            )
            agent.file.add(agent.record(spec, decisions, row, mask), done=False)
            agent.action = [actions.continuous[row].tolist(), actions.discrete[row].tolist()]

    def ended(self, behavior_id: str, spec: BehaviorSpec, ends: TerminalSteps) -> None:
        """The episodes of agents end."""
        for row, agent_id in enumerate(ends.agent_id.tolist()):
            agent = self._agents.pop((behavior_id, agent_id), None)
            if agent is not None:
                record = agent.record(spec, ends, row, None)
                record.agent_info.done = True
                record.agent_info.max_step_reached = bool(ends.interrupted[row])
                agent.file.add(record, done=True)

    def close(self) -> None:
        """Write the facts of every file."""
        for file in self._files.values():
            file.close()

    def _file(self, behavior_id: str, spec: BehaviorSpec, place: Place) -> "_File":
        key = (behavior_name(behavior_id), place)
        if key not in self._files:
            path = self.folder / key[0] / f"area-{place.area}" / f"slot-{place.slot:02}.demo"
            self._files[key] = _File(path, key[0], spec)
        return self._files[key]


@dataclass
class _File:
    """One agent's recording. Between records it is closed: there may be more agents than files that may be open."""

    path: Path
    name: str
    spec: BehaviorSpec
    steps: int = 0
    episodes: int = 0
    reward: float = 0.0

    def __post_init__(self) -> None:
        with _writable(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_bytes(bytes(_FIRST_MESSAGE))
        brain = BrainParametersProto(brain_name=self.name, is_training=True)
        action, branches = (
            self.spec.action_spec,
            [int(size) for size in self.spec.action_spec.discrete_branches],
        )
        brain.action_spec.num_continuous_actions = action.continuous_size
        brain.action_spec.num_discrete_actions = len(branches)
        brain.action_spec.discrete_branch_sizes.extend(branches)
        self._append(brain)

    def add(self, record: Any, done: bool) -> None:
        self.steps += 1
        self.episodes += done
        self.reward += record.agent_info.reward
        self._append(record)

    def close(self) -> None:
        facts = DemonstrationMetaProto(
            api_version=_API_VERSION,
            demonstration_name=self.name.encode("ascii", "ignore").decode()[:_LONGEST_NAME],
            number_steps=self.steps,
            number_episodes=self.episodes,
            mean_reward=self.reward / max(1, self.episodes),
        )
        with _writable(self.path), self.path.open("r+b") as stream:
            stream.write(_delimited(facts))

    def _append(self, message: Message) -> None:
        with _writable(self.path), self.path.open("ab") as stream:
            stream.write(_delimited(message))


def _delimited(message: Message) -> bytes:
    """A message behind its length, as the host reads it."""
    content = message.SerializeToString()
    return bytes(_VarintBytes(len(content)) + content)


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RecordError(
            f"--record: expected a place to write to, got {path} ({error.strerror}); name another folder, or make room"
        ) from error


@dataclass
class _Agent:
    """An agent's episode under way."""

    file: _File
    action: list[list] = field(
        default_factory=list
    )  # what it did last: values, choices; nothing at the start

    def record(
        self, spec: BehaviorSpec, steps: DecisionSteps | TerminalSteps, row: int, mask: np.ndarray | None
    ) -> Any:
        """A row of ``steps``; ``mask`` [choices] is True where a choice is forbidden."""
        record = AgentInfoActionPairProto()
        info = record.agent_info
        info.id, info.group_id = int(steps.agent_id[row]), int(steps.group_id[row])
        info.reward, info.group_reward = float(steps.reward[row]), float(steps.group_reward[row])
        if mask is not None:
            info.action_mask.extend(mask.tolist())
        for sensor, obs in zip(spec.observation_specs, steps.obs, strict=True):
            seen = info.observations.add(
                shape=sensor.shape, name=sensor.name, observation_type=sensor.observation_type.value
            )
            seen.dimension_properties.extend(int(one) for one in sensor.dimension_property)
            seen.float_data.data.extend(obs[row].ravel().tolist())
        action = spec.action_spec
        continuous, discrete = self.action or ([0.0] * action.continuous_size, [0] * action.discrete_size)
        record.action_info.continuous_actions.extend(continuous)
        record.action_info.discrete_actions.extend(discrete)
        return record
