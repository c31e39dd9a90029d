"""What a scene forbids is never done: a million choices in training, in evaluation, and by the exported file."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mlagents_marl_plugin.tools.onnx_player import OnnxPolicy
from tests.unit.trainer_runs import build, manager, start

pytestmark = pytest.mark.usefixtures("host_state")

BRANCHES = (3, 2, 5, 4)
ROWS = 250_000  # times 4 branches


def masks() -> torch.Tensor:
    """[ROWS, choices] 0/1; about half of the choices, and at least one in every branch."""
    generator = torch.Generator().manual_seed(7)
    parts = []
    for size in BRANCHES:
        allowed = torch.rand(ROWS, size, generator=generator) < 0.4
        parts.append(allowed.scatter_(1, torch.randint(size, (ROWS, 1), generator=generator), True))
    return torch.cat(parts, 1).float()


@pytest.mark.parametrize("trainer_type", ["matd3", "mappo", "qmix"])
def test_c57_a_forbidden_choice_is_never_made_in_a_million(tmp_path: Path, trainer_type: str) -> None:
    """Of the three ways to act (noise, random choices now and then, draws), after some learning."""
    scene = {"continuous": 0, "branches": BRANCHES, "masks": True}
    settings = {"trainer_type": trainer_type, "behavior": {"max_steps": 200}}
    training = start(tmp_path, scene=manager(**scene), **settings).trainer
    evaluating = build(tmp_path, scene=manager(**scene), load=True, train=False, **settings)
    allowed, rows = masks(), torch.arange(ROWS)
    obs = 100 * torch.randn(
        ROWS, 4, generator=torch.Generator().manual_seed(1)
    )  # far from what was learnt from
    for trainer in (training, evaluating):
        action = trainer.acting(obs, allowed, rows % 2, rows % 4).action
        assert torch.equal(action.sum(1), torch.full((ROWS,), 4.0)), "one of every branch"
        assert not (action * (1 - allowed)).any()
    file, first = OnnxPolicy(tmp_path / "Counter.onnx"), np.cumsum((0, *BRANCHES[:-1]))
    for deterministic in (False, True):
        _, choice = file.act([obs.numpy()], allowed.numpy(), deterministic)
        assert np.take_along_axis(allowed.numpy(), choice + first, 1).all()
