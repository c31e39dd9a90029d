"""A scene from a stranger: what it says of itself neither becomes a file elsewhere nor more memory than there is."""

import os
import sys
from collections import Counter
from pathlib import Path

import pytest
from mlagents.plugins.trainer_type import register_trainer_plugins
from mlagents.trainers.environment_parameter_manager import EnvironmentParameterManager
from mlagents.trainers.exception import TrainerConfigError, UnityTrainerException
from mlagents.trainers.settings import RunOptions, TrainerSettings
from mlagents.trainers.stats import StatsReporter, StatsSummary, TensorboardWriter
from mlagents.trainers.trainer import TrainerFactory
from mlagents_envs.base_env import (
    ActionSpec,
    BehaviorSpec,
    DimensionProperty,
    ObservationSpec,
    ObservationType,
)
from mlagents_envs.side_channel.stats_side_channel import StatsAggregationMethod

from mlagents_marl_plugin.adapter.scene_limits import check_sizes
from mlagents_marl_plugin.player.legacy.python_side import PythonSide
from mlagents_marl_plugin.tools.watch_page import WatchPage
from tests.contract.playing import listening
from tests.unit.conftest import host_state  # noqa: F401

register_trainer_plugins()
pytestmark = pytest.mark.usefixtures("host_state")

NAMES = ["../evil", "../../evil", "/evil", "a/b", "a\\b", "C:evil", "..", "", " ", "a\x00b", "x" * 300]


@pytest.mark.parametrize("name", NAMES)
def test_a_behaviours_name_cannot_leave_the_results(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ``default_settings`` the host makes a trainer for whatever name a scene comes up with."""
    monkeypatch.setattr(TrainerSettings, "default_override", None)  # the host keeps it for the whole process
    StatsReporter.add_writer(TensorboardWriter(str(tmp_path / "results" / "run")))
    options = RunOptions.from_dict({"default_settings": {"trainer_type": "maddpg"}})
    factory = TrainerFactory(
        trainer_config=options.behaviors,
        output_path=str(tmp_path / "results" / "run"),
        train_model=True,
        load_model=False,
        seed=1,
        param_manager=EnvironmentParameterManager(),
        multi_gpu=False,
    )
    with pytest.raises(TrainerConfigError, match="^behaviors: expected a name of at most 100 characters"):
        factory.generate(name)
    assert not list(tmp_path.rglob("*"))


def spec(observation: int = 4, actions: ActionSpec | None = None) -> BehaviorSpec:
    sensor = ObservationSpec((observation,), (DimensionProperty.NONE,), ObservationType.DEFAULT, "huge")
    return BehaviorSpec([sensor], actions or ActionSpec.create_continuous(2))


@pytest.mark.parametrize(
    ("behavior", "message"),
    [
        (spec(2**31 - 1), "expected at most 1048576 observations of an agent, got 2147483647"),
        (spec(-4), "expected at most 1048576 observations of an agent, got -4"),
        (
            spec(actions=ActionSpec(2**31 - 1, ())),
            "expected at most 4096 continuous actions of an agent, got",
        ),
        (
            spec(actions=ActionSpec(0, (2**30, 2**30))),
            "expected at most 4096 discrete choices of an agent, got",
        ),
    ],
)
def test_sizes_that_no_memory_holds_are_refused(behavior: BehaviorSpec, message: str) -> None:
    with pytest.raises(UnityTrainerException, match=f"^behaviors.Ball: {message}"):
        check_sizes("Ball", behavior)


def test_a_statistics_key_is_no_path(tmp_path: Path) -> None:
    folder = tmp_path / "results" / "run"
    writer = TensorboardWriter(str(folder))
    for key in ("../../../evil", "/evil", "a\\b"):
        summary = StatsSummary([1.0, 2.0], StatsAggregationMethod.HISTOGRAM)
        writer.write_stats("Counter", {key: summary}, 1)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 1
    assert written[0].parent == folder / "Counter"


class TestServersOfOurs:
    """The host's own listens everywhere, see docs/faults.md; the player has none, see test_players.py."""

    # Elsewhere a process cannot look up its own sockets.
    __test__ = sys.platform == "linux"

    def test_only_this_machine_can_call_them(self) -> None:
        before = Counter(listening(os.getpid()))
        bridge, page = PythonSide(), WatchPage(0, "Tennis")
        addresses = Counter(listening(os.getpid())) - before
        bridge.close()
        page.end("over")
        assert addresses.total() >= 2
        mapped, v6 = "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"
        assert addresses.keys() <= {"0100007F", mapped, v6}, "127.0.0.1, the same as IPv6 writes it, and ::1"
