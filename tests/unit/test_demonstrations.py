"""Demonstrations: from Unity's files to steps of groups in a replay, and what trainers make of them."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlagents.trainers.demo_loader import load_demonstration, write_demo
from mlagents.trainers.exception import TrainerConfigError, UnityTrainerException
from mlagents_envs.base_env import BehaviorSpec
from mlagents_envs.communicator_objects.brain_parameters_pb2 import BrainParametersProto
from mlagents_envs.communicator_objects.demonstration_meta_pb2 import DemonstrationMetaProto

from mlagents_marl_plugin.adapter.demo_files import read_demo
from mlagents_marl_plugin.core.types import Batch
from mlagents_marl_plugin.tools.record import RecordError, Recording
from tests.unit.demo_records import record
from tests.unit.trainer_runs import assert_same, assert_same_next_update, build, manager, start

pytestmark = pytest.mark.usefixtures("host_state")
HYBRID = {"continuous": 1, "branches": (3, 2), "masks": True, "echo": True}
SLOTS = ["area-0/slot-00.demo", "area-0/slot-01.demo"]


def files(folder: Path) -> list[Path]:
    return [folder / "Counter" / name for name in SLOTS]


def shown(
    folder: Path, trainer_type: str = "masac", hyper: dict[str, Any] | None = None, **scene: Any
) -> Any:
    """A trainer that begins with demonstrations and has played nothing."""
    hyper = {"demonstrations": str(folder), **(hyper or {})}
    return build(folder.with_name("run"), trainer_type=trainer_type, scene=manager(**scene), hyper=hyper)


# --- files ------------------------------------------------------------------------------------------


def test_an_action_is_what_was_done_after_the_observation(tmp_path):
    """The scene echoes an action in the next observation, and tells what it had forbidden."""
    lines, spec = record(tmp_path, **HYBRID)
    truth = {tuple(line["obs"][:4]): line for line in lines}
    compared = interrupted = 0
    for file in files(tmp_path):
        for episode in read_demo(file, spec):
            for step, obs in enumerate(episode.obs[:-1]):
                line = truth[tuple(obs[:4].tolist())]
                continuous, discrete = line["continuous"], line["discrete"]
                chosen = [*np.eye(3)[discrete[0]], *np.eye(2)[discrete[1]]]
                assert episode.action[step].tolist() == pytest.approx([*continuous, *chosen])
                assert episode.allowed[step] @ chosen == 2
                assert episode.allowed[step].sum() == 3
                assert episode.obs[step + 1].tolist() == pytest.approx(line["next_obs"])
                assert episode.obs[step + 1, 4:].tolist() == pytest.approx([*continuous, *discrete])
                assert episode.reward[step] == pytest.approx(line["reward"])
                over = step + 1 == len(episode.action)
                assert (over and episode.terminated) == (line["done"] and not line["interrupted"])
                compared, interrupted = compared + 1, interrupted + bool(line["interrupted"])
    assert compared > 60
    assert interrupted > 2


def test_files_are_those_that_the_host_reads_too(tmp_path):
    lines, spec = record(tmp_path, **HYBRID)
    read, pairs, total = load_demonstration(str(files(tmp_path)[0]))
    assert (read.observation_specs, read.action_spec) == (spec.observation_specs, spec.action_spec)
    assert len(pairs) == total == 40 + sum(pair.agent_info.done for pair in pairs)
    assert total < len(lines)


def write(path: Path, spec: BehaviorSpec, pairs: list[Any]) -> None:
    """A file by the host's own writer."""
    brain = BrainParametersProto()
    brain.action_spec.num_continuous_actions = spec.action_spec.continuous_size
    brain.action_spec.num_discrete_actions = spec.action_spec.discrete_size
    brain.action_spec.discrete_branch_sizes.extend(spec.action_spec.discrete_branches)
    write_demo(str(path), DemonstrationMetaProto(api_version=1, number_steps=len(pairs)), brain, pairs)


@pytest.mark.parametrize("scene", [{"continuous": 2}, {"continuous": 0, "branches": (3, 2)}])
def test_the_actions_of_old_recordings_are_read(tmp_path, scene):
    _, spec = record(tmp_path, **scene)
    path = files(tmp_path)[0]
    before = read_demo(path, spec)
    _, pairs, _ = load_demonstration(str(path))
    for pair in pairs:
        info = pair.action_info
        info.vector_actions_deprecated.extend([*info.continuous_actions, *info.discrete_actions])
        del info.continuous_actions[:], info.discrete_actions[:]
    write(path, spec, pairs)
    assert len(before) > 3
    for one, other in zip(before, read_demo(path, spec), strict=True):
        assert np.array_equal(one.action, other.action)


def test_values_beyond_what_unity_takes_are_cut_and_empty_episodes_left_out(tmp_path):
    _, spec = record(tmp_path)
    path = files(tmp_path)[0]
    _, pairs, _ = load_demonstration(str(path))
    done = next(i for i, pair in enumerate(pairs) if pair.agent_info.done)
    pairs[1].action_info.continuous_actions[0] = 3.0
    number = len(read_demo(path, spec))
    write(path, spec, [*pairs[: done + 1], pairs[done], *pairs[done + 1 :]])
    episodes = read_demo(path, spec)
    assert len(episodes) == number
    assert episodes[0].action[0, 0] == 1.0


def test_a_file_that_is_none_is_refused(tmp_path):
    _, spec = record(tmp_path)
    path = files(tmp_path)[0]
    whole = path.read_bytes()
    for content in (b"", b"not a recording" * 9, whole[:20], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(
            UnityTrainerException, match=r"demonstrations: expected a file of Unity's .* record it anew"
        ):
            read_demo(path, spec)


def test_a_recording_of_another_scene_is_refused(tmp_path):
    record(tmp_path / "other", branches=(3,))
    _, spec = record(tmp_path / "this")
    rule = r"with observations \(4,\), 2 continuous actions and branches \(\), as the scene has, got .*branches \(3,\)"
    with pytest.raises(UnityTrainerException, match=rule):
        read_demo(files(tmp_path / "other")[0], spec)


def test_an_action_that_is_no_number_is_refused(tmp_path):
    _, spec = record(tmp_path)
    path = files(tmp_path)[0]
    _, pairs, _ = load_demonstration(str(path))
    pairs[3].action_info.continuous_actions[0] = float("nan")
    write(path, spec, pairs)
    with pytest.raises(
        UnityTrainerException, match=r"cannot be read \(an action is NaN or Inf\); record it anew"
    ):
        read_demo(path, spec)


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path):
    (tmp_path / "shown").mkdir()
    (tmp_path / "shown" / "Counter").touch()
    with pytest.raises(
        RecordError, match=r"--record: expected a place to write to, got .*slot-00.demo \(.*name another"
    ):
        record(tmp_path / "shown")


def test_a_folder_with_recordings_is_not_written_over(tmp_path):
    record(tmp_path / "shown")
    with pytest.raises(
        RecordError, match=r"--record: expected a folder without recordings, got .*shown; name a new"
    ):
        Recording(tmp_path / "shown")
    Recording(tmp_path / "new")


# --- steps of groups --------------------------------------------------------------------------------


def by_identity(batch: Batch, spec: Any) -> dict[tuple, dict[str, Any]]:
    """What each row says, by area, episode and step."""
    obs, rows = spec.role_obs(batch.obs, 0), {}
    for row in batch.value_mask.any(1).nonzero().flatten().tolist():  # others stand where none was found
        area, _, episode, step = obs[row, 0].tolist()
        rows[area, episode, step] = {name: getattr(batch, name)[row].clone() for name in Batch._fields}
    return rows


def test_files_of_members_become_the_steps_of_their_group(tmp_path):
    lines, _ = record(tmp_path, group_ids=True)
    trainer = shown(tmp_path, group_ids=True, hyper={"group_size": None})
    truth = {tuple(line["obs"]): line for line in lines}
    rows = by_identity(trainer.replay.sample(4000, 1, 0.9), trainer.spec)
    assert len(rows) == len(trainer.replay) == 78  # of two areas; what came of the last is not known
    ends = 0
    for (area, episode, step), row in rows.items():
        own = [truth[area, agent, episode, step] for agent in (0, 1)]
        assert row["reward"].tolist() == pytest.approx(
            [line["reward"] + own[0]["group_reward"] for line in own]
        )
        assert row["action"].tolist() == pytest.approx([*own[0]["continuous"], *own[1]["continuous"]])
        assert row["agent_mask"].tolist() == row["value_mask"].tolist() == [1, 1]
        ended = own[0]["done"] and not own[0]["interrupted"]
        assert row["bootstrap"].tolist() == pytest.approx([0, 0] if ended else [0.9, 0.9])
        assert row["next_agent_mask"].tolist() == ([0, 0] if ended else [1, 1])
        following = [] if ended else [*own[0]["next_obs"], *own[1]["next_obs"]]
        assert row["next_obs"].tolist() == pytest.approx(following or [0] * 8)
        ends += ended
    assert ends > 3


def test_agents_who_play_alone_have_each_file_to_themselves(tmp_path):
    record(tmp_path, group_size=1)
    trainer = shown(tmp_path, "isac", {"group_size": 1})
    rows = trainer.spec.role_obs(trainer.replay.sample(4000, 1, 0.9).obs, 0)
    assert len(trainer.replay) == 156
    assert {(0, 0), (0, 1), (1, 0), (1, 1)} <= {tuple(seen) for seen in rows[:, 0, :2].tolist()}
    file = next(tmp_path.rglob("*.demo"))
    alone = shown(file.parent, "isac", {"group_size": 1, "demonstrations": str(file)})
    assert len(alone.replay) == 39


@pytest.mark.parametrize("trainer_type", ["maddpg", "qmix", "masac"])
def test_every_family_with_a_replay_learns_from_them(tmp_path, trainer_type):
    record(tmp_path)
    trainer = shown(tmp_path, trainer_type, {"demonstration_updates": 7})
    assert trainer._is_ready_update()
    trainer._update_policy()
    assert trainer.updates == 7
    assert not trainer._is_ready_update()


def test_agents_with_a_memory_begin_with_none(tmp_path):
    record(tmp_path)
    network = {
        "network_settings": {
            "hidden_units": 8,
            "num_layers": 1,
            "memory": {"memory_size": 4, "sequence_length": 4},
        }
    }
    hyper = {"demonstrations": str(tmp_path), "demonstration_updates": 3, "batch_size": 8}
    trainer = build(tmp_path / "run", trainer_type="qmix", hyper=hyper, behavior=network)
    trainer._update_policy()
    assert trainer.updates == 3
    assert trainer.learner.is_finite()


# --- runs -------------------------------------------------------------------------------------------


def begun_with(folder: Path) -> dict[str, Any]:
    """Hyperparameters of a run that begins with 78 steps, recorded in a folder."""
    record(folder)
    return {"demonstrations": str(folder), "demonstration_updates": 50}


def test_a_run_begins_with_them_and_goes_on_with_what_it_plays(tmp_path, printed):
    hyper = begun_with(tmp_path / "shown") | {"save_replay_buffer": True}
    first = start(tmp_path, trainer_type="masac", hyper=hyper).trainer
    assert "begins with 78 demonstrated steps of" in printed.text
    assert len(first.replay) > 78 + 150
    without = start(tmp_path / "without", trainer_type="masac").trainer
    assert first.updates == 50 + without.updates
    again = build(tmp_path, trainer_type="masac", hyper=hyper, load=True)
    assert len(again.replay) == len(first.replay)
    assert_same_next_update(first, again)


def test_a_resumed_run_without_its_replay_has_them_and_does_not_begin_anew(tmp_path):
    hyper = begun_with(tmp_path / "shown")
    first = start(tmp_path, trainer_type="masac", hyper=hyper).trainer
    again = build(tmp_path, trainer_type="masac", hyper=hyper, load=True)
    assert len(again.replay) == 78
    assert not again._is_ready_update()
    assert_same(first.learner.state_dict()["actor"], again.learner.state_dict()["actor"])


def test_a_resumed_run_with_its_replay_needs_the_files_no_more(tmp_path):
    hyper = begun_with(tmp_path / "shown") | {"save_replay_buffer": True}
    first = start(tmp_path, trainer_type="masac", hyper=hyper).trainer
    shutil.rmtree(tmp_path / "shown")
    again = build(tmp_path, trainer_type="masac", hyper=hyper, load=True)
    assert len(again.replay) == len(first.replay)
    assert_same_next_update(first, again)


# --- what is refused --------------------------------------------------------------------------------


def refused(folder: Path, message: str, hyper: dict[str, Any] | None = None, **scene: Any) -> None:
    """As the host ends, which saves what there is: the message has to survive that."""
    hyper = {"demonstrations": str(folder), **(hyper or {})}
    with pytest.raises((UnityTrainerException, TrainerConfigError), match=message):
        start(folder.with_name("run"), trainer_type="masac", scene=manager(**scene), hyper=hyper)


def test_a_path_without_recordings_is_refused(tmp_path):
    refused(
        tmp_path / "nowhere",
        r"demonstrations: expected a \.demo file or a folder of them, got .*does not exist",
    )
    (tmp_path / "empty").mkdir()
    refused(
        tmp_path / "empty",
        r"demonstrations: expected \.demo files, got none in .*empty; Unity's Demonstration",
    )


def test_a_member_without_a_file_is_refused(tmp_path):
    record(tmp_path)
    files(tmp_path)[1].unlink()
    refused(
        tmp_path,
        r"demonstrations: expected 2 files, one per member of a group, got 1 in .*area-0; record all",
    )


def test_members_that_do_not_end_together_are_refused(tmp_path):
    _, spec = record(tmp_path)
    path = files(tmp_path)[1]
    _, pairs, _ = load_demonstration(str(path))
    write(path, spec, [*pairs[:1], *pairs[2:]])
    lengths = [len(read_demo(file, spec)[0].action) for file in files(tmp_path)]
    rule = (
        f"{lengths[0]} decisions in episode 1, got {lengths[1]} in .*slot-01.demo; record all members at once"
    )
    refused(tmp_path, rf"demonstrations: expected members who .*, as in .*slot-00.demo: {rule}")
    write(path, spec, pairs[: next(i for i, pair in enumerate(pairs) if pair.agent_info.done) + 1])
    refused(
        tmp_path,
        r": \d+ episodes, got 1 in .*slot-01.demo; record all members at once, from the same moment on",
    )


def test_recordings_without_a_decision_are_refused(tmp_path):
    _, spec = record(tmp_path)
    for path in tmp_path.rglob("*.demo"):
        write(path, spec, load_demonstration(str(path))[1][:1])
    refused(
        tmp_path, r"demonstrations: expected recorded decisions, got none in .*; press Record before you play"
    )


def test_more_than_the_replay_holds_is_refused(tmp_path):
    record(tmp_path)
    rule = r"buffer_size: expected at least 89 for what .* shows, got 50; set buffer_size: 89 or more, or use fewer"
    refused(tmp_path, rule, {"buffer_size": 50})


def test_fewer_steps_than_a_batch_are_refused_only_for_updates_from_them_alone(tmp_path):
    record(tmp_path)
    rule = r"batch_size: expected at most 78, the steps that .* shows, .* got 79; lower it, record more, or set demo"
    refused(tmp_path, rule, {"batch_size": 79, "demonstration_updates": 1})
    assert not shown(tmp_path, hyper={"batch_size": 79})._is_ready_update()
    assert shown(tmp_path, hyper={"batch_size": 78, "demonstration_updates": 1})._is_ready_update()


def test_updates_from_nothing_are_refused(tmp_path):
    rule = r"hyperparameters\.demonstration_updates: expected a whole number >= 0, and 0 without demonstrations, got 5"
    refused(tmp_path, rule, {"demonstrations": "", "demonstration_updates": 5})
    refused(tmp_path, rule.replace("got 5", "got -1"), {"demonstration_updates": -1})
