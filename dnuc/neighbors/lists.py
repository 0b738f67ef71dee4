"""The waist of the pipeline: each sample's k nearest neighbors, as (N, k) indices and distances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dnuc.errors import DnucError, StoreError
from dnuc.store import RunStore, StoredArray, stage_group


@dataclass(frozen=True)
class Neighbors:
    """Every sample's k nearest other samples.

    Rows are in the samples' fixed order; a row is sorted by (distance, index), a total order, so equal
    distances never make the result ambiguous. The sample itself is excluded by index, not by distance:
    an exact duplicate is a neighbor at distance 0.

    Attributes
    ----------
    index : (N, k) int64
        Positions of the neighbors.
    distance : (N, k) float64
        Euclidean distances (not squared), sums of squared differences accumulated in float64.
    redone : int
        Rows that the fast filter could not decide (its rounding is too coarse for them, many distances are tied, or a
        product overflowed) and a more precise tier had to redo, summed over tiles.
    """

    index: np.ndarray  # (N, k)
    distance: np.ndarray  # (N, k)
    redone: int = 0

    def __post_init__(self) -> None:
        if self.index.ndim != 2 or self.index.shape != self.distance.shape:
            raise DnucError(
                f"neighbors: index has shape {self.index.shape} and distance {self.distance.shape}; "
                "both must be (samples, k)"
            )

    def __repr__(self) -> str:
        return f"Neighbors(N={self.n_samples:,}, k={self.k}, duplicates={self.duplicates:,}, redone={self.redone:,})"

    @property
    def n_samples(self) -> int:
        """N, the number of samples."""
        return self.index.shape[0]

    @property
    def k(self) -> int:
        """Neighbors stored for each sample."""
        return self.index.shape[1]

    @property
    def duplicates(self) -> int:
        """Samples with another sample at distance 0."""
        return int(np.count_nonzero(self.distance[:, 0] == 0))

    def nearest(self, k: int) -> Neighbors:
        """The first k columns; an error if fewer are stored."""
        if not 1 <= k <= self.k:
            raise DnucError(
                f"k = {k} neighbors asked for, {self.k} stored: k must be 1 .. {self.k}; "
                "compute the neighbors again with a larger k"
            )
        return Neighbors(self.index[:, :k], self.distance[:, :k], self.redone)


def stored_neighbors(store: RunStore, model: str, layer: str, k: int | None = None) -> Neighbors:
    """The neighbors of one layer of a run, or only the first k; an error while the search is not finished."""
    group = _finished(store, model, layer)
    index, distance = (store.whole(group, f"neighbor_{name}")[:, :k] for name in ("index", "distance"))
    return Neighbors(index, distance, int(store.attributes(group).get("redone", 0)))


def stored_lists(store: RunStore, model: str, layer: str) -> StoredArray:
    """Only who the neighbors are, (N, k), in the store: read where it is needed, a block of rows at a time."""
    return store.whole(_finished(store, model, layer), "neighbor_index")


def stored_distances(store: RunStore, model: str, layer: str) -> Neighbors:
    """Only how far the neighbors are: for what never asks who they are, in half of the memory; indices are all 0."""
    distance = store.read(_finished(store, model, layer), "neighbor_distance")
    return Neighbors(np.broadcast_to(np.int64(0), distance.shape), distance)


def _finished(store: RunStore, model: str, layer: str) -> str:
    group = stage_group(model, layer, "neighbors")
    if not store.is_complete(group):
        raise StoreError(
            f"the neighbors of {model}/{layer} in {store.path} are not all found yet: finish the run first"
        )
    return group
