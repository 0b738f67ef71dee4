"""How the peaks nest: the tree of the landscape, from the heights of the saddles."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.cluster import hierarchy

from dnuc.errors import DnucError, ResourceError, closest
from dnuc.landscape.peaks import Landscape

METHODS = ("single", "average", "complete", "weighted")
MAX_PEAKS = 20_000  # all pairs of more peaks need over 3 GB, and no figure shows such a tree


@dataclass(frozen=True, repr=False)
class Tree:
    """The nested mountain chains of a landscape, with what was assumed to draw them as one tree.

    Attributes
    ----------
    linkage : (n_peaks - 1, 4) float64
        As SciPy has it: the two clusters that merge, the height, the number of peaks below. The height is a
        distance, `summit` minus the log density at which the two merge. Leaf i is peak i of the landscape.
    assumed : (n_peaks - 1,) bool
        True for merges whose height is not measured but depends on `fill`, because it contains the distance of
        peaks that do not touch. Draw them as such.
    fill : float
        The distance given to pairs that do not touch, larger than that of every pair that does.
    summit : float
        log rho_max: the largest log density among peaks and saddles. summit - height is a log density.
    peak_log_density : (n_peaks,) float64
        Log density of the leaves. One peak alone is a tree of one leaf.
    """

    linkage: np.ndarray  # (n_peaks - 1, 4)
    assumed: np.ndarray  # (n_peaks - 1,)
    fill: float
    summit: float
    peak_log_density: np.ndarray  # (n_peaks,)

    def __repr__(self) -> str:
        return (
            f"Tree(n_peaks={self.n_peaks}, assumed={np.count_nonzero(self.assumed)} of {len(self.linkage)} merges, "
            f"fill={self.fill:.4g}, summit={self.summit:.4g})"
        )

    @property
    def n_peaks(self) -> int:
        """Leaves, at least 1."""
        return len(self.peak_log_density)

    @property
    def log_density(self) -> np.ndarray:
        """(2 n_peaks - 1,) of every leaf and then of every merge, in the numbering of SciPy."""
        return np.concatenate([self.peak_log_density, self.summit - self.linkage[:, 2]])

    @property
    def children(self) -> np.ndarray:
        """(n_peaks - 1, 2) int64: what each merge joins; n_peaks + i is the branch that merge i makes."""
        return self.linkage[:, :2].astype(np.int64)


def dendrogram(landscape: Landscape, method: str = "weighted") -> np.ndarray:
    """The tree of the peaks as a SciPy linkage matrix, for `scipy.cluster.hierarchy.dendrogram`.

    The linkage of `peak_tree`, which also says which merges are between peaks that do not touch.

    Parameters
    ----------
    landscape : Landscape
        From `density_peaks`.
    method : {"weighted", "single", "average", "complete"}
        See `peak_tree`.

    Returns
    -------
    (n_peaks - 1, 4) float64
        Heights are log rho_max - log rho(saddle). One peak alone gives a (0, 4) array.

    Raises
    ------
    DnucError
        If the method is unknown.
    ResourceError
        If there are more than 20,000 peaks.
    """
    return peak_tree(landscape, method).linkage


def peak_tree(landscape: Landscape, method: str = "weighted", *, fill: float | None = None) -> Tree:
    """Which peaks belong together: a tree that merges first the peaks with the highest saddle between them.

    The distance of two peaks that touch is log rho_max - log rho(saddle) (Doimo et al. 2020, Sec. 3.3). Peaks
    that do not touch have no saddle; they get one distance, `fill`, larger than all others. The heights of
    merges that contain it are no measurement, and `Tree.assumed` marks them.

    Parameters
    ----------
    landscape : Landscape
        From `density_peaks`. Memory and time grow with n_peaks squared: 200 MB for 5,000 peaks.
    method : {"weighted", "single", "average", "complete"}
        "weighted" is WPGMA, the paper's choice. "single" merges across the highest saddle and repeats:
        wherever a chain of saddles connects the peaks, its heights do not depend on `fill`.
    fill : float, optional
        Distance of peaks that do not touch. When absent, as if they met one unit of log density below the
        lowest of all peaks and saddles.

    Returns
    -------
    Tree
        With n_peaks - 1 merges.

    Raises
    ------
    DnucError
        If the method is unknown, or the fill is not larger than the largest distance of a touching pair.
    ResourceError
        If there are more than 20,000 peaks.
    """
    if method not in METHODS:
        raise DnucError(f"dendrogram: method {method!r}; {closest(method, METHODS)}")
    if landscape.n_peaks > MAX_PEAKS:
        raise ResourceError(
            f"dendrogram: {landscape.n_peaks} peaks need {8 * landscape.n_peaks**2 / 1e9:.1f} GB for the distances of "
            f"all pairs; at most {MAX_PEAKS} peaks are allowed: use a larger z or a larger k"
        )
    saddle = landscape.saddles["log_density"].to_numpy()
    heights = np.concatenate([landscape.peak_log_density, saddle])
    summit = float(heights.max())
    if fill is None:
        fill = summit - float(heights.min()) + 1
    largest = summit - float(saddle.min()) if len(saddle) else 0.0
    if not (fill > largest and math.isfinite(fill)):
        raise DnucError(
            f"dendrogram: fill = {fill} for peaks that do not touch; it must be finite and larger than the largest "
            f"distance of touching peaks, {largest}"
        )
    if landscape.n_peaks == 1:
        return Tree(np.empty((0, 4)), np.empty(0, dtype=bool), fill, summit, landscape.peak_log_density)
    a, b = landscape.saddles["peak_a"].to_numpy(), landscape.saddles["peak_b"].to_numpy()
    linkage = hierarchy.linkage(_condensed(landscape.n_peaks, a, b, summit - saddle, fill), method=method)
    return Tree(linkage, _assumed(linkage, a, b, method), fill, summit, landscape.peak_log_density)


def _condensed(n: int, a: np.ndarray, b: np.ndarray, distance: np.ndarray, fill: float) -> np.ndarray:
    """(n (n - 1) / 2,) distances of all pairs a < b in SciPy's order (0, 1), (0, 2), ..., (n - 2, n - 1)."""
    condensed = np.full(n * (n - 1) // 2, fill)
    condensed[n * a - a * (a + 1) // 2 + b - a - 1] = distance
    return condensed


def _assumed(linkage: np.ndarray, a: np.ndarray, b: np.ndarray, method: str) -> np.ndarray:
    """(n - 1,) bool: merges whose height contains a pair of peaks that do not touch.

    In single linkage one touching pair suffices, in the other methods all pairs across must touch. Only
    clusters that touch are followed, with the number of touching pairs between them.
    """
    n = len(linkage) + 1
    touching: dict[int, dict[int, int]] = {peak: {} for peak in range(n)}
    for x, y in zip(a.tolist(), b.tolist(), strict=True):
        touching[x][y] = touching[y][x] = 1
    size = np.concatenate([np.ones(n), linkage[:, 3]])
    assumed = np.empty(n - 1, dtype=bool)
    for step, (x, y) in enumerate(linkage[:, :2].astype(int).tolist()):
        from_x, from_y = touching.pop(x), touching.pop(y)
        needed = 1 if method == "single" else size[x] * size[y]
        assumed[step] = from_x.pop(y, 0) < needed
        from_y.pop(x, None)
        merged = {c: from_x.get(c, 0) + from_y.get(c, 0) for c in from_x.keys() | from_y.keys()}
        for cluster, pairs in merged.items():
            others = touching[cluster]
            others.pop(x, None)
            others.pop(y, None)
            others[n + step] = pairs
        touching[n + step] = merged
    return assumed
