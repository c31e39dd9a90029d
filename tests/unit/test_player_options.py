import math
from pathlib import Path

import pytest

from mlagents_marl_plugin.player.options import OptionError, log_file, parse
from mlagents_marl_plugin.player.scenes import SCENES, find_scene

TENNIS = SCENES["Tennis"]


def parse_build(*arguments):
    return parse(TENNIS, ["--mlagents-port", "5005", *arguments], in_editor=False)


def test_what_the_host_passes_is_understood():
    options = parse_build("-nographics", "-batchmode", "-logFile", "run/Player-0.log")
    assert options.port == 5005
    assert options.log_file == "run/Player-0.log"


def test_names_of_options_may_be_written_in_any_case_but_values_stay():
    options = parse(
        TENNIS, ["--MLAGENTS-PORT=5006", "-NoGraphics", "-logfile", "A.Log", "--Group-IDs"], in_editor=False
    )
    assert (options.port, options.nographics, options.log_file, options.group_ids) == (
        5006,
        True,
        "A.Log",
        True,
    )


def test_the_options_of_tennis_have_the_defaults_of_the_original():
    options = parse_build()
    assert (options.num_stacked, options.reward_scale, options.max_decisions) == (3, 1.0, 1000)
    assert not (options.group_ids or options.teams or options.true_ball_velocity)


def test_arguments_of_unity_without_effect_are_accepted():
    assert parse_build("-screen-width", "640", "-screen-height", "480").port == 5005


def test_a_misspelt_option_is_refused_with_the_nearest_one():
    with pytest.raises(OptionError, match=r"got --gruop-ids; did you mean --group-ids\?"):
        parse_build("--gruop-ids")


def test_options_are_not_abbreviated():
    with pytest.raises(OptionError, match="got --group; "):
        parse_build("--group")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num-stacked", "three"], "--num-stacked: invalid int value: 'three'"),
        (["--mlagents-port", "70000"], "expected a port from 1 to 65535, got 70000"),
        (["--wait", "-1"], "expected seconds >= 0, got -1"),
        (["--wait", "nan"], "expected seconds >= 0, got nan"),
        (["--fault-after", "0"], "expected a whole number >= 1, got 0"),
        (["-logFile"], "expected one argument"),
        (["stray"], "got stray"),
        (["--num-stacked", "0"], "Tennis.num_stacked: expected a whole number >= 1, got 0"),
    ],
)
def test_wrong_values_are_refused(arguments, message):
    with pytest.raises(OptionError, match=message):
        parse_build(*arguments)


def test_a_build_started_by_hand_says_how_to_press_play():
    with pytest.raises(OptionError, match="expected --mlagents-port; .*marl-player play Tennis"):
        parse(TENNIS, [], in_editor=False)


def test_play_uses_the_port_of_the_editor_and_waits_without_limit():
    options = parse(TENNIS, [], in_editor=True)
    assert (options.port, options.wait) == (5004, math.inf)


def test_the_log_file_is_found_on_a_wrong_command_line():
    assert log_file(["--nonsense", "-LOGFILE", "a.log"]) == Path("a.log")
    assert log_file(["-logFile", "-"]) is None
    assert log_file(["-logFile"]) is None


def test_sizes_of_counter_are_lists():
    counter = SCENES["Counter"]
    assert parse(counter, ["--branches", "3,2"], in_editor=True).branches == (3, 2)
    with pytest.raises(OptionError, match="expected whole numbers >= 1 with commas between, got 3,0"):
        parse(counter, ["--branches", "3,0"], in_editor=True)


def test_scenes_are_found_in_any_case():
    assert find_scene("tennis") is TENNIS
    assert find_scene("Chess") is None
