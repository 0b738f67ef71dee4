"""Centered kernel alignment: do two representations take the same samples for alike? (Kornblith et al. 2019)"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from dnuc.errors import DnucError
from dnuc.measures.kernels import Gram, Linear, gaussian_kernels, gram_tile
from dnuc.measures.panels import CHUNK, Centered, centered_pair, pairs_of_tiles, tiles

Kernel = Callable[[Gram], np.ndarray]


def cka(
    x: Any,
    y: Any,
    kernel: Literal["linear", "gaussian"] = "linear",
    width: float = 0.4,
    *,
    debiased: bool = False,
    seed: int = 0,
) -> float:
    """How alike two representations are: 1 for the same up to rotation and scale, near 0 for unrelated ones.

    HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)), where K and L say how alike each pair of samples is in x and in y, and
    HSIC is the sum of the products of both over all pairs, rows and columns centered (Kornblith, Norouzi, Lee, Hinton
    2019, Eq. 3 and 4). The linear kernel is ruled by the directions of largest variance, that is by what is far apart;
    a Gaussian kernel of small width by what is near, as the neighborhood overlap is (Doimo et al. 2020, Sec. A.4).

    Not a panel of N x N or N x D larger than 1024 x 8192 is held in memory. Sums are made in float64 in one order, so
    the result depends on nothing but the samples (and on the last bits of the machine's matrix products).

    Parameters
    ----------
    x, y : (N, D), (N, E) arrays
        NumPy, Zarr or Dask arrays: the same samples in the same order.
    kernel : {"linear", "gaussian"}
    width : float
        Of the Gaussian, sigma in exp(-d^2 / (2 sigma^2)): a fraction of the median distance in each representation.
        Kornblith et al. tried 0.2, 0.4 and 0.8. Where it is below the distances of nearest neighbors, both kernels are
        the identity, and CKA is 1 for any x and y unless it is debiased. The median is exact for up to 2,048 samples,
        and that of 2,048 samples drawn at random for more: see `dnuc.measures.kernels.gaussian_kernels`.
    debiased : bool
        Use the unbiased estimator of HSIC (Song et al. 2012): unrelated representations of many features and few
        samples then give 0, where the usual one gives almost 1. It may be negative.
    seed : int
        Of the samples drawn for the median.

    Raises
    ------
    DnucError
        If x and y do not have the same number of samples (at least 2, debiased 4), all samples of one are equal, or
        most of them are, with a Gaussian kernel; NaN and infinite values are named.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(200, 3))
    >>> turned = 5 * x[:, ::-1] + 7
    >>> print(f"{cka(x, turned):.3f} {cka(x, turned, 'gaussian', width=0.2):.3f} {cka(x, x**2):.3f}")
    1.000 1.000 0.029
    """
    check_kernel(kernel, width)
    first, second = centered_pair(x, y, 4 if debiased else 2)
    if kernel == "linear" and first.features + second.features <= first.n:
        return _of(linear_hsic([first, second], debiased))
    kernels: list[Kernel] = [Linear(), Linear()]
    if kernel == "gaussian":
        kernels = [gaussian_kernels(a, (width,), seed)[0] for a in (first, second)]
    totals = Totals.empty(2, first.n)
    for rows, columns in pairs_of_tiles(first.n):
        values = np.stack([make(gram_tile(a, rows, columns)) for make, a in zip(kernels, (first, second), strict=True)])
        totals.add(rows, columns, TileSums.of(values, rows == columns))
    return _of(totals.hsic(debiased))


def check_kernel(kernel: str, width: float) -> None:
    """Refuse what is no kernel."""
    if kernel not in ("linear", "gaussian"):
        raise DnucError(f"kernel = {kernel!r}: must be 'linear' or 'gaussian'")
    if not 0 < width < np.inf:
        raise DnucError(f"width = {width}: must be a positive fraction of the median distance, e.g. 0.4")


def alignment(hsic: np.ndarray) -> np.ndarray:
    """CKA of all pairs, from their HSIC (m, m); NaN where a representation has no HSIC with itself."""
    own = np.diag(hsic)
    scale = np.sqrt(np.where(own > 0, own, np.nan))
    found = hsic / scale[:, None] / scale
    np.fill_diagonal(found, np.where(own > 0, 1.0, np.nan))
    return found


def _of(hsic: np.ndarray) -> float:
    found = float(alignment(hsic)[0, 1])
    if np.isnan(found):
        raise DnucError(
            f"CKA does not exist: HSIC of x and of y with themselves are {hsic[0, 0]:.3g} and {hsic[1, 1]:.3g}; both "
            "must be above 0: take more samples, or the usual estimator (debiased=False)"
        )
    return found


@dataclass(frozen=True)
class TileSums:
    """What one tile adds, of m kernels: products of all pairs of them, and sums of rows and columns.

    A sample with itself is kept apart. A tile beside the diagonal stands for the one that mirrors it as well.
    """

    products: np.ndarray  # (m, m), over pairs of different samples
    rows: np.ndarray  # (m, R)
    columns: np.ndarray  # (m, C); none on the diagonal, where rows say the same
    diagonal: np.ndarray  # (m, R) of the samples with themselves; none beside the diagonal

    @classmethod
    def of(cls, tile: np.ndarray, on_diagonal: bool) -> TileSums:
        """From the tiles (m, R, C) of m kernels, whose diagonal is overwritten."""
        m, rows, _ = tile.shape
        own = np.zeros((m, 0))
        if on_diagonal:
            own = np.diagonal(tile, axis1=1, axis2=2).copy()
            tile[:, np.arange(rows), np.arange(rows)] = 0
        flat = tile.reshape(m, -1)
        products = flat @ flat.T
        if on_diagonal:
            return cls(products, tile.sum(axis=2), np.zeros((m, 0)), own)
        return cls(2 * products, tile.sum(axis=2), tile.sum(axis=1), own)


@dataclass
class Totals:
    """Sums over all tiles, of m kernels."""

    products: np.ndarray  # (m, m)
    rows: np.ndarray  # (m, N)
    diagonal: np.ndarray  # (m, N)

    @classmethod
    def empty(cls, m: int, n: int) -> Totals:
        """Before the first tile."""
        return cls(np.zeros((m, m)), np.zeros((m, n)), np.zeros((m, n)))

    def add(self, rows: slice, columns: slice, part: TileSums) -> None:
        """Add a tile; in the order of `pairs_of_tiles`, for bits that never change."""
        self.products += part.products
        self.rows[:, rows] += part.rows
        if rows == columns:
            self.diagonal[:, rows] = part.diagonal
        else:
            self.rows[:, columns] += part.columns

    def hsic(self, debiased: bool = False) -> np.ndarray:
        """(m, m) the HSIC of all pairs of kernels, up to a factor that CKA does not see."""
        n = self.rows.shape[1]
        if debiased:  # Song et al. 2012, Eq. 5
            sums = self.rows.sum(axis=1)
            means = np.outer(sums, sums) / ((n - 1) * (n - 2))
            return self.products + means - 2 / (n - 2) * (self.rows @ self.rows.T)
        rows = self.rows + self.diagonal
        sums = rows.sum(axis=1)
        products = self.products + self.diagonal @ self.diagonal.T
        return products - 2 / n * (rows @ rows.T) + np.outer(sums, sums) / n**2


def linear_hsic(layers: Sequence[Centered], debiased: bool = False) -> np.ndarray:
    """(m, m) the HSIC of linear kernels from features: |X^T Y|^2, cheaper than from samples where D is below N."""
    products = np.array(
        [[cross_sum(a, b) if i <= j else 0.0 for j, b in enumerate(layers)] for i, a in enumerate(layers)]
    )
    products = np.triu(products) + np.triu(products, 1).T
    if not debiased:
        return products
    norms = np.stack([norms_sq(a) for a in layers])  # (m, N): what samples have with themselves
    return Totals(products - norms @ norms.T, -norms, norms).hsic(debiased=True)


def cross_sum(x: Centered, y: Centered) -> float:
    """|X^T Y|^2, the sum of squares over all features of both, a tile of features at a time."""
    total = 0.0
    for p in tiles(x.features):
        for q in tiles(y.features, first=p.start if y is x else 0):
            part = np.zeros((p.stop - p.start, q.stop - q.start))
            for rows in tiles(x.n, CHUNK):
                left = x.read(rows, p)
                part += left.T @ (left if y is x and p == q else y.read(rows, q))
            total += float(np.square(part).sum()) * (2 if y is x and p != q else 1)
    return total


def norms_sq(x: Centered) -> np.ndarray:
    """(N,) squared norms of the samples."""
    total = np.zeros(x.n)
    for rows in tiles(x.n):
        for features in tiles(x.features, CHUNK):
            values = x.read(rows, features)
            total[rows] += np.einsum("ij,ij->i", values, values)
    return total
