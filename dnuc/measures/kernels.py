"""Kernels of a representation, a tile of N x N at a time: which samples it takes for alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dnuc.errors import DnucError
from dnuc.measures.panels import CHUNK, Centered, draw_rows, tiles

ROUNDING = 1e-13  # of squared distances, in units of the squared norms
MEDIAN_ROWS = 2048  # of which all pairs make the median distance


@dataclass(frozen=True)
class Gram:
    """A tile of the inner products of centered samples, and the squared norms of its rows and columns."""

    products: np.ndarray  # (R, C)
    rows_sq: np.ndarray  # (R,)
    columns_sq: np.ndarray  # (C,)
    diagonal: bool  # whether rows and columns are the same samples

    @property
    def distance_sq(self) -> np.ndarray:
        """(R, C) squared distances, exactly 0 from a sample to itself, and where rounding is all that differs."""
        norms = self.rows_sq[:, None] + self.columns_sq
        found = norms - 2 * self.products
        found[found < ROUNDING * norms] = 0
        if self.diagonal:
            np.fill_diagonal(found, 0)
        return found


def gram_tile(x: Centered, rows: slice, columns: slice) -> Gram:
    """The inner products of two row tiles, accumulated over chunks of features: memory does not depend on D."""
    same = rows == columns
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    total, norms = np.zeros(shape), [np.zeros(length) for length in shape]
    for features in tiles(x.features, CHUNK):
        left = x.read(rows, features)
        right = left if same else x.read(columns, features)
        total += left @ right.T
        for norm, values in zip(norms, (left, right), strict=True):
            norm += np.einsum("ij,ij->i", values, values)
    return Gram(total, norms[0], norms[1], same)


@dataclass(frozen=True)
class Linear:
    """K(x, y) = x.y, of centered samples."""

    def __call__(self, gram: Gram) -> np.ndarray:
        return gram.products


@dataclass(frozen=True)
class Gaussian:
    """K(x, y) = exp(-|x - y|^2 / (2 sigma^2)), less a constant near its mean.

    HSIC does not see the constant, which spares it the difference of two large sums where the kernel is nearly flat.
    """

    sigma: float
    mean: float = 0.0  # of the kernel
    mean_below_one: float = 1.0  # 1 - mean

    @classmethod
    def of(cls, sigma: float, distance_sq: np.ndarray) -> Gaussian:
        """With the mean over some squared distances."""
        power = distance_sq * (-0.5 / sigma**2)
        return cls(sigma, float(np.exp(power).mean()), -float(np.expm1(power).mean()))

    def __call__(self, gram: Gram) -> np.ndarray:
        found = gram.distance_sq
        found *= -0.5 / self.sigma**2
        if self.mean < 0.5:  # the digits of small values are kept, or those of the distance from 1
            np.exp(found, out=found)
            found -= self.mean
        else:
            np.expm1(found, out=found)
            found += self.mean_below_one
        return found


def gaussian_kernels(x: Centered, widths: tuple[float, ...], seed: int = 0) -> list[Gaussian]:
    """Gaussian kernels whose sigma is so many times the median distance of the samples.

    The median is that of all pairs of distinct positions among at most `MEDIAN_ROWS` samples, which are drawn with
    `seed` if there are more: exact for small data, and for large ones within about a percent of the median of all.

    Raises
    ------
    DnucError
        If the median is 0: most samples coincide.
    """
    rows = draw_rows(x.n, MEDIAN_ROWS, seed)
    distance_sq = pair_distances_sq(x.picked(rows))
    median = float(np.median(np.sqrt(distance_sq)))
    if median == 0:
        raise DnucError(
            f"{x.label}: the median distance of its samples is 0, so it gives no width: most samples are equal. Leave "
            "the layer out, or use the linear kernel"
        )
    sigmas = (width * median for width in widths)
    return [Gaussian.of(sigma, distance_sq) for sigma in sigmas]


def pair_distances_sq(x: Centered) -> np.ndarray:
    """(N (N - 1) / 2,) squared distances of all pairs."""
    parts = []
    spans = tiles(x.n)
    for place, rows in enumerate(spans):
        for columns in spans[place:]:
            found = gram_tile(x, rows, columns).distance_sq
            parts.append(found[np.triu_indices(len(found), 1)] if rows == columns else found.ravel())
    return np.concatenate(parts)
