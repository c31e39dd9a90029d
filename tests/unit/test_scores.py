"""Scores of episodes: means, "solved", when to stop, the best so far, and all of it across a resume."""

import numpy as np
import pytest

from mlagents_marl_plugin.adapter.assembler import Episode
from mlagents_marl_plugin.adapter.scores import ScoreBoard, value_of
from mlagents_marl_plugin.adapter.settings import Criterion, Metric


def episode(*scores: float, length: int = 7) -> Episode:
    return Episode(np.array(scores), np.array(scores) / 2, length, False)


@pytest.mark.parametrize(
    ("metric", "value"),
    [(Metric.SCORE, 3.0), (Metric.SCORE_SUM, 4.0), (Metric.SCORE_MEAN, 2.0), (Metric.EPISODE_LENGTH, 7.0)],
)
def test_metrics(metric, value):
    assert value_of(metric, episode(1.0, 3.0)) == value


def test_the_mean_is_over_a_hundred_episodes_at_most():
    board = ScoreBoard(None, None)
    assert board.mean == 0.0
    board.add(episode(1.0, 3.0))
    board.add(episode(0.0, 1.0))
    assert board.mean == 2.0
    for _ in range(100):
        board.add(episode(5.0))
    assert board.mean == 5.0
    assert board.episodes == 102


def test_solved_is_told_at_the_episode_that_fills_the_window_well_enough():
    board = ScoreBoard(Criterion(0.5, window=3), None)
    for score, solved_at in ((1.0, None), (1.0, None), (-1.0, None), (1.0, None), (2.0, 5), (9.0, 5)):
        board.add(episode(score))
        assert board.solved_at == solved_at
    assert board.stopped_at is None


def test_stopping_needs_a_full_window():
    board = ScoreBoard(None, Criterion(0.5, Metric.SCORE_MEAN, window=2))
    board.add(episode(0.0, 4.0))
    assert board.stopped_at is None
    board.add(episode(0.0, 0.0))
    assert board.stopped_at == 0.5
    assert board.solved_at is None


def test_the_best_counts_full_windows_only():
    board = ScoreBoard(None, None)
    for _ in range(99):
        board.add(episode(1.0))
        assert not board.improved()
    board.add(episode(1.0))
    assert board.improved()
    assert not board.improved()
    board.add(episode(0.0))
    assert not board.improved()
    board.add(episode(3.0))
    assert board.improved()
    assert board.best == pytest.approx(1.01)


def test_a_resumed_board_goes_on_exactly():
    def board() -> ScoreBoard:
        return ScoreBoard(Criterion(0.5, window=4), Criterion(9.0, window=3))

    scores = np.random.default_rng(0).normal(0.5, 1.0, 300)
    whole, first = board(), board()
    for score in scores[:150]:
        whole.add(episode(score))
        first.add(episode(score))
        first.improved()
        whole.improved()
    resumed = board()
    resumed.load_state_dict(first.state_dict())
    for score in scores[150:]:
        whole.add(episode(score))
        resumed.add(episode(score))
        assert whole.improved() == resumed.improved()
    assert whole.state_dict() == resumed.state_dict()


def stopped() -> dict:
    board = ScoreBoard(None, Criterion(0.5, window=1))
    board.add(episode(1.0))
    return board.state_dict()


def test_a_stopped_run_goes_on_only_with_a_higher_threshold():
    with pytest.raises(ValueError, match=r"stop_when.threshold: expected more than 0.5.*got 0.5; raise it"):
        ScoreBoard(None, Criterion(0.5, window=1)).load_state_dict(stopped())
    higher = ScoreBoard(None, Criterion(0.6, window=1))
    higher.load_state_dict(stopped())
    assert higher.stopped_at is None
    without = ScoreBoard(None, None)
    without.load_state_dict(stopped())
    without.add(episode(1.0))
    assert without.stopped_at is None


def test_another_metric_starts_its_own_window():
    """Lengths are no scores: 7 steps must neither solve nor stop a run that asks for a score."""
    lengths, scores = Criterion(5.0, Metric.EPISODE_LENGTH, 3), Criterion(0.5, Metric.SCORE, 3)
    before, after = ScoreBoard(lengths, lengths), ScoreBoard(scores, scores)
    for _ in range(3):
        before.add(episode(0.0))
    assert (before.solved_at, before.stopped_at) == (3, 5.0)
    after.load_state_dict(before.state_dict())
    for score, solved_at in ((1.0, None), (1.0, None), (1.0, 6)):
        after.add(episode(score))
        assert after.solved_at == solved_at
    assert after.stopped_at == 0.5


def test_a_checkpoint_that_names_no_metric_goes_on():
    board, again = (ScoreBoard(None, Criterion(0.5, window=2)) for _ in range(2))
    board.add(episode(1.0))
    state = board.state_dict()
    del state["stop_metric"], state["solved_metric"]
    again.load_state_dict(state)
    again.add(episode(1.0))
    assert again.stopped_at == 0.5
