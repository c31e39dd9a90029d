"""Every setting of a learner changes what it learns, and every other setting is known to be somebody else's."""

from collections.abc import Callable, Collection
from typing import Any

import attrs

from tests.unit.learner_states import same_state

Learnt = Callable[[Any], dict[str, Any]]  # a configuration -> the networks after a few updates

# What trainers read, and rewards before learners see them.
REWARDS = {"reward_sharing", "reward_mix", "positive_reward_scale", "survival_bonus", "reward_function"}
ROLLOUTS = {"buffer_size", "update_every_episodes"}
REPLAYS = {"batch_size", "buffer_size", "buffer_init_steps", "steps_per_update", "save_replay_buffer"}
REPLAYS |= {"n_step", "non_positive_share", "non_positive_steps", "demonstrations", "demonstration_updates"}
# What learners read where agents remember; the tests of memories change it.
MEMORIES = {"memory_cell", "recurrent_critic", "burn_in"}


def check_change(learnt: Learnt, before: Any, **field: Any) -> None:
    """The same experience teaches something else once one field of a configuration has changed."""
    after = attrs.evolve(before, **field)
    for name, value in field.items():
        assert getattr(before, name) != value
    assert not same_state(learnt(before), learnt(after))


def check_none_is_forgotten(config: type, changed: Collection[str], elsewhere: Collection[str]) -> None:
    """Every field is among those that tests change, or among those that the learner does not read; in one of them."""
    fields = set(attrs.fields_dict(config))
    assert set(changed) | set(elsewhere) == fields
    assert not set(changed) & set(elsewhere)
