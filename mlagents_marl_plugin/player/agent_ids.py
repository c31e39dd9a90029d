"""Agent ids as Unity counts them: one global counter, a new id for each new episode."""

import numpy as np
from numpy.typing import NDArray

from mlagents_marl_plugin.player.scene import Frame


class AgentIds:
    """Knows which id sits on which seat.

    A trainer's RESET does not end episodes in Unity, so ids outlive it. The seats of an area get consecutive
    ids, whichever behaviours they belong to, since ids are issued in order of seats.
    """

    def __init__(self, num_seats: int) -> None:
        self._id = np.full(num_seats, -1, dtype=np.int64)
        self._needs_id = np.ones(num_seats, dtype=bool)
        self._next = 0

    def assign(self, frame: Frame) -> dict[str, NDArray[np.int64]]:
        """The id of each row, by behaviour: an ended row keeps its seat's id, the next one gets a new id."""
        ids = {}
        for behavior, rows in frame.items():
            ids[behavior] = self._id[rows.seat]
            if rows.done is not None:
                self._needs_id[rows.seat[rows.done]] = True
        if not self._needs_id.any():
            return ids
        deciding = {behavior: _deciding(rows.done, len(rows.seat)) for behavior, rows in frame.items()}
        asking = np.zeros_like(self._needs_id)
        for behavior, rows in frame.items():
            asking[rows.seat[deciding[behavior]]] = True
        new = np.flatnonzero(asking & self._needs_id)
        self._id[new] = np.arange(self._next, self._next + len(new))
        self._next += len(new)
        self._needs_id[new] = False
        for behavior, rows in frame.items():
            row = deciding[behavior]
            ids[behavior][row] = self._id[rows.seat[row]]
        return ids


def _deciding(done: NDArray[np.bool_] | None, n: int) -> NDArray[np.bool_]:
    return np.ones(n, dtype=bool) if done is None else ~done
