"""How many dimensions a linear description needs: the variance spectrum and PC-ID (Ansuini et al. 2019, Fig. 5).

Which way to the spectrum is exact and fits into memory depends on the shape:

- little data: singular values by dask-ml's PCA, right down to the smallest;
- no more features than samples: the eigenvalues of the D x D covariance, summed over rows as they are read;
- fewer samples: those of the N x N matrix of products of samples, summed over features as they are read.

The last two see variances down to 1e-15 of the largest. Where N and D are both too large for them, `samples` of the
samples can stand for all: exact for these, an estimate for the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dask
import dask.array as da
import numpy as np
from scipy.linalg import blas, eigvalsh

from dnuc.errors import DnucError, ResourceError
from dnuc.measures.panels import draw_rows
from dnuc.neighbors.search import checked_array, memory_bytes
from dnuc.store import Subset

LITTLE = 2**20  # values that are decomposed at once
ROWS = 512  # of a step of a sum over samples; a constant, so that sums do not depend on memory or chunks
COLUMNS = 512  # of a step of a sum over features
READ = 8192  # features that are read at once: what is stored together


def pca_dimension(
    x: Any,
    variance: float = 0.9,
    standardize: bool = True,
    *,
    samples: int | None = None,
    seed: int = 0,
    memory_limit: int | str | None = None,
) -> int:
    """PC-ID: the smallest number of principal components that hold more than a share of the variance.

    Where it is far above the intrinsic dimension, the data lie on a curved manifold: no flat one of their dimension
    holds them (Ansuini et al. 2019, Sec. 3.3).

    Parameters
    ----------
    x : (N, D) array
        NumPy array, Zarr array, Dask array or stored array.
    variance : float
        The share, in (0, 1).
    standardize, samples, seed, memory_limit
        As in `pca_spectrum`.

    Examples
    --------
    >>> import numpy as np
    >>> circle = np.exp(2j * np.pi * np.arange(100) / 100)  # one dimension, bent
    >>> pca_dimension(np.stack([circle.real, circle.imag], axis=1) @ np.eye(2, 20))
    2
    """
    if not 0 < variance < 1:
        raise DnucError(f"variance = {variance}: the share of the variance must be in (0, 1), e.g. 0.9")
    ratio = pca_spectrum(x, standardize=standardize, samples=samples, seed=seed, memory_limit=memory_limit)
    return components_for(ratio, variance)


def components_for(ratio: np.ndarray, variance: float) -> int:
    """How many of the shares of a spectrum, from the largest on, are more than `variance` together.

    >>> components_for(np.array([0.5, 0.4, 0.1]), 0.9), components_for(np.array([0.6, 0.35, 0.05]), 0.9)
    (3, 2)
    """
    total = np.cumsum(ratio)
    return min(int(np.searchsorted(total, variance + 1e-12, side="right")) + 1, len(ratio))


def pca_spectrum(
    x: Any,
    *,
    standardize: bool = True,
    samples: int | None = None,
    seed: int = 0,
    memory_limit: int | str | None = None,
) -> np.ndarray:
    """The share of the variance along each principal component, from the largest to the smallest.

    Parameters
    ----------
    x : (N, D) array
        NumPy array, Zarr array, Dask array or stored array. It is read in pieces.
    standardize : bool
        Divide each feature by its standard deviation, as the paper does (the matrix of correlation coefficients).
    samples : int, optional
        Use only so many samples, drawn at random, where there are more. Their spectrum is exact, but the share of
        small components of all samples is underestimated: there are no more than samples - 1 components.
    seed : int
        Of the draw.
    memory_limit : int or str, optional
        Bytes that may be used, e.g. "4GB" (default 2 GiB): two matrices of min(N, D) x min(N, D) must fit.

    Returns
    -------
    (min(N - 1, D'),) float64
        D' is the number of features that are not constant. The sum is 1.

    Raises
    ------
    DnucError
        If x is not an (N, D) array of numbers with at least 2 samples that differ, or has values that are not finite.
    ResourceError
        If N and D are both too large for the memory; the message says how many samples would fit.
    """
    x = checked_array(x, 1)
    n, features = int(x.shape[0]), int(x.shape[1])
    if samples is not None and samples < 2:
        raise DnucError(f"samples = {samples}: at least 2 are needed for a variance")
    rows = draw_rows(n, samples or n, seed)
    n = len(rows)
    limit, itemsize = memory_bytes(memory_limit), x.dtype.itemsize
    if (needed := pca_bytes(n, features, itemsize)) > limit:
        raise ResourceError(
            f"the principal components of {n} samples with {features} features need {needed / 2**20:,.0f} MiB, "
            f"{limit / 2**20:,.0f} MiB may be used: raise memory_limit, or let fewer samples stand for all "
            f"(samples = {largest_sample(features, limit, itemsize)})"
        )
    variance = _variances(Subset(x, rows), standardize)
    total = float(variance.sum())
    if total == 0:
        raise DnucError(f"all {n} samples are equal, so there are no principal components: leave this layer out")
    if not np.isfinite(total):
        raise DnucError("x has values so large that their variance overflows float64: rescale it")
    return variance / total


def pca_bytes(n: int, features: int, itemsize: int = 4) -> int:
    """Memory that the spectrum of so much data takes; itemsize: of a value as it is stored."""
    side = min(n, features)
    if n * features <= LITTLE:
        return 8 * (8 * n * features + 4 * side**2)
    if features <= n:
        return 8 * (2 * side**2 + 4 * ROWS * features) + 2 * itemsize * 8 * ROWS * features
    return 8 * (2 * side**2 + 4 * n * COLUMNS) + 2 * itemsize * n * min(features, READ)


def largest_sample(features: int, memory: int, itemsize: int = 4) -> int:
    """How many samples of so many features have a spectrum that fits into the memory."""
    low, high = 2, 2**20
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if pca_bytes(middle, features, itemsize) <= memory else (low, middle - 1)
    return low


def sample_for(n: int, features: int, most: int) -> int | None:
    """How many samples stand for all: `most` where there are more of both samples and features, else None (all)."""
    return most if min(n, features) > most else None


def _variances(x: Subset, standardize: bool) -> np.ndarray:
    """The variance along each component in any unit, from the largest to the smallest."""
    n, features = x.shape
    if n * features <= LITTLE:
        variance, kept = _by_decomposition(x, standardize)
    elif features <= n:
        variance, kept = _by_covariance(x, standardize)
    else:
        variance, kept = _by_products(x, standardize)
    return np.maximum(np.sort(variance)[::-1][: min(n - 1, kept)], 0)


def _by_decomposition(x: Subset, standardize: bool) -> tuple[np.ndarray, int]:
    from dask_ml.decomposition import PCA  # seconds to import

    z = _standardized(x[:], standardize)
    if z.shape[1] == 0:
        return np.zeros(1), 1
    with dask.config.set(scheduler="synchronous"):  # not that of a cluster whose task this may be
        found = PCA(n_components=min(z.shape), svd_solver="full").fit(da.from_array(z, chunks=-1))
    return found.explained_variance_, z.shape[1]


def _by_covariance(x: Subset, standardize: bool) -> tuple[np.ndarray, int]:
    mean, factor = _moments(x, standardize)
    total = np.zeros((len(mean), len(mean)), order="F")
    for values in _row_steps(x):
        values -= mean
        values *= factor
        total = blas.dsyrk(1.0, values.T, beta=1.0, c=total, overwrite_c=True)  # upper triangle
    return _eigenvalues(total), int(np.count_nonzero(factor))


def _by_products(x: Subset, standardize: bool) -> tuple[np.ndarray, int]:
    n, features = x.shape
    total, kept = np.zeros((n, n), order="F"), 0
    for first in range(0, features, READ):
        panel = x[:, first : first + READ]
        for step in range(0, panel.shape[1], COLUMNS):
            z = _standardized(panel[:, step : step + COLUMNS], standardize)
            total = blas.dsyrk(1.0, z, beta=1.0, c=total, overwrite_c=True)
            kept += z.shape[1]
    return _eigenvalues(total), kept


def _eigenvalues(upper: np.ndarray) -> np.ndarray:
    if not np.isfinite(upper).all():
        return np.full(len(upper), np.inf)
    return eigvalsh(upper, lower=False, overwrite_a=True, check_finite=False)


def _standardized(values: np.ndarray, standardize: bool) -> np.ndarray:
    """Features that vary, in float64 without their mean, on request divided by their deviation."""
    varying = values.max(axis=0) > values.min(axis=0)  # else only the rounding of the mean would be left
    z = values[:, varying].astype(np.float64)
    z -= z.mean(axis=0)
    return z / z.std(axis=0) if standardize else z


def _moments(x: Subset, standardize: bool) -> tuple[np.ndarray, np.ndarray]:
    """(D,) the mean of each feature, and what it is multiplied by: 1 or 1 / deviation, 0 if it is constant."""
    features = x.shape[1]
    seen, mean, squares = 0, np.zeros(features), np.zeros(features)
    low, high = np.full(features, np.inf), np.full(features, -np.inf)
    for values in _row_steps(x):
        count, own = len(values), values.mean(axis=0)
        low, high = np.minimum(low, values.min(axis=0)), np.maximum(high, values.max(axis=0))
        change = own - mean
        squares += ((values - own) ** 2).sum(axis=0) + change**2 * (count * seen / (seen + count))
        seen += count
        mean += change * (count / seen)
    deviation = np.sqrt(squares / seen) if standardize else np.ones(features)
    return mean, np.divide(1, deviation, where=high > low, out=np.zeros(features))


def _row_steps(x: Subset) -> Iterator[np.ndarray]:
    """ROWS rows after another in float64, of which whole chunks are read at once unless they are very large."""
    chunks = getattr(x.source, "chunks", None)
    stored = chunks[0] if chunks is not None and isinstance(chunks[0], int) else 1
    at_once = ROWS * max(1, min(stored, 8 * ROWS) // ROWS)
    for first in range(0, x.shape[0], at_once):
        block = x[first : first + at_once]
        for step in range(0, len(block), ROWS):
            yield block[step : step + ROWS].astype(np.float64)
