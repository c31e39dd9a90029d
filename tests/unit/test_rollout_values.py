"""What critics with a memory say of lanes that are cut up in one way or another: what they say of the whole."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from mlagents_marl_plugin.core.chain_values import Reader
from mlagents_marl_plugin.core.encoded_critics import create_value_critic
from mlagents_marl_plugin.core.group_memory import GroupMemory
from mlagents_marl_plugin.core.mini_batches import played_sequences
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
    """A lane whose observations depend on nothing but its number."""

    def __init__(
        self, rollout: Rollout, number: int, ends: Sequence[int] = (), comes: Sequence[int] = ()
    ) -> None:
        """
        Args:
            ends: steps in which the second agent ends, while the first plays on.
            comes: steps behind which the second agent is another one.
        """
        self.rollout = rollout
        self.ends = ends
        self.comes = comes
        self.obs = torch.randn(12, SPEC.obs_size, generator=torch.Generator().manual_seed(number))
        self.step = 0
        self.rows = [self._append()]
        self.shown: dict[int, int] = {}  # by step, the row that only shows how it ended

    def _append(self) -> int:
        return self.rollout.append(self.obs[self.step : self.step + 1], HERE, torch.ones(1, 0))

    def play(self, num_steps: int) -> None:
        for _ in range(num_steps):
            ended, anew = self.step in self.ends, torch.tensor([[0.0, float(self.step in self.comes)]])
            self.step += 1
            following = onward = self._append()
            if ended:
                self.shown[self.step] = following
                onward = self._append()
            number, action = torch.tensor([self.rows[-1]]), torch.zeros(1, SPEC.action_size)
            outcome = (action, NOBODY, HERE, NOBODY, torch.tensor([following]), torch.tensor([ended]))
            resumed = torch.tensor([onward if ended else -1])
            self.rollout.complete(number, *outcome, NOBODY, HERE, resumed, anew)
            self.rows.append(onward)


def said_of(
    make: Callable[[], Reader],
    played: list[tuple[int, int]],
    ends: Sequence[int] = (),
    comes: Sequence[int] = (),
    size: int = 0,
) -> tuple[list[list[Said]], dict[int, Said]]:
    """What is said of two lanes' rows, of which each rollout shows so many, and by step of the rows that only show how
    the first one ended.
    """
    reader = make()
    with_large_weights(reader.nets, 1)
    rollout, values = Rollout(SPEC, 16, CPU), RolloutValues(reader, size)
    lanes, said = [Lane(rollout, 0, ends, comes), Lane(rollout, 1)], dict[int, Said]()
    for num_steps in played:
        for lane, count in zip(lanes, num_steps, strict=True):
            lane.play(count)
        batch = rollout.take()
        assert batch.number is not None
        value, before = values(batch, batch.obs)
        assert before is not None
        said |= {number: Said(value[row], before[row]) for row, number in enumerate(batch.number.tolist())}
    shown = {step: said[row] for step, row in lanes[0].shown.items()}
    return [[said[row] for row in lane.rows[:-1]] for lane in lanes], shown


def assert_same(lane: Sequence[Said], expected: Sequence[Said]) -> None:
    for row, other in zip(lane, expected, strict=True):
        torch.testing.assert_close(row, other)


@EVERY_READER
@pytest.mark.parametrize(
    "played", [[(2, 2), (2, 2)], [(2, 2), (1, 0), (1, 2)], [(2, 0), (2, 4)]], ids=["halves", "silent", "late"]
)
def test_critics_remember_a_lane_from_rollout_to_rollout(
    make: Callable[[], Reader], played: list[tuple[int, int]]
) -> None:
    """Also where a rollout shows nothing of it."""
    for lane, whole in zip(said_of(make, played)[0], said_of(make, [(4, 4)])[0], strict=True):
        assert_same(lane, whole)
        assert whole[2].before.abs().min() > 1e-6


@EVERY_READER
@pytest.mark.parametrize("size", [0, 1], ids=["at once", "one by one"])
@pytest.mark.parametrize(
    "played", [[(8, 8)], [(3, 8), (5, 0)], [(3, 0), (0, 1), (1, 0), (4, 7)]], ids=["one", "two", "four"]
)
def test_critics_remember_what_was_before_a_member_ended(
    make: Callable[[], Reader], played: list[tuple[int, int]], size: int
) -> None:
    """What the others play on with, and what shows how the member ended, in however many rollouts it is learnt."""
    (without, other), nothing = said_of(make, [(8, 8)])
    (lane, same), shown = said_of(make, played, ends=(2, 3, 6), size=size)
    assert not nothing and list(shown) == [3, 4, 7]
    assert_same(lane, without)
    assert_same(same, other)
    assert_same(list(shown.values()), [without[step] for step in shown])


@EVERY_READER
@pytest.mark.parametrize("ends", [(2,), ()], ids=["at an end", "later"])
@pytest.mark.parametrize("played", [[(6, 6)], [(3, 3), (3, 3)]], ids=["one", "two"])
def test_who_takes_a_place_begins_with_nothing(
    make: Callable[[], Reader], played: list[tuple[int, int]], ends: tuple[int, ...]
) -> None:
    """But the others go on, and so does the group's one memory. How who was there before ended is seen with its own."""
    without = said_of(make, [(6, 6)])[0][0]
    (lane, _), shown = said_of(make, played, ends=ends, comes=(2,))
    assert_same(lane[:3], without[:3])
    assert_same(list(shown.values()), [without[3]] * len(ends))
    torch.testing.assert_close(lane[3].before[0], without[3].before[0])
    if len(lane[3].before) > 1:
        assert not lane[3].before[1].any()
        assert without[3].before[1].abs().min() > 1e-6
        assert lane[4].before[1].any()
    torch.testing.assert_close(lane[5].before[0], without[5].before[0])


def test_a_sequence_begins_with_a_newcomer_and_behind_an_end() -> None:
    rollout = Rollout(SPEC, 16, CPU)
    Lane(rollout, 0, ends=(1,), comes=(3,)).play(6)
    packed = played_sequences(rollout.take(), 10, 2).packed()
    assert packed.counts == (3, 3)
    assert sorted(zip(*packed.rows.view(2, 3).tolist(), strict=True)) == [(0, 1), (2, 3), (4, 5)]


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
