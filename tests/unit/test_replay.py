"""Replay: transitions against a naive list, the ring, returns over several steps, uniformity, resuming."""

import io
import random
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mlagents_marl_plugin.core import memory
from mlagents_marl_plugin.core.replay import Replay
from mlagents_marl_plugin.core.types import ActionLayout, Batch, GroupSpec, RoleSpec

CPU = torch.device("cpu")
RUNNERS = RoleSpec("runner", 2, ((3,),), ActionLayout(1, (2,)))
KEEPER = RoleSpec("keeper", 1, ((2, 2), (1,)), ActionLayout(0, (3,)))
SPEC = GroupSpec((RUNNERS, KEEPER))
PLAIN = GroupSpec((RoleSpec("plain", 2, ((1,),), ActionLayout(1)),))


@dataclass
class NaiveReplay:
    """The same contract with lists and Python numbers: slow, and simple enough to believe."""

    capacity: int
    observed: list[dict[str, Tensor]] = field(default_factory=list)
    outcome: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    dropped: int = 0

    def is_here(self, row: int) -> bool:
        return row >= len(self.observed) - self.capacity

    def complete(self, row: int, outcome: dict[str, Tensor]) -> None:
        if self.is_here(row):
            self.outcome[row] = outcome
        else:
            self.dropped += 1

    def complete_rows(self) -> list[int]:
        return [row for row in self.outcome if self.is_here(row)]

    def transition(self, row: int, n_step: int, discount: float) -> Batch:
        reward, alive = torch.zeros(SPEC.num_slots), torch.ones(SPEC.num_slots)
        last, power = row, 1.0
        for _ in range(n_step):
            outcome = self.outcome[last]
            reward = reward + power * alive * outcome["reward"]
            alive = alive * (1 - outcome["terminated"])
            power *= discount
            last = int(outcome["next_row"])
            if outcome["cut"] or last not in self.outcome:
                break
        first, after = self.observed[row], self.observed[last]
        return Batch(
            obs=first["obs"],
            action=self.outcome[row]["action"],
            allowed=first["allowed"],
            agent_mask=first["agent_mask"],
            value_mask=self.outcome[row]["value_mask"],
            reward=reward,
            bootstrap=power * alive,
            next_obs=after["obs"],
            next_allowed=after["allowed"],
            next_agent_mask=after["agent_mask"],
        )


class Scene:
    """Lanes of random lengths and ends, written to the replay and to the naive one alike.

    Slot 0 is always there and the first number of its observation names the row.
    """

    def __init__(self, seed: int, capacity: int, num_lanes: int) -> None:
        self.random = random.Random(seed)
        self.torch = torch.Generator("cpu").manual_seed(seed)
        self.replay = Replay(SPEC, capacity, CPU, torch.Generator("cpu").manual_seed(seed))
        self.naive = NaiveReplay(capacity)
        self.current: list[int | None] = [None] * num_lanes
        self.waiting: list[tuple[int, dict[str, Tensor]]] = []

    def tick(self) -> None:
        lanes = [lane for lane in range(len(self.current)) if self.random.random() < 0.7]
        if lanes:
            first = self._append(len(lanes))
            for row, lane in enumerate(lanes, first):
                before, ends = self.current[lane], self.random.random() < 0.25
                if before is None:
                    self.current[lane] = row
                    continue
                self.waiting.append((before, self._outcome(before, row, ends)))
                self.current[lane] = None if ends else row
        if self.random.random() < 0.6:
            self.random.shuffle(self.waiting)
            self._complete(self.random.randint(0, len(self.waiting)))

    def _append(self, num_rows: int) -> int:
        first = len(self.naive.observed)
        obs = torch.rand(num_rows, SPEC.obs_size, generator=self.torch)
        obs[:, 0] = torch.arange(first, first + num_rows)
        agent_mask = torch.rand(num_rows, SPEC.num_slots, generator=self.torch) < 0.7
        agent_mask[:, 0] = True
        allowed = torch.rand(num_rows, SPEC.allowed_size, generator=self.torch) < 0.7
        padded = obs.masked_fill(~self._spread(agent_mask, "obs"), torch.nan)
        assert self.replay.append(padded, agent_mask, allowed) == first
        present = obs.masked_fill(~self._spread(agent_mask, "obs"), 0.0)
        for i in range(num_rows):
            row = {"obs": present[i], "agent_mask": agent_mask[i].float(), "allowed": allowed[i].float()}
            self.naive.observed.append(row)
        return first

    def _outcome(self, row: int, next_row: int, ends: bool) -> dict[str, Tensor]:
        value_mask = (torch.rand(SPEC.num_slots, generator=self.torch) < 0.8).float()
        value_mask[0] = 1.0
        present = self.naive.observed[row]["agent_mask"]
        action = torch.rand(SPEC.action_size, generator=self.torch)
        reward = torch.randn(SPEC.num_slots, generator=self.torch)
        terminated = (torch.rand(SPEC.num_slots, generator=self.torch) < (0.5 if ends else 0.1)).float()
        return {
            "action": action * self._spread(present[None], "action")[0],
            "reward": reward * value_mask,
            "value_mask": value_mask,
            "terminated": terminated,
            "next_row": torch.tensor(next_row),
            "cut": torch.tensor(ends),
        }

    def _complete(self, count: int) -> None:
        done, self.waiting = self.waiting[:count], self.waiting[count:]
        if not done:
            return
        stacked = {name: torch.stack([outcome[name] for _, outcome in done]) for name in done[0][1]}
        rows = torch.tensor([row for row, _ in done])
        agent_mask = torch.stack([self.naive.observed[row]["agent_mask"] for row, _ in done]).bool()
        self.replay.complete(
            rows,
            stacked["action"].masked_fill(~self._spread(agent_mask, "action"), torch.nan),
            stacked["reward"].masked_fill(stacked["value_mask"] == 0, torch.nan),
            stacked["value_mask"],
            stacked["terminated"],
            stacked["next_row"],
            stacked["cut"],
        )
        for row, outcome in done:
            self.naive.complete(row, outcome)

    @staticmethod
    def _spread(agent_mask: Tensor, what: str) -> Tensor:
        """[M, N] to the width of the joint observation or action."""
        widths = [role.obs_size if what == "obs" else role.action.size for role in SPEC.roles]
        repeats = torch.tensor([widths[0], widths[0], widths[1]])
        return agent_mask.bool().repeat_interleave(repeats, dim=1)


def assert_sampled_are_naive(scene: Scene, n_step: int, discount: float, batch_size: int = 64) -> None:
    batch = scene.replay.sample(batch_size, n_step, discount)
    complete = scene.naive.complete_rows()
    for i in range(batch_size):
        if batch.agent_mask[i, 0] == 0:  # no candidate was usable
            assert not batch.agent_mask[i].any() and not batch.value_mask[i].any()
            continue
        row = int(batch.obs[i, 0])
        assert row in complete
        expected = scene.naive.transition(row, n_step, discount)
        for name, got, want in zip(Batch._fields, batch, expected, strict=True):
            torch.testing.assert_close(got[i], want, msg=lambda text, name=name: f"{name}: {text}")


@settings(max_examples=50)
@given(
    seed=st.integers(0, 10_000),
    capacity=st.integers(2, 40),
    num_lanes=st.integers(1, 6),
    n_step=st.integers(1, 5),
    discount=st.sampled_from([0.0, 0.5, 0.99, 1.0]),
)
def test_every_sample_is_a_transition_of_the_naive_replay(
    seed: int, capacity: int, num_lanes: int, n_step: int, discount: float
) -> None:
    scene = Scene(seed, capacity, num_lanes)
    for _ in range(40):
        scene.tick()
        assert len(scene.replay) == len(scene.naive.complete_rows())
        assert scene.replay.metrics()["dropped"] == scene.naive.dropped
        if len(scene.replay) and scene.random.random() < 0.15:
            assert_sampled_are_naive(scene, n_step, discount, batch_size=16)


@pytest.mark.parametrize("share", [1.0, 0.2])
def test_rows_are_drawn_uniformly_or_thinned_by_the_share(share: float) -> None:
    scene = Scene(seed=2, capacity=50, num_lanes=3)
    for _ in range(100):
        scene.tick()
    complete = sorted(scene.naive.complete_rows())
    assert 20 < len(complete) < 45  # some rows are open, and the ring has come round
    assert {0, 49} <= {row % 50 for row in complete}  # the ends of the ring are drawn too
    draws = 60_000
    batch = scene.replay.sample(draws, non_positive_share=share)
    usable = batch.agent_mask[:, 0] > 0
    count = torch.bincount(batch.obs[usable, 0].long(), minlength=len(scene.naive.observed))
    positive = [bool((scene.naive.outcome[row]["reward"] > 0).any()) for row in complete]
    assert 5 < sum(positive) < len(complete) - 3
    weight = torch.tensor([1.0 if good else share for good in positive])
    expected = weight / weight.sum() * int(usable.sum())
    assert bool(((count[complete] - expected).abs() < 5 * expected.sqrt()).all())
    assert int(count.sum()) == int(count[complete].sum())


def plain_lane(rewards: list[list[float]], terminated: list[list[float]], cut: list[bool]) -> Replay:
    """One lane of two slots; observations count 0, 1, 2, ...; the last row is open."""
    length = len(rewards)
    replay = Replay(PLAIN, 16, CPU)
    obs = torch.arange(length + 1.0)[:, None].expand(-1, 2)
    replay.append(obs, torch.ones(length + 1, 2), torch.ones(length + 1, 0))
    replay.complete(
        torch.arange(length),
        torch.zeros(length, 2),
        torch.tensor(rewards),
        torch.ones(length, 2),
        torch.tensor(terminated),
        torch.arange(1, length + 1),
        torch.tensor(cut),
    )
    return replay


def from_first_row(replay: Replay, n_step: int, discount: float) -> tuple[list[float], list[float], float]:
    """Reward and bootstrap per slot of the sample that begins in row 0, and its successor's number."""
    batch = replay.sample(200, n_step, discount)
    at = int(((batch.obs[:, 0] == 0) & (batch.agent_mask[:, 0] > 0)).nonzero()[0])
    return batch.reward[at].tolist(), batch.bootstrap[at].tolist(), float(batch.next_obs[at, 0])


REWARDS = [[1.0, 1.0], [2.0, 2.0], [4.0, 4.0], [8.0, 8.0]]
ALIVE = [[0.0, 0.0]] * 4


def test_n_step_return_by_hand() -> None:
    replay = plain_lane(REWARDS, ALIVE, [False] * 4)
    assert from_first_row(replay, 3, 0.5) == ([3.0, 3.0], [0.125, 0.125], 3.0)


def test_n_step_stops_at_a_cut_and_bootstraps_from_it() -> None:
    replay = plain_lane(REWARDS, ALIVE, [False, True, False, False])
    assert from_first_row(replay, 4, 0.5) == ([2.0, 2.0], [0.25, 0.25], 2.0)


def test_n_step_stops_where_the_next_outcome_is_not_known() -> None:
    replay = plain_lane(REWARDS[:2], ALIVE[:2], [False, False])
    assert from_first_row(replay, 5, 0.5) == ([2.0, 2.0], [0.25, 0.25], 2.0)


@pytest.mark.parametrize("n_step", [2, 3, 4])
def test_nothing_counts_for_a_slot_after_it_terminated(n_step: int) -> None:
    replay = plain_lane(REWARDS, [[0.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]], [False] * 4)
    reward, bootstrap, _ = from_first_row(replay, n_step, 0.5)
    assert reward == [float(n_step), 2.0]
    assert bootstrap == [0.5**n_step, 0.0]


def test_one_step_keeps_the_terminated_slot_from_bootstrapping() -> None:
    replay = plain_lane(REWARDS, [[1.0, 0.0], *ALIVE[1:]], [False] * 4)
    assert from_first_row(replay, 1, 0.5) == ([1.0, 1.0], [0.0, 0.5], 1.0)


@pytest.mark.parametrize(("share", "num_candidates"), [(1.0, 4), (0.1, 16)])
def test_a_sample_without_a_usable_candidate_weighs_nothing(share: float, num_candidates: int) -> None:
    replay = Replay(PLAIN, 1000, CPU, torch.Generator("cpu").manual_seed(0))
    replay.append(torch.ones(1000, 2), torch.ones(1000, 2), torch.ones(1000, 0))
    complete(replay, [500], [501])
    batch = replay.sample(100_000, non_positive_share=share)
    assert float(batch.agent_mask.mean()) == pytest.approx(num_candidates / 1000, rel=0.2)
    assert torch.equal(batch.value_mask, batch.agent_mask)
    assert all(bool(part.isfinite().all()) for part in batch)


def complete(replay: Replay, rows: list[int], next_rows: list[int], **changed: Tensor) -> None:
    count, spec = len(rows), replay.spec
    given = {
        "action": torch.zeros(count, spec.action_size),
        "reward": torch.zeros(count, spec.num_slots),
        "value_mask": torch.ones(count, spec.num_slots),
        "terminated": torch.zeros(count, spec.num_slots),
        "cut": torch.zeros(count),
    }
    replay.complete(rows=torch.tensor(rows), next_rows=torch.tensor(next_rows), **{**given, **changed})


def filled(num_rows: int, capacity: int = 8) -> Replay:
    replay = Replay(PLAIN, capacity, CPU)
    for _ in range(num_rows):
        replay.append(torch.ones(1, 2), torch.ones(1, 2), torch.ones(1, 0))
    return replay


def test_completing_twice_is_refused_and_changes_nothing() -> None:
    replay = filled(4)
    complete(replay, [0], [1])
    with pytest.raises(ValueError, match="expected rows that are still open, each once"):
        complete(replay, [1, 0], [2, 1])
    with pytest.raises(ValueError, match="expected rows that are still open, each once"):
        complete(replay, [1, 1], [2, 2])
    assert len(replay) == 1
    complete(replay, [1], [2])
    assert len(replay) == 2


@pytest.mark.parametrize(("row", "next_row"), [(-1, 1), (1, 1), (2, 1), (3, 4)])
def test_a_row_must_be_known_and_older_than_its_successor(row: int, next_row: int) -> None:
    with pytest.raises(ValueError, match=r"expected 0 <= row < next_row < 4"):
        complete(filled(4), [row], [next_row])


def test_late_completions_are_counted_not_written() -> None:
    replay = filled(12, capacity=8)
    complete(replay, [3, 4], [5, 6])
    assert len(replay) == 1
    assert replay.metrics() == {"size": 1.0, "mean_age": 7.0, "oldest_age": 7.0, "dropped": 1.0}
    complete(replay, [8], [9])
    assert replay.metrics() == {"size": 2.0, "mean_age": 5.0, "oldest_age": 7.0, "dropped": 1.0}
    resumed = filled(0)
    resumed.load_state_dict(replay.state_dict())
    assert resumed.metrics() == replay.metrics()
    replay.append(torch.ones(1, 2), torch.ones(1, 2), torch.ones(1, 0))
    assert len(replay) == 1  # row 4 is overwritten


def test_of_more_rows_than_there_is_room_for_the_last_stay() -> None:
    replay = filled(3, capacity=8)
    complete(replay, [0], [1])
    number = torch.arange(3.0, 23.0)[:, None].expand(-1, 2)
    assert replay.append(number, torch.ones(20, 2), torch.ones(20, 0)) == 3
    assert (replay.next_id, len(replay)) == (23, 0)
    complete(replay, [*range(2, 22)], [*range(3, 23)])
    assert replay.metrics() == {"size": 7.0, "mean_age": 4.0, "oldest_age": 7.0, "dropped": 13.0}
    batch = replay.sample(400)
    batch = Batch(*(part[batch.agent_mask[:, 0] > 0] for part in batch))
    assert batch.obs[:, 0].unique().tolist() == [*range(15, 22)]
    assert torch.equal(batch.next_obs, batch.obs + 1)


@pytest.mark.parametrize("name", ["action", "reward", "value_mask", "terminated", "cut"])
def test_a_wrong_shape_names_the_entry(name: str) -> None:
    with pytest.raises(ValueError, match=f"Replay.complete: expected {name} of shape"):
        complete(filled(4), [0], [1], **{name: torch.zeros(1, 7) if name != "cut" else torch.zeros(3)})
    with pytest.raises(ValueError, match=r"expected agent_mask of shape \(1, 2\), got \(1, 3\)"):
        filled(4).append(torch.ones(1, 2), torch.ones(1, 3), torch.ones(1, 0))


def test_limits_are_told() -> None:
    with pytest.raises(ValueError, match="expected a capacity of at least 2 steps, got 1"):
        Replay(PLAIN, 1, CPU)
    with pytest.raises(ValueError, match="expected at least one complete row, got none"):
        filled(4).sample(2)


def saved(replay: Replay) -> dict[str, object]:
    """The state after a way through a file."""
    file = io.BytesIO()
    torch.save(replay.state_dict(), file)
    file.seek(0)
    state: dict[str, object] = torch.load(file, weights_only=True)
    return state


@pytest.mark.parametrize("num_ticks", [4, 100])
def test_a_loaded_replay_goes_on_as_if_nothing_had_happened(num_ticks: int) -> None:
    scene = Scene(seed=5, capacity=60, num_lanes=3)
    for _ in range(num_ticks):
        scene.tick()
    assert (len(scene.naive.observed) > 60) == (num_ticks == 100)
    loaded = Replay(SPEC, 60, CPU)
    loaded.append(torch.ones(9, SPEC.obs_size), torch.ones(9, 3), torch.ones(9, SPEC.allowed_size))
    loaded.load_state_dict(saved(scene.replay))
    assert loaded.metrics() == scene.replay.metrics()
    original = scene.replay
    for n_step in (1, 3):
        for got, want in zip(loaded.sample(99, n_step), original.sample(99, n_step), strict=True):
            assert torch.equal(got, want)
    scene.replay = loaded
    for _ in range(50):
        scene.tick()
        assert len(loaded) == len(scene.naive.complete_rows())
    assert_sampled_are_naive(scene, 3, 0.9)


@pytest.mark.parametrize("capacity", [20, 50, 90])
def test_another_capacity_keeps_the_youngest_rows(capacity: int) -> None:
    scene = Scene(seed=6, capacity=50, num_lanes=3)
    for _ in range(100):
        scene.tick()
    loaded = Replay(SPEC, capacity, CPU)
    loaded.load_state_dict(saved(scene.replay))
    scene.naive.capacity = min(capacity, 50)
    scene.replay = loaded
    assert len(loaded) == len(scene.naive.complete_rows())
    assert_sampled_are_naive(scene, 3, 0.9)
    if capacity != 50:  # numbered anew: appending goes on after the rows that were kept
        assert loaded.next_id == min(capacity, 50)


def test_the_saved_state_holds_only_what_is_filled() -> None:
    assert filled(3, capacity=1000).state_dict()["rows"].shape[0] == 3
    file = io.BytesIO()
    torch.save(filled(3, capacity=100_000).state_dict(), file)
    assert len(file.getvalue()) < 50_000


@pytest.mark.parametrize("name", ["rows", "successor", "generator"])
def test_a_saved_state_of_another_shape_names_the_entry(name: str) -> None:
    state = filled(3).state_dict()
    state[name] = state[name][1:]
    replay = filled(2)
    with pytest.raises(ValueError, match=f"Replay.load_state_dict: expected {name} of shape"):
        replay.load_state_dict(state)
    assert replay.next_id == 2


@pytest.mark.parametrize("name", list(filled(1).state_dict()))
def test_a_missing_entry_is_named(name: str) -> None:
    state = filled(3).state_dict()
    del state[name]
    with pytest.raises(ValueError, match=f"expected entry '{name}', got none"):
        filled(2).load_state_dict(state)


def test_the_draws_start_anew_on_another_type_of_device(caplog: pytest.LogCaptureFixture) -> None:
    state = {**filled(3).state_dict(), "device": "cuda", "generator": torch.zeros(16, dtype=torch.uint8)}
    replay = filled(2)
    before = replay.generator.get_state()
    replay.load_state_dict(state)
    assert replay.next_id == 3
    assert torch.equal(replay.generator.get_state(), before)
    assert "saved on cuda and goes on on cpu: its draws start anew" in caplog.text


def test_observation_and_action_lie_side_by_side() -> None:
    replay = filled(3)
    complete(replay, [0], [1])
    batch = replay.sample(4)
    both = batch.obs.as_strided((4, 4), batch.obs.stride())
    assert torch.equal(both, torch.cat([batch.obs, batch.action], -1))


def test_bytes_per_step_counts_every_float_of_the_row() -> None:
    # obs, action, four numbers for each of 2 slots, the cut; then 8 bytes of successor and 1 on the host
    assert Replay.bytes_per_step(PLAIN) == 4 * (2 + 2 + 4 * 2 + 1) + 9


def test_a_buffer_that_cannot_fit_says_what_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_bytes", lambda device: 61_000)
    Replay(PLAIN, 1000, CPU)
    with pytest.raises(
        MemoryError, match=r"got 1001 steps of 61 bytes each and 61000 bytes.*buffer_size: 800$"
    ):
        Replay(PLAIN, 1001, CPU)
    monkeypatch.setattr(memory, "memory_bytes", lambda device: None)
    with pytest.raises(MemoryError, match="got 1000000000000000 steps of 61 bytes each.*lower buffer_size"):
        Replay(PLAIN, 10**15, CPU)
