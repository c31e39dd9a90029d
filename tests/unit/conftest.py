"""Fixtures for tests that run trainers inside the host's controller; the pure tests' modules stay without the host."""

import importlib
import logging

import pytest


@pytest.fixture
def host_state():
    """The host keeps its list of checkpoints and its writers of statistics for the whole process."""
    from mlagents.trainers.stats import StatsReporter
    from mlagents.trainers.training_status import GlobalTrainingStatus

    GlobalTrainingStatus.saved_state.clear()
    writers = list(StatsReporter.writers)
    yield
    StatsReporter.writers[:] = writers


@pytest.fixture
def printed(caplog, monkeypatch):
    """What our trainers log."""
    for name in ("marl_trainer", "metrics", "model_files", "off_policy_trainer", "saving", "state_sensor"):
        module = importlib.import_module(f"mlagents_marl_plugin.adapter.{name}")
        monkeypatch.setattr(module, "logger", logging.getLogger("marl.test"))
    caplog.set_level(logging.INFO, "marl.test")
    return caplog
