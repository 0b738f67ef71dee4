"""Do the density peaks, or the branches of their tree, match a partition that is known: classes, or macro classes?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dnuc.errors import DataError, DnucError
from dnuc.landscape.branches import branch_counts
from dnuc.landscape.partitions import (
    Expectations,
    Parts,
    adjusted_information,
    adjusted_rand,
    contingency,
    measure_parts,
    purity,
)
from dnuc.landscape.tree import Tree


@dataclass(frozen=True)
class Agreement:
    """How well two partitions of the same samples agree; 1 for equal partitions.

    Attributes
    ----------
    ari : float
        Adjusted Rand index: over pairs of samples. About 0 for unrelated partitions.
    ami : float
        Adjusted mutual information: over the information that one partition gives on the other. About 0 for unrelated
        partitions.
    purity : float
        Share of samples that are in the most frequent class of their peak. Not adjusted: it grows with the number of
        peaks, and is never below the share of the most frequent class.
    n_samples : int
        Samples that were compared.
    """

    ari: float
    ami: float
    purity: float
    n_samples: int


def agreement(labels: ArrayLike, reference: ArrayLike) -> Agreement:
    """How well the density peaks match known classes (Doimo et al. 2020, Fig. 4b; Rand 1971).

    Parameters
    ----------
    labels : (N,) integers
        The peak of every sample; any integer is a group.
    reference : (N,) integers
        The class of every sample. A negative number means that the sample has none, such as an image whose
        class belongs to neither of the macro classes; these samples are left out.

    Returns
    -------
    Agreement
        ari, ami, purity, and the number of samples compared.

    Raises
    ------
    DnucError
        If the two are not (N,) integers of one length.
    DataError
        If fewer than 2 samples have a class.

    Examples
    --------
    >>> agreement([0, 0, 1, 1, 1], [5, 5, 7, 7, -1])
    Agreement(ari=1.0, ami=1.0, purity=1.0, n_samples=4)
    """
    found, known = _checked("agreement", labels, reference)
    _, part = np.unique(found, return_inverse=True)
    _, group = np.unique(known, return_inverse=True)
    size, group_size = np.bincount(part), np.bincount(group)
    pairs, count = np.unique(part * len(group_size) + group, return_counts=True)
    parts = measure_parts(count, pairs // len(group_size), size, group_size).total()
    ari, ami, pure = (float(measure(parts, group_size)[0]) for measure in (adjusted_rand, adjusted_information, purity))
    return Agreement(ari, ami, pure, len(known))


@dataclass(frozen=True, eq=False, repr=False)
class BranchAgreement:
    """How well the branches of a tree match known classes, wherever it is cut.

    Attributes
    ----------
    ari, ami, purity : (n_peaks,) float64
        As in `Agreement`; entry n - 1 is for n branches, the last one for the peaks themselves.
    n_samples : int
        Samples that were compared.
    """

    ari: np.ndarray  # (n_peaks,)
    ami: np.ndarray  # (n_peaks,)
    purity: np.ndarray  # (n_peaks,)
    n_samples: int

    @property
    def best(self) -> int:
        """The number of branches at which the adjusted Rand index is largest, the smallest such number."""
        return int(np.argmax(self.ari)) + 1

    def __repr__(self) -> str:
        return (
            f"BranchAgreement(n_peaks={len(self.ari)}, peaks: ari={self.ari[-1]:.3g}, best: ari="
            f"{self.ari[self.best - 1]:.3g} at {self.best} branches)"
        )


def branch_agreement(tree: Tree, labels: ArrayLike, reference: ArrayLike) -> BranchAgreement:
    """How well the tree matches known classes when it is cut into any number of branches.

    Entry n - 1 of the result is `agreement(cut_tree(tree, n=n)[labels], reference)`, for all n at once: what a branch
    adds to the measures is known from its own composition, so a merge subtracts two branches and adds one.

    Parameters
    ----------
    tree : Tree
        From `peak_tree`.
    labels : (N,) integers
        The peak of every sample, `landscape.labels`.
    reference : (N,) integers
        The class of every sample; those with a negative number have none and are left out.

    Returns
    -------
    BranchAgreement
        With n_peaks entries. Memory: twice n_peaks times the number of classes.

    Raises
    ------
    DnucError
        If labels and reference are not (N,) integers of one length, or a label is not a peak of the tree.
    DataError
        If fewer than 2 samples have a class.
    """
    peak, known = _checked("branch_agreement", labels, reference)
    n = tree.n_peaks
    if peak.min() < 0 or peak.max() >= n:
        raise DnucError(
            f"branch_agreement: labels run from {peak.min()} to {peak.max()}, the tree has the peaks 0 .. {n - 1}; "
            "give the labels of the landscape that the tree is of"
        )
    _, group = np.unique(known, return_inverse=True)
    return compare_branches(contingency(peak, group, (n, int(group.max()) + 1)), tree)


def compare_branches(count: np.ndarray, tree: Tree, expected: Expectations | None = None) -> BranchAgreement:
    """As `branch_agreement`, from the number of samples of each class in each peak, (n_peaks, classes) int64.

    `expected`: see `measure_parts`.
    """
    of_branch = branch_counts(count, tree)
    group_size = count.sum(axis=0)
    part, group = np.nonzero(of_branch)
    parts: Parts = measure_parts(of_branch[part, group], part, of_branch.sum(axis=1), group_size, expected)
    cut = parts.after_merges(tree.children)
    ari, ami, pure = (measure(cut, group_size)[::-1] for measure in (adjusted_rand, adjusted_information, purity))
    return BranchAgreement(ari, ami, pure, int(group_size.sum()))


def _checked(name: str, labels: ArrayLike, reference: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Labels and classes of the samples that have a class."""
    found, known = np.asarray(labels), np.asarray(reference)
    if found.ndim != 1 or found.shape != known.shape:
        raise DnucError(f"{name}: labels {found.shape} and reference {known.shape}; both must be (N,)")
    if found.dtype.kind not in "iu" or known.dtype.kind not in "iu":
        raise DnucError(
            f"{name}: labels are {found.dtype} and reference {known.dtype}; both must be integers, "
            "e.g. np.unique(names, return_inverse=True)[1]"
        )
    has_class = known >= 0
    n = int(np.count_nonzero(has_class))
    if n < 2:
        raise DataError(
            f"{name}: {n} of {len(known)} samples have a class (reference 0 or larger); at least 2 are needed"
        )
    return found[has_class].astype(np.int64), known[has_class].astype(np.int64)
