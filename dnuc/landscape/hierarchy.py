"""Does the tree of peaks, found without labels, reproduce what people know of the classes: their taxonomy?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from dnuc.errors import DnucError
from dnuc.landscape.agreement import BranchAgreement, agreement, compare_branches
from dnuc.landscape.branches import branch_counts
from dnuc.landscape.mantel import Mantel, mantel
from dnuc.landscape.partitions import Expectations, contingency
from dnuc.landscape.tree import Tree
from dnuc.taxonomy import MEASURES, Measure, Taxonomy

COLUMNS = ["depth", "n_groups", "ari", "ami", "purity", "branches", "branch_ari", "branch_ami", "branch_purity"]


@dataclass(frozen=True, eq=False, repr=False)
class TaxonomyAgreement:
    """How far the peaks and their tree reproduce a taxonomy.

    Attributes
    ----------
    levels : DataFrame
        A row a level of the taxonomy, from the broadest: depth, n_groups (of classes); ari, ami, purity of the peaks;
        branches, the number of branches at which the tree agrees best with the level, and branch_ari, branch_ami,
        branch_purity there.
    branches : list of BranchAgreement
        For each level, the agreement at every number of branches.
    distances : dict of Mantel
        For each measure of distance in the taxonomy ("path", "wu_palmer"), how well the distances of classes in the
        tree agree with it.
    class_peak : (n_classes,) int64
        The peak that holds most of each class's samples, of equally full ones the densest.
    class_share : (n_classes,) float64
        The share of the class's samples that it holds.
    assumed_share : float
        Share of the pairs of classes whose distance in the tree is assumed, because peaks between them do not touch.
    """

    levels: pd.DataFrame
    branches: list[BranchAgreement]
    distances: dict[Measure, Mantel]
    class_peak: np.ndarray  # (n_classes,)
    class_share: np.ndarray  # (n_classes,)
    assumed_share: float

    def __repr__(self) -> str:
        found = ", ".join(f"{name}: rho={m.correlation:.3g} (p={m.p_value:.2g})" for name, m in self.distances.items())
        return f"TaxonomyAgreement({len(self.levels)} levels, {found})"


def taxonomy_agreement(
    tree: Tree, labels: ArrayLike, classes: ArrayLike, taxonomy: Taxonomy, permutations: int = 999, seed: int = 0
) -> TaxonomyAgreement:
    """Compare the peaks and the branches of their tree with every level of a taxonomy, and distances with distances.

    Agreement: each level of the taxonomy is a partition of the classes, hence of the samples; it is compared with the
    peaks and with the branches at every cut of the tree. Distances: two classes are as far apart in the tree as the
    height at which their peaks merge (cophenetic distance; 0 in one peak), and in the taxonomy by path or by Wu and
    Palmer; the rank correlation of the two over all pairs of classes says in one number how well the tree reproduces
    the taxonomy, and permuted classes tell what chance would give.

    Parameters
    ----------
    tree : Tree
        From `peak_tree`.
    labels : (N,) integers
        The peak of every sample, `landscape.labels`.
    classes : (N,) integers
        The class of every sample, 0 .. n_classes - 1; every class has a sample.
    taxonomy : Taxonomy
        Of these classes.
    permutations, seed : int
        See `mantel`.

    Returns
    -------
    TaxonomyAgreement

    Raises
    ------
    DnucError
        If labels are no peaks of the tree or classes no classes of the taxonomy, a class has no sample, or lengths
        differ.
    """
    count = _count(tree, np.asarray(labels), np.asarray(classes), taxonomy)
    groups = [taxonomy.level(depth) for depth in taxonomy.levels]
    expected = _expected(count, tree, groups)
    branches = [compare_branches(_by_group(count, group), tree, expected) for group in groups]
    peak = count.argmax(axis=0)  # of equal counts the first, hence the densest
    apart = tree_distances(tree, peak)
    distances = {m: mantel(apart, taxonomy.distances(m), permutations, seed) for m in MEASURES}
    return TaxonomyAgreement(
        _levels(taxonomy, branches),
        branches,
        distances,
        peak,
        count.max(axis=0) / count.sum(axis=0),
        _assumed(tree, peak),
    )


def level_agreement(labels: np.ndarray, classes: np.ndarray, taxonomy: Taxonomy) -> pd.DataFrame:
    """Of the peaks alone, where they are too many for a tree: depth, n_groups, ari, ami, purity of every level."""
    found = []
    for depth in taxonomy.levels:
        level = agreement(labels, taxonomy.level(depth)[classes])
        found.append((depth, _groups(taxonomy, depth), level.ari, level.ami, level.purity))
    return pd.DataFrame(found, columns=COLUMNS[:5])


def tree_distances(tree: Tree, peaks: ArrayLike | None = None) -> np.ndarray:
    """How far apart peaks are in the tree: the height at which they merge (cophenetic distance).

    A height is summit minus log density: how far one has to descend from the highest summit to walk from one peak to
    the other.

    Parameters
    ----------
    tree : Tree
        From `peak_tree`.
    peaks : (n,) integers, optional
        Which peaks, some perhaps more than once; all when absent. Memory grows with the square of their number.

    Returns
    -------
    (n, n) float64
        Symmetric, 0 on the diagonal and between a peak and itself.

    Raises
    ------
    DnucError
        If one of them is no peak of the tree.
    """
    n = tree.n_peaks
    wanted = np.arange(n) if peaks is None else np.asarray(peaks)
    if wanted.ndim != 1 or wanted.dtype.kind not in "iu" or not ((wanted >= 0) & (wanted < n)).all():
        raise DnucError(f"tree_distances: peaks must be whole numbers 0 .. {n - 1}, (n,)")
    found = np.zeros((len(wanted), len(wanted)))
    order = np.argsort(wanted, kind="stable")
    ends = np.searchsorted(wanted[order], np.arange(n + 1))
    below = {p: order[ends[p] : ends[p + 1]] for p in np.unique(wanted).tolist()}  # branch -> places in `wanted`
    for step, pair in enumerate(tree.children.tolist()):
        parts = [below.pop(branch) for branch in pair if branch in below]
        if len(parts) == 2:
            found[np.ix_(*parts)] = tree.linkage[step, 2]
            found[np.ix_(*parts[::-1])] = tree.linkage[step, 2]
        if parts:
            below[n + step] = np.concatenate(parts)
    return found


def _count(tree: Tree, labels: np.ndarray, classes: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    """(n_peaks, n_classes) int64: samples of each class in each peak."""
    n_peaks, n_classes = tree.n_peaks, taxonomy.n_classes
    for name, codes, count in (("labels", labels, n_peaks), ("classes", classes, n_classes)):
        if codes.ndim != 1 or codes.shape != labels.shape or codes.dtype.kind not in "iu" or not len(codes):
            raise DnucError(f"taxonomy_agreement: {name} are {codes.dtype} {codes.shape}; both must be (N,) integers")
        if codes.min() < 0 or codes.max() >= count:
            raise DnucError(
                f"taxonomy_agreement: {name} run from {codes.min()} to {codes.max()}, the "
                f"{'tree' if name == 'labels' else 'taxonomy'} has {count}: 0 .. {count - 1}"
            )
    found = contingency(labels, classes, (n_peaks, n_classes))
    missing = np.flatnonzero(found.sum(axis=0) == 0)
    if len(missing):
        raise DnucError(
            f"taxonomy_agreement: {len(missing)} classes have no sample, e.g. class {missing[0]}; leave them out"
        )
    return found


def _expected(count: np.ndarray, tree: Tree, groups: list[np.ndarray]) -> Expectations:
    """What chance gives for every branch of the tree and every group of the taxonomy: many lie on several levels."""
    of_class = count.sum(axis=0)
    group_sizes = [_by_group(of_class[None], group)[0] for group in groups]
    return Expectations.of(
        branch_counts(count.sum(axis=1), tree), np.concatenate([of_class, *group_sizes]), int(of_class.sum())
    )


def _by_group(count: np.ndarray, group_of_class: np.ndarray) -> np.ndarray:
    """Columns of classes added up to columns of their groups."""
    groups, position = np.unique(group_of_class, return_inverse=True)
    found = np.zeros((len(count), len(groups)), dtype=count.dtype)
    np.add.at(found.T, position.reshape(-1), count.T)
    return found


def _levels(taxonomy: Taxonomy, branches: list[BranchAgreement]) -> pd.DataFrame:
    rows = []
    for depth, found in zip(taxonomy.levels, branches, strict=True):
        row = {"depth": depth, "n_groups": _groups(taxonomy, depth)}
        row |= {name: getattr(found, name)[-1] for name in ("ari", "ami", "purity")}
        row |= {"branches": found.best}
        row |= {f"branch_{name}": getattr(found, name)[found.best - 1] for name in ("ari", "ami", "purity")}
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)


def _groups(taxonomy: Taxonomy, depth: int) -> int:
    return len(np.unique(taxonomy.level(depth)))


def _assumed(tree: Tree, peak: np.ndarray) -> float:
    """Share of the pairs of classes that meet in the tree at a height which is assumed."""
    on_branch = branch_counts(np.bincount(peak, minlength=tree.n_peaks), tree)  # classes whose peak is there
    met = on_branch[tree.children[:, 0]] * on_branch[tree.children[:, 1]]
    pairs = len(peak) * (len(peak) - 1) // 2
    return float(met[tree.assumed].sum() / pairs) if pairs else 0.0
