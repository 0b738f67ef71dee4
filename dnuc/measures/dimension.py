"""Intrinsic dimension: how many coordinates the data manifold really has at the scale of nearest neighbors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from dnuc.errors import DnucError
from dnuc.neighbors.lists import Neighbors


@dataclass(frozen=True)
class Dimension:
    """An intrinsic dimension with its standard error, and the length scale at which it was measured."""

    value: float
    error: float
    scale: float  # in units of the distances
    dropped: int = 0  # samples left out because their nearest neighbor is a duplicate

    def __float__(self) -> float:
        """The value alone, so that what takes a dimension takes this as well as a plain number."""
        return float(self.value)


def two_nn(neighbors: Neighbors, fraction: float = 0.9, method: Literal["fit", "mle"] = "fit") -> Dimension:
    """Intrinsic dimension from the ratio of the distances of the two nearest neighbors.

    mu = r2/r1 follows a Pareto law with exponent d wherever the density is constant up to the second neighbor
    (Facco et al. 2017; Ansuini et al. 2019, Sec. 2). "fit": slope through the origin of -log(1 - F) against log mu
    over the `fraction` of smallest ratios, F_i = i/N. "mle": (N - 1) / sum(log mu) over all ratios. Values above
    about 20 are lower bounds, and with "fit" they depend on the fraction: always state it.

    Parameters
    ----------
    neighbors : Neighbors
        At least two neighbors a sample. Samples at distance 0 of another are dropped and counted.
    fraction : float
        Share of the smallest ratios that is fitted, in (0, 1]. Not used by "mle".
    method : {"fit", "mle"}

    Returns
    -------
    Dimension
        value; error, value / sqrt(ratios used), from the Fisher information (the spread of the fit's own residuals
        would be far too small, for they are correlated; so are, less so, the ratios of close samples: from one data
        set to another, values spread about 1.25 times as much); scale, the mean second distance.

    Raises
    ------
    DnucError
        If fewer than 2 neighbors are stored, fewer than 3 samples have distinct neighbors, or all ratios are 1.
    """
    if neighbors.k < 2:
        raise DnucError("TwoNN needs the two nearest neighbors of each sample; 1 is stored: search with k >= 2")
    if not 0 < fraction <= 1:
        raise DnucError(f"fraction = {fraction}: must be in (0, 1], e.g. 0.9")
    if method not in ("fit", "mle"):
        raise DnucError(f"method = {method!r}: must be 'fit' or 'mle'")
    r1, r2 = neighbors.distance[:, 0], neighbors.distance[:, 1]
    distinct = r1 > 0
    log_mu = np.sort(np.log(r2[distinct]) - np.log(r1[distinct]))
    if len(log_mu) < 3 or log_mu[-1] == 0:
        raise DnucError(
            f"TwoNN: {len(log_mu)} of {len(r1)} samples have their nearest neighbor at a distance above 0, and the "
            f"largest ratio of second to first distance is {np.exp(log_mu[-1]) if len(log_mu) else float('nan')}: at "
            "least 3 samples and some ratio above 1 are needed; remove duplicates, or the data lie on a lattice"
        )
    value, error = _fit(log_mu, fraction) if method == "fit" else _mle(log_mu)
    return Dimension(value, error, float(r2[distinct].mean()), int(np.count_nonzero(~distinct)))


def _fit(log_mu: np.ndarray, fraction: float) -> tuple[float, float]:
    """Slope through the origin; F = 1 (the largest ratio) is never fitted."""
    n = len(log_mu)
    kept = min(int(fraction * n), n - 1)
    x = log_mu[:kept]
    y = -np.log1p(-np.arange(1, kept + 1) / n)
    if kept < 2 or x[-1] == 0:
        raise DnucError(
            f"TwoNN: of {n} ratios the {kept} smallest are fitted, and they do not differ from 1; raise the fraction "
            f"(now {fraction}) or use method='mle'"
        )
    value = float(x @ y) / float(x @ x)
    return value, value / np.sqrt(kept)


def _mle(log_mu: np.ndarray) -> tuple[float, float]:
    """Maximum likelihood, with the factor that makes it unbiased."""
    value = (len(log_mu) - 1) / float(log_mu.sum())
    return value, value / np.sqrt(len(log_mu))
