"""Do two ways to measure distances of the same things agree? Rank correlation, and a test that permutes the things."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from dnuc.errors import DnucError


@dataclass(frozen=True)
class Mantel:
    """How well two matrices of distances agree, and whether chance could do as well.

    Attributes
    ----------
    correlation : float
        Spearman's rank correlation over all pairs; NaN if one of the matrices has all distances equal.
    p_value : float
        How often things in random order do at least as well, the observed order counted in: never below
        1 / (permutations + 1). NaN as above.
    n_pairs : int
        Pairs that were compared.
    permutations : int
        Random orders.
    """

    correlation: float
    p_value: float
    n_pairs: int
    permutations: int


def mantel(x: ArrayLike, y: ArrayLike, permutations: int = 999, seed: int = 0) -> Mantel:
    """Whether distances x grow with distances y, one-sided (Mantel 1967).

    Pairs that share a thing are not independent, so the p-value of a plain correlation would be far too small. Here
    whole things are permuted, rows and columns together, which keeps all such dependence.

    Parameters
    ----------
    x, y : (n, n)
        Symmetric; the diagonal is not used.
    permutations : int
        Random orders of the n things.
    seed : int
        Of these orders.

    Returns
    -------
    Mantel
        correlation, p_value, n_pairs, permutations.

    Raises
    ------
    DnucError
        If the matrices are not square, symmetric, finite and of one size, or there are no permutations.

    Examples
    --------
    >>> points = np.array([0.0, 1.0, 5.0, 7.0, 20.0])
    >>> x = abs(points[:, None] - points)
    >>> mantel(x, x**2, permutations=199)
    Mantel(correlation=1.0, p_value=0.005, n_pairs=10, permutations=199)
    """
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    for name, matrix in (("x", a), ("y", b)):
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not np.isfinite(matrix).all():
            raise DnucError(f"mantel: {name} has shape {matrix.shape} and must be a square matrix of finite distances")
        if not (matrix == matrix.T).all():
            raise DnucError(f"mantel: {name} is not symmetric; distances must be the same in both directions")
    if a.shape != b.shape or permutations < 1:
        raise DnucError(
            f"mantel: x {a.shape} and y {b.shape} with {permutations} permutations; the matrices must be of one size, "
            "and at least one permutation is needed"
        )
    n = len(a)
    ranks_a, ranks_b = _centered_ranks(a), _centered_ranks(b)
    spread = math.sqrt(float((ranks_a**2).sum()) * float((ranks_b**2).sum())) / 2
    if spread == 0:
        return Mantel(math.nan, math.nan, n * (n - 1) // 2, permutations)
    observed = _sum_of_products(ranks_a, ranks_b, np.arange(n))
    random = np.random.default_rng(seed)
    as_good = sum(_sum_of_products(ranks_a, ranks_b, random.permutation(n)) >= observed for _ in range(permutations))
    p_value = (1 + as_good) / (1 + permutations)
    return Mantel(min(1.0, max(-1.0, observed / spread)), p_value, n * (n - 1) // 2, permutations)


def _centered_ranks(matrix: np.ndarray) -> np.ndarray:
    """(n, n) twice the average rank of each pair, minus the mean: whole numbers, which add up exactly below 2^53."""
    i, j = np.triu_indices(len(matrix), 1)
    ranks = 2 * rankdata(matrix[i, j]) - (len(i) + 1)
    found = np.zeros(matrix.shape)
    found[i, j] = found[j, i] = ranks
    return found


@njit(cache=True)
def _sum_of_products(a, b, order):
    """Over all pairs, with the things of b in another order. One after the other: the same bits every time."""
    total = 0.0
    for i in range(len(order)):
        row = b[order[i]]
        for j in range(i):
            total += a[i, j] * row[order[j]]
    return total
