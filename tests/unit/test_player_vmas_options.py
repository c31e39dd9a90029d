from argparse import ArgumentParser

import pytest

from mlagents_marl_plugin.player.options import OptionError, parse
from mlagents_marl_plugin.player.scenes import SCENES, vmas_options
from mlagents_marl_plugin.player.scenes.vmas_options import (
    VmasOptions,
    options_from,
    scenario_options,
    scenarios,
)

VMAS = SCENES["Vmas"]


def parsed(*arguments):
    return options_from(parse(VMAS, list(arguments), in_editor=True))


def test_the_default_is_dispersion_as_vmas_has_it():
    assert parsed() == VmasOptions("dispersion", 100, "continuous", "none", False, {})


def test_options_of_the_scenario_are_read_by_their_kind():
    options = parsed(
        "--Scenario=dispersion",
        "--n-agents",
        "3",
        "--food-radius",
        "0.2",
        "--share-reward",
        "--penalise-by-time",
        "false",
        "--n-food",
        "2",
    )
    assert options.scenario_options == {
        "n_agents": 3,
        "food_radius": 0.2,
        "share_reward": True,
        "penalise_by_time": False,
        "n_food": 2,
    }
    options = parsed("--scenario", "road_traffic", "--map-type", "2", "--viewer-size", "(10, 20)")
    assert options.scenario_options["viewer_size"] == (10, 20)


def test_every_scenario_of_vmas_is_known_with_its_options():
    assert {
        "balance",
        "transport",
        "navigation",
        "flocking",
        "discovery",
        "simple_spread",
        "simple_tag",
    } <= set(scenarios())
    assert {"simple_adversary", "simple_speaker_listener", "waterfall"} <= set(scenarios())
    assert scenario_options("dispersion") == {
        "n_agents": 4,
        "share_reward": False,
        "penalise_by_time": False,
        "food_radius": 0.05,
        "pos_range": 1.0,
        "n_food": None,  # as many as agents
    }
    for scenario in scenarios():
        vmas_options.add_options(ArgumentParser(), ["--scenario", scenario])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scenario", "disperison"], "expected one of VMAS's, got disperison; did you mean dispersion?"),
        (["--n-agent", "3"], "got --n-agent; did you mean --n-agents?"),
        (["--scenario", "simple_tag", "--n-agents", "3"], "expected options of scene Vmas, got --n-agents"),
        (["--n-agents", "three"], "expected a number, got three"),
        (["--share-reward", "perhaps"], "expected true or false, got perhaps"),
        (["--max-steps", "-1"], r"Vmas\.max_steps: expected a whole number >= 0, got -1"),
        (["--group-reward"], r"Vmas\.group_reward: expected --groups area or behavior, got none"),
        (["--actions", "analogue"], "invalid choice: 'analogue'"),
    ],
)
def test_wrong_options_are_refused(arguments, message):
    with pytest.raises(OptionError, match=message):
        parsed(*arguments)


def test_without_vmas_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setattr(vmas_options, "find_spec", lambda name: None)
    with pytest.raises(OptionError, match=r"expected the package vmas .* run 'pip install vmas"):
        parsed()
