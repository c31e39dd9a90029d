"""Rows of agents that all ask at every tick, where the end of an episode and the start of the next share a tick."""

import numpy as np
from numpy.typing import NDArray

from mlagents_marl_plugin.player.scene import Rows

Observations = tuple[NDArray[np.float32], ...]


def rows_of_all(
    seat: NDArray[np.int64],
    observations: Observations,
    reward: NDArray[np.float32],
    final_observations: Observations,
    ended: NDArray[np.bool_],
    interrupted: NDArray[np.bool_],
    group: NDArray[np.int64] | None = None,
    group_reward: NDArray[np.float32] | None = None,
) -> Rows:
    """Last rows of the seats that ended, then a row of every seat for its next decision.

    Args:
        seat: [n], like the first axis of all that follows.
        observations: for the next decision, of the next episode where one ended.
        reward, group_reward: of the step just made; they go to the last rows where an episode ended.
        final_observations: with which episodes ended; read only where ``ended``.
    """
    if not ended.any():
        return Rows(seat, observations, reward, None, None, group, group_reward)
    order = np.concatenate([ended.nonzero()[0], np.arange(len(seat))])
    num_ended = len(order) - len(seat)
    done = np.arange(len(order)) < num_ended
    # The reward of an ended seat belongs to its last row; its new episode begins with none.
    paid = done | ~ended[order]
    return Rows(
        seat[order],
        tuple(
            np.concatenate([final[ended], now])
            for final, now in zip(final_observations, observations, strict=True)
        ),
        reward[order] * paid,
        done,
        done & interrupted[order],
        None if group is None else group[order],
        None if group_reward is None else group_reward[order] * paid,
    )
