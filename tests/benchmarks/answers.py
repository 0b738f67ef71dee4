"""Are the answers right? Float64 brute force of some rows, and how many rows of an answer disagree with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ROWS = 200  # checked of every answer
AT_ONCE = 4096  # samples compared at once
TOLERANCE = 1e-12  # relative, of two float64 sums of squares in another order


@dataclass(frozen=True)
class Truth:
    """Distances of some rows to all samples, and their neighbors under the order (distance, index)."""

    rows: np.ndarray  # (R,)
    to_all: np.ndarray  # (R, N) float64
    index: np.ndarray  # (R, k)

    @property
    def distance(self) -> np.ndarray:
        """Distances of the neighbors, (R, k)."""
        return np.take_along_axis(self.to_all, self.index, axis=1)

    def wrong(self, index: np.ndarray, distance: np.ndarray) -> int:
        """Rows whose neighbors or distances are not exactly these, in this order."""
        same = (index == self.index) & np.isclose(distance, self.distance, rtol=TOLERANCE, atol=0)
        return int((~same.all(axis=1)).sum())

    def wrong_set(self, index: np.ndarray) -> int:
        """Rows with a neighbor that is not one of the k nearest; one of several at the k-th distance will do."""
        found = np.sort(np.take_along_axis(self.to_all, index, axis=1), axis=1)
        distinct = (np.diff(np.sort(index, axis=1), axis=1) > 0).all(axis=1) & (index != self.rows[:, None]).all(axis=1)
        return int((~(np.isclose(found, self.distance, rtol=TOLERANCE, atol=0).all(axis=1) & distinct)).sum())


def truth(x: np.ndarray, rows: np.ndarray, k: int, device: str = "cpu") -> Truth:
    """Brute force: direct differences in float64, no product of samples anywhere."""
    import torch

    to_all = np.empty((len(rows), len(x)))
    of = torch.from_numpy(x[rows]).to(device).double()
    for start in range(0, len(x), AT_ONCE):
        part = torch.from_numpy(x[start : start + AT_ONCE]).to(device).double()
        distance = torch.cdist(of, part, compute_mode="donot_use_mm_for_euclid_dist")
        to_all[:, start : start + AT_ONCE] = distance.cpu().numpy()
    to_all[np.arange(len(rows)), rows] = np.inf  # a sample is not its own neighbor
    index = np.stack([np.lexsort((np.arange(len(x)), row))[:k] for row in to_all])
    return Truth(rows, to_all, index)


def some_rows(n: int, count: int = ROWS, seed: int = 0) -> np.ndarray:
    """Positions to check, drawn without repetition."""
    return np.sort(np.random.default_rng(seed).choice(n, size=min(n, count), replace=False))
