"""How much neighborhoods agree: with another layer, or with the classes (Doimo et al. 2020, Sec. 2.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from dnuc.errors import DnucError
from dnuc.neighbors.lists import Neighbors
from dnuc.store import StoredArray

Weights = Literal["class_size"] | None
Lists = np.ndarray | StoredArray
ROWS_AT_ONCE = 16384  # bounds the memory of the sorted copies


@dataclass(frozen=True, repr=False)
class Overlap:
    """An overlap: its mean over the samples, and each sample's own value in 0 .. 1."""

    mean: float
    per_sample: np.ndarray  # (N,)

    def __repr__(self) -> str:
        return f"Overlap(mean={self.mean:.4f}, N={len(self.per_sample)})"


def data_overlap(
    a: Neighbors,
    b: Neighbors,
    k: int,
    *,
    weights: Weights = None,
    labels: ArrayLike | None = None,
) -> Overlap:
    """The neighborhood overlap chi_k^{l,m} of two layers: the mean share of common neighbors (Eq. 1).

    1 where both layers give every sample the same k neighbors, about k/N where they are unrelated.

    Parameters
    ----------
    a, b : Neighbors
        The same samples in the same order, in two layers (or two models).
    k : int
        Neighbors compared; at most the number stored in either.
    weights : {"class_size"}, optional
        The mean over classes of their mean overlaps, instead of the mean over samples: see `label_overlap`.
    labels : (N,) integers, optional
        The class of each sample, which "class_size" needs; negative for none.

    Raises
    ------
    DnucError
        If the numbers of samples differ, k is not stored, or weights are asked for without labels.
    """
    if a.n_samples != b.n_samples:
        raise DnucError(
            f"overlap of layers with {a.n_samples} and {b.n_samples} samples: both must hold the same samples in "
            "the same order"
        )
    if weights is not None and labels is None:
        raise DnucError(f"weights = {weights!r} of an overlap of two layers: give the classes too, labels=...")
    weight = None if labels is None else sample_weights(weights, checked_labels(labels, a.n_samples))
    return overlaps_of_lists(a.nearest(k).index, b.nearest(k).index, [k], weight)[0]


def overlaps_of_lists(first: Lists, second: Lists, ks: Sequence[int], weight: np.ndarray | None) -> list[Overlap]:
    """`data_overlap` at several k; `second` may be lists in a store, of which only some rows are in memory at once.

    Parameters
    ----------
    first, second : (N, at least the largest k) int64
    weight : (N,) or None
        See `sample_weights`.
    """
    share = np.empty((len(ks), len(first)))
    for start in range(0, len(first), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        mine, theirs = first[rows], second[rows]
        for found, k in zip(share, ks, strict=True):
            both = np.sort(np.concatenate([mine[:, :k], theirs[:, :k]], axis=1), axis=1)  # (rows, 2k)
            found[rows] = np.count_nonzero(both[:, 1:] == both[:, :-1], axis=1) / k
    return [mean_overlap(found, weight) for found in share]


def label_overlap(
    neighbors: Neighbors,
    labels: ArrayLike,
    k: int | None = None,
    *,
    class_fraction: float | None = None,
    weights: Weights = None,
) -> Overlap:
    """The overlap with the ground truth chi_k^{l,gt}: the mean share of neighbors of the sample's own class.

    By default every sample counts the same, whatever the size of its class. The papers take k as a tenth of the images
    per class. Samples with a negative label have no class: they are left out of the mean, and their value is NaN; as
    neighbors they agree with nobody.

    DADApy's `return_label_overlap(labels, k)` weighs by class size unless told otherwise: it equals
    `label_overlap(..., weights="class_size").mean`, with `weighted=False` the mean of the default here, and with
    `avg=False` the values per sample. Its `class_fraction` is the one here. It knows no samples without a class.

    Parameters
    ----------
    neighbors : Neighbors
    labels : (N,) integers
        The class of each sample; negative for none.
    k : int, optional
        Neighbors counted; at most the number stored.
    class_fraction : float, optional
        Instead of k: of a sample whose class has n samples, int(class_fraction n) neighbors are counted, but at least
        one. Useful where classes are of very different sizes.
    weights : {"class_size"}, optional
        A sample counts 1/n, n the number of samples of its class: the mean over classes of their mean overlaps, in
        which a large class counts no more than a small one.

    Raises
    ------
    DnucError
        If labels are not (N,) integers, not just one of k and class_fraction is given, or so many neighbors are not
        stored.

    Examples
    --------
    >>> import numpy as np
    >>> near = Neighbors(np.array([[1], [0], [0], [0]]), np.ones((4, 1)))
    >>> label_overlap(near, [0, 0, 0, 1], k=1).mean, label_overlap(near, [0, 0, 0, 1], k=1, weights="class_size").mean
    (0.75, 0.5)
    """
    labels = checked_labels(labels, neighbors.n_samples)
    weight = sample_weights(weights, labels)
    counted = _counted(labels, k, class_fraction)
    index = neighbors.nearest(int(counted.max(initial=1))).index
    share = np.empty(neighbors.n_samples)
    for start in range(0, neighbors.n_samples, ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        agrees = labels[index[rows]] == labels[rows, None]
        within = np.arange(index.shape[1]) < counted[rows, None]
        share[rows] = np.count_nonzero(agrees & within, axis=1) / counted[rows]
    return mean_overlap(np.where(labels < 0, np.nan, share), weight)


def checked_labels(labels: ArrayLike, n: int) -> np.ndarray:
    """Labels of n samples as an array, refused if they are not integers or not as many."""
    found = np.asarray(labels)
    if found.shape != (n,):
        raise DnucError(f"labels have shape {found.shape} for {n} samples: one label a sample, in their order")
    if found.dtype.kind not in "iub":
        raise DnucError(
            f"labels have type {found.dtype}; they must be integers: np.unique(labels, return_inverse=True)[1] makes "
            "integers of names"
        )
    return found


def _counted(labels: np.ndarray, k: int | None, class_fraction: float | None) -> np.ndarray:
    """(N,) how many neighbors of each sample are counted."""
    if (k is None) == (class_fraction is None):
        raise DnucError(f"label overlap: k = {k} and class_fraction = {class_fraction}; give just one of them")
    if class_fraction is None:
        return np.full(len(labels), k)
    if not 0 < class_fraction <= 1:
        raise DnucError(f"class_fraction = {class_fraction}: must be in (0, 1], e.g. 0.1")
    return np.maximum(1, (class_fraction * _class_sizes(labels)).astype(np.int64))


def _class_sizes(labels: np.ndarray) -> np.ndarray:
    """(N,) how many samples have the class of each sample; 0 where it has none."""
    _, place, count = np.unique(labels, return_inverse=True, return_counts=True)
    return np.where(labels < 0, 0, count[place])


def sample_weights(weights: Weights, labels: np.ndarray) -> np.ndarray | None:
    """(N,) how much each sample counts; None where all count the same."""
    if weights is None:
        return None
    if weights != "class_size":
        raise DnucError(f"weights = {weights!r}: must be None (every sample counts the same) or 'class_size'")
    size = _class_sizes(labels)
    return np.divide(1.0, size, out=np.zeros(len(size)), where=size > 0)


def mean_overlap(per_sample: np.ndarray, weight: np.ndarray | None = None) -> Overlap:
    """The mean over the samples that have a value, weighted if they do not count the same."""
    counted = ~np.isnan(per_sample) & (True if weight is None else weight > 0)
    if not counted.any():
        return Overlap(float("nan"), per_sample)
    if weight is None:
        return Overlap(float(per_sample[counted].mean()), per_sample)
    return Overlap(float(np.average(per_sample[counted], weights=weight[counted])), per_sample)
