"""The two nearest neighbors within parts of the samples, as far as lists that are there already tell them.

In a list of the nearest neighbors within a set that holds the part, members of the part are in the part's own order
and at the same distances: the first two of them are the two nearest in the part.
"""

from __future__ import annotations

import numpy as np

from dnuc.neighbors.lists import Neighbors

ROWS_AT_ONCE = 65536  # whose lists are looked through together


class Lists:
    """What is known of the neighbors of some samples; all are counted by their place in an order of these samples.

    Parameters
    ----------
    order : (n,) int
        Positions of the samples among all N. A part is a run of this order, start .. stop - 1.
    neighbors : Neighbors, optional
        Of all N samples, among all of them.
    """

    def __init__(self, order: np.ndarray, neighbors: Neighbors | None = None) -> None:
        self._order, self._neighbors = order, neighbors
        if neighbors is not None:
            self._place_of = np.full(neighbors.n_samples, -1, np.int32)
            self._place_of[order] = np.arange(len(order))
        self._place = np.full((len(order), 2), -1, np.int32)  # what searches within parts listed; -1 behind the end
        self._distance = np.full((len(order), 2), np.inf)
        self._within = np.zeros((len(order), 2), np.int64)  # the run within which such a list is complete

    def two_nearest(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, 2) distances to the two nearest in a part; infinity where no list tells them."""
        found = np.full((stop - start, 2), np.inf)
        for first in range(start, stop, ROWS_AT_ONCE):
            rows = np.arange(first, min(stop, first + ROWS_AT_ONCE))
            if self._neighbors is not None:
                samples = self._order[rows]
                place = self._place_of[self._neighbors.index[samples]]
                found[rows - start] = _first_two(place, self._neighbors.distance[samples], start, stop)
            rows = rows[np.isinf(found[rows - start, 1])]
            rows = rows[(self._within[rows, 0] <= start) & (self._within[rows, 1] >= stop)]
            found[rows - start] = _first_two(self._place[rows], self._distance[rows], start, stop)
        return found

    def add(self, start: int, stop: int, near: Neighbors) -> np.ndarray:
        """Keep the neighbors that were found within a part, whose samples were taken in increasing position.

        Returns (stop - start, 2) distances to the two nearest.
        """
        if near.k > self._place.shape[1]:
            wider = ((0, 0), (0, near.k - self._place.shape[1]))
            self._place = np.pad(self._place, wider, constant_values=-1)
            self._distance = np.pad(self._distance, wider, constant_values=np.inf)
        place = start + np.argsort(self._order[start:stop])  # of each sample that was taken
        self._place[start:stop], self._within[start:stop] = -1, (start, stop)
        self._place[place, : near.k] = place[near.index]
        self._distance[place, : near.k] = near.distance
        return near.distance[:, :2]


def _first_two(place: np.ndarray, distance: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Distances of the first two in each list whose place is in start .. stop - 1; infinity where there are fewer."""
    inside = (place >= start) & (place < stop)  # (rows, k)
    found = np.full((len(inside), 2), np.inf)
    row = np.flatnonzero(np.count_nonzero(inside, axis=1) >= 2)
    inside = inside[row]
    for column in (0, 1):
        nearest = inside.argmax(axis=1)
        found[row, column] = distance[row, nearest]
        inside[np.arange(len(row)), nearest] = False
    return found
