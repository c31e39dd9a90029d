"""Plays an ML-Agents ``.onnx`` file, ours or the host's, as Unity would: with onnxruntime, without torch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from mlagents_envs.base_env import BehaviorSpec

# Unity's ModelApiVersion.MLAgents2_0; files of ML-Agents 1.x (2) name their inputs otherwise.
MODEL_VERSION = 3

_VERSION = "version_number"
_MEMORY_SIZE = "memory_size"
_MASKS = "action_masks"
_MEMORY_IN, _MEMORY_OUT = "recurrent_in", "recurrent_out"


class ModelError(ValueError):
    """The file is no ML-Agents model, or does not fit the behaviour that it should play."""


class OnnxPolicy:
    """One model file.

    Args:
        path: the file.

    Attributes:
        observation_shapes: of one agent, in the order of the behaviour's sensors; None for a dimension left
            open.
        continuous_size, branches: the actions.
        memory_size: numbers that a recurrent model keeps per agent, else 0.

    Raises:
        ModelError: the file cannot be read or is not an ML-Agents model of version 3.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._session = _open(self.path)
        self._inputs = {i.name: tuple(i.shape) for i in self._session.get_inputs()}
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._require(_VERSION in self._outputs and _MEMORY_SIZE in self._outputs, "no version_number")
        self.observation_shapes = self._read_observation_shapes()
        constants = self._run(self._outputs, self._zeros())
        version = int(constants[_VERSION].item())
        self._require(version == MODEL_VERSION, f"version_number {version}")
        self.memory_size = int(constants[_MEMORY_SIZE].item())
        size = constants.get("continuous_action_output_shape")
        self.continuous_size = 0 if size is None else int(size.item())
        sizes = constants.get("discrete_action_output_shape")
        self.branches = () if sizes is None else tuple(int(size) for size in sizes.reshape(-1))
        self._require(bool(self.continuous_size or self.branches), "no actions")
        self._memories: dict[int, np.ndarray] = {}

    def check_fits(self, behavior: str, spec: BehaviorSpec) -> None:
        """Raises `ModelError`, naming the sensor and the sizes, unless this file can play ``behavior``."""
        sensors = spec.observation_specs
        if len(sensors) != len(self.observation_shapes):
            names = ", ".join(f"{sensor.name} {sensor.shape}" for sensor in sensors)
            raise ModelError(
                f"{self.path}: expected {len(self.observation_shapes)} observations, as it was trained on, "
                "got "
                f"{len(sensors)} from behaviour {behavior} ({names}); is it the model of another behaviour "
                "or scene?"
            )
        for index, (sensor, shape) in enumerate(zip(sensors, self.observation_shapes, strict=True)):
            if len(shape) != len(sensor.shape) or any(
                a not in (None, b) for a, b in zip(shape, sensor.shape, strict=True)
            ):
                raise ModelError(
                    f"{self.path}: expected observation {index} of shape {shape}, as it was trained on, got "
                    f"{sensor.shape} from sensor {sensor.name!r} of behaviour {behavior}; "
                    "has the scene changed since training, for example its number of stacked vectors?"
                )
        wanted = (spec.action_spec.continuous_size, tuple(spec.action_spec.discrete_branches))
        if wanted != (self.continuous_size, self.branches):
            raise ModelError(
                f"{self.path}: expected {self.continuous_size} continuous actions and branches "
                f"{self.branches}, as it was "
                f"trained on, got {wanted[0]} and {wanted[1]} from behaviour {behavior}; "
                "is it the model of another behaviour?"
            )

    def act(
        self,
        obs: Sequence[np.ndarray],
        action_masks: np.ndarray | None = None,
        deterministic: bool = True,
        agent_ids: Sequence[int] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The actions of one decision of B agents.

        Args:
            obs: [B, *shape] per sensor.
            action_masks: [B, choices of all branches], 1 = permitted; None permits everything.
            deterministic: the greedy action (Unity's *Deterministic Inference*), or what Unity plays without
                it.
            agent_ids: B ids, whose memories are kept between calls; needed by recurrent models only.

        Returns:
            continuous [B, C] float32 as the file puts it out, and discrete [B, K] int32.

        Raises:
            ModelError: a greedy action is asked of a file that has none, or ids are missing.
        """
        num_agents = len(obs[0])
        continuous = np.zeros((num_agents, self.continuous_size), np.float32)
        discrete = np.zeros((num_agents, len(self.branches)), np.int32)
        if num_agents == 0:
            return continuous, discrete
        feed = {f"obs_{i}": np.asarray(o, np.float32) for i, o in enumerate(obs)}
        if _MASKS in self._inputs:
            shape = (num_agents, sum(self.branches))
            feed[_MASKS] = (
                np.ones(shape, np.float32) if action_masks is None else np.asarray(action_masks, np.float32)
            )
        if self.memory_size:
            feed[_MEMORY_IN] = self._recall(agent_ids, num_agents)
        outputs = self._run(self._wanted(deterministic), feed)
        if self.memory_size and agent_ids is not None:
            self._memories.update(zip(agent_ids, outputs[_MEMORY_OUT], strict=True))
        prefix = "deterministic_" if deterministic else ""
        return (
            outputs.get(f"{prefix}continuous_actions", continuous),
            outputs.get(f"{prefix}discrete_actions", discrete).astype(np.int32),
        )

    def forget(self, agent_ids: Sequence[int]) -> None:
        """Drops the memories of agents whose episode ended."""
        for agent_id in agent_ids:
            self._memories.pop(agent_id, None)

    def _wanted(self, deterministic: bool) -> list[str]:
        prefix = "deterministic_" if deterministic else ""
        names = [f"{prefix}continuous_actions"] if self.continuous_size else []
        names += [f"{prefix}discrete_actions"] if self.branches else []
        missing = [name for name in names if name not in self._outputs]
        if missing:
            raise ModelError(
                f"{self.path}: expected the output {missing[0]}, got {self._outputs}; the file comes from an "
                "ML-Agents "
                "that exported no greedy actions: play it with --stochastic"
            )
        return [*names, _MEMORY_OUT] if self.memory_size else names

    def _recall(self, agent_ids: Sequence[int] | None, num_agents: int) -> np.ndarray:
        """[B, 1, memory_size], zeros for agents seen for the first time."""
        if agent_ids is None or len(agent_ids) != num_agents:
            raise ModelError(
                f"{self.path}: expected the ids of {num_agents} agents, got {agent_ids}; "
                "the model is recurrent and keeps a memory per agent"
            )
        fresh = np.zeros((1, self.memory_size), np.float32)
        return np.stack([self._memories.get(agent_id, fresh) for agent_id in agent_ids])

    def _read_observation_shapes(self) -> tuple[tuple[int | None, ...], ...]:
        count = sum(name.startswith("obs_") for name in self._inputs)
        self._require(
            count > 0 and all(f"obs_{i}" in self._inputs for i in range(count)), "no inputs obs_0, ..."
        )
        shapes = (self._inputs[f"obs_{i}"][1:] for i in range(count))
        return tuple(tuple(d if isinstance(d, int) else None for d in shape) for shape in shapes)

    def _zeros(self) -> dict[str, np.ndarray]:
        """One agent that sees nothing: what Unity runs on import to read the constants."""
        return {
            name: np.zeros([d if isinstance(d, int) else 1 for d in shape], np.float32)
            for name, shape in self._inputs.items()
        }

    def _run(self, names: list[str], feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(names, self._session.run(names, feed), strict=True))

    def _require(self, condition: bool, got: str) -> None:
        if not condition:
            raise ModelError(
                f"{self.path}: expected an ML-Agents model of version {MODEL_VERSION}, got {got} "
                f"(inputs {list(self._inputs)}, outputs {self._outputs}); export it with ML-Agents 2.0 or "
                "later"
            )


def _open(path: Path) -> onnxruntime.InferenceSession:
    if not path.is_file():
        raise ModelError(
            f"{path}: expected a model file (.onnx), got none; check the path, or train one first"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        # From memory: a session opened by path keeps the file locked on Windows while a run wants to replace
        # it.
        return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common class of their own
        raise ModelError(
            f"{path}: expected an .onnx file, got something that onnxruntime cannot read ({error})"
        ) from error
