"""Values that the host cannot read are told with the field that they stand in."""

from typing import Any

import pytest
import yaml
from mlagents.trainers.settings import RunOptions

from mlagents_marl_plugin.adapter import last_words

WHOLE = "expected a whole number, got"
LEAVE_OUT = "write it without quotes or units, or leave it out"


def told(text: str, section: str = "behaviors") -> str | None:
    """What is said after the host's error about the settings of a behaviour, or about another section."""
    settings: Any = yaml.safe_load(text)
    with pytest.raises((ValueError, TypeError, OverflowError)) as raised:
        RunOptions.from_dict({section: {"Tennis": settings} if section == "behaviors" else settings})
    return last_words.last_words(raised.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "network_settings: {memory: {memory_size: lots}}",
            f"network_settings.memory.memory_size: {WHOLE} 'lots'; {LEAVE_OUT}",
        ),
        (
            "network_settings: {hidden_units: [64]}",
            f"network_settings.hidden_units: {WHOLE} [64]; {LEAVE_OUT}",
        ),
        ("network_settings: {num_layers: }", f"network_settings.num_layers: {WHOLE} None; {LEAVE_OUT}"),
        ("summary_freq: 5e4", f"summary_freq: {WHOLE} '5e4'; write 50000"),
        ("max_steps: lots", f"max_steps: {WHOLE} 'lots'; {LEAVE_OUT}"),
        ("max_steps: .inf", f"max_steps: {WHOLE} inf; write a finite number"),
        ("self_play: {window: wide}", f"self_play.window: {WHOLE} 'wide'; {LEAVE_OUT}"),
        (
            "reward_signals: {extrinsic: {gamma: high}}",
            f"reward_signals.extrinsic.gamma: expected a number, got 'high'; {LEAVE_OUT}",
        ),
        (
            "network_settings: {vis_encode_type: large}",
            "network_settings.vis_encode_type: expected one of fully_connected, match3, simple, nature_cnn, resnet, "
            "got 'large'; check the spelling",
        ),
        (
            "network_settings: {memory: 64}",
            "network_settings.memory: expected a mapping with sequence_length, memory_size, got 64; see the examples "
            "in trainer_configs",
        ),
    ],
)
def test_the_field_is_named_with_what_to_write(text: str, line: str) -> None:
    assert told(text) == f"behaviors.Tennis.{line}"


def test_so_it_is_outside_behaviours() -> None:
    assert told("{num_envs: many}", "env_settings") == f"env_settings.num_envs: {WHOLE} 'many'; {LEAVE_OUT}"
    assert told("{width: 8.x}", "engine_settings") == f"engine_settings.width: {WHOLE} '8.x'; {LEAVE_OUT}"


def test_an_error_that_no_value_explains_speaks_for_itself() -> None:
    assert told("reward_signals: {outrinsic: {gamma: 1}}") is None
    with pytest.raises(ValueError, match="base 10") as raised:
        int("lots")
    assert last_words.last_words(raised.value) is None
