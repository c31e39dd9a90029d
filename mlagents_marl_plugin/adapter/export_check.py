"""Checks an exported file before it is written: Unity can read it, and it computes what torch does."""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import onnx
from mlagents.trainers.torch_entities.model_serialization import TensorNames
from mlagents_envs.logging_util import get_logger
from onnx import numpy_helper

from mlagents_marl_plugin.core.types import ActionLayout

logger = get_logger(__name__)

TOLERANCE = 1e-5
# How much further than float32 itself strays from float64 a file may stray, where that is above TOLERANCE:
# large unnormalised observations cancel, and correct programs may add up the same numbers in any order.
ROUNDING_FACTOR = 10.0

# Of so many draws, the share below a point differs from its chance by more than this once in 10^10 files.
DRAWS = 1024
DRAWN_TOLERANCE = 0.1
QUANTILES = ((-1.0, 0.1587), (0.0, 0.5), (1.0, 0.8413))  # by deviations above the mean, the share below

# Read by the importers of Sentis 1.x and 2.x (now the Inference Engine), which the Unity packages 3.0 and 4.0
# use that go with mlagents 1.1.0. They read no GRU node: such cells are exported in their primitive form.
_OPERATORS = (
    "Abs Add ArgMax BatchNormalization Cast Clip Concat Constant ConstantOfShape Conv Div Elu Equal Exp "
    "Expand Flatten Gather Gemm Greater Identity LeakyRelu Less Log LogSoftmax MatMul Max MaxPool Min Mul "
    "Multinomial Neg Not OneHot Pow RandomNormalLike RandomUniformLike ReduceMax ReduceMean ReduceMin "
    "ReduceSum Relu Reshape Shape Sigmoid Slice Softmax Softplus Sqrt Squeeze Sub Sum Tanh Transpose "
    "Unsqueeze Where "
)
ALLOWED_OPERATORS = frozenset(_OPERATORS.split())


class ExportError(RuntimeError):
    """The file would not do in Unity what the actor does in training."""


class Answer(NamedTuple):
    """What an actor says to some rows of observations."""

    continuous: np.ndarray  # [B, C]
    logit: np.ndarray  # [B, choices], a forbidden choice at -inf
    quantiles: Sequence[np.ndarray]  # for each of QUANTILES [B, C], the point below which as many draws lie
    memory: np.ndarray  # [B, M], what is remembered then; M = 0 without a memory


@dataclass(frozen=True)
class Reference:
    """Rows to ask the file, and what torch answers."""

    feed: dict[str, np.ndarray]
    answer: Answer
    # The same in float64, to learn how far rounding alone reaches; asked only when the file seems wrong.
    exact: Callable[[], Answer]


@dataclass(frozen=True)
class FileCheck:
    """The rules for one file.

    Args:
        name: of the file, for messages.
        layout: its actions.
        num_weights: float numbers that the actor holds, buffers included.
        draws: ``continuous_actions`` and ``discrete_actions`` are random.
    """

    name: str
    layout: ActionLayout
    num_weights: int
    draws: bool

    def run(self, data: bytes, references: Sequence[Reference]) -> None:
        """Raises `ExportError` if ``data`` breaks a rule; warns once where onnxruntime is missing."""
        model = onnx.load_model_from_string(data)
        onnx.checker.check_model(model)
        self._operators(model)
        self._weights(model)
        runtime = _onnxruntime()
        if runtime is None:
            return
        session = runtime.InferenceSession(
            data, _session_options(runtime), providers=["CPUExecutionProvider"]
        )
        names = [output.name for output in session.get_outputs()]
        for reference in references:
            self._answers(dict(zip(names, session.run(None, reference.feed), strict=True)), reference)
        if self.draws and self.layout.continuous:
            self._spread(session, references[-1])

    def _operators(self, model: onnx.ModelProto) -> None:
        unknown = sorted(
            {f"{node.domain}::{node.op_type}".lstrip(":") for node in model.graph.node if _is_unknown(node)}
        )
        if unknown:
            raise ExportError(
                f"{self.name}: expected operators that every Unity version reads, got {', '.join(unknown)}; "
                "the .onnx was not written, the checkpoint (.pt) was: use other operations in the network"
            )

    def _weights(self, model: onnx.ModelProto) -> None:
        found = sum(array.size for array in _float_arrays(model) if array.size > 1)
        if found > self.num_weights + len(self.layout.branches):  # their sizes are a constant of the file
            raise ExportError(
                f"{self.name}: expected at most the actor's {self.num_weights} numbers, got {found}; it "
                "reads tensors that are not its own, so the file, with a critic in it, was not written"
            )

    def _answers(self, outputs: dict[str, np.ndarray], reference: Reference) -> None:
        if self.layout.continuous:
            greedy = TensorNames.deterministic_continuous_action_output
            drawn = TensorNames.continuous_action_output
            for name in (greedy,) if self.draws else (drawn, greedy):
                distance = np.abs(outputs[name] - reference.answer.continuous)
                self._accept(name, distance, reference, lambda answer: answer.continuous)
        if self.layout.branches:
            greedy = TensorNames.deterministic_discrete_action_output
            drawn = TensorNames.discrete_action_output
            for name in (greedy, drawn):
                regret = self._regret(outputs[name], reference.answer)
                if name == drawn and self.draws:
                    # A draw may be any permitted choice, however unlikely.
                    regret = np.where(np.isfinite(regret), 0.0, regret)
                self._accept(name, regret, reference, lambda answer: answer.logit)

        if reference.answer.memory.shape[1]:
            name = TensorNames.recurrent_output
            distance = np.abs(outputs[name][:, 0] - reference.answer.memory)
            self._accept(name, distance, reference, lambda answer: answer.memory)

    def _spread(self, session: Any, reference: Reference) -> None:
        """Drawn values lie within [-1, 1] and, of every value, as many lie below given points as should."""
        feed = {name: np.repeat(rows[:1], DRAWS, axis=0) for name, rows in reference.feed.items()}
        (drawn,) = session.run([TensorNames.continuous_action_output], feed)
        if not (np.abs(drawn) <= 1).all():
            self._refuse(TensorNames.continuous_action_output, "a value outside [-1, 1]")
        for (below, expected), points in zip(QUANTILES, reference.answer.quantiles, strict=True):
            point = points[0]
            inside = np.abs(point) < 1 - TOLERANCE  # at the limits are all draws from beyond them
            share = (drawn <= point).mean(axis=0)
            difference = np.abs(share - expected)[inside]
            if len(difference) and difference.max() > DRAWN_TOLERANCE:
                self._refuse(
                    TensorNames.continuous_action_output,
                    f"draws of which {share[inside].tolist()} lie below {below} deviations, not {expected}",
                )

    def _regret(self, chosen: np.ndarray, answer: Answer) -> np.ndarray:
        """[B, K]: how far the chosen logit lies below its branch's largest; inf for a forbidden choice."""
        branches = np.split(answer.logit, np.cumsum(self.layout.branches)[:-1], axis=1)
        return np.stack(
            [
                logit.max(1) - np.take_along_axis(logit, chosen[:, k : k + 1].astype(np.int64), 1)[:, 0]
                for k, logit in enumerate(branches)
            ],
            axis=1,
        )

    def _accept(
        self,
        output: str,
        distance: np.ndarray,
        reference: Reference,
        part: Callable[[Answer], np.ndarray],
    ) -> None:
        if not np.isfinite(distance).all():
            self._refuse(output, "a forbidden choice or a value that is not finite")
        if distance.max() <= TOLERANCE:
            return
        single, exact = part(reference.answer), part(reference.exact())
        permitted = np.isfinite(exact)
        rounding = np.abs(single[permitted] - exact[permitted]).max()
        if distance.max() > ROUNDING_FACTOR * rounding:
            self._refuse(output, f"a difference of {distance.max():.3g} at batch {len(distance)}")

    def _refuse(self, output: str, got: str) -> None:
        raise ExportError(
            f"{self.name}, output {output}: expected what torch computes to {TOLERANCE:g}, got {got}; the "
            ".onnx was not written, the checkpoint (.pt) was: please report this with the network's settings"
        )


def _is_unknown(node: onnx.NodeProto) -> bool:
    return node.domain not in ("", "ai.onnx") or node.op_type not in ALLOWED_OPERATORS


def _float_arrays(model: onnx.ModelProto) -> Iterator[np.ndarray]:
    tensors = list(model.graph.initializer)
    for node in model.graph.node:
        tensors += [attribute.t for attribute in node.attribute if attribute.HasField("t")]
    arrays = (numpy_helper.to_array(tensor) for tensor in tensors)
    return (array for array in arrays if np.issubdtype(array.dtype, np.floating))


@functools.lru_cache(maxsize=1)
def _onnxruntime() -> ModuleType | None:
    """onnxruntime, imported at the first export; without it the user is told once that nothing is checked."""
    try:
        import onnxruntime
    except ImportError as error:
        logger.warning(
            f"The exported .onnx files are NOT checked: onnxruntime cannot be imported ({error}). "
            "They are usable; to have them checked, run pip install onnxruntime"
        )
        return None
    return onnxruntime


def _session_options(runtime: ModuleType) -> object:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return options
