"""How much neighborhoods agree: with another layer, or with the classes (Doimo et al. 2020, Sec. 2.1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dnuc.errors import DnucError
from dnuc.neighbors.lists import Neighbors

ROWS_AT_ONCE = 65536  # bounds the memory of the sorted copies


@dataclass(frozen=True, repr=False)
class Overlap:
    """An overlap: its mean over the samples, and each sample's own value in 0 .. 1."""

    mean: float
    per_sample: np.ndarray  # (N,)

    def __repr__(self) -> str:
        return f"Overlap(mean={self.mean:.4f}, N={len(self.per_sample)})"


def data_overlap(a: Neighbors, b: Neighbors, k: int) -> Overlap:
    """The neighborhood overlap chi_k^{l,m} of two layers: the mean share of common neighbors (Eq. 1).

    1 where both layers give every sample the same k neighbors, about k/N where they are unrelated.

    Parameters
    ----------
    a, b : Neighbors
        The same samples in the same order, in two layers (or two models).
    k : int
        Neighbors compared; at most the number stored in either.

    Raises
    ------
    DnucError
        If the numbers of samples differ or k is not stored.
    """
    if a.n_samples != b.n_samples:
        raise DnucError(
            f"overlap of layers with {a.n_samples} and {b.n_samples} samples: both must hold the same samples in "
            "the same order"
        )
    first, second = a.nearest(k).index, b.nearest(k).index
    common = np.empty(a.n_samples)
    for start in range(0, a.n_samples, ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        both = np.sort(np.concatenate([first[rows], second[rows]], axis=1), axis=1)  # (rows, 2k)
        common[rows] = np.count_nonzero(both[:, 1:] == both[:, :-1], axis=1)
    return _overlap(common / k)


def label_overlap(neighbors: Neighbors, labels: np.ndarray, k: int) -> Overlap:
    """The overlap with the ground truth chi_k^{l,gt}: the mean share of neighbors of the sample's own class.

    Unweighted: every sample counts the same, whatever the size of its class. The papers take k as a tenth of the
    images per class. Samples with a negative label have no class: they are left out of the mean, and their value
    is NaN; as neighbors they agree with nobody.

    Parameters
    ----------
    neighbors : Neighbors
    labels : (N,) integers
        The class of each sample; negative for none.
    k : int
        Neighbors counted; at most the number stored.

    Raises
    ------
    DnucError
        If labels are not (N,) integers or k is not stored.
    """
    labels = np.asarray(labels)
    if labels.shape != (neighbors.n_samples,):
        raise DnucError(
            f"labels have shape {labels.shape} for {neighbors.n_samples} samples: one label a sample, in their order"
        )
    if labels.dtype.kind not in "iub":
        raise DnucError(
            f"labels have type {labels.dtype}; they must be integers: np.unique(labels, return_inverse=True)[1] makes "
            "integers of names"
        )
    index = neighbors.nearest(k).index
    share = np.empty(neighbors.n_samples)
    for start in range(0, neighbors.n_samples, ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        share[rows] = np.mean(labels[index[rows]] == labels[rows, None], axis=1)
    return _overlap(np.where(labels < 0, np.nan, share))


def _overlap(per_sample: np.ndarray) -> Overlap:
    counted = per_sample[~np.isnan(per_sample)]
    return Overlap(float(counted.mean()) if counted.size else float("nan"), per_sample)
