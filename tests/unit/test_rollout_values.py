"""What critics with a memory say of lanes that are cut up in one way or another: what they say of the whole."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from mlagents_marl_plugin.core.chain_values import Reader
from mlagents_marl_plugin.core.encoded_critics import create_value_critic
from mlagents_marl_plugin.core.group_memory import GroupMemory
from mlagents_marl_plugin.core.mlp_shape import LayerNormalisation
from mlagents_marl_plugin.core.networks import Sharing
from mlagents_marl_plugin.core.recurrent_shape import Cell
from mlagents_marl_plugin.core.rollout import Rollout
from mlagents_marl_plugin.core.rollout_values import RolloutValues
from mlagents_marl_plugin.core.sequences import Recurrence
from mlagents_marl_plugin.core.stacked_mlp import Initialisation
from mlagents_marl_plugin.core.value_critics import ValueOutput
from tests.unit.groups import CPU, one_role
from tests.unit.remembering import with_large_weights

SPEC = one_role(2, obs_size=3)
HERE, NOBODY = torch.ones(1, 2), torch.zeros(1, 2)


def mappos(output: ValueOutput | None) -> Reader:
    generator = torch.Generator().manual_seed(0)
    rest = (Sharing.SHARED, (8,), LayerNormalisation.NONE, Initialisation(), CPU, generator, 4)
    return create_value_critic(SPEC, output, *rest)


def comas() -> Reader:
    generator = torch.Generator().manual_seed(0)
    return GroupMemory.create(SPEC, 8, LayerNormalisation.NONE, 4, Cell.LSTM, CPU, generator)


READERS: dict[str, Callable[[], Reader]] = {
    "MAPPO": lambda: mappos(ValueOutput.OWN_VIEW),
    "MAPPO, one value": lambda: mappos(ValueOutput.GROUP),
    "IPPO": lambda: mappos(None),
    "COMA": comas,
}
EVERY_READER = pytest.mark.parametrize("make", READERS.values(), ids=READERS)


class Said(NamedTuple):
    """Of a row."""

    value: Tensor  # [W]
    before: Tensor  # [U, M]


class Lane:
    """A lane of which nothing ends; its observations depend on nothing but its number."""

    def __init__(self, rollout: Rollout, number: int) -> None:
        self.rollout = rollout
        self.obs = torch.randn(12, SPEC.obs_size, generator=torch.Generator().manual_seed(number))
        self.step = 0
        self.rows = [self._append()]

    def _append(self) -> int:
        return self.rollout.append(self.obs[self.step : self.step + 1], HERE, torch.ones(1, 0))

    def play(self, num_steps: int) -> None:
        for _ in range(num_steps):
            self.step += 1
            following, number = self._append(), torch.tensor([self.rows[-1]])
            action = torch.zeros(1, SPEC.action_size)
            outcome = (action, NOBODY, HERE, NOBODY, torch.tensor([following]), torch.zeros(1))
            self.rollout.complete(number, *outcome, NOBODY, HERE)
            self.rows.append(following)


def said_of(make: Callable[[], Reader], played: list[tuple[int, int]]) -> list[list[Said]]:
    """What is said of two lanes' rows, of which each rollout shows so many."""
    reader = make()
    with_large_weights(reader.nets, 1)
    rollout, values = Rollout(SPEC, 16, CPU), RolloutValues(reader)
    lanes, said = [Lane(rollout, number) for number in range(2)], dict[int, Said]()
    for num_steps in played:
        for lane, count in zip(lanes, num_steps, strict=True):
            lane.play(count)
        batch = rollout.take()
        assert batch.number is not None
        value, before = values(batch, batch.obs)
        assert before is not None
        for place, number in enumerate(batch.number[: len(batch.action)].tolist()):
            said[number] = Said(value[place], before[place])
    return [[said[row] for row in lane.rows[:-1]] for lane in lanes]


@EVERY_READER
@pytest.mark.parametrize(
    "played", [[(2, 2), (2, 2)], [(2, 2), (1, 0), (1, 2)], [(2, 0), (2, 4)]], ids=["halves", "silent", "late"]
)
def test_critics_remember_a_lane_from_rollout_to_rollout(
    make: Callable[[], Reader], played: list[tuple[int, int]]
) -> None:
    """Also where a rollout shows nothing of it."""
    for lane, whole in zip(said_of(make, played), said_of(make, [(4, 4)]), strict=True):
        for row, expected in zip(lane, whole, strict=True):
            torch.testing.assert_close(row, expected)
        assert whole[2].before.abs().min() > 1e-6


def test_nothing_is_remembered_of_lanes_that_were_given_up() -> None:
    rollout, values = Rollout(SPEC, 2, CPU), RolloutValues(comas())
    lanes = [Lane(rollout, number) for number in range(2)]
    lanes[0].play(1)
    for count in (1, 9):
        lanes[1].play(count)
        batch = rollout.take()
        values(batch, batch.obs)
    assert values._lane_memories._number.tolist() == lanes[1].rows[-1:]


class Counting:
    """Counts the rows that a reader is given at once."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.nets = reader.nets
        self.memory_shape = reader.memory_shape
        self.memories = reader.memories
        self.rows: list[int] = []

    def __call__(self, joint: Tensor, recurrence: Recurrence | None = None) -> Tensor:
        self.rows.append(len(joint))
        return self.reader(joint, recurrence)


@pytest.mark.parametrize(("size", "lanes_at_once"), [(0, 3), (1, 1), (20, 2), (30, 3)])
def test_no_more_lanes_are_read_at_once_than_there_is_room_for(size: int, lanes_at_once: int) -> None:
    """Of two agents and 5 rows each; one lane is the least."""
    rollout, counting = Rollout(SPEC, 16, CPU), Counting(comas())
    for number in range(3):
        Lane(rollout, number).play(4)
    batch = rollout.take()
    RolloutValues(counting, size)(batch, batch.obs)
    assert max(counting.rows) == 5 * lanes_at_once
