"""``--torch-device`` reaches the learner to the index; tests/gpu shows that everything stays there."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mlagents_marl_plugin.algorithms import ALGORITHMS
from tests.unit.trainer_runs import start

pytestmark = pytest.mark.usefixtures("host_state")


class LearnerIsMade(Exception):
    """As far as a machine without the device gets."""


@pytest.mark.parametrize("asked", ["cpu", "cuda", "cuda:1", "mps"])
@pytest.mark.parametrize("trainer_type", ["maddpg", "mappo"])
def test_c20_the_learner_is_made_on_the_device_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trainer_type: str, asked: str
) -> None:
    """Whatever torch's own default device is, which knows no index and differs from thread to thread."""
    given = []

    def make(*_: Any, device: torch.device, **__: Any) -> None:
        given.append(device)
        raise LearnerIsMade

    monkeypatch.setitem(ALGORITHMS, trainer_type, replace(ALGORITHMS[trainer_type], learner=make))
    monkeypatch.setattr(sys.modules["mlagents.torch_utils.torch"], "_device", torch.device(asked))
    with pytest.raises(LearnerIsMade):
        start(tmp_path, trainer_type=trainer_type)
    assert given == [torch.device(asked)]
