"""Merge the peaks that noise alone may have made: those that do not rise enough above a saddle."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Literal

import numpy as np

Convention = Literal["dadapy", "paper"]


@dataclass(frozen=True)
class Points:
    """Peaks or saddles: height and error of the log density there, and the place in the total order.

    Attributes
    ----------
    log_density, error : lists of float
    rank : list of int
        How many samples are denser, under the total order (g, then smaller sample number).
    """

    log_density: list[float]
    error: list[float]
    rank: list[int]


def merge_peaks(
    peaks: Points, saddles: Points, pairs: np.ndarray, z: float, convention: Convention
) -> tuple[np.ndarray, dict[tuple[int, int], int]]:
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
        The peaks that each saddle joins.
    z : float
        Required rise in units of the errors.
    convention : {"dadapy", "paper"}
        Who survives.

    Returns
    -------
    survivor : (P,) int64
        The peak that each peak ended up in.
    remaining : dict
        (peak, peak) -> saddle, for the surviving peaks that touch.
    """
    state = _Merging(peaks, saddles, pairs, z, convention)
    while (saddle := state.highest_failing()) is not None:
        state.cross(saddle)
    return state.survivors(), {pair: saddle for saddle, pair in state.ends.items()}


class _Merging:
    """The peaks and saddles that are left. Memory grows with P + S: saddles are sparse, P^2 entries would not fit."""

    def __init__(self, peaks: Points, saddles: Points, pairs: np.ndarray, z: float, convention: Convention) -> None:
        self.peaks, self.saddles, self.z, self.convention = peaks, saddles, z, convention
        self.ends: dict[int, tuple[int, int]] = {s: (a, b) for s, (a, b) in enumerate(pairs.tolist())}
        self.touching: list[dict[int, int]] = [{} for _ in peaks.rank]  # peak -> {peak it touches: saddle}
        for saddle, (a, b) in self.ends.items():
            self.touching[a][b] = self.touching[b][a] = saddle
        self.into = list(range(len(peaks.rank)))
        # Holds every saddle that fails, and some that no longer exist or no longer fail.
        self.queue = [self._priority(s) for s in self.ends if self._fails(s)]
        heapify(self.queue)

    def _priority(self, saddle: int) -> tuple[float, int, int]:
        return -self.saddles.log_density[saddle], self.saddles.rank[saddle], saddle

    def _rise(self, peak: int, saddle: int) -> float:
        return self.peaks.log_density[peak] - self.saddles.log_density[saddle]

    def _noise(self, peak: int, saddle: int) -> float:
        return self.peaks.error[peak] + self.saddles.error[saddle]

    def _fails(self, saddle: int) -> bool:
        return any(self._rise(peak, saddle) < self.z * self._noise(peak, saddle) for peak in self.ends[saddle])

    def highest_failing(self) -> int | None:
        """The saddle to cross next; None when all peaks are significant."""
        while self.queue:
            saddle = heappop(self.queue)[-1]
            if saddle in self.ends and self._fails(saddle):
                return saddle
        return None

    def cross(self, saddle: int) -> None:
        """Merge the two peaks of a saddle."""
        gone, kept = sorted(self.ends.pop(saddle), key=lambda peak: self._strength(peak, saddle))
        self.into[gone] = kept
        del self.touching[gone][kept], self.touching[kept][gone]
        for third, inherited in self.touching[gone].items():
            del self.touching[third][gone]
            self._inherit(kept, third, inherited)
        self.touching[gone] = {}

    def _strength(self, peak: int, saddle: int) -> tuple[float, int]:
        if self.convention == "dadapy":
            return self._rise(peak, saddle) / self._noise(peak, saddle), -self.peaks.rank[peak]
        return self.peaks.log_density[peak], -self.peaks.rank[peak]

    def _inherit(self, kept: int, third: int, inherited: int) -> None:
        """Let a saddle of a merged peak join its survivor and a third peak, unless a higher one does."""
        own = self.touching[kept].get(third)
        if own is not None and self._priority(own) < self._priority(inherited):
            del self.ends[inherited]
            return
        if own is not None:
            del self.ends[own]
        self.touching[kept][third] = self.touching[third][kept] = inherited
        self.ends[inherited] = (kept, third)
        # With other peaks at its ends a saddle that passed may fail now.
        if self._fails(inherited):
            heappush(self.queue, self._priority(inherited))

    def survivors(self) -> np.ndarray:
        """(P,) the last peak that each peak was merged into."""
        into = np.array(self.into, dtype=np.int64)
        while not np.array_equal(into, into[into]):
            into = into[into]
        return into
