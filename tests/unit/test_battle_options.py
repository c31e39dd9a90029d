from dataclasses import asdict

import pytest

from mlagents_marl_plugin.player.options import OptionError, parse
from mlagents_marl_plugin.player.scenes import SCENES, battle_options
from mlagents_marl_plugin.player.scenes.battle_options import BattleOptions, options_from


def options(*arguments):
    return options_from(parse(SCENES["Battle"], [*arguments], in_editor=True))


def test_options_reach_the_scene():
    assert options() == BattleOptions()
    given = options(
        *("--opponent", "self-play", "--map-size", "20", "--max-steps", "7", "--groups", "none"),
        *("--visual", "--minimap", "--extra-features", "--step-reward=-1", "--dead-penalty=-2"),
        *("--attack-penalty=-3", "--attack-opponent-reward=4"),
    )
    assert given == BattleOptions("self-play", 20, 7, "none", True, True, True, -1.0, -2.0, -3.0, 4.0)
    assert not set(asdict(given).items()) & set(asdict(BattleOptions()).items()), "every option is read"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--map-size=11"], "Battle.map_size: expected a whole number >= 12, got 11; the armies need room"),
        (["--max-steps=-1"], "Battle.max_steps: expected a whole number >= 0, got -1; 0 never interrupts"),
        (["--opponent=nobody"], "invalid choice: 'nobody'"),
        (["--mini-map"], "got --mini-map; did you mean --minimap?"),
    ],
)
def test_wrong_options_are_refused(arguments, says):
    with pytest.raises(OptionError) as error:
        options(*arguments)
    assert says in str(error.value)


def test_without_magent2_the_remedy_is_named(monkeypatch):
    monkeypatch.setattr(battle_options, "find_spec", lambda name: None)
    with pytest.raises(
        OptionError, match=r"expected the package magent2 .*pip install --no-deps magent2==0\.3\.4"
    ):
        options()
