"""A short run with one player through the real mlagents-learn: what it tells, why it stops, what repeats."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from mlagents.utils import push_to_hf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mlagents_marl_plugin.adapter import checkpoint
from mlagents_marl_plugin.tools.onnx_player import OnnxPolicy
from tests.contract.host import free_port, launcher, learn, write_config

PAGE = Path(__file__).resolve().parents[2] / "docs" / "algorithms" / "maddpg.md"
STATISTICS = ("Counter/Episode Length",)  # what the scene sends through Unity's StatsRecorder
SETTINGS = {
    "batch_size": 16,
    "buffer_size": 5_000,
    "buffer_init_steps": 100,
    "steps_per_update": 8,
    "share_actor": "separate",
    "slots_by": "order",
    "solved_when": {"metric": "episode_length", "window": 5, "threshold": 2},
    "stop_when": {"metric": "episode_length", "window": 60, "threshold": 6},
}


def run(folder: Path, hyperparameters: dict[str, Any], *options: str, scene: tuple[str, ...] = ()) -> str:
    config = write_config(
        folder, "Counter", "maddpg", hyperparameters, {"max_steps": 100_000, "summary_freq": 200}
    )
    return learn(
        folder,
        str(config),
        f"--env={launcher(folder, 'Counter')}",
        f"--base-port={free_port()}",
        *options,
        "--env-args",
        "--group-ids",
        *scene,
    )


def weights(folder: Path, run_id: str) -> dict[str, torch.Tensor]:
    """Of the actors, with their optimiser's state."""
    saved = checkpoint.read(
        str(folder / "results" / run_id / "Counter" / checkpoint.LAST), torch.device("cpu")
    )
    return {**saved["learner"]["actor"], **saved["learner"]["actor_optimiser"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("once")


@pytest.fixture(scope="module")
def stopped(folder: Path) -> str:
    """A run that ends by ``stop_when``."""
    return run(folder, SETTINGS, "--seed=5")


def test_it_says_once_that_the_task_is_solved_and_ends_when_asked(folder: Path, stopped: str) -> None:
    assert stopped.count("Counter: solved at episode 5 (step ") == 1
    assert stopped.count("Counter: stop_when reached at episode 60 (step ") == 1
    for slot in ("", "-slot1"):
        assert OnnxPolicy(folder / "results" / "run" / f"Counter{slot}.onnx").continuous_size == 2
    status = json.loads((folder / "results" / "run" / "run_logs" / "training_status.json").read_text())
    assert Path(status["Counter"]["final_checkpoint"]["file_path"]) == Path("results/run/Counter.onnx")


def documented(page: Path) -> dict[str, str]:
    """The tags of the page's table of metrics, with their patterns: ``Slot k`` stands for any number."""
    table = page.read_text(encoding="utf-8").split("## Metrics")[1].split("\n## ")[0]
    cells = re.findall(r"^\| ([A-Z][\w ]*/[^|]+) \|", table, flags=re.MULTILINE)
    found: dict[str, str] = {}
    for cell in cells:
        category = ""
        for name in cell.strip().split(", "):
            category = name.split("/")[0] if "/" in name else category
            tag = name if "/" in name else f"{category}/{name}"
            found[tag] = re.escape(tag).replace(r"Slot\ k", r"Slot\ \d") + r"( Slot \d)?"
    return found


def test_tensorboard_has_the_tags_that_the_page_lists_and_no_others(folder: Path, stopped: str) -> None:
    events = EventAccumulator(str(folder / "results" / "run" / "Counter")).Reload()
    by_host_and_scene = {"Step", "Is Training", *STATISTICS}
    tags = [tag for tag in events.Tags()["scalars"] if tag not in by_host_and_scene]
    patterns = documented(PAGE)
    assert len(patterns) > 30
    assert [tag for tag, pattern in patterns.items() if not any(re.fullmatch(pattern, t) for t in tags)] == []
    assert [tag for tag in tags if not any(re.fullmatch(pattern, tag) for pattern in patterns.values())] == []
    assert all(np.isfinite(point.value) for tag in tags for point in events.Scalars(tag))
    for tag in STATISTICS:
        assert 3 <= min(point.value for point in events.Scalars(tag)) <= 12, "as the scene sent it"


def test_c32_c34_c78_a_run_leaves_the_files_that_users_look_for(folder: Path, stopped: str) -> None:
    results = folder / "results" / "run"
    for name in ("Counter.onnx", "Counter/checkpoint.pt", "configuration.yaml"):
        assert (results / name).is_file(), name
    (last,) = (path for path in (results / "Counter").glob("Counter-*.pt"))
    assert last.with_suffix(".onnx").is_file()
    assert list((results / "Counter").glob("events.out.tfevents.*"))
    timers = (results / "run_logs" / "timers.json").read_text()
    for block in ("OffPolicyMarlTrainer._update_policy", "process_trajectory", "assemble"):
        assert f'"{block}"' in timers, block
    status = json.loads((results / "run_logs" / "training_status.json").read_text())
    assert status["metadata"]["torch_version"] == torch.__version__
    assert [entry["steps"] for entry in status["Counter"]["checkpoints"]]


def test_c77_what_is_pushed_to_the_hub_is_there(
    folder: Path, stopped: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of the host's command but the upload."""
    uploaded = {}

    class Hub:
        def create_repo(self, **_: Any) -> str:
            return "https://hub/team/counter"

        def upload_folder(self, folder_path: Path, **_: Any) -> str:
            uploaded.update({path.name: path for path in Path(folder_path).rglob("*")})
            return "https://hub/team/counter"

    monkeypatch.setattr(push_to_hf, "HfApi", Hub)
    monkeypatch.setattr(push_to_hf, "metadata_save", lambda *_: None)
    push_to_hf.package_to_hub(
        "run", folder / "results" / "run", "team/counter", "a test", "configuration.yaml"
    )
    assert {
        "Counter.onnx",
        "checkpoint.pt",
        "README.md",
        "config.json",
        "training_status.json",
    } <= uploaded.keys()
    assert "**maddpg** Agent playing **Counter**" in uploaded["README.md"].read_text()


def test_the_same_seed_gives_the_same_weights_and_force_begins_at_zero(folder: Path, stopped: str) -> None:
    before = weights(folder, "run")
    model = (folder / "results" / "run" / "Counter.onnx").read_bytes()
    left = folder / "results" / "run" / "Counter" / "Counter-123456.pt"
    left.touch()
    printed = run(folder, SETTINGS, "--seed=5", "--force")
    assert printed.count("Counter: stop_when reached at episode 60 (step ") == 1
    after = weights(folder, "run")
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert (folder / "results" / "run" / "Counter.onnx").read_bytes() == model
    assert not left.exists()


def test_a_run_initialised_from_another_begins_with_its_actors_and_deterministic_adds_no_noise(
    folder: Path, stopped: str
) -> None:
    events = folder / "events.jsonl"
    quiet = {
        **SETTINGS,
        "buffer_init_steps": 10_000_000,
        "stop_when": {**SETTINGS["stop_when"], "window": 10},
    }
    options = ("--run-id=second", "--initialize-from=run", "--deterministic", "--seed=6")
    printed = run(folder, quiet, *options, scene=("--event-log", str(events)))
    assert "Initializing from results/run/Counter/checkpoint.pt." in printed
    assert "Resuming" not in printed
    (log,) = folder.glob("events-*.jsonl")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(lines) > 50
    for slot in ("", "-slot1"):
        actor = OnnxPolicy(folder / "results" / "run" / f"Counter{slot}.onnx")
        mine = [line for line in lines if line["obs"][0][1] == (1 if slot else 0)]
        seen = np.array([line["obs"][0] for line in mine], np.float32)
        np.testing.assert_allclose([line["continuous"] for line in mine], actor.act([seen])[0], atol=1e-5)


def test_ours_and_the_hosts_ppo_train_side_by_side(tmp_path: Path) -> None:
    ours = {"buffer_init_steps": 100, "batch_size": 16, "steps_per_update": 20}
    config = write_config(tmp_path, "Counter", "maddpg", ours)
    used = yaml.safe_load(config.read_text())
    used["behaviors"]["CounterB"] = {
        **used["behaviors"]["Counter"],
        "trainer_type": "ppo",
        "hyperparameters": {"batch_size": 32, "buffer_size": 256, "num_epoch": 1},
    }
    config.write_text(yaml.safe_dump(used))
    build = launcher(tmp_path, "Counter")
    scene = ("--env-args", "--roles", "--agents=4")
    printed = learn(tmp_path, str(config), f"--env={build}", f"--base-port={free_port()}", *scene)
    for name in ("Counter", "CounterB"):
        assert f"{name}. Step: 1000." in printed
        events = EventAccumulator(str(tmp_path / "results" / "run" / name)).Reload()
        assert events.Scalars("Losses/Value Loss"), name
    assert OnnxPolicy(tmp_path / "results" / "run" / "Counter.onnx").observation_shapes == ((4,),)
    assert OnnxPolicy(tmp_path / "results" / "run" / "CounterB.onnx").observation_shapes == ((6,),)
