"""Batches as sequences: who follows whom, and in which order networks with a memory read it."""

import random

import torch

from mlagents_marl_plugin.core.sequences import Chains, Packed, Recurrence

# Three chains over 9 rows, interleaved as lanes are: 0-2-5-7-8, 1-3, and 4-6.
SUCCESSOR = torch.tensor([2, 3, 5, 9, 6, 7, 9, 8, 9])
CHAINS = [[0, 2, 5, 7, 8], [1, 3], [4, 6]]


def sequences(packed: Packed) -> list[list[tuple[int, bool]]]:
    """Rows, and whether they are only passed through, of each sequence, as a network meets them."""
    met = [list[tuple[int, bool]]() for _ in range(packed.counts[0])]
    place = 0
    for count in packed.counts:
        for number in range(count):
            met[number].append((int(packed.rows[place]), bool(packed.warm_up[place])))
            place += 1
    assert place == len(packed.rows) == len(packed.warm_up)
    return met


def test_whole_chains_are_read_from_their_first_row_to_their_last() -> None:
    met = sequences(Chains(SUCCESSOR, 9).whole().packed())
    assert met == [[(row, False) for row in chain] for chain in CHAINS]


def test_rows_without_a_successor_of_their_own_end_chains() -> None:
    """The observations behind the last rows, as values need them."""
    successor = torch.tensor([2, 3, 4])
    assert sequences(Chains(successor, 5).whole().packed()) == [
        [(0, False), (2, False), (4, False)],
        [(1, False), (3, False)],
    ]


def test_pieces_cover_every_row_once_and_warm_up_on_those_before() -> None:
    pieces = Chains(SUCCESSOR, 9).pieces(2, burn_in=1)
    met = sequences(pieces.packed())
    assert sorted(met) == [
        [(0, False), (2, False)],
        [(1, False), (3, False)],
        [(2, True), (5, False), (7, False)],
        [(4, False), (6, False)],
        [(7, True), (8, False)],
    ]


def test_chosen_pieces_come_longest_first() -> None:
    pieces = Chains(SUCCESSOR, 9).pieces(3, burn_in=0)
    assert len(pieces) == 4
    packed = pieces.packed(torch.tensor([3, 1, 0]))
    assert packed.counts == (3, 3, 1)
    assert [[row for row, _ in sequence] for sequence in sequences(packed)] == [[0, 2, 5], [4, 6], [7, 8]]


def test_a_long_chain_among_many_short_ones() -> None:
    """Against a plain walk, over random links."""
    rng = random.Random(1)
    num_rows = 500
    successor = [num_rows] * num_rows
    free = set(range(1, num_rows))
    for row in range(num_rows):
        later = [r for r in range(row + 1, min(row + 6, num_rows)) if r in free]
        if later and rng.random() < 0.9:
            successor[row] = rng.choice(later)
            free.discard(successor[row])
    followed = set(successor)
    walks = []
    for row in range(num_rows):
        if row not in followed:
            walk = [row]
            while successor[walk[-1]] < num_rows:
                walk.append(successor[walk[-1]])
            walks.append(walk)
    met = sequences(Chains(torch.tensor(successor), num_rows).whole().packed())
    assert sorted([row for row, _ in sequence] for sequence in met) == sorted(walks)
    assert [len(sequence) for sequence in met] == sorted((len(walk) for walk in walks), reverse=True)


def test_a_role_reads_the_memories_of_its_own_units() -> None:
    memory, held = torch.randn(2, 5, 3), torch.rand(4, 5)
    mine = Recurrence((2, 2), memory, held).of(slice(1, 3))
    assert torch.equal(mine.memory, memory[:, 1:3]) and mine.held is not None
    assert torch.equal(mine.held, held[:, 1:3])
    assert Recurrence((2, 2), memory, None).of(slice(0, 1)).held is None
