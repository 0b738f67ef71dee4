"""Gaussian samples with the second moments of the data, and nothing else of them (Ansuini et al. 2019, Fig. 5B)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from scipy.linalg import helmert, solve_triangular

from dnuc.errors import ResourceError
from dnuc.neighbors.search import checked_array, memory_bytes
from dnuc.store import Subset

ROWS = 4096  # of a step over samples; a constant, so that the result does not depend on the memory
COLUMNS = 4096  # of a step over features


def gaussian_surrogate(x: Any, seed: int = 0, *, memory_limit: int | str | None = None) -> np.ndarray:
    """Gaussian samples with exactly the mean and the covariance of the data.

    What of the intrinsic dimension does the covariance explain? That of the surrogate is what flat Gaussian data with
    the same variance along every direction have; data on a curved manifold have far fewer dimensions than theirs.

    The samples are Gaussian on the condition that their mean and covariance are those of x, not of a distribution it
    is drawn from: x - mean = Q S with columns of Q orthonormal and of mean 0; the surrogate is mean + Q' S, where Q' is
    drawn uniformly among all matrices like Q.

    Parameters
    ----------
    x : (N, D) array
        NumPy array, Zarr array, Dask array or stored array. It is read in pieces.
    seed : int
    memory_limit : int or str, optional
        Bytes that may be used beside the result, e.g. "4GB" (default 2 GiB): three matrices of min(N, D) x min(N, D)
        must fit.

    Returns
    -------
    (N, D) float64
        The covariance is that of x up to rounding, at most 1e-12 of the largest variance.

    Raises
    ------
    DnucError
        If x is not an (N, D) array of numbers with at least 2 samples, or has values that are not finite.
    ResourceError
        If N and D are both too large for the memory.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.repeat([[0.0, 0.0], [1.0, 2.0]], 500, axis=0)  # two points on a line
    >>> y = gaussian_surrogate(x)
    >>> np.allclose(np.cov(y.T), np.cov(x.T)), len(np.unique(y[:, 0].round(6))) > 900
    (True, True)
    """
    x = checked_array(x, 1)
    n, features = int(x.shape[0]), int(x.shape[1])
    needed, limit = 3 * 8 * min(n, features) ** 2, memory_bytes(memory_limit)
    if needed > limit:
        raise ResourceError(
            f"a surrogate of {n} samples with {features} features needs {needed / 2**20:,.0f} MiB beside the result, "
            f"{limit / 2**20:,.0f} MiB may be used: raise memory_limit, or take fewer samples"
        )
    rng, source = np.random.default_rng(seed), Subset(x, np.arange(n))
    return _rotated(source, rng) if n <= features + 1 else _colored(source, seed)


def _rotated(x: Subset, rng: np.random.Generator) -> np.ndarray:
    """Few samples: a random rotation of sample space that leaves the mean where it is, feature panel by panel."""
    n, features = x.shape
    rotation = _orthonormal(rng.standard_normal((n, n - 1))) @ helmert(n)  # (N, N); helmert takes the mean away
    found = np.empty((n, features))
    for first in range(0, features, COLUMNS):
        values = x[:, first : first + COLUMNS].astype(np.float64)
        mean = values.mean(axis=0)
        found[:, first : first + COLUMNS] = rotation @ (values - mean) + mean
    return found


def _orthonormal(gaussian: np.ndarray) -> np.ndarray:
    """Orthonormal columns of mean 0, uniformly distributed if those of the argument are standard normal."""
    q, r = np.linalg.qr(gaussian - gaussian.mean(axis=0))
    return q * np.where(np.diag(r) < 0, -1, 1)  # without it the signs would depend on the algorithm


def _colored(x: Subset, seed: int) -> np.ndarray:
    """Many samples: normal ones, whitened exactly, then given the covariance of x, row block by row block."""
    n, features = x.shape
    spans = [slice(first, min(n, first + ROWS)) for first in range(0, n, ROWS)]

    def data() -> Iterator[np.ndarray]:
        return (x[span].astype(np.float64) for span in spans)

    def drawn() -> Iterator[np.ndarray]:
        streams = np.random.SeedSequence(seed).spawn(len(spans))
        for span, stream in zip(spans, streams, strict=True):
            yield np.random.default_rng(stream).standard_normal((span.stop - span.start, features))

    mean, center = (sum(values.sum(axis=0) for values in blocks()) / n for blocks in (data, drawn))
    wanted, own = (_triangle(b - m for b in blocks()) for blocks, m in ((data, mean), (drawn, center)))
    color = solve_triangular(own, wanted, overwrite_b=True, check_finite=False)
    found = np.empty((n, features))
    for span, values in zip(spans, drawn(), strict=True):
        found[span] = (values - center) @ color + mean
    return found


def _triangle(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """R of the QR decomposition of all rows, with a positive diagonal: R^T R is their matrix of products."""
    triangle: Any = np.empty((0, 0))
    for values in blocks:
        rows = np.concatenate([triangle, values]) if len(triangle) else values
        triangle = np.linalg.qr(rows, mode="r")
    return np.where(np.diag(triangle) < 0, -1, 1)[:, None] * triangle
