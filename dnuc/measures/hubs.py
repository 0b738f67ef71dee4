"""Hubs: samples that lie in very many neighborhoods, as happens where the dimension is high (Doimo et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dnuc.neighbors.lists import Neighbors


def hubness(neighbors: Neighbors, k: int) -> np.ndarray:
    """In how many of the N neighborhoods of k each sample lies: (N,) int64; the mean is k."""
    index = neighbors.nearest(k).index
    return np.bincount(index.ravel(), minlength=neighbors.n_samples)


@dataclass(frozen=True)
class Hubs:
    """The most frequent neighbors of a layer."""

    sample: np.ndarray  # (top,) positions, most frequent first, ties by position
    occurrence: np.ndarray  # (top,) neighborhoods each lies in
    coverage: float  # share of all neighborhoods that hold at least one of them


def top_hubs(neighbors: Neighbors, k: int, top: int = 10) -> Hubs:
    """The `top` most frequent neighbors, and the share of neighborhoods that they reach together."""
    occurrence = hubness(neighbors, k)
    sample = np.argsort(-occurrence, kind="stable")[:top]
    is_hub = np.zeros(neighbors.n_samples, dtype=bool)
    is_hub[sample] = True
    reached = is_hub[neighbors.nearest(k).index].any(axis=1)
    return Hubs(sample, occurrence[sample], float(reached.mean()))
