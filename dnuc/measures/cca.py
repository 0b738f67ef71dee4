"""Canonical correlations: which directions do two representations have in common? (Raghu 2017, Morcos 2018)"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from scipy.linalg import cholesky, eigh, solve_triangular

from dnuc.errors import DnucError, ResourceError
from dnuc.measures.kernels import gram_tile
from dnuc.measures.panels import CHUNK, TILE, Centered, centered_pair, checked_pair, pairs_of_tiles, tiles
from dnuc.neighbors.search import memory_bytes
from dnuc.units import size

MEMORY = 4 * 2**30  # bytes, unless the caller says more
MATRICES = 4  # of min(N, D)^2 values, at most: one that is decomposed, twice that for work, and the scores of the other


def svcca(x: Any, y: Any, variance: float = 0.99, *, memory_limit: int | str | None = None) -> float:
    """Mean canonical correlation of the directions in which two representations vary most.

    Singular vector canonical correlation analysis (Raghu, Gilmer, Yosinski, Sohl-Dickstein 2017): each representation
    is reduced to the fewest principal directions that hold a share `variance` of its variance; the mean is over as
    many canonical correlations as the smaller one has directions. 1 where the one is a linear image of the other.
    All directions that are kept count the same, however little they hold: it is more even over the layers of a network
    than the neighborhood overlap (Doimo et al. 2020, Sec. 4).

    Parameters
    ----------
    x, y : (N, D), (N, E) arrays
        NumPy, Zarr or Dask arrays: the same samples in the same order.
    variance : float
        Share of the variance that is kept, in (0, 1]. Directions whose variance is below rounding (about 1e-12 of the
        largest) are never kept, so a representation may be of deficient rank.
    memory_limit : int or str, optional
        Bytes (default 4 GiB). A symmetric matrix of the smaller of N and D rows is decomposed in memory, of samples or
        of features; the activations themselves are read a panel at a time.

    Raises
    ------
    ResourceError
        If both N and D are too large for the memory: the bytes that are needed.
    DnucError
        If x and y do not have the same number of samples, all samples of one are equal, or variance is not in (0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(500, 4))
    >>> print(f"{svcca(x, x @ [[1, 2], [0, 1], [3, 0], [1, 1]]):.3f} {svcca(x, x**2):.3f}")
    1.000 0.140
    """
    first, second = _pair(x, y, variance, memory_limit)
    scores = [principal_scores(a, variance) for a in (first, second)]
    return mean_correlation(correlations(*scores)[1])


def pwcca(x: Any, y: Any, variance: float = 0.99, *, memory_limit: int | str | None = None) -> float:
    """Canonical correlations of two representations, weighted by how much of x each accounts for.

    Projection weighted canonical correlation analysis (Morcos, Raghu, Bengio 2018): sum of alpha_i rho_i / sum of
    alpha_i, alpha_i = sum over the features x_j of |<h_i, x_j>|, where h_i is the i-th canonical variate on the side of
    x. So it is not symmetric. As in `svcca` both are first reduced to a share `variance` of their variance; 1 leaves
    out nothing, as the authors do, but is 1 for any x and y with more features than samples.

    Parameters and errors are those of `svcca`.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(500, 4)) * [10, 1, 1, 1]
    >>> print(f"{pwcca(x, x[:, :2], variance=1):.3f} {pwcca(x[:, 1:], x, variance=1):.3f}")
    1.000 1.000
    """
    first, second = _pair(x, y, variance, memory_limit)
    scores = [principal_scores(a, variance) for a in (first, second)]
    rotation, rho = correlations(*scores)
    return weighted_correlation(rho, projection_weights(first, scores[0], [rotation])[0])


def _pair(x: Any, y: Any, variance: float, memory_limit: int | str | None) -> tuple[Centered, Centered]:
    if not 0 < variance <= 1:
        raise DnucError(f"variance = {variance}: must be in (0, 1], e.g. 0.99")
    memory = MEMORY if memory_limit is None else memory_bytes(memory_limit)
    for name, a in zip("xy", checked_pair(x, y), strict=True):
        check_memory(a.shape[0], a.shape[1], memory, name)
    return centered_pair(x, y)


def cca_bytes(n: int, features: int) -> int:
    """Memory that the principal directions of so many samples and features need."""
    smaller, rows, width = min(n, features), min(n, TILE), min(features, CHUNK)
    return 8 * (MATRICES * smaller**2 + 4 * rows * width + 3 * width * smaller)


def check_memory(n: int, features: int, memory: int, label: str) -> None:
    """Refuse (ResourceError) what is too large both in samples and in features."""
    needed = cca_bytes(n, features)
    if needed > memory:
        raise ResourceError(
            f"{label}: canonical correlations of {n:,} samples of {features:,} features need {size(needed)}, "
            f"{size(memory)} may be used: a matrix of {min(n, features):,} x {min(n, features):,} is decomposed in "
            "memory. Take fewer samples (in a job: [similarity] samples), or give more memory"
        )


class Scores(Protocol):
    """The samples along some directions: orthonormal columns (N, p), of which some rows are read at a time."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, p)."""

    def __getitem__(self, rows: slice, /) -> np.ndarray:
        """(rows, p)."""


class ProjectedScores:
    """Scores that are made when they are read, so that they are never all in memory."""

    def __init__(self, x: Centered, directions: np.ndarray) -> None:
        """`directions`: (D, p)."""
        self._x, self.directions = x, directions

    @property
    def shape(self) -> tuple[int, ...]:
        return self._x.n, self.directions.shape[1]

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self._x.read(rows, slice(0, self._x.features)) @ self.directions


def principal_scores(x: Centered, variance: float) -> Scores:
    """Scores (N, p) along the fewest principal directions that hold so much of the variance."""
    if x.features > x.n:
        return _leading(_gram(x), x, variance)
    scores = ProjectedScores(x, _leading(_covariance(x), x, variance))
    # their lengths, and what rounding has left of their products
    return ProjectedScores(x, solve_triangular(cholesky(_products(scores, scores)), scores.directions.T, trans=1).T)


def _leading(matrix: np.ndarray, x: Centered, variance: float) -> np.ndarray:
    """(m, p) eigenvectors of the largest eigenvalues, which hold a share of their sum; `matrix` is overwritten."""
    values, vectors = eigh(matrix, overwrite_a=True, check_finite=False, driver="evd")
    values, vectors = values[::-1], vectors[:, ::-1]
    real = values > values[0] * max(x.n, x.features) * np.finfo(float).eps
    share = np.cumsum(np.where(real, values, 0)) / values[real].sum()
    count = min(int(np.searchsorted(share, variance * (1 - 1e-12))) + 1, int(real.sum()))
    return np.ascontiguousarray(vectors[:, :count])


def _gram(x: Centered) -> np.ndarray:
    """(N, N) inner products of the samples."""
    found = np.empty((x.n, x.n))
    for rows, columns in pairs_of_tiles(x.n):
        found[rows, columns] = gram_tile(x, rows, columns).products
        found[columns, rows] = found[rows, columns].T
    return found


def _covariance(x: Centered) -> np.ndarray:
    """(D, D) inner products of the features."""
    found = np.zeros((x.features, x.features))
    for rows in tiles(x.n):
        values = x.read(rows, slice(0, x.features))
        found += values.T @ values
    return found


def _products(x: Scores, y: Scores) -> np.ndarray:
    """(p, q) inner products of the columns of scores (N, p) and (N, q)."""
    found = np.zeros((x.shape[1], y.shape[1]))
    for rows in tiles(x.shape[0]):
        left = x[rows]
        found += left.T @ (left if x is y else y[rows])
    return found


def correlations(x: Scores, y: Scores) -> tuple[np.ndarray, np.ndarray]:
    """The canonical correlations (m,) of scores (N, p) and (N, q), m = min(p, q), and the canonical variates of x.

    The i-th canonical variate of x is x @ rotation[:, i], (p, m).
    """
    rotation, rho, _ = np.linalg.svd(_products(x, y), full_matrices=False)
    return rotation, np.minimum(rho, 1)


def mean_correlation(rho: np.ndarray) -> float:
    """SVCCA, from the canonical correlations."""
    return float(rho.mean())


def projection_weights(x: Centered, scores: Scores, rotations: list[np.ndarray]) -> list[np.ndarray]:
    """alpha_i (m,) of the canonical variates of x with several others, each given by its rotation (p, m).

    x is read once for all of them.
    """
    weights = [np.zeros(r.shape[1]) for r in rotations]
    for features in tiles(x.features, CHUNK if x.features > x.n else x.features):
        loadings = np.zeros((features.stop - features.start, scores.shape[1]))
        for rows in tiles(x.n):
            loadings += x.read(rows, features).T @ scores[rows]
        for weight, rotation in zip(weights, rotations, strict=True):
            weight += np.abs(loadings @ rotation).sum(axis=0)
    return weights


def weighted_correlation(rho: np.ndarray, weight: np.ndarray) -> float:
    """PWCCA, from the canonical correlations and how much each of them counts."""
    return float(rho @ weight / weight.sum())
