"""The branches of a tree of peaks: where it is cut, and which classes each branch holds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from dnuc.errors import DnucError
from dnuc.landscape.partitions import contingency
from dnuc.landscape.tree import Tree


def cut_tree(tree: Tree, *, height: float | None = None, n: int | None = None) -> np.ndarray:
    """Which branch each peak is on when the tree is cut: mountain chains instead of single peaks.

    `cut_tree(...)[landscape.labels]` is the branch of every sample.

    Parameters
    ----------
    tree : Tree
        From `peak_tree`.
    height : float
        Peaks that merge at this height of the linkage or below stay together, that is, at a log density of
        tree.summit - height or above.
    n : int
        Or: how many branches are left, 1 .. n_peaks. Where heights are tied, the order of the linkage decides.

    Returns
    -------
    (n_peaks,) int64
        Branches are numbered from 0 in the order of their first, hence densest, peaks.

    Raises
    ------
    DnucError
        If not exactly one of height and n is given, the height is negative or NaN, or there are not so many branches.

    Examples
    --------
    >>> linkage = np.array([[0.0, 2.0, 1.0, 2.0], [1.0, 3.0, 4.0, 3.0]])
    >>> tree = Tree(linkage, np.zeros(2, dtype=bool), 5.0, 0.0, np.array([0.0, -0.5, -0.7]))
    >>> cut_tree(tree, n=2), cut_tree(tree, height=0.5)
    (array([0, 1, 0]), array([0, 1, 2]))
    """
    branch, children = np.arange(2 * tree.n_peaks - 1), tree.children
    for step in reversed(range(_merges(tree, height, n))):
        branch[children[step]] = branch[tree.n_peaks + step]
    _, first, number = np.unique(branch[: tree.n_peaks], return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[number]


def _merges(tree: Tree, height: float | None, n: int | None) -> int:
    """How many of the tree's merges a cut leaves."""
    if (height is None) == (n is None):
        raise DnucError("cut_tree: give either a height or a number of branches n")
    if height is not None:
        if not height >= 0:
            raise DnucError(f"cut_tree: height = {height}; it must be 0 or more: a distance below the summit")
        return int(np.searchsorted(tree.linkage[:, 2], height, side="right"))
    if n is None or n not in range(1, tree.n_peaks + 1):
        raise DnucError(f"cut_tree: n = {n} branches; a tree of {tree.n_peaks} peaks has 1 .. {tree.n_peaks}")
    return tree.n_peaks - n


def branches(tree: Tree) -> pd.DataFrame:
    """Every branch of the tree, peaks first: what it is part of, and how high it starts.

    Parameters
    ----------
    tree : Tree
        From `peak_tree`.

    Returns
    -------
    DataFrame
        A row a branch, in the numbering of SciPy: the peaks 0 .. n_peaks - 1, then the merges in their order. Columns:
        parent, the branch that it merges into, -1 for the whole; log_density, of the peak, or where its two parts
        meet; assumed, whether that is a guess because parts of it do not touch; n_peaks.
    """
    n = tree.n_peaks
    parent = np.full(2 * n - 1, -1)
    for step, pair in enumerate(tree.children):
        parent[pair] = n + step
    return pd.DataFrame(
        {
            "parent": parent,
            "log_density": tree.log_density,
            "assumed": np.concatenate([np.zeros(n, dtype=bool), tree.assumed]),
            "n_peaks": np.concatenate([np.ones(n), tree.linkage[:, 3]]).astype(np.int64),
        }
    ).rename_axis("branch")


def composition(
    labels: ArrayLike, classes: ArrayLike, names: Sequence[str] | None = None, *, tree: Tree | None = None
) -> pd.DataFrame:
    """How many samples of each class are in each peak or branch.

    Parameters
    ----------
    labels : (N,) integers
        The peak of every sample, `landscape.labels`; or its branch, `cut_tree(...)[landscape.labels]`.
    classes : (N,) integers
        The class, or macro class, of every sample; samples with a negative number have none and are not counted.
    names : list of str, optional
        Names of the classes 0, 1, ...; the numbers when absent.
    tree : Tree, optional
        Count in every branch of this tree as well; `labels` are then its peaks.

    Returns
    -------
    DataFrame
        A row a peak or branch, from 0; with `tree` in the order of `branches`. A column a class; values are counts.

    Raises
    ------
    DnucError
        If labels and classes are not (N,) integers of one length, a class has no name, or a label is no peak.

    Examples
    --------
    >>> composition([0, 0, 1], [1, 1, 0], ["cat", "dog"]).loc[0].to_dict()
    {'cat': 0, 'dog': 2}
    """
    group, known = np.asarray(labels), np.asarray(classes)
    if group.ndim != 1 or group.shape != known.shape or {group.dtype.kind, known.dtype.kind} - set("iu"):
        raise DnucError(
            f"composition: labels are {group.dtype} {group.shape} and classes {known.dtype} {known.shape}; both must "
            "be (N,) integers"
        )
    columns = list(range(int(known.max(initial=-1)) + 1)) if names is None else list(names)
    _check_range("classes", known[known >= 0], len(columns), "give a name for each class")
    rows = int(group.max(initial=-1)) + 1 if tree is None else tree.n_peaks
    _check_range("labels", group, rows, "give the peak of every sample, landscape.labels")
    has_class = known >= 0
    count = contingency(group[has_class], known[has_class], (rows, len(columns)))
    if tree is not None:
        count = branch_counts(count, tree)
    return pd.DataFrame(count, columns=columns).rename_axis("branch")


def branch_counts(count: np.ndarray, tree: Tree) -> np.ndarray:
    """What is counted in each peak, (n_peaks, ...), for every branch of the tree, (2 n_peaks - 1, ...), peaks first."""
    n = tree.n_peaks
    found = np.concatenate([count, np.zeros((n - 1, *count.shape[1:]), dtype=count.dtype)])
    for step, (a, b) in enumerate(tree.children):
        found[n + step] = found[a] + found[b]
    return found


def _check_range(what: str, values: np.ndarray, end: int, way_out: str) -> None:
    if len(values) and not (values.min() >= 0 and values.max() < end):
        raise DnucError(
            f"composition: {what} run from {values.min()} to {values.max()}; 0 .. {end - 1} are known: {way_out}"
        )
