"""From the raw output of a network to an encoded action, and from there to what the host sends to Unity.

An encoded action holds the continuous values in [-1, 1], then a one-hot vector per discrete branch; its width
is ``layout.size``. ``raw`` is what a network's head puts out, equally wide: values before tanh, then one
logit per choice. ``allowed`` says which choices are permitted, [..., num_choices] as bool or 0/1; width 0
permits everything. Unity never forbids a whole branch, but a padded row may: such a branch counts as wholly
permitted, so that its result stays finite.

Nothing here waits for the device or depends on the data for its shapes, so all of it can be captured in a
CUDA graph.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from mlagents_marl_plugin.core.types import ActionLayout


def mode(layout: ActionLayout, raw: Tensor, allowed: Tensor, squash: bool = True) -> Tensor:
    """The greedy action: tanh, and the permitted choice with the largest logit in every branch.

    Args:
        raw: [..., layout.size].
        allowed: [..., num_choices] or [..., 0].
        squash: whether continuous values are bounded by tanh, or by cutting them off at -1 and 1.

    Returns:
        [..., layout.size] encoded action. Only its continuous part carries a gradient.
    """
    if not squash:
        values = raw[..., : layout.continuous].clamp(-1.0, 1.0)
        if not layout.branches:
            return values
        score = forbid(layout, raw[..., layout.continuous :], allowed)
        return torch.cat([values, *(_one_hot_of_largest(branch) for branch in by_branch(layout, score))], -1)
    return _assemble(layout, raw, forbid(layout, raw[..., layout.continuous :], allowed), _one_hot_of_largest)


def sample(
    layout: ActionLayout, raw: Tensor, allowed: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """A draw from the policy: tanh without noise (that is exploration's), and a categorical draw per branch.

    The draw is the Gumbel-max trick: the largest of ``logit + Gumbel noise`` is distributed as the softmax.

    Args:
        raw: [..., layout.size].
        allowed: [..., num_choices] or [..., 0].
        generator: on the device of ``raw``.

    Returns:
        [..., layout.size] encoded action. Only its continuous part carries a gradient.
    """
    if not layout.branches:
        return torch.tanh(raw)
    logit = raw[..., layout.continuous :]
    score = forbid(layout, logit + _gumbel(logit, generator), allowed)
    return _assemble(layout, raw, score, _one_hot_of_largest)


def relaxed(
    layout: ActionLayout,
    raw: Tensor,
    allowed: Tensor,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """A draw with a gradient: tanh, and straight-through Gumbel-softmax in every branch.

    The value of a branch is the exact one-hot vector of ``argmax(logit + g)``, its gradient that of
    ``softmax((logit + g) / temperature)``. A forbidden choice has probability and gradient exactly 0.

    Args:
        raw: [..., layout.size].
        allowed: [..., num_choices] or [..., 0].
        temperature: above 0; small values come closer to the true draw and make the gradient noisier.
        generator: on the device of ``raw``.

    Returns:
        [..., layout.size] encoded action.

    Source: Jang et al. 2017, eq. 2 and section 2.2, https://arxiv.org/abs/1611.01144
    """
    if not layout.branches:
        return torch.tanh(raw)
    logit = raw[..., layout.continuous :]
    score = forbid(layout, (logit + _gumbel(logit, generator)) / temperature, allowed)
    return _assemble(layout, raw, score, _straight_through)


def relaxed_with_pullback(
    layout: ActionLayout,
    raw: Tensor,
    allowed: Tensor,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """`relaxed`, and the function that turns a gradient by the action into the gradient by ``raw``.

    For networks that are differentiated by hand. Without branches it is ``gradient * (1 - action^2)``, which costs
    less written out than autograd's record of it.
    """
    if not layout.branches:
        action = torch.tanh(raw)
        return action, lambda gradient: gradient * (1.0 - action.square())
    with torch.enable_grad():
        leaf = raw.detach().requires_grad_()
        recorded = relaxed(layout, leaf, allowed, temperature, generator)
    return recorded.detach(), lambda gradient: torch.autograd.grad(recorded, leaf, gradient)[0]


def uniform(
    layout: ActionLayout,
    allowed: Tensor,
    shape_prefix: tuple[int, ...],
    generator: torch.Generator | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Actions uniform over [-1, 1] and over the permitted choices of every branch.

    Args:
        allowed: [*shape_prefix, num_choices], or width 0.
        shape_prefix: the shape without the action's own axis.
        generator, device: the generator's device; ``device`` defaults to that of ``allowed``.

    Returns:
        [*shape_prefix, layout.size] encoded action.
    """
    device = allowed.device if device is None else device
    continuous = torch.rand(*shape_prefix, layout.continuous, generator=generator, device=device) * 2 - 1
    if not layout.branches:
        return continuous
    logit = torch.zeros(*shape_prefix, layout.num_choices, device=device)
    score = forbid(layout, _gumbel(logit, generator), allowed)
    return torch.cat([continuous, *(_one_hot_of_largest(s) for s in by_branch(layout, score))], -1)


def to_host(layout: ActionLayout, encoded: Tensor) -> tuple[Tensor, Tensor]:
    """An encoded action as the host sends it: the values, and the index of the choice in every branch.

    Args:
        encoded: [R, layout.size].

    Returns:
        continuous [R, C] float32 and discrete [R, K] int32, on the device of ``encoded``.
    """
    continuous = encoded[..., : layout.continuous].float()
    if not layout.branches:
        return continuous, encoded.new_empty((*encoded.shape[:-1], 0), dtype=torch.int32)
    one_hot = by_branch(layout, encoded[..., layout.continuous :])
    return continuous, torch.stack([branch.argmax(-1) for branch in one_hot], -1).int()


def encode(layout: ActionLayout, continuous: Tensor, discrete: Tensor) -> Tensor:
    """The encoded action of the host's values and indices; the inverse of `to_host`.

    Args:
        continuous: [R, C] in [-1, 1].
        discrete: [R, K] whole numbers.

    Returns:
        [R, layout.size] float32.

    Raises:
        ValueError: if a width differs from the layout, or (checked on the CPU only, where it costs no wait)
            an index lies outside its branch.
    """
    expected = (layout.continuous, len(layout.branches))
    if (continuous.shape[-1], discrete.shape[-1]) != expected:
        raise ValueError(
            f"encode: expected {expected[0]} continuous values and {expected[1]} branches, "
            f"got {continuous.shape[-1]} and {discrete.shape[-1]}; pass the actions of this behaviour"
        )
    parts = [continuous.float()]
    for branch, num_choices in enumerate(layout.branches):
        index = discrete[..., branch, None]
        if index.device.type == "cpu" and bool(((index < 0) | (index >= num_choices)).any()):
            raise ValueError(
                f"encode: expected choices 0 to {num_choices - 1} in branch {branch}, "
                f"got {int(index.min())} to {int(index.max())}; pass the actions of this behaviour"
            )
        parts.append((index == torch.arange(num_choices, device=index.device)).float())
    return torch.cat(parts, -1)


def _assemble(layout: ActionLayout, raw: Tensor, score: Tensor, choose: Callable[[Tensor], Tensor]) -> Tensor:
    if not layout.branches:
        return torch.tanh(raw)
    chosen = [choose(branch) for branch in by_branch(layout, score)]
    return torch.cat([torch.tanh(raw[..., : layout.continuous]), *chosen], -1)


def by_branch(layout: ActionLayout, choices: Tensor) -> tuple[Tensor, ...]:
    """What belongs to choices [..., num_choices], branch by branch."""
    return torch.split(choices, list(layout.branches), -1)


def forbid(layout: ActionLayout, score: Tensor, allowed: Tensor) -> Tensor:
    """Scores with forbidden choices at the lowest finite number, which softmax turns into an exact 0."""
    if not layout.branches or allowed.shape[-1] == 0:
        return score
    permitted = allowed.bool()
    permitted = torch.cat([b | ~b.any(-1, keepdim=True) for b in by_branch(layout, permitted)], -1)
    return score.masked_fill(~permitted, torch.finfo(score.dtype).min)


def _gumbel(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard Gumbel noise, ``-log(E)`` of an exponential draw, finite in every case."""
    exponential = torch.empty_like(like, requires_grad=False).exponential_(generator=generator)
    return -exponential.clamp_min_(torch.finfo(like.dtype).tiny).log_()


def _one_hot_of_largest(score: Tensor) -> Tensor:
    return torch.zeros_like(score).scatter_(-1, score.argmax(-1, keepdim=True), 1.0)


def _straight_through(score: Tensor) -> Tensor:
    soft = score.softmax(-1)
    # (soft - soft) is exactly 0, so the value stays an exact one-hot vector.
    return _one_hot_of_largest(score.detach()) + (soft - soft.detach())
