"""Density peaks: the summits of the probability density that noise does not explain, and where they touch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

import numpy as np
import pandas as pd

from dnuc.errors import DnucError, closest
from dnuc.landscape.basins import density_order, find_basins
from dnuc.landscape.density import Density, check_positions
from dnuc.landscape.merging import Convention, Points, merge_peaks
from dnuc.landscape.saddles import find_saddles
from dnuc.neighbors.lists import Neighbors


@dataclass(frozen=True, repr=False)
class Landscape:
    """The peaks of a layer's probability density, the samples around each, and the saddles between them.

    Peaks are numbered 0 .. n_peaks - 1 from the densest center to the least dense, by g = log rho - error and
    then by smaller sample number, so that the numbering does not depend on how the peaks were found.

    Attributes
    ----------
    labels : (N,) int64
        The peak of every sample.
    centers : (n_peaks,) int64
        The sample at the top of each peak.
    peak_log_density : (n_peaks,) float64
        Log density at the centers.
    core : (N,) bool
        True for samples at least as dense as the highest saddle of their peak; the others are the halo, which
        may as well belong to the neighboring peak. A peak that touches no other has no halo.
    saddles : pandas.DataFrame
        One row for each pair of peaks that touch, sorted: peak_a < peak_b (int64), log_density and error
        (float64) at the saddle, and its sample (int64). Pairs without a row have no saddle.
    border : (N,) int64
        The peak that a border sample faces across the border of its own peak; -1 for samples inside. All saddles are
        border samples. See `anchors`.
    """

    labels: np.ndarray  # (N,)
    centers: np.ndarray  # (n_peaks,)
    peak_log_density: np.ndarray  # (n_peaks,)
    core: np.ndarray  # (N,)
    saddles: pd.DataFrame  # (touching pairs, 5)
    border: np.ndarray  # (N,)

    def __repr__(self) -> str:
        share = f", core={np.mean(self.core):.0%}" if len(self.core) else ""
        return f"Landscape(N={len(self.labels)}, n_peaks={self.n_peaks}, saddles={len(self.saddles)}{share})"

    @property
    def n_peaks(self) -> int:
        """How many peaks there are, at least 1."""
        return len(self.centers)

    @property
    def sizes(self) -> np.ndarray:
        """(n_peaks,) int64: how many samples belong to each peak, halo included."""
        return np.bincount(self.labels, minlength=self.n_peaks)


def density_peaks(
    neighbors: Neighbors, density: Density, z: float = 1.65, *, convention: Convention = "dadapy"
) -> Landscape:
    """Where the probability density has peaks, which samples are around each, and which peaks touch.

    The method of the paper (Doimo et al. 2020, Sec. 2.2; d'Errico et al. 2021): every local maximum of
    g = log rho - error collects a basin; the densest point of the border of two basins is their saddle; peaks
    that rise above a saddle by less than z errors are merged across it, the highest saddle first. The number
    of peaks is a result, not a setting. "Denser" always means the total order (g, then smaller sample number).

    Parameters
    ----------
    neighbors : Neighbors
        N samples with K neighbors each.
    density : Density
        Of the same samples, from at most K neighbors.
    z : float
        How significant a peak must be, in units of the summed errors of its height and of its saddle's. The
        paper uses 1.65. At 0 only peaks that are lower than their own saddle are merged.
    convention : {"dadapy", "paper"}
        "dadapy": a center is no border point, and of two merged peaks the one with the larger margin (rise
        above the saddle, in errors) survives, as in the code behind the published numbers. "paper": a center
        may be a border point, and the peak with the larger density survives.

    Returns
    -------
    Landscape
        At least one peak.

    Raises
    ------
    DnucError
        If neighbors and density are of different samples, the density needs more neighbors than are stored,
        an index is not a sample, z is negative, or the convention is unknown.

    Examples
    --------
    Six points on a line in two groups, each densest in its middle:

    >>> x = np.array([0.0, 1.0, 2.1, 10.0, 10.9, 11.7])
    >>> distance = np.abs(x[:, None] - x)
    >>> index = np.argsort(distance, kind="stable")[:, 1:3]
    >>> near = Neighbors(index, np.take_along_axis(distance, index, axis=1))
    >>> from dnuc.landscape.density import knn_density
    >>> density_peaks(near, knn_density(near, dimension=1, k=2)).labels
    array([1, 1, 1, 0, 0, 0])
    """
    _check(neighbors, density, z, convention)
    index = np.ascontiguousarray(neighbors.index, dtype=np.int64)
    k = np.asarray(density.k, dtype=np.int64)
    order = density_order(density)
    centers, basin = find_basins(index, k, order)
    not_border = centers if convention == "dadapy" else centers[:0]
    pairs, saddle_samples, facing = find_saddles(index, k, order, basin, not_border)
    points = _points(density, order)
    survivor, remaining, ends = merge_peaks(points[centers], points[saddle_samples], pairs, z, convention)
    kept, peak_of_basin = np.unique(survivor, return_inverse=True)
    labels = peak_of_basin[basin]
    saddles = _saddle_table(peak_of_basin[ends], saddle_samples[remaining], density)
    peak_log_density = density.log_density[centers[kept]]
    core = _core(labels, saddles, density, len(kept))
    return Landscape(labels, centers[kept], peak_log_density, core, saddles, _border(labels, facing, peak_of_basin))


def _points(density: Density, order: np.ndarray) -> Points:
    """Every sample."""
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return Points(np.asarray(density.log_density, np.float64), np.asarray(density.error, np.float64), rank)


def _saddle_table(peaks: np.ndarray, sample: np.ndarray, density: Density) -> pd.DataFrame:
    """One row a touching pair of `peaks` (R, 2), peak_a < peak_b, sorted; `sample` (R,) are their saddles."""
    low, high = np.sort(peaks, axis=1).T
    order = np.lexsort((high, low))
    sample = sample[order]
    return pd.DataFrame(
        {
            "peak_a": low[order],
            "peak_b": high[order],
            "log_density": density.log_density[sample],
            "error": density.error[sample],
            "sample": sample,
        }
    )


def _border(labels: np.ndarray, facing: np.ndarray, peak_of_basin: np.ndarray) -> np.ndarray:
    """(N,) the peak that a sample faces whose basin touches that of another peak; -1 elsewhere."""
    border = np.where(facing >= 0, peak_of_basin[facing], -1)
    border[border == labels] = -1  # the two basins became one peak
    return border


def _core(labels: np.ndarray, saddles: pd.DataFrame, density: Density, n_peaks: int) -> np.ndarray:
    """(N,) bool: at least as dense as the highest saddle of the sample's peak."""
    highest_saddle = np.full(n_peaks, -np.inf)
    for side in ("peak_a", "peak_b"):
        np.maximum.at(highest_saddle, saddles[side].to_numpy(), saddles["log_density"].to_numpy())
    return density.log_density >= highest_saddle[labels]


def _check(neighbors: Neighbors, density: Density, z: float, convention: str) -> None:
    n = neighbors.n_samples
    if density.n_samples != n or n == 0:
        raise DnucError(
            f"density_peaks: neighbors of {n} samples and densities of {density.n_samples}; both must be of the same "
            "samples, at least one: compute the density from these neighbors"
        )
    if int(np.max(density.k)) > neighbors.k:
        raise DnucError(
            f"density_peaks: the density uses {np.max(density.k)} neighbors and {neighbors.k} are stored; pass the "
            "neighbors that the density was computed from"
        )
    check_positions(neighbors, "density_peaks")
    if not (z >= 0 and math.isfinite(z)):
        raise DnucError(f"density_peaks: z = {z}; it must be 0 or a positive, finite number (the paper: 1.65)")
    if convention not in get_args(Convention):
        raise DnucError(f"density_peaks: convention {convention!r}; {closest(convention, get_args(Convention))}")
