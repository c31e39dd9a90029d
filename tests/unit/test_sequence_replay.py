"""Sequences from a replay: consecutive steps of one episode, each known by its observation."""

import pytest
import torch
from torch import Tensor

from mlagents_marl_plugin.core.sequence_replay import SequenceBatch, SequenceReplay, SequenceSize
from tests.unit.groups import CPU, DISCRETE, one_role

SPEC = one_role(2, DISCRETE, obs_size=3)
LANES, SIZE = 3, SequenceSize(length=4, burn_in=2, memory_size=2)
EPISODE_LENGTHS = (1, 7, 3, 12, 5)


def memory_of(lane: int, episode: int, step: int) -> Tensor:
    """[N, M]; nobody remembers anything in the first step."""
    return torch.tensor([[100.0 * lane + episode, step], [step, 7.0]]) * (step > 0)


def decides(lane: int, episode: int, step: int) -> Tensor:
    return torch.tensor([1.0, float((lane + episode + step) % 3 > 0)])


class Played:
    """Lanes whose episodes end in turn by an end and by a limit; slots see (lane, episode, step)."""

    def __init__(self, capacity: int, lengths: tuple[int, ...] = EPISODE_LENGTHS) -> None:
        self.replay = SequenceReplay(SPEC, capacity, CPU, memory_size=2)
        self.lengths = lengths
        self.now = [(lane, 0, 0) for lane in range(LANES)]
        self.rows = [self.append(*state) for state in self.now]

    def length(self, lane: int, episode: int) -> int:
        return self.lengths[(lane + episode) % len(self.lengths)]

    def append(self, lane: int, episode: int, step: int) -> int:
        obs = torch.tensor([[lane, episode, step]], dtype=torch.float32).repeat(1, 2)
        allowed = torch.ones(1, SPEC.allowed_size)
        return self.replay.append(obs, torch.ones(1, 2), allowed, memory_of(lane, episode, step).view(1, -1))

    def play(self, num_steps: int) -> "Played":
        for _ in range(num_steps):
            for lane in range(LANES):
                self.step(lane)
        return self

    def step(self, lane: int) -> None:
        _, episode, step = self.now[lane]
        over = step + 1 == self.length(lane, episode)
        following = self.append(lane, episode, step + 1)
        self.replay.complete(
            torch.tensor([self.rows[lane]]),
            torch.zeros(1, SPEC.action_size),
            torch.full((1, 2), float(step)),
            torch.ones(1, 2),
            torch.full((1, 2), float(over and episode % 2 == 0)),
            torch.tensor([following]),
            torch.tensor([float(over)]),
            decides(lane, episode, step).view(1, -1),
        )
        self.now[lane] = (lane, episode + 1, 0) if over else (lane, episode, step + 1)
        self.rows[lane] = self.append(*self.now[lane]) if over else following


def by_step(batch: SequenceBatch, of_rows: Tensor) -> Tensor:
    return of_rows.unflatten(0, (-1, batch.num_sequences))


@pytest.mark.parametrize("capacity", [1000, 40])
def test_sequences_are_what_was_played(capacity: int) -> None:
    """Also where the ring has come round and the beginnings of episodes are gone."""
    played = Played(capacity).play(30)
    batch = played.replay.sample_sequences(600, SIZE, 0.9)
    obs, behind = (by_step(batch, part)[..., :3].long() for part in (batch.steps.obs, batch.steps.next_obs))
    learnt, follows = by_step(batch, batch.learnt), by_step(batch, batch.follows)
    held, reward = by_step(batch, batch.held), by_step(batch, batch.steps.reward)
    value_mask, bootstrap = by_step(batch, batch.steps.value_mask), by_step(batch, batch.steps.bootstrap)
    assert torch.equal(by_step(batch, batch.steps.obs)[1:], by_step(batch, batch.steps.next_obs)[:-1])
    found = learnt.any(0).nonzero().squeeze(1).tolist()
    assert len(found) > 570, "only where all candidates are open there is nothing to learn from"
    warm = set()
    for s in found:
        steps = learnt[:, s].nonzero().squeeze(1).tolist()
        assert 1 <= len(steps) <= SIZE.length and steps == list(range(steps[0], steps[-1] + 1))
        warm.add(steps[0])
        lane, episode, first = obs[0, s].tolist()
        length = played.length(lane, episode)
        assert torch.equal(batch.memory[s], memory_of(lane, episode, first))
        if steps[0] < SIZE.burn_in and capacity == 1000:
            assert first == 0, "a warm-up is shorter only where there is nothing before it"
        for t in range(steps[-1] + 1):
            assert obs[t, s].tolist() == [lane, episode, first + t]
            assert behind[t, s].tolist() == [lane, episode, first + t + 1]
            assert torch.equal(1.0 - held[t, s], decides(lane, episode, first + t))
            assert bool(value_mask[t, s].all()) is (t in steps)
            assert reward[t, s].tolist() == [float(first + t)] * 2
            ends = first + t + 1 == length
            assert bootstrap[t, s].tolist() == pytest.approx([0.0 if ends and episode % 2 == 0 else 0.9] * 2)
            assert bool(follows[t, s]) is (t + 1 in steps)
        if len(steps) < SIZE.length and steps[-1] + 1 < len(learnt):
            ended = first + steps[-1] + 1 == length
            assert ended or (lane, episode, first + steps[-1] + 1) in played.now
    assert warm == {0, 1, 2}
    assert not value_mask[learnt == 0].any()


def test_no_step_of_an_episode_is_learnt_from_three_times_as_often_as_another() -> None:
    played = Played(2000, lengths=(9,)).play(90)
    batch = played.replay.sample_sequences(6000, SequenceSize(4), 0.9)
    step = batch.steps.obs[batch.learnt == 1, 2].long()
    count = torch.bincount(step, minlength=9).float()
    assert len(count) == 9
    # Of windows of 4, those that begin with the episode count 2.5 times: their last step is in 5.5, its first in 2.5.
    assert float(count.min() / count.max()) == pytest.approx(2.5 / 5.5, abs=0.05)


def test_an_agent_that_is_not_there_yet_remembers_nothing() -> None:
    replay = SequenceReplay(SPEC, 10, CPU)
    masks = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 1.0]])
    replay.append(torch.zeros(3, SPEC.obs_size), masks, torch.ones(3, SPEC.allowed_size))
    rows = torch.arange(2)
    nothing = torch.zeros(2, 2)
    action = torch.zeros(2, SPEC.action_size)
    replay.complete(rows, action, nothing, masks[:2], nothing, rows + 1, nothing[:, 0], masks[:2])
    batch = replay.sample_sequences(50, SequenceSize(2), 0.9)
    begins = by_step(batch, batch.steps.agent_mask)[0, :, 1] == 0
    assert bool(begins.any())
    assert by_step(batch, batch.held)[:, begins, 1].unique(dim=1).squeeze(1).tolist() == [1.0, 0.0, 0.0]
    assert batch.memory.shape == (50, 2, 0)


@pytest.mark.parametrize("capacity", [40, 25])
def test_a_saved_replay_draws_the_same_sequences(capacity: int) -> None:
    """With less room the youngest rows stay, and know who stood before them."""
    saved = Played(40).play(30).replay
    loaded, again = (SequenceReplay(SPEC, capacity, CPU, memory_size=2) for _ in "ab")
    loaded.load_state_dict(saved.state_dict())
    again.load_state_dict(loaded.state_dict())
    one, other = (replay.sample_sequences(200, SIZE, 0.9) for replay in (loaded, again))
    assert torch.equal(one.steps.obs, other.steps.obs) and torch.equal(one.memory, other.memory)
    if capacity == 40:
        original = saved.sample_sequences(200, SIZE, 0.9)
        for mine, its in zip(one.steps, original.steps, strict=True):
            assert torch.equal(mine, its)
    follows = one.follows == 1
    assert int(follows.sum()) > 100
    obs, behind = one.steps.obs[follows], one.steps.next_obs[follows]
    assert torch.equal(behind[:, 2], obs[:, 2] + 1) and torch.equal(behind[:, :2], obs[:, :2])


def test_sequences_of_an_episode_that_is_longer_than_the_replay() -> None:
    replay, length = SequenceReplay(SPEC, 8, CPU), 21
    for first in (0, length):  # the second time there is something to overwrite
        step = torch.arange(float(length))[:, None].expand(-1, SPEC.obs_size)
        replay.append(step, torch.ones(length, 2), torch.ones(length, SPEC.allowed_size))
        rows, each, cut = (
            torch.arange(first, first + length - 1),
            torch.ones(length - 1, 2),
            torch.zeros(length - 1),
        )
        action = torch.zeros(length - 1, SPEC.action_size)
        replay.complete(rows, action, each, each, 0 * each, rows + 1, cut, each)
    batch = replay.sample_sequences(400, SequenceSize(3), 0.9)
    obs, learnt = (by_step(batch, part) for part in (batch.steps.obs[:, 0], batch.learnt == 1))
    assert obs[learnt].unique().tolist() == [*range(13, 20)]
    assert torch.equal(obs[1:][learnt[1:]], obs[:-1][learnt[1:]] + 1)
    assert torch.equal(batch.steps.next_obs[batch.learnt == 1], batch.steps.obs[batch.learnt == 1] + 1)


def test_nothing_can_be_drawn_of_nothing() -> None:
    with pytest.raises(ValueError, match=r"^SequenceReplay.sample_sequences: expected at least one complete"):
        SequenceReplay(SPEC, 10, CPU).sample_sequences(2, SequenceSize(2), 0.9)
