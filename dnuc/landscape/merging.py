"""Merge the peaks that noise alone may have made: those that do not rise enough above a saddle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from dnuc.landscape.merging_kernels import merge

Convention = Literal["dadapy", "paper"]


@dataclass(frozen=True)
class Points:
    """Peaks or saddles: height and error of the log density there, and the place in the total order.

    Attributes
    ----------
    log_density, error : (n,) float64
    rank : (n,) int64
        How many samples are denser, under the total order (g, then smaller sample number).
    """

    log_density: np.ndarray
    error: np.ndarray
    rank: np.ndarray

    def __getitem__(self, chosen: np.ndarray) -> Points:
        return Points(self.log_density[chosen], self.error[chosen], self.rank[chosen])


def merge_peaks(
    peaks: Points, saddles: Points, pairs: np.ndarray, z: float, convention: Convention
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Merge until every peak rises above each of its saddles by more than noise explains.

    A saddle fails if, for either of its peaks, log rho(peak) - log rho(saddle) < z (err(peak) + err(saddle)).
    The highest failing saddle is crossed first: one peak survives, keeps its own summit, and takes over the
    saddles of the other; where both touched a third peak, the higher of the two saddles remains (d'Errico et
    al. 2021, Sec. 2.3). "dadapy": the survivor is the peak with the larger margin, that is, the ratio of the
    two sides of the test. "paper": the one with the larger log density. Ties go to the denser in the total
    order.

    Parameters
    ----------
    peaks : Points
        P summits.
    saddles : Points
        S saddles.
    pairs : (S, 2) int64
        The peaks that each saddle joins; at most one saddle a pair.
    z : float
        Required rise in units of the errors.
    convention : {"dadapy", "paper"}
        Who survives.

    Returns
    -------
    survivor : (P,) int64
        The peak that each peak ended up in.
    remaining : (R,) int64
        The saddles between surviving peaks.
    ends : (R, 2) int64
        The surviving peaks that each of them joins.
    """
    crossing = np.lexsort((saddles.rank, -saddles.log_density))  # the highest first
    ends, ordered = pairs[crossing], saddles[crossing]
    into, left = merge(
        peaks.log_density,
        peaks.error,
        peaks.rank,
        ordered.log_density,
        ordered.error,
        ends,
        float(z),
        convention == "dadapy",
    )
    while not np.array_equal(into, into[into]):
        into = into[into]
    return into, crossing[left], ends[left]
