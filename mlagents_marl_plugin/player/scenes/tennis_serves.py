"""Where balls and rackets stand at the start of a Tennis rally."""

import numpy as np

from mlagents_marl_plugin.player.scenes import tennis_court as court
from mlagents_marl_plugin.player.scenes.tennis_court import Floats, Ints

# Of a rally: ball distance, ball side, two rackets, two rackets again.
_DRAWS_PER_RALLY = 6
_RALLIES_PER_REFILL = 64


class ServeDraws:
    """Uniform numbers per area and rally, each area from a stream of its own.

    They are drawn for many rallies at a time, so that a serve costs one look-up.
    """

    def __init__(self, num_areas: int, seed: int) -> None:
        self._streams = [np.random.default_rng((seed % 2**32, area)) for area in range(num_areas)]
        self._table = np.empty((num_areas, _RALLIES_PER_REFILL, _DRAWS_PER_RALLY))
        self._rally = np.zeros(num_areas, dtype=np.int64)
        for area in range(num_areas):
            self._refill(area)

    def ball_x(self, areas: Ints) -> Floats:
        """World x [K] of the ball: 6 to 8 m from the net, on a side chosen by a fair coin."""
        draws = self._table[areas, self._rally[areas]]
        distance = _distance(draws[:, 0])
        return np.where(draws[:, 1] < 0.5, -distance, distance)

    def racket_x(self, areas: Ints, again: bool) -> Floats:
        """Canonical x [2, K] of the rackets, which are placed once or twice per rally."""
        draws = self._table[areas, self._rally[areas]]
        return -_distance(draws[:, 4:6] if again else draws[:, 2:4]).T

    def next_rally(self, areas: Ints) -> None:
        """Go on to fresh numbers."""
        self._rally[areas] += 1
        for area in areas[self._rally[areas] == _RALLIES_PER_REFILL]:
            self._refill(area)
            self._rally[area] = 0

    def _refill(self, area: int) -> None:
        self._table[area] = self._streams[area].random((_RALLIES_PER_REFILL, _DRAWS_PER_RALLY))


def _distance(uniform: Floats) -> Floats:
    return court.SERVE_NEAREST + (court.SERVE_FARTHEST - court.SERVE_NEAREST) * uniform
