"""Random scenes through the host's own code: every row that is kept against a naive account of the scene."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mlagents_marl_plugin.core.rows import RowLayout
from mlagents_marl_plugin.core.types import RolloutBatch
from tests.unit.chaos_scene import OBS_SIZE, TERMINATED, TRUNCATED, Account, ChaosScene, Options
from tests.unit.simulated_host import Run, SceneManager, options

# Nothing is learnt: more than a run's rows, and no more, since a rollout's memory is all taken at once.
QUIET = {
    "maddpg": {"buffer_size": 20_000, "buffer_init_steps": 10_000_000},
    "mappo": {"buffer_size": 20_000, "policy_gain": 1.0},
}


class Table:
    """The rows of a trainer's replay, or of its rollout."""

    def __init__(self, trainer):
        self.log_prob = self.resumed = None
        slots = trainer.spec.num_slots
        parts = self._replay(trainer) if trainer.trainer_type == "maddpg" else self._rollout(trainer)
        self.obs = parts["obs"].reshape(-1, slots, OBS_SIZE)
        self.drawn = parts["action"].reshape(-1, slots)
        self.action = self.drawn.clip(-1, 1)  # as the scene gets it
        self.reward, self.cut = parts["reward"], parts["cut"].reshape(-1) > 0
        self.terminated, self.valued = parts["terminated"] > 0, parts["value_mask"] > 0
        self.present = parts["agent_mask"] > 0

    def _replay(self, trainer):
        state = trainer.replay.state_dict()
        assert state["dropped"] == 0
        columns = RowLayout.of(trainer.spec)._asdict()
        self.successor = state["successor"].numpy()
        self.complete = np.flatnonzero(self.successor >= 0)
        return {name: state["rows"].numpy()[:, column] for name, column in columns.items()}

    def _rollout(self, trainer):
        rollout = trainer.store.rollout
        assert rollout.metrics()["dropped"] == 0
        if not rollout.num_complete:
            self.complete = np.zeros(0, int)
            empty = np.zeros((0, trainer.spec.num_slots), np.float32)
            return {**dict.fromkeys(RolloutBatch._fields, empty), "obs": empty.repeat(OBS_SIZE, 1)}
        batch = rollout.take()
        self.successor, self.complete = batch.successor.numpy(), np.arange(len(batch.action))
        self.resumed, self.number, self.anew = (
            part.numpy() for part in (batch.resumed, batch.number, batch.anew)
        )
        self.acted, self.log_prob = batch.acted.numpy() > 0, batch.log_prob.numpy()
        return {
            name: part.numpy() for name, part in batch._asdict().items() if isinstance(part, torch.Tensor)
        }

    def members(self, row: int) -> dict[tuple, int]:
        """Identity -> slot."""
        return {
            tuple(int(part) for part in self.obs[row, slot, :4]): int(slot)
            for slot in np.flatnonzero(self.present[row])
        }


def check(table: Table, account: Account, posthumous: bool) -> int:
    """Every complete row is what the scene knows; returns how many decisions were compared."""
    compared = 0
    for row in table.complete:
        members = table.members(row)
        tick = int(max(table.obs[row, slot, 4] for slot in members.values()))
        area = next(iter(members))[:2]
        there = account.there(area, tick)
        assert set(members) == set(there), f"row {row} at tick {tick}"
        after = account.next_tick(area, tick)
        ends = {
            key: life.fate
            for key, life in there.items()
            if life.end is not None and _is_last(life, tick, after)
        }
        over = len(ends) == len(there)
        assert table.cut[row] == bool(ends)
        groups = set()
        if table.log_prob is not None:
            acted = [table.acted[row, slot] for slot in members.values()]
            assert acted == [tick in there[key].decided for key in members]
            assert table.acted[row].sum() == sum(acted)
        for key, slot in members.items():
            life = there[key]
            decision = max(t for t in life.decided if t <= tick)
            assert table.obs[row, slot].tolist() == [*key, decision]
            assert table.action[row, slot] == pytest.approx(life.acted[decision], abs=1e-6)
            own = life.told[decision][0] if decision == tick else 0.0
            groups.add(round(float(table.reward[row, slot]) - own, 4))
            compared += decision == tick
        assert len(groups) == 1, "all members earn the same group reward"
        exact = [
            life.told[tick][1] for life in there.values() if tick in life.decided and after in life.decided
        ]
        if over and len({life.end for life in there.values()}) == 1:
            exact += [life.told[tick][1] for life in there.values() if tick in life.decided]
        if exact:
            assert groups == {round(exact[0], 4)}
        some_terminated = TERMINATED in ends.values()
        taken = (
            set() if over or after is None else taken_places(table, members, ends, account.there(area, after))
        )
        for key, slot in members.items():
            ended = ends.get(key) == TERMINATED
            fate = (over and some_terminated) or (ended and slot in taken) if posthumous else ended
            assert table.terminated[row, slot] == fate
            assert table.valued[row, slot]
        for slot in np.flatnonzero(~table.present[row]):
            dead = table.valued[row, slot]  # earns what its group does, until somebody has its place
            assert table.terminated[row, slot] == (dead and (slot in taken or (over and some_terminated)))
        check_successor(table, account, row, area, ends, None if over else after)
        if table.resumed is not None:
            check_next(table, account, row, area, ends, None if over else after)
    return compared


def taken_places(table, members, ends, there) -> set[int]:
    """The slots of those who are there now and were not before: the lowest that are free."""
    kept = {slot for key, slot in members.items() if key not in ends}
    free = [slot for slot in range(table.present.shape[1]) if slot not in kept]
    return set(free[: len(set(there) - set(members))])


def _is_last(life, tick: int, after: int | None) -> bool:
    """Whether the row at ``tick`` is the last before the end was reported."""
    return after is None or life.end <= after


def check_successor(table, account, row, area, ends, after) -> None:
    """The others' next observations and those at which members were cut off."""
    following = table.successor[row]
    expected, newcomers = set(_final(account, area, ends).items()), set()
    if after is not None:
        for key, life in account.there(area, after).items():
            seen = (key, max(t for t in life.decided if t <= after))
            # One who begins right then may have the slot of one who ended, which shows how that one ended.
            (newcomers if life.decided[0] == after else expected).add(seen)
    found = {(key, int(table.obs[following, slot, 4])) for key, slot in table.members(following).items()}
    assert expected <= found <= expected | newcomers, f"successor of row {row}, whose ends are {ends}"


def check_next(table, account, row, area, ends, after) -> None:
    """The group's next row, also where members ended, and who is new in it."""
    assert (table.resumed[row] >= 0) == (bool(ends) and after is not None)
    following = table.successor[row]
    if ends:
        found = np.flatnonzero(table.number == table.resumed[row])
        if not len(found):
            return  # it is still open
        following = int(found[0])
    members = table.members(following)
    assert set(members) == set(account.there(area, after))
    newcomers = {slot for key, slot in members.items() if key not in table.members(row)}
    assert set(np.flatnonzero(table.anew[row]).tolist()) == newcomers


def _final(account, area, ends) -> dict[tuple, int]:
    """Who was cut off at its end, and when: their last observation is what follows."""
    lives = {life.key: life for life in account.by_area[area]}
    return {key: lives[key].end for key, fate in ends.items() if fate == TRUNCATED}


def check_log_probs(table: Table, trainer) -> None:
    """What a row holds is the log-probability of the very action that was drawn in it, by the actor of then."""
    if table.log_prob is None:
        return
    assert not table.log_prob[~table.acted].any()
    rows, slots = table.acted.nonzero()
    obs, action = torch.from_numpy(table.obs[rows, slots]), torch.from_numpy(table.drawn[rows, slots, None])
    expected = trainer.learner.actor.log_prob_rows(
        obs, torch.ones(len(rows), 0), torch.from_numpy(slots), action
    )
    np.testing.assert_allclose(table.log_prob[rows, slots], expected, rtol=1e-4, atol=1e-3)


def run(
    seed: int, family: str, scene: Options, *, workers=1, horizon=8, steps=100, kills=(), resets=(), **hyper
):
    processes: list[ChaosScene] = []

    def make(worker: int) -> ChaosScene:
        processes.append(ChaosScene(len(processes), seed, scene))
        return processes[-1]

    manager = SceneManager(make, workers, seed)
    manager.kill_at = dict(kills)
    manager.reset_at = set(resets)
    manager.stop_after = steps
    config = options(
        "Chaos", family, {**QUIET[family], **hyper}, {"time_horizon": horizon, "max_steps": 10_000_000}
    )
    with tempfile.TemporaryDirectory() as folder:
        done = Run(Path(folder), config, manager)
        done.controller._save_models = lambda: None
        done.start()
    assert done.trainer.updates == 0
    return done.trainer, Account(processes), manager


SCENES = st.builds(
    Options,
    areas=st.integers(1, 3),
    agents=st.integers(1, 4),
    periods=st.sampled_from([(1,), (1, 2), (2, 3), (1, 3, 2)]),
    death=st.sampled_from([0.0, 0.05, 0.3]),
    return_=st.sampled_from([0.0, 0.3, 1.0]),
    over=st.sampled_from([0.02, 0.1, 0.5]),
    late=st.sampled_from([0.0, 0.4]),
)
FAMILIES = st.sampled_from(sorted(QUIET))
EXAMPLES = settings(
    max_examples=30,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


@EXAMPLES
@given(st.integers(0, 1000), FAMILIES, SCENES, st.integers(1, 2), st.sampled_from([1, 3, 8, 1000]))
def test_nothing_is_wrong_and_nothing_is_lost(seed, family, scene, workers, horizon):
    trainer, account, manager = run(
        seed, family, scene, workers=workers, horizon=horizon, group_size=scene.agents
    )
    table = Table(trainer)
    compared = check(table, account, posthumous=True)
    check_log_probs(table, trainer)
    assembler = trainer.assembler
    assert (assembler.rejected, assembler.dropped) == (0, 0)
    # What is missing is under way: decisions whose group's step is not over or was not yet handed over.
    lanes = trainer.roster.lanes
    waiting = [row for pending in lanes.pending for row in pending]
    staging = trainer.assembler.staging
    under_way = int(staging.decided[np.array(waiting, int) % staging.capacity].sum()) if waiting else 0
    told = sum(len(life.told) for lives in account.by_area.values() for life in lives)
    assert compared + under_way >= told


@EXAMPLES
@given(
    st.integers(0, 1000),
    FAMILIES,
    SCENES,
    st.integers(1, 3),
    st.sampled_from([1, 3, 1000]),
    st.dictionaries(st.integers(1, 95), st.integers(0, 0), max_size=3),
    st.sets(st.integers(1, 95), max_size=3),
)
def test_processes_that_die_and_resets_leave_no_wrong_row(
    seed, family, scene, workers, horizon, kills, resets
):
    trainer, account, manager = run(
        seed,
        family,
        scene,
        workers=workers,
        horizon=horizon,
        kills=kills,
        resets=resets,
        group_size=scene.agents,
    )
    table = Table(trainer)
    check(table, account, posthumous=True)
    check_log_probs(table, trainer)


@EXAMPLES
@given(
    st.integers(0, 1000),
    FAMILIES,
    st.integers(1, 4),
    st.integers(2, 3),
    st.integers(1, 2),
    st.sampled_from([1, 3, 1000]),
    st.dictionaries(st.integers(1, 95), st.integers(0, 0), max_size=2),
    st.sampled_from([(1,), (1, 2), (2, 3), (1, 3, 2)]),
)
def test_consecutive_courts_without_group_ids(seed, family, areas, agents, workers, horizon, kills, periods):
    scene = Options(areas=areas, agents=agents, group_ids=False, periods=periods, death=0.0, over=0.15)
    trainer, account, manager = run(
        seed,
        family,
        scene,
        workers=workers,
        horizon=horizon,
        kills=kills,
        group_size=agents,
        grouping="consecutive",
    )
    table = Table(trainer)
    compared = check(table, account, posthumous=False)
    check_log_probs(table, trainer)
    assert compared > 0.3 * len(manager.lines) or len(kills) > 0
