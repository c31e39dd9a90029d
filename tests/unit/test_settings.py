"""The YAML schema: strict types, ranges, presets, and what the host offers but these trainers do not do."""

import pickle

import attr
import pytest
import yaml
from mlagents.plugins import all_trainer_settings
from mlagents.plugins.trainer_type import register_trainer_plugins
from mlagents.trainers.exception import TrainerConfigError
from mlagents.trainers.settings import RunOptions, ScheduleType

from mlagents_marl_plugin.adapter.grouping import Grouping
from mlagents_marl_plugin.adapter.settings import (
    Criterion,
    GroupSettings,
    Metric,
    check_actions,
    check_supported,
)
from mlagents_marl_plugin.algorithms import ALGORITHMS
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.schedules import Schedule
from mlagents_marl_plugin.core.types import ActionLayout

register_trainer_plugins()


def parse(text: str, trainer_type: str = "maddpg", **behavior):
    """The trainer settings of a behaviour whose ``hyperparameters`` are YAML text."""
    hyperparameters = yaml.safe_load(text) or {}
    config = {"trainer_type": trainer_type, "hyperparameters": hyperparameters, **behavior}
    return RunOptions.from_dict({"behaviors": {"Ball": config}}).behaviors["Ball"]


def hyper(text: str, trainer_type: str = "maddpg"):
    return parse(text, trainer_type).hyperparameters


def error(text: str, trainer_type: str = "maddpg") -> str:
    with pytest.raises(TrainerConfigError) as caught:
        parse(text, trainer_type)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("batch_size: 64", "batch_size", 64),
        ("batch_size: 64.0", "batch_size", 64),
        ("buffer_size: 5e5", "buffer_size", 500_000),
        ("buffer_size: 5.0e5", "buffer_size", 500_000),
        ("learning_rate: 1e-3", "learning_rate", 1e-3),
        ("learning_rate: 3", "learning_rate", 3.0),
        ("save_replay_buffer: true", "save_replay_buffer", True),
        ("share_actor: separate", "share_actor", Sharing.SEPARATE),
        ("grouping: worker", "grouping", Grouping.WORKER),
        ("group_size: null", "group_size", None),
        ("group_size: 3", "group_size", 3),
        ("learning_rate_schedule: linear", "learning_rate_schedule", ScheduleType.LINEAR),
        ("stop_when: {threshold: 1}", "stop_when", Criterion(1.0)),
        (
            "solved_when: {metric: score_mean, window: 5, threshold: 0.5}",
            "solved_when",
            Criterion(0.5, Metric.SCORE_MEAN, 5),
        ),
        ("reward_function: my_rewards:shape", "reward_function", "my_rewards:shape"),
    ],
)
def test_values_as_people_write_them(text, field, value):
    got = getattr(hyper(text), field)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "save_replay_buffer: 'false'",
            "save_replay_buffer: expected true or false, got 'false'; write it without quotes",
        ),
        ("twin_critics: 1", "twin_critics: expected true or false, got 1; "),
        ("batch_size: 1.9", "batch_size: expected a whole number, got 1.9; try 2"),
        (
            "batch_size: abc",
            "batch_size: expected a whole number, got 'abc'; write it without quotes or units",
        ),
        ("batch_size: true", "batch_size: expected a whole number, got True; write a finite number"),
        ("batch_size: [1]", "batch_size: expected a whole number, got [1]; "),
        ("batch_size: null", "batch_size: expected a whole number, got None; "),
        ("learning_rate: .nan", "learning_rate: expected a number, got nan; write a finite number"),
        ("learning_rate: .inf", "learning_rate: expected a number, got inf; write a finite number"),
        ("learning_rate: 'nan'", "learning_rate: expected a number, got 'nan'; "),
        ("reward_function: 3", "reward_function: expected text, got 3; put it in quotes"),
        (
            "share_actor: both",
            "share_actor: expected one of shared, shared_with_id, separate, got 'both'; try shared",
        ),
        (
            "grouping: team",
            "grouping: expected one of auto, group_id, worker, consecutive, got 'team'; try auto",
        ),
        ("noise_type: 3", "noise_type: expected one of gaussian, ornstein_uhlenbeck, got 3; "),
        (
            "stop_when: 0.5",
            "stop_when: expected a mapping with threshold, metric, window, got 0.5; write stop_when: {",
        ),
        (
            "stop_when: {treshold: 1}",
            "stop_when.treshold: expected one of threshold, metric, window, got 'treshold'; ",
        ),
        ("stop_when: {window: 5}", "stop_when.threshold: expected a value, got None; add threshold"),
        ("stop_when: {threshold: x}", "stop_when.threshold: expected a number, got 'x'; "),
        ("stop_when: {threshold: 1, metric: best}", "stop_when.metric: expected one of score, score_sum, "),
        (
            "stop_when: {threshold: 1, window: 0}",
            "stop_when.window: expected a whole number >= 1, got 0; try 100",
        ),
    ],
)
def test_wrong_types(text, message):
    assert error(text).startswith(f"hyperparameters.{message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch_size: -1", "hyperparameters.batch_size: expected a whole number >= "),
        ("buffer_size: 1", "hyperparameters.buffer_size: expected "),
        ("learning_rate: 0", "hyperparameters.learning_rate: expected a number > 0, got 0.0; try"),
        ("reward_mix: 2", "hyperparameters.reward_mix: expected 0 <= reward_mix <= 1, got 2.0"),
        ("group_size: 0", "hyperparameters.group_size: expected a whole number >= 1, got 0; try 2"),
        ("max_group_size: -1", "hyperparameters.max_group_size: expected a whole number >= 1, got -1"),
        ("console_episodes: -1", "hyperparameters.console_episodes: expected a whole number >= 0, got -1"),
    ],
)
@pytest.mark.parametrize("trainer_type", sorted(ALGORITHMS))
def test_ranges_hold_in_every_preset(trainer_type, text, message):
    assert error(text, trainer_type).startswith(message)


@pytest.mark.parametrize(
    ("text", "trainer_type", "message"),
    [
        ("tau: 5", "maddpg", "tau: expected 0 < tau <= 1, got 5.0; it is the fraction copied per update"),
        ("buffer_size: 100", "matd3", "buffer_size: expected at least batch_size (256) and 2, got 100"),
        ("noise_floor: 0.5", "iddpg", "noise_floor: expected 0 <= noise_floor <= noise_scale (0.3), got 0.5"),
        ("discretise: 1", "vdn", "discretise: expected 0 or >= 2, got 1; try 3"),
        ("epsilon_floor: 2", "qmix", "epsilon_floor: expected 0 <= epsilon_floor <= epsilon (1.0), got 2.0"),
        ("lambd: 2", "mappo", "lambd: expected 0 <= lambd <= 1, got 2.0; try 0.95"),
        ("update_every_episodes: -1", "ia2c", "update_every_episodes: expected a whole number >= 0, got -1"),
        ("layer_normalisation: batch", "ippo", "layer_normalisation: expected none or layer, got "),
    ],
)
def test_ranges_of_a_family(text, trainer_type, message):
    assert error(text, trainer_type).startswith(f"hyperparameters.{message}")


def test_an_unknown_field_is_refused():
    with pytest.raises(TrainerConfigError, match="bach_size"):
        parse("bach_size: 3")


@pytest.mark.parametrize("trainer_type", sorted(ALGORITHMS))
def test_every_preset_keeps_its_defaults(trainer_type):
    config, schema = ALGORITHMS[trainer_type].config(), hyper("", trainer_type)
    assert isinstance(schema, all_trainer_settings[trainer_type])
    for field in attr.fields(type(config)):
        assert getattr(schema, field.name) == getattr(config, field.name), field.name
    for field in attr.fields(GroupSettings):
        assert getattr(schema, field.name) == getattr(GroupSettings(), field.name), field.name


@pytest.mark.parametrize("trainer_type", sorted(ALGORITHMS))
def test_what_a_run_writes_down_can_be_read_again(trainer_type):
    text = "{group_size: 2, solved_when: {threshold: 0.5}, share_actor: separate, slots_by: order, reward_mix: 0.3}"
    options = RunOptions.from_dict(
        {"behaviors": {"Ball": {"trainer_type": trainer_type, "hyperparameters": yaml.safe_load(text)}}}
    )
    written = yaml.safe_dump(options.as_dict())
    again = RunOptions.from_dict(yaml.safe_load(written))
    assert again.behaviors["Ball"].hyperparameters == options.behaviors["Ball"].hyperparameters
    assert again.as_dict() == options.as_dict()


def refused(**behavior) -> str:
    settings = parse("", **behavior)
    with pytest.raises(TrainerConfigError) as caught:
        check_supported("Ball", settings)
    return str(caught.value)


@pytest.mark.parametrize(
    ("behavior", "message"),
    [
        (
            {"reward_signals": {"extrinsic": {}, "curiosity": {}}},
            "reward_signals.curiosity: expected only extrinsic for maddpg, got curiosity; remove it",
        ),
        ({"reward_signals": {"gail": {"demo_path": "x"}}}, "reward_signals.gail: expected only extrinsic"),
        ({"reward_signals": {"rnd": {}}}, "reward_signals.rnd: expected only extrinsic"),
        ({"reward_signals": {}}, "reward_signals: expected extrinsic, got none; add extrinsic"),
        (
            {"reward_signals": {"extrinsic": {"gamma": 1.5}}},
            "reward_signals.extrinsic.gamma: expected 0 <= gamma <= 1, got 1.5; try 0.99",
        ),
        (
            {"self_play": {"window": 0}},
            "self_play.window: expected a whole number >= 1, got 0; see trainer_configs",
        ),
        ({"self_play": {"swap_steps": 0}}, "self_play.swap_steps: expected a whole number >= 1, got 0"),
        (
            {"self_play": {"play_against_latest_model_ratio": 1.5}},
            "self_play.play_against_latest_model_ratio: expected 0 <= ratio <= 1, got 1.5; try 0.5",
        ),
        ({"behavioral_cloning": {"demo_path": "x"}}, "behavioral_cloning: expected none for maddpg"),
        (
            {"network_settings": {"memory": {}}},
            "network_settings.memory: expected none for maddpg, got memory",
        ),
        ({"max_steps": -5}, "max_steps: expected a whole number >= 1, got -5"),
        ({"max_steps": 0}, "max_steps: expected a whole number >= 1, got 0"),
        ({"time_horizon": 0}, "time_horizon: expected a whole number >= 1"),
        ({"summary_freq": 0}, "summary_freq: expected a whole number >= 1"),
        ({"checkpoint_interval": 0}, "checkpoint_interval: expected a whole number >= 1"),
        (
            {"network_settings": {"hidden_units": 0}},
            "network_settings.hidden_units: expected a whole number >= 1",
        ),
        (
            {"network_settings": {"num_layers": 0}},
            "network_settings.num_layers: expected a whole number >= 1",
        ),
    ],
)
def test_what_the_host_offers_and_we_do_not_do_is_refused_by_name(behavior, message):
    assert refused(**behavior).startswith(f"behaviors.Ball.{message}")


def test_a_plain_behaviour_is_fine():
    check_supported("Ball", parse("", max_steps="5e5", reward_signals={"extrinsic": {"gamma": 0.9}}))


@pytest.mark.parametrize("trainer_type", sorted(ALGORITHMS))
def test_settings_reach_the_hosts_environment_workers(trainer_type):
    """Where processes are spawned (Windows, macOS), the host pickles all settings for them."""
    settings = parse("{group_size: 2, solved_when: {threshold: 0.5}}", trainer_type)
    assert pickle.loads(pickle.dumps(settings)).hyperparameters == settings.hyperparameters


@pytest.mark.parametrize("trainer_type", sorted(ALGORITHMS))
def test_continuous_actions_are_for_those_who_can(trainer_type):
    algorithm, layout = ALGORITHMS[trainer_type], ActionLayout(2, (3,))
    check_actions("Ball", algorithm, hyper("", trainer_type), ActionLayout(0, (3,)))
    if algorithm.supports_continuous:
        check_actions("Ball", algorithm, hyper("", trainer_type), layout)
        return
    check_actions("Ball", algorithm, hyper("discretise: 2", trainer_type), layout)
    with pytest.raises(
        TrainerConfigError,
        match=r"^behaviors\.Ball\.hyperparameters\.discretise: expected at least 2 .+ 2 continuous actions, got 0",
    ):
        check_actions("Ball", algorithm, hyper("", trainer_type), layout)


def test_settings_that_do_not_go_with_a_behaviours_actions_are_named():
    algorithm, hyperparameters = ALGORITHMS["masac"], hyper("munchausen: 0.9", "masac")
    check_actions("Ball", algorithm, hyperparameters, ActionLayout(0, (3,)))
    with pytest.raises(
        TrainerConfigError,
        match=r"^behaviors\.Ball\.hyperparameters\.munchausen: expected 0 with continuous actions, got 0\.9; .+",
    ):
        check_actions("Ball", algorithm, hyperparameters, ActionLayout(2))


def test_schedules_are_written_as_the_hosts():
    for field in ("learning_rate_schedule", "epsilon_schedule", "beta_schedule"):
        assert getattr(hyper(f"{field}: linear", "mappo"), field) is Schedule.LINEAR
    assert error("epsilon_schedule: cosine", "mappo").startswith(
        "hyperparameters.epsilon_schedule: expected one of constant, linear, got 'cosine'"
    )
