"""Intrinsic dimension: how many coordinates the data manifold really has at the scale of nearest neighbors."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from dnuc.errors import DnucError
from dnuc.neighbors.lists import Neighbors

FEWEST = 3  # samples whose ratios can tell a dimension
RESAMPLES = 200  # of a bootstrap: its error is then known to 5 %

Method = Literal["fit", "mle"]


@dataclass(frozen=True)
class Dimension:
    """An intrinsic dimension with its standard error, and the length scale at which it was measured."""

    value: float
    error: float
    scale: float  # in units of the distances
    dropped: int = 0  # samples left out because their nearest neighbor is a duplicate
    rank: int = 1  # the distances of the neighbors of this rank and of twice this rank are compared

    def __float__(self) -> float:
        """The value alone, so that what takes a dimension takes this as well as a plain number."""
        return float(self.value)


def two_nn(
    neighbors: Neighbors,
    fraction: float = 0.9,
    method: Method = "fit",
    *,
    integer: bool = False,
    error: Literal["fisher", "bootstrap"] = "fisher",
    seed: int = 0,
) -> Dimension:
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
    integer : bool
        Round the value to a whole number, at least 1, as the papers do. The error is that of the unrounded value.
    error : {"fisher", "bootstrap"}
        How the error is found, see below.
    seed : int
        Of the bootstrap.

    Returns
    -------
    Dimension
        value; error; scale, the mean second distance.

        The error is value / sqrt(ratios used), from the Fisher information (the spread of the fit's own residuals
        would be far too small, for they are correlated), or the standard deviation over 200 resamples of the ratios,
        drawn with replacement, which does not assume their law. Both take the ratios as independent, which those of
        close samples are not quite: from one data set to another, values spread about 1.25 times as much.

    Raises
    ------
    DnucError
        If fewer than 2 neighbors are stored, fewer than 3 samples have distinct neighbors, or all ratios are 1.

    Examples
    --------
    >>> import numpy as np
    >>> from dnuc import nearest_neighbors
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(1000, 2)) @ rng.normal(size=(2, 50))  # a plane in 50 dimensions
    >>> found = two_nn(nearest_neighbors(x, k=2))
    >>> print(f"{found.value:.2f} +- {found.error:.2f}")
    2.02 +- 0.07
    """
    if neighbors.k < 2:
        raise DnucError("TwoNN needs the two nearest neighbors of each sample; 1 is stored: search with k >= 2")
    estimate = estimator(fraction, method)
    if error not in ("fisher", "bootstrap"):
        raise DnucError(f"error = {error!r}: must be 'fisher' or 'bootstrap'")
    found, log_mu = _two_nn(neighbors.distance[:, :2], estimate)
    value, spread = found.value, found.error
    if error == "bootstrap":
        spread = _bootstrap(log_mu, estimate, seed)
    return Dimension(float(max(1, round(value))) if integer else value, spread, found.scale, found.dropped)


Estimator = Callable[[np.ndarray], tuple[float, float]]  # from sorted log mu to a value and its error


def estimator(fraction: float, method: Method) -> Estimator:
    """TwoNN as a function of the sorted logarithms of the ratios, after checking its settings."""
    if not 0 < fraction <= 1:
        raise DnucError(f"fraction = {fraction}: must be in (0, 1], e.g. 0.9")
    if method not in ("fit", "mle"):
        raise DnucError(f"method = {method!r}: must be 'fit' or 'mle'")
    return partial(_fit, fraction=fraction) if method == "fit" else _mle


def two_nn_of(distance: np.ndarray, estimate: Estimator) -> Dimension:
    """TwoNN of (N, 2) distances to the two nearest neighbors."""
    return _two_nn(distance, estimate)[0]


def _two_nn(distance: np.ndarray, estimate: Estimator) -> tuple[Dimension, np.ndarray]:
    """The estimate, and the sorted log mu that it is of."""
    r1, r2 = distance[:, 0], distance[:, 1]
    distinct = r1 > 0
    log_mu = np.sort(log_ratio(r1[distinct], r2[distinct]))
    if len(log_mu) < FEWEST or log_mu[-1] == 0:
        raise DnucError(
            f"TwoNN: {len(log_mu)} of {len(r1)} samples have their nearest neighbor at a distance above 0, and the "
            f"largest ratio of second to first distance is {np.exp(log_mu[-1]) if len(log_mu) else float('nan')}: at "
            f"least {FEWEST} samples and some ratio above 1 are needed; remove duplicates, or the data lie on a lattice"
        )
    value, error = estimate(log_mu)
    scale = float(np.sort(r2[distinct]).mean())  # in this order, so that the order of the samples changes nothing
    return Dimension(value, error, scale, int(np.count_nonzero(~distinct))), log_mu


def log_ratio(near: np.ndarray, far: np.ndarray) -> np.ndarray:
    """log(far / near) of distances above 0, to the last digits also where the two hardly differ."""
    close = far < 2 * near
    found = np.log(far) - np.log(near)  # no quotient: it might overflow
    found[close] = np.log1p((far[close] - near[close]) / near[close])  # the difference is exact
    return found


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
    return value, value / math.sqrt(kept)


def _mle(log_mu: np.ndarray) -> tuple[float, float]:
    """Maximum likelihood, with the factor that makes it unbiased."""
    total = float(log_mu.sum())
    if total == 0:
        raise DnucError(f"TwoNN: all {len(log_mu)} ratios of second to first distance are 1: the data lie on a lattice")
    value = (len(log_mu) - 1) / total
    return value, value / math.sqrt(len(log_mu))


def _bootstrap(log_mu: np.ndarray, estimate: Estimator, seed: int) -> float:
    """Standard deviation of the estimate over resamples of the ratios."""
    rng, n = np.random.default_rng(seed), len(log_mu)
    values = []
    for number in range(RESAMPLES):
        times = np.bincount(rng.integers(0, n, n), minlength=n)  # each ratio is drawn; repeated, they stay sorted
        try:
            values.append(estimate(np.repeat(log_mu, times))[0])
        except DnucError as reason:
            raise DnucError(
                f"TwoNN: resample {number + 1} of {RESAMPLES} has no dimension, so there is no error='bootstrap' "
                f"(use 'fisher'). {reason}"
            ) from None
    return float(np.std(values, ddof=1))
