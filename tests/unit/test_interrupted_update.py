"""Ctrl+C in the middle of an update that takes long, with ``threaded: true``: the host saves while it goes on."""

import copy
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from mlagents_marl_plugin.adapter import checkpoint
from mlagents_marl_plugin.tools.onnx_player import OnnxPolicy
from tests.unit.simulated_host import Run, options
from tests.unit.trainer_runs import assert_same, manager, small

pytestmark = pytest.mark.usefixtures("host_state")

PATIENCE = 60


class LongUpdate:
    """A learner's first update: half of it is done when Ctrl+C comes, and it goes on once the host saves.

    Attributes:
        states: of the learner, by the number of updates.
        saved_within: whether the host had saved before the update was over.
    """

    def __init__(self) -> None:
        self.states: dict[int, Any] = {}
        self.saved_within: bool | None = None
        self._begun, self._saving, self._saved = threading.Event(), threading.Event(), threading.Event()

    def watch(self, trainer: Any) -> None:
        """At every step of the scene, in the main thread."""
        if self._begun.is_set():
            raise KeyboardInterrupt
        if trainer.learner is not None and "update" not in vars(trainer.learner):
            self._take_over(trainer)

    def _take_over(self, trainer: Any) -> None:
        learner, update, save = trainer.learner, trainer.learner.update, trainer.save_model

        def long_update(batch: Any) -> None:
            if not self._begun.is_set():
                for part in learner.critic.nets:
                    part.parameters.data.add_(1.0)
                self._begun.set()
                assert self._saving.wait(PATIENCE)
                self.saved_within = self._saved.wait(0.3)
            update(batch)
            self.states[trainer.updates + 1] = copy.deepcopy(learner.state_dict())

        def save_model() -> None:
            self._saving.set()
            save()
            self._saved.set()

        learner.update, trainer.save_model = long_update, save_model


@pytest.mark.parametrize("trainer_type", ["matd3", "mappo"])
def test_c91_ctrl_c_in_a_long_update_leaves_a_whole_checkpoint(tmp_path: Path, trainer_type: str) -> None:
    scene, long = manager(), LongUpdate()
    behavior = {"max_steps": 10**6, "threaded": True}
    run = Run(tmp_path, options("Counter", trainer_type, small(trainer_type), behavior), scene)
    scene.on_step = lambda: long.watch(run.trainer)
    run.start()
    assert long.saved_within is False
    saved = checkpoint.read(str(tmp_path / "Counter" / checkpoint.LAST), torch.device("cpu"))
    assert saved["updates"] in long.states
    assert_same(saved["learner"], long.states[saved["updates"]])
    assert OnnxPolicy(tmp_path / "Counter.onnx").continuous_size == 2
