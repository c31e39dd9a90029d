"""Writes an actor as the ``.onnx`` file that Unity loads, and compares the file with torch first.

Names, constants and shapes are those of the host's own files, which Unity checks on import. The file holds
the actor and nothing else. What Unity plays with *Deterministic Inference* unticked is ``continuous_actions``
and ``discrete_actions``; by default both are the greedy action here, since that is the policy whose score was
measured (and the only one that a network of action values has). Policies that are trained as distributions
(``stochastic``) are drawn from instead, as the host's own trainers do.
"""

import copy
import inspect
import io
import os
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mlagents.trainers.torch_entities.model_serialization import TensorNames, exporting_to_onnx
from torch import Tensor, nn

from mlagents_marl_plugin.adapter.export_check import QUANTILES, Answer, ExportError, FileCheck, Reference
from mlagents_marl_plugin.adapter.patience import patiently
from mlagents_marl_plugin.core.actions import mode
from mlagents_marl_plugin.core.types import ActionLayout

__all__ = ["ExportError", "FlatObservations", "export_actor"]

# The host's, and the lowest of the range 9 to 15 that both Sentis 1.x and the Inference Engine read.
OPSET = 9
# Unity's ModelApiVersion.MLAgents2_0: inputs are called obs_0, obs_1, ...
MODEL_VERSION = 3
FORBIDDEN_LOGIT = -1e8
# One row, as in a scene with one agent, and an odd number that no layer's width is likely to equal.
CHECKED_BATCHES = (1, 7)

CONTINUOUS_OUTPUTS = (
    TensorNames.continuous_action_output,
    TensorNames.continuous_action_output_shape,
    TensorNames.deterministic_continuous_action_output,
)
DISCRETE_OUTPUTS = (
    TensorNames.discrete_action_output,
    TensorNames.discrete_action_output_shape,
    TensorNames.deterministic_discrete_action_output,
)


class FlatObservations(nn.Module):
    """Puts the observations, [B, *shape] each, together as the one vector [B, O] that ``network`` reads.

    A network with a memory reads that as well, [B, M], and returns what is remembered then behind its output.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, observations: list[Tensor], *memory: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """See the class."""
        flat = [obs.flatten(1) if obs.dim() > 2 else obs for obs in observations]
        said: Tensor | tuple[Tensor, Tensor] = self.network(
            torch.cat(flat, 1) if len(flat) > 1 else flat[0], *memory
        )
        return said


def export_actor(
    actor: nn.Module,
    layout: ActionLayout,
    observation_shapes: Sequence[tuple[int, ...]],
    path: str | os.PathLike[str],
    *,
    sample_obs: Sequence[np.ndarray] | None = None,
    stochastic: bool = False,
    squashed: bool = False,
    memory_size: int = 0,
) -> None:
    """Writes ``path`` if the file computes what ``actor`` does; otherwise leaves whatever was there before.

    The actor may live on any device and is not changed; everything here happens on a copy on the CPU. Safe to
    call from several threads, as long as nobody updates the actor meanwhile.

    Args:
        actor: maps the list of observations, [B, *shape] each, to raw head outputs [B, layout.size]: values
            before tanh, then one logit per choice. Wrap a network of one flat vector in `FlatObservations`.
        layout: the actions; at least one.
        observation_shapes: of one agent, in the order of the behaviour's sensors.
        path: where to; folders are made.
        sample_obs: real observations to compare on, [R, *shape] each with R >= 1; None takes random ones.
        stochastic: the actor's output is a policy, [B, layout.size + C]: means as they are, logits, standard
            deviations. Without *Deterministic Inference* Unity draws from it.
        squashed: means and what is drawn around them are bounded by tanh, not cut off at -1 and 1.
        memory_size: if above 0, the actor also reads what is remembered [B, memory_size], and returns its output
            and what is remembered then.

    Raises:
        ExportError: the file holds an operator that Unity may not read, more weights than the actor, or does
            not compute what torch computes. Nothing is written then.
        ValueError: the actor's output or the observations do not have the shapes announced.
    """
    where = Path(path)
    if layout.size == 0:
        raise ValueError(
            f"{where.name}: expected at least one action to export, got none; check the behaviour's actions"
        )
    # The host makes CUDA torch's default device wherever it sees one, so "no device given" does not mean CPU.
    with torch.device("cpu"), torch.no_grad():
        copied = copy.deepcopy(actor).cpu().eval()
        asked = _Asked(copied, layout, stochastic, squashed)
        references = list[Reference]()
        for batch in CHECKED_BATCHES:
            observations = _observations(where.name, observation_shapes, sample_obs, batch)
            references.append(asked.reference(observations, torch.zeros(batch, memory_size)))
            if memory_size:  # a second step, with what is remembered of the first
                memory = torch.from_numpy(references[-1].answer.memory)
                references.append(asked.reference(observations, memory))
        try:
            module = _UnityActor(copied, layout, stochastic, squashed, memory_size)
            data = _to_onnx(module, layout, observation_shapes)
        except RuntimeError as error:
            raise ExportError(
                f"{where.name}: expected a network that torch can write as ONNX opset {OPSET}, got one that "
                f"it cannot ({error}); the checkpoint (.pt) was written: use other operations in the network"
            ) from error
        num_weights = sum(tensor.numel() for tensor in (*copied.parameters(), *copied.buffers()))
        FileCheck(where.name, layout, num_weights, stochastic).run(data, references)
    _write(data, where)


class _UnityActor(nn.Module):
    """The actor with the outputs that Unity asks for, in the host's order."""

    def __init__(
        self, actor: nn.Module, layout: ActionLayout, stochastic: bool, squashed: bool, memory_size: int
    ) -> None:
        super().__init__()
        self.actor = actor
        self.remembers = memory_size > 0
        self.layout = layout
        self.stochastic = stochastic
        self.squashed = squashed
        self.version_number = _constant([MODEL_VERSION])
        self.memory_size = _constant([memory_size])
        self.continuous_size = _constant([layout.continuous])
        self.branch_sizes = _constant([layout.branches])

    def forward(self, observations: list[Tensor], *others: Tensor) -> tuple[Tensor, ...]:
        """``others``: the masks [B, choices] if there are branches, the memory [B, 1, M] if there is one."""
        memories = list[Tensor]()
        if self.remembers:
            raw, memory = self.actor(observations, others[-1].flatten(1))
            memories.append(memory.unsqueeze(1))
        else:
            raw = self.actor(observations)
        outputs: list[Tensor] = [self.version_number, self.memory_size]
        if self.layout.continuous:
            outputs += self._continuous(raw)
        if self.layout.branches:
            outputs += self._discrete(raw, others[0])
        return (*outputs, *memories)

    def _continuous(self, raw: Tensor) -> list[Tensor]:
        alone = not self.layout.branches and not self.stochastic
        values = raw if alone else raw[:, : self.layout.continuous]
        if self.stochastic:
            drawn = values + raw[:, self.layout.size :] * torch.randn_like(values)
            return [self._bound(drawn), self.continuous_size, self._bound(values)]
        # tanh is within [-1, 1] already; the host's clamp(-3, 3) / 3 belongs to its unbounded Gaussian.
        action = torch.tanh(values)
        return [action, self.continuous_size, action.clone()]

    def _bound(self, values: Tensor) -> Tensor:
        return _bounded(values, self.squashed)

    def _discrete(self, raw: Tensor, action_masks: Tensor) -> list[Tensor]:
        first = self.layout.continuous
        logits = raw[:, first : self.layout.size] if first else raw
        drawn, greedy = [], []
        start = 0
        for size in self.layout.branches:
            branch = slice(start, start + size)
            start += size
            allowed = action_masks[:, branch]
            # Products and sums only, as in the host's own files: all of Unity's importers read them.
            logit = logits[:, branch] * allowed + FORBIDDEN_LOGIT * (allowed * -1.0 + 1.0)
            greedy.append(logit.argmax(1, keepdim=True))
            if self.stochastic:
                drawn.append(torch.multinomial(logit.softmax(1), 1))
        chosen = torch.cat(greedy, 1)
        return [torch.cat(drawn, 1) if drawn else chosen.clone(), self.branch_sizes, chosen]


def _bounded(values: Tensor, squashed: bool) -> Tensor:
    return torch.tanh(values) if squashed else values.clamp(-1.0, 1.0)


def _constant(values: Sequence[object]) -> nn.Parameter:
    """Unity reads these as float tensors, and finds them by the output's name only."""
    return nn.Parameter(torch.tensor(values, dtype=torch.float32), requires_grad=False)


def _to_onnx(
    module: _UnityActor, layout: ActionLayout, observation_shapes: Sequence[tuple[int, ...]]
) -> bytes:
    arguments: tuple[object, ...] = ([torch.zeros(1, *shape) for shape in observation_shapes],)
    inputs = [TensorNames.get_observation_name(i) for i in range(len(observation_shapes))]
    outputs = [TensorNames.version_number, TensorNames.memory_size]
    if layout.continuous:
        outputs += CONTINUOUS_OUTPUTS
    if layout.branches:
        arguments = (*arguments, torch.ones(1, layout.num_choices))
        inputs.append(TensorNames.action_mask_placeholder)
        outputs += DISCRETE_OUTPUTS
    if module.remembers:
        arguments = (*arguments, torch.zeros(1, 1, int(module.memory_size)))
        inputs.append(TensorNames.recurrent_in_placeholder)
        outputs.append(TensorNames.recurrent_output)
    by_row = ("_actions", TensorNames.recurrent_output)
    batched = [*inputs, *(name for name in outputs if name.endswith(by_row))]
    # From torch 2.9 on the default is another exporter, whose files the host's pinned onnx cannot even check.
    legacy: dict[str, Any] = (
        {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    )
    buffer = io.BytesIO()
    # torch's exporter keeps global state; the host's lock is the one that its own exports hold.
    with exporting_to_onnx(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            arguments,
            buffer,  # type: ignore[arg-type]  # the legacy exporter writes to files as well, untyped
            opset_version=OPSET,
            input_names=inputs,
            output_names=outputs,
            dynamic_axes={name: {0: "batch"} for name in batched},
            **legacy,
        )
    return buffer.getvalue()


def _observations(
    name: str,
    shapes: Sequence[tuple[int, ...]],
    sample_obs: Sequence[np.ndarray] | None,
    batch: int,
) -> list[Tensor]:
    """``batch`` rows of the samples, repeated if there are fewer, else random ones."""
    if sample_obs is None:
        rng = np.random.default_rng(batch)
        return [torch.from_numpy(rng.standard_normal((batch, *s)).astype(np.float32)) for s in shapes]
    got = [tuple(sample.shape[1:]) for sample in sample_obs]
    if got != [tuple(shape) for shape in shapes] or any(len(sample) == 0 for sample in sample_obs):
        raise ValueError(
            f"{name}: expected sample observations of shapes {list(shapes)} with at least one row, got "
            f"{[sample.shape for sample in sample_obs]}; pass this behaviour's own rows, or None"
        )
    return [
        torch.from_numpy(np.resize(sample, (batch, *sample.shape[1:])).astype(np.float32))
        for sample in sample_obs
    ]


class _Asked(NamedTuple):
    """An actor that a file is compared with."""

    actor: nn.Module
    layout: ActionLayout
    stochastic: bool
    squashed: bool

    def reference(self, observations: list[Tensor], memory: Tensor) -> Reference:
        """What it says to B observations, remembering [B, M]; M = 0 for one without a memory."""
        layout, batch = self.layout, len(observations[0])
        raw, then = _said(self.actor, observations, memory)
        expected = (batch, layout.size + layout.continuous * self.stochastic)
        if tuple(raw.shape) != expected:
            raise ValueError(
                f"export: expected the actor to return {expected} (rows, actions), got "
                f"{tuple(raw.shape)}; it must give one value per continuous action and one logit per choice"
            )
        allowed, tanh = _some_allowed(layout, batch), self.squashed or not self.stochastic
        feed = {TensorNames.get_observation_name(i): obs.numpy() for i, obs in enumerate(observations)}
        if layout.branches:
            feed[TensorNames.action_mask_placeholder] = allowed.numpy()
        if memory.shape[1]:
            feed[TensorNames.recurrent_in_placeholder] = memory.unsqueeze(1).numpy()

        def exact() -> Answer:
            in_float64 = copy.deepcopy(self.actor).double()
            said = _said(in_float64, [obs.double() for obs in observations], memory.double())
            return _answer(layout, *said, allowed, tanh)

        return Reference(feed, _answer(layout, raw, then, allowed, tanh), exact)


def _said(actor: nn.Module, observations: list[Tensor], memory: Tensor) -> tuple[Tensor, Tensor]:
    """An actor's output, and what it remembers then."""
    if not memory.shape[1]:
        return actor(observations), memory
    raw, then = actor(observations, memory)
    return raw, then


def _answer(layout: ActionLayout, raw: Tensor, memory: Tensor, allowed: Tensor, tanh: bool) -> Answer:
    """By the code that acts in training, not by the module that is exported."""
    head, deviation = raw[:, : layout.size], raw[:, layout.size :]
    continuous = mode(layout, head, allowed, squash=tanh)[:, : layout.continuous]
    logit = head[:, layout.continuous :].masked_fill(allowed == 0, -torch.inf)
    quantiles = list[np.ndarray]()
    if deviation.shape[1]:
        for above, _ in QUANTILES:
            point = head[:, : layout.continuous] + above * deviation
            quantiles.append(_bounded(point, tanh).numpy())
    return Answer(continuous.numpy(), logit.numpy(), quantiles, memory.numpy())


def _some_allowed(layout: ActionLayout, batch: int) -> Tensor:
    """[batch, choices] of 0 and 1: about half of the choices, and at least one in every branch."""
    generator = torch.Generator("cpu").manual_seed(batch)
    allowed = (torch.rand(batch, layout.num_choices, generator=generator) < 0.5).float()
    start = 0
    for size in layout.branches:
        allowed[torch.arange(batch), start + torch.arange(batch) % size] = 1.0
        start += size
    return allowed


def _write(data: bytes, path: Path) -> None:
    """A crash, or Unity reading meanwhile, never meets half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        part.write_bytes(data)
        patiently(os.replace, part, path)
    finally:
        part.unlink(missing_ok=True)
