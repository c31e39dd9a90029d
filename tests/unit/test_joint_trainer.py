"""Joint runs inside the host's own controller: one learner for behaviours of different names."""

import gc
import logging

import numpy as np
import pytest
import torch
from mlagents.trainers.exception import TrainerConfigError, UnityTrainerException
from mlagents.trainers.settings import RunOptions

from mlagents_marl_plugin.adapter import checkpoint, joint, joint_saving, run_files, scores
from mlagents_marl_plugin.adapter.joint_trainers import JointLeader
from mlagents_marl_plugin.core.types import ActionLayout
from mlagents_marl_plugin.tools.onnx_player import OnnxPolicy
from tests.unit.conftest import host_state, printed  # noqa: F401
from tests.unit.joint_rows import JointRows
from tests.unit.joint_runs import MEMBERS, joint_options, mixed, start
from tests.unit.simulated_host import options
from tests.unit.trainer_runs import assert_same
from tests.unit.trainer_runs import start as start_alone

pytestmark = pytest.mark.usefixtures("host_state")

QUIET = {"buffer_init_steps": 10_000_000, "random_steps": 10_000_000}


@pytest.fixture
def told(caplog, monkeypatch):
    for module in (joint, joint_saving):
        monkeypatch.setattr(module, "logger", logging.getLogger("marl.test"))
    caplog.set_level(logging.INFO, "marl.test")
    return caplog


def check_rows(trainers, scene, **known):
    leader = trainers[MEMBERS[0]]
    rows = JointRows(leader.spec, leader.replay.state_dict(), scene.lines)
    rows.check_mates()
    return rows.check(**known)


# --- what is learnt from ----------------------------------------------------------------------------


@pytest.mark.parametrize("trainer_type", ["matd3", "masac"])
def test_one_learner_for_both_and_a_model_for_each(tmp_path, trainer_type):
    trainers = start(tmp_path, joint_options(trainer_type))
    leader, member = trainers["Counter"], trainers["CounterB"]
    assert [role.name for role in leader.spec.roles] == MEMBERS
    assert [role.num_slots for role in leader.spec.roles] == [2, 1]
    assert [role.obs_size for role in leader.spec.roles] == [4, 6]
    assert [role.action for role in leader.spec.roles] == [ActionLayout(2), ActionLayout(3)]
    assert leader.updates > 10
    assert member.learner is None
    assert leader.get_step == 2 * member.get_step
    obs = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    for role, (name, size) in enumerate(zip(MEMBERS, (4, 6), strict=True)):
        model = OnnxPolicy(tmp_path / f"{name}.onnx")
        assert model.observation_shapes == ((size,),)
        played = model.act([obs[:, :size]])[0]
        assert played.shape == (3, 2 + role)
        module = leader.learner.actor.slot_module(0, role)
        raw = module(torch.from_numpy(obs[:, :size]))[:, : 2 + role]
        np.testing.assert_allclose(played, torch.tanh(raw).detach(), atol=1e-5)


def test_rows_of_many_areas_and_processes(tmp_path):
    scene = mixed(areas=3, workers=2)
    trainers = start(tmp_path, joint_options(hyper=QUIET, behavior={"max_steps": 400}), scene)
    compared = check_rows(trainers, scene)
    assert compared[0] == 2 * compared[1]
    assert sum(compared) > 0.8 * len(scene.lines)


def test_rows_where_agents_die_before_their_group(tmp_path):
    scene = mixed(areas=3, deaths=True, agents=4)
    trainers = start(tmp_path, joint_options(hyper=QUIET, behavior={"max_steps": 400}), scene)
    assert [role.num_slots for role in trainers["Counter"].spec.roles] == [2, 2]
    compared = check_rows(trainers, scene, terminations=False)
    assert sum(compared) > 0.8 * len(scene.lines)


def test_members_that_ask_at_different_steps(tmp_path):
    """CounterB at every second one; between them its last action and observation stand."""
    scene = mixed(areas=3, periods=(1, 2, 1))
    trainers = start(tmp_path, joint_options(hyper=QUIET, behavior={"max_steps": 400}), scene)
    leader = trainers["Counter"]
    assert leader.assembler.rejected <= 9, "those of the first step"
    rows = JointRows(leader.spec, leader.replay.state_dict(), [])
    at = [obs[rows.complete, 0, 3] for obs in rows.obs]  # [rows], the step that each kind saw
    assert len(rows.complete) > 100
    assert (at[1] == at[0] - at[0] % 2).all()


def test_rows_where_nobody_says_who_is_in_a_group(tmp_path):
    """Every agent of a process; then a process that dies, and resets by the host."""
    scene = mixed(areas=1, workers=2, group_ids=False)
    scene.kill_at, scene.reset_at = {40: 1}, {60, 90}
    trainers = start(tmp_path, joint_options(hyper=QUIET, behavior={"max_steps": 400}), scene)
    compared = check_rows(trainers, scene)
    assert sum(compared) > 0.8 * len(scene.lines)


def test_a_leader_that_comes_second_and_the_order_of_trainers(tmp_path):
    """Slots follow the list of members, whatever the order of names; the other way round it is the other's run."""
    members = MEMBERS[::-1]
    trainers = start(tmp_path, joint_options(members=members))
    leader = trainers["CounterB"]
    assert [role.num_slots for role in leader.spec.roles] == [1, 2]
    assert leader.updates > 10
    assert leader.get_step >= 200
    assert trainers["Counter"].learner is None
    assert trainers["Counter"].get_step == 2 * leader.get_step


def test_the_same_seed_gives_the_same_run(tmp_path):
    runs = [start(tmp_path / str(number), joint_options()) for number in range(2)]
    first, second = (run["Counter"].learner.state_dict() for run in runs)
    assert_same(first, second)
    for name in MEMBERS:
        assert (tmp_path / "0" / f"{name}.onnx").read_bytes() == (
            tmp_path / "1" / f"{name}.onnx"
        ).read_bytes()


def test_threads_of_both_trainers_and_one_that_fails(tmp_path, monkeypatch):
    scene = mixed(areas=3)
    behavior = {"threaded": True, "max_steps": 600}
    trainers = start(tmp_path / "rows", joint_options(hyper=QUIET, behavior=behavior), scene)
    assert sum(check_rows(trainers, scene)) > 0.5 * len(scene.lines)

    def fail(*_):
        raise ValueError("on purpose")

    monkeypatch.setattr(JointLeader, "_collect", fail)
    with pytest.raises(ValueError, match="on purpose"):
        start(tmp_path / "fails", joint_options(behavior={"threaded": True, "max_steps": 10**6}), mixed())


def test_learning_waits_until_all_members_were_seen(tmp_path, told):
    scene = mixed(agents=1)  # CounterB never comes
    config = joint_options(behavior={"summary_freq": 100, "max_steps": 300})
    trainers = start(tmp_path, config, scene)
    assert trainers["Counter"].learner is None
    assert "waits until agents of Counter, CounterB are there at once" in told.text
    assert "joint 'test' waits for agents of CounterB; " in told.text
    assert trainers["Counter"].table.left_out >= 300
    assert not list(tmp_path.rglob("*.pt"))


def test_a_member_without_its_leader_only_counts(tmp_path, told):
    config = joint_options(members=["Absent", "Counter"], behavior={"summary_freq": 100, "max_steps": 300})
    trainers = start(tmp_path, config, mixed(agents=1))
    assert trainers["Counter"].get_step >= 300, "its own steps end the run"
    assert "never had all its members, nothing to save" in told.text


# --- files ------------------------------------------------------------------------------------------


def test_a_resumed_run_goes_on_where_it_was_with_all_its_members(tmp_path):
    behavior = {"checkpoint_interval": 75}
    config = joint_options(hyper={"save_replay_buffer": True}, behavior=behavior)
    first = start(tmp_path, config)
    saved = checkpoint.read(str(tmp_path / "Counter" / "checkpoint.pt"), torch.device("cpu"))
    assert saved["joint"] == {"name": "test", "members": MEMBERS}
    pointer = checkpoint.read_any(str(tmp_path / "CounterB" / "checkpoint.pt"), torch.device("cpu"))
    assert pointer["step"] == first["CounterB"].get_step
    assert "learner" not in pointer
    again = joint_options(hyper={"save_replay_buffer": True}, behavior={**behavior, "max_steps": 400})
    scene = mixed()
    scene.stop_after = 0
    resumed = start(tmp_path, again, scene, load=True)
    assert resumed["Counter"]._step == first["Counter"].get_step
    assert resumed["CounterB"]._step == first["CounterB"].get_step
    second = start(tmp_path, again, load=True)
    assert second["Counter"].get_step >= 400
    assert second["Counter"].updates > first["Counter"].updates
    for name in MEMBERS:
        steps = {path.stem for path in (tmp_path / name).glob(f"{name}-*.onnx")}
        assert steps == {path.stem for path in (tmp_path / name).glob(f"{name}-*.pt")}
        assert len(steps) == 5, "as many as keep_checkpoints says"


def test_the_next_update_after_a_resume_is_the_one_that_would_have_come(tmp_path):
    config = joint_options(hyper={"save_replay_buffer": True})
    leader = start(tmp_path, config)["Counter"]
    more = joint_options(hyper={"save_replay_buffer": True}, behavior={"max_steps": 10_000})
    scene = mixed()
    scene.stop_after = 0
    scene.on_step = lambda: scene._queue_steps() if scene.steps == 1 else None
    run = start(tmp_path, more, scene, load=True)["Counter"]
    assert_same(run.learner.state_dict(), leader.learner.state_dict())
    for one, other in zip(run.actings, leader.actings, strict=True):
        assert torch.equal(one.explorer.state_dict()["generator"], other.explorer.state_dict()["generator"])


def test_inference_plays_what_was_exported_and_writes_nothing(tmp_path):
    start(tmp_path, joint_options())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    scene = mixed()
    scene.stop_after = 30
    start(tmp_path, joint_options(), scene, train=False, load=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    for name, size in zip(MEMBERS, (4, 6), strict=True):
        lines = [line for line in scene.lines if len(line["obs"]) == size][6:]  # behind the first step
        played = OnnxPolicy(tmp_path / f"{name}.onnx").act(
            [np.array([line["obs"] for line in lines], np.float32)]
        )[0]
        assert len(lines) > 20
        np.testing.assert_allclose([line["continuous"] for line in lines], played, atol=1e-5)


def test_initialising_takes_the_weights_of_all_members(tmp_path):
    first = start(tmp_path / "first", joint_options())["Counter"]
    own = {name: {"init_path": str(tmp_path / "first" / name / "checkpoint.pt")} for name in MEMBERS}
    scene = mixed()
    scene.stop_after = 1
    second = start(tmp_path / "second", joint_options(own=own), scene)["Counter"]
    assert second.get_step == 0
    for one, other in zip(second.learner.actor.nets, first.learner.actor.nets, strict=True):
        assert torch.equal(one.parameters, other.parameters)


def test_what_cannot_be_initialised_from_is_refused_by_name(tmp_path):
    start(tmp_path / "first", joint_options())
    pointer = str(tmp_path / "first" / "CounterB" / "checkpoint.pt")
    whole = str(tmp_path / "first" / "Counter" / "checkpoint.pt")
    with pytest.raises(
        UnityTrainerException, match="the file of a member of joint 'test', whose weights are in that of"
    ):
        start_alone(tmp_path / "alone", behavior={"init_path": pointer})
    with pytest.raises(
        UnityTrainerException, match="expected a checkpoint of Counter .*got one of .'Counter', 'CounterB'"
    ):
        start_alone(tmp_path / "other", behavior={"init_path": whole})
    start_alone(tmp_path / "solo")
    solo = {name: {"init_path": str(tmp_path / "solo" / "Counter" / "checkpoint.pt")} for name in MEMBERS}
    with pytest.raises(
        UnityTrainerException, match="expected a checkpoint of Counter and CounterB .*got one of one behavior"
    ):
        start(tmp_path / "joint", joint_options(own=solo))
    with pytest.raises(
        TrainerConfigError, match=r"Counter.*\.init_path: expected one for each member of joint 'test'"
    ):
        start(tmp_path / "half", joint_options(own={"Counter": {"init_path": whole}}))


def test_a_member_whose_first_file_was_never_written_counts_from_zero(tmp_path, told):
    start(tmp_path, joint_options())
    (tmp_path / "CounterB" / "checkpoint.pt").unlink()
    for path in (tmp_path / "CounterB").glob("*.pt"):
        path.unlink()
    scene = mixed()
    scene.stop_after = 0
    trainers = start(tmp_path, joint_options(), scene, load=True)
    assert trainers["CounterB"]._step == 0
    assert trainers["Counter"]._step >= 200
    assert "CounterB: " in told.text
    assert "is not there; its steps are counted from 0." in told.text


def test_the_best_models_of_all_members_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(scores, "WINDOW", 5)
    start(tmp_path, joint_options())
    for name in MEMBERS:
        assert (tmp_path / f"{name}-best.onnx").is_file()
        assert (tmp_path / name / "best.pt").is_file()


def test_nothing_of_a_run_is_left_when_its_trainers_are_gone(tmp_path):
    start(tmp_path, joint_options(behavior={"max_steps": 60}))
    gc.collect()
    assert not [key for key in joint._runs if key[0] == str(tmp_path)]


def test_figures_of_both_roles_are_the_leaders(tmp_path):
    trainers = start(tmp_path, joint_options(hyper={"share_actor": "separate", "slots_by": "order"}))
    leader = trainers["Counter"]
    leader.reporter.summarise()
    assert len(leader.learner.metrics()["q_mean"]) == 3
    models = {path.name for path in tmp_path.glob("*.onnx")}
    assert models == {"Counter.onnx", "Counter-slot1.onnx", "CounterB.onnx"}


def test_nothing_grows_with_the_length_of_a_run(tmp_path):
    scene = mixed(areas=3, deaths=True)
    scene.reset_at = set(range(25, 250, 25))
    scene.stop_after = 250
    trainers = start(tmp_path, joint_options(hyper=QUIET, behavior={"max_steps": 10**6}), scene)
    for trainer in trainers.values():
        assert len(trainer._reward_sums) <= 9
    assert len(trainers["Counter"].roster.lanes.row) == 64
    assert len(trainers["Counter"].assembler.staging.final_obs) <= 9


# --- what is refused --------------------------------------------------------------------------------

DISAGREEING = [
    (
        {"hyperparameters": {"learning_rate": 0.5}},
        r"hyperparameters\.learning_rate: expected (0.001|0.5) as in",
    ),
    ({"network_settings": {"hidden_units": 9}}, r"network_settings\.hidden_units: expected (8|9) as in"),
    (
        {"reward_signals": {"extrinsic": {"gamma": 0.5}}},
        r"reward_signals\.extrinsic\.gamma: expected 0\.\d+ as in",
    ),
    ({"max_steps": 5}, r"max_steps: expected (200|5) as in"),
    ({"threaded": True}, r"threaded: expected (True|False) as in"),
    ({"trainer_type": "maddpg"}, r"trainer_type: expected ma\w+ as in"),
    (
        {"hyperparameters": {"joint": {"name": "test", "members": ["Counter", "CounterB", "C"]}}},
        r"hyperparameters\.joint\.members: expected \['Counter', 'CounterB'(, 'C')?\] as in",
    ),
    (
        {"hyperparameters": {"joint": {"name": "other", "members": MEMBERS}}},
        r"hyperparameters\.joint\.name: expected (test|other) as in behaviors\.Counter",
    ),
    (
        {"hyperparameters": {"joint": None}},
        r"CounterB\.hyperparameters\.joint: expected .*as in .*Counter, got none",
    ),
]


@pytest.mark.parametrize(("other", "message"), DISAGREEING, ids=lambda value: str(value)[:40])
def test_members_that_disagree_are_refused_by_field(tmp_path, other, message):
    with pytest.raises(
        TrainerConfigError, match=rf"^behaviors\.(Counter|CounterB)\..*{message.split('.', 1)[-1]}"
    ):
        start(tmp_path, joint_options(own={"CounterB": other}))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            None,
            r"behaviors\.CounterB: expected an entry, as joint 'test' of behaviors\.Counter lists it, got none",
        ),
        (
            {"trainer_type": "ppo"},
            r"behaviors\.CounterB\.trainer_type: expected matd3 as in behaviors\.Counter, got ppo",
        ),
    ],
)
def test_a_member_that_the_yaml_lacks_or_gives_to_another_trainer_is_refused(
    tmp_path, monkeypatch, entry, message
):
    """Whether or not the scene ever shows it."""
    config = joint_options()
    del config.behaviors["CounterB"]
    if entry is not None:
        config.behaviors["CounterB"] = RunOptions.from_dict({"behaviors": {"CounterB": entry}}).behaviors[
            "CounterB"
        ]
    monkeypatch.setattr(run_files, "_options", [config])
    with pytest.raises(TrainerConfigError, match=message):
        start(tmp_path, config, mixed(agents=1))


REFUSED = [
    (
        {"trainer_type": "mappo"},
        "hyperparameters.joint: expected none for mappo, got joint; use one of maddpg,",
    ),
    ({"trainer_type": "qmix"}, "hyperparameters.joint: expected none for qmix, got joint"),
    ({"trainer_type": "iddpg"}, "hyperparameters.centralised_critic: expected true with joint, got false"),
    ({"self_play": {}}, "self_play: expected none with hyperparameters.joint, got self_play"),
    (
        {"hyperparameters": {"grouping": "consecutive"}},
        "hyperparameters.grouping: expected auto, group_id or worker",
    ),
    (
        {"hyperparameters": {"reward_function": "a:b"}},
        "hyperparameters.reward_function: expected none with joint",
    ),
    (
        {"hyperparameters": {"joint": {"name": "test", "members": ["A", "B"]}}},
        "hyperparameters.joint.members: expected this behavior among them, got ['A', 'B']; add Counter",
    ),
]


@pytest.mark.parametrize(("more", "message"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_a_joint_run_cannot_have_is_refused_by_field(tmp_path, more, message):
    more = {
        **more,
        "hyperparameters": {"joint": {"name": "test", "members": MEMBERS}, **more.get("hyperparameters", {})},
    }
    hyper, trainer_type = more.pop("hyperparameters"), more.pop("trainer_type", "matd3")
    with pytest.raises(TrainerConfigError) as caught:
        start(tmp_path, options("Counter", trainer_type, hyper, more), mixed(agents=1))
    assert str(caught.value).startswith(f"behaviors.Counter.{message}")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("hunt", r"joint: expected a mapping with name, members, got 'hunt'"),
        ({"name": "hunt"}, r"joint\.members: expected a value, got None"),
        (
            {"name": "hunt", "members": "A"},
            r"joint\.members: expected a list, got 'A'; write it as \[one, other\]",
        ),
        ({"name": "hunt", "members": ["A", 3]}, r"joint\.members\[1\]: expected text, got 3"),
        (
            {"name": "hunt", "members": ["A"]},
            r"joint\.members: expected at least two different behavior names, got \['A'\]",
        ),
        (
            {"name": "hunt", "members": ["A", "A"]},
            r"joint\.members: expected at least two different behavior names",
        ),
        ({"name": "", "members": ["A", "B"]}, r"joint\.name: expected a name, got an empty one"),
    ],
)
def test_a_joint_that_is_none_is_refused(value, message):
    with pytest.raises(TrainerConfigError, match=rf"^hyperparameters\.{message}"):
        options("Counter", "matd3", {"joint": value})


def test_what_a_run_writes_down_can_be_read_again():
    written = joint_options().as_dict()
    assert written["behaviors"]["CounterB"]["hyperparameters"]["joint"] == {
        "name": "test",
        "members": MEMBERS,
    }
    again = RunOptions.from_dict(written)
    assert (
        again.behaviors["CounterB"].hyperparameters == joint_options().behaviors["CounterB"].hyperparameters
    )


def test_a_member_has_a_group_size_of_its_own(tmp_path):
    sizes = {
        "Counter": {"hyperparameters": {"group_size": 3}},
        "CounterB": {"hyperparameters": {"group_size": 1}},
    }
    trainers = start(tmp_path, joint_options(own=sizes, behavior={"max_steps": 100}))
    assert [role.num_slots for role in trainers["Counter"].spec.roles] == [3, 1]
    small = {"Counter": {"hyperparameters": {"group_size": 1}}}
    with pytest.raises(
        UnityTrainerException,
        match=r"^behaviors\.Counter\.hyperparameters\.group_size: expected at least the 2 agents of Counter",
    ):
        start(tmp_path / "small", joint_options(own=small))
