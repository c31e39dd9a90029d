"""A repeated training command goes on, or starts beside; it neither dies nor overwrites."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mlagents_marl_plugin.tools.next_run import main, next_run

YAML = """
behaviors:
  Tennis: {trainer_type: maddpg, max_steps: 1.0e3}
checkpoint_settings: {run_id: court}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tennis.yaml"
    path.write_text(YAML)
    return path


def save(results: Path, run: str, *files: str) -> None:
    (results / run / "Tennis").mkdir(parents=True, exist_ok=True)
    for name in files:
        (results / run / "Tennis" / name).touch()


def test_the_first_run_takes_the_id_of_the_yaml(config: Path, tmp_path: Path) -> None:
    assert next_run(config, tmp_path / "results") == (["--run-id=court"], "")


def test_without_an_id_the_file_names_the_run(tmp_path: Path) -> None:
    config = tmp_path / "tennis.yaml"
    config.write_text("behaviors: {Tennis: }")
    assert next_run(config, tmp_path).arguments == ["--run-id=tennis"]


def test_a_stopped_run_is_resumed(config: Path, tmp_path: Path) -> None:
    save(tmp_path, "court", "checkpoint.pt", "Tennis-999.pt")
    arguments, reason = next_run(config, tmp_path)
    assert arguments == ["--run-id=court", "--resume"]
    assert "going on" in reason


def test_a_run_that_saved_nothing_starts_anew(config: Path, tmp_path: Path) -> None:
    save(tmp_path, "court")
    assert next_run(config, tmp_path).arguments == ["--run-id=court", "--force"]


def test_a_finished_run_is_kept_and_another_trained_beside_it(config: Path, tmp_path: Path) -> None:
    save(tmp_path, "court", "checkpoint.pt", "Tennis-500.pt", "Tennis-1001.pt", "Tennis-best.pt")
    arguments, reason = next_run(config, tmp_path)
    assert arguments == ["--run-id=court_2"]
    assert "finished" in reason

    save(tmp_path, "court_2", "checkpoint.pt", "Tennis-400.pt")
    assert next_run(config, tmp_path).arguments == ["--run-id=court_2", "--resume"]

    save(tmp_path, "court_2", "Tennis-1000.pt")
    assert next_run(config, tmp_path).arguments == ["--run-id=court_3"]


def test_a_run_with_two_behaviours_has_finished_when_both_have(tmp_path: Path) -> None:
    config = tmp_path / "two.yaml"
    config.write_text("behaviors: {Tennis: {max_steps: 10}, Other: {max_steps: 10}}")
    save(tmp_path, "two", "checkpoint.pt", "Tennis-10.pt")
    assert next_run(config, tmp_path).arguments == ["--run-id=two", "--resume"]


STOPPING = "behaviors: {Tennis: {hyperparameters: {stop_when: {threshold: 0.5}}}}"


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({"stopped_at": None}, "--run-id=court --resume"),
        ({"stopped_at": 0.5}, "--run-id=court_2"),
        ({"stopped_at": 0.4}, "--run-id=court --resume"),
        ({"stopped_at": 0.5, "stop_metric": "score"}, "--run-id=court_2"),
        ({"stopped_at": 0.5, "stop_metric": "episode_length"}, "--run-id=court --resume"),
    ],
    ids=["interrupted", "stopped", "at a lower threshold", "by the same metric", "by another metric"],
)
def test_a_run_that_met_its_own_criterion_has_finished(
    tmp_path: Path, scores: dict[str, Any], expected: str
) -> None:
    config = tmp_path / "court.yaml"
    config.write_text(STOPPING)
    save(tmp_path, "court")
    torch.save({"scores": scores}, tmp_path / "court" / "Tennis" / "checkpoint.pt")
    assert " ".join(next_run(config, tmp_path).arguments) == expected


def test_what_is_wrong_with_a_checkpoint_is_left_to_the_resumed_run(tmp_path: Path) -> None:
    config = tmp_path / "court.yaml"
    config.write_text(STOPPING)
    save(tmp_path, "court", "checkpoint.pt")
    assert next_run(config, tmp_path).arguments == ["--run-id=court", "--resume"]


def test_arguments_and_reason_go_to_different_streams(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path, "court", "checkpoint.pt")
    assert main([str(config), "--results", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert printed.out == "--run-id=court --resume\n"
    assert "going on" in printed.err


def test_a_missing_yaml_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "tenis.yaml")]) == 2
    assert "tenis.yaml" in capsys.readouterr().err
