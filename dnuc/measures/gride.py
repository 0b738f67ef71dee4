"""Intrinsic dimension at growing scales from the neighbors that are stored: Gride (Denti et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dnuc.errors import DnucError
from dnuc.measures.dimension import FEWEST, Dimension, log_ratio
from dnuc.neighbors.lists import Neighbors

STEPS = 100  # of Newton's method; it takes about ten
TINY = np.finfo(np.float64).tiny


def gride(neighbors: Neighbors, ranks: Sequence[int] | None = None) -> list[Dimension]:
    """Intrinsic dimension at growing scales: from the ratios mu = r_2n / r_n of the distances at ranks n and 2n.

    Where noise adds dimensions at short distances, TwoNN sees the noise; the dimension of the manifold is where the
    profile over ranks is flat. With constant density up to the neighbor of rank 2n, mu has the density
    d (mu^d - 1)^(n-1) mu^-(d(2n-1)+1) / B(n, n) (Denti, Doimo, Laio, Mira 2022, with n1 = n and n2 = 2n), whose
    likelihood is maximized over all samples. For n = 1 that is N / sum(log mu): TwoNN's "mle" times N/(N-1). (DADApy
    has N - 1 for N in the derivative's first term, at every rank: its values are smaller by at most 1/N.)

    Parameters
    ----------
    neighbors : Neighbors
        At least twice as many neighbors as the largest rank.
    ranks : sequence of int, optional
        Every n; all powers of two whose double is stored when absent: 1, 2, 4, ...

    Returns
    -------
    list of Dimension
        One a rank: value; error, from the observed Fisher information; scale, the mean of the two distances; dropped,
        samples with r_n = 0 (duplicates), or with r_2n = r_n where n > 1, which has no probability (lattices); rank, n.

        The error takes samples as independent, which those that share neighbors are not: from one data set to another
        values spread about 1.3 times as much, at every rank.

    Raises
    ------
    DnucError
        If a rank is below 1 or its double is not stored, or fewer than 3 samples have a ratio above 1.

    Examples
    --------
    >>> import numpy as np
    >>> from dnuc import nearest_neighbors
    >>> rng = np.random.default_rng(0)
    >>> circle = np.exp(2j * np.pi * rng.uniform(size=2000))
    >>> x = np.stack([circle.real, circle.imag], axis=1) + 0.002 * rng.normal(size=(2000, 2))  # a line, with noise
    >>> for found in gride(nearest_neighbors(x, k=40), ranks=(1, 4, 20)):
    ...     print(f"rank {found.rank}: {found.value:.1f} at distance {found.scale:.3f}")
    rank 1: 1.8 at distance 0.003
    rank 4: 1.2 at distance 0.010
    rank 20: 1.0 at distance 0.047
    """
    if ranks is None:
        ranks = powers_of_two(neighbors.k // 2)
        if not ranks:
            raise DnucError("Gride needs at least the two nearest neighbors; 1 is stored: search with k >= 2")
    return [gride_at(neighbors, rank) for rank in ranks]


def powers_of_two(largest: int) -> list[int]:
    """1, 2, 4, ... up to `largest`.

    >>> powers_of_two(20)
    [1, 2, 4, 8, 16]
    """
    return [2**i for i in range(max(0, largest).bit_length())]


def gride_at(neighbors: Neighbors, rank: int) -> Dimension:
    """Gride at one rank n, from the distances of the neighbors n and 2n."""
    if not 1 <= rank <= neighbors.k // 2:
        raise DnucError(
            f"Gride at rank {rank} compares the distances of neighbors {rank} and {2 * rank}; {neighbors.k} are "
            f"stored: ranks must be 1 .. {neighbors.k // 2}, or search with k >= {max(2, 2 * rank)}"
        )
    near, far = neighbors.distance[:, rank - 1], neighbors.distance[:, 2 * rank - 1]
    kept = near > 0 if rank == 1 else (near > 0) & (far > near)
    near, far = near[kept], far[kept]
    log_mu = log_ratio(near, far)
    if len(log_mu) < FEWEST or not log_mu.any():
        raise DnucError(
            f"Gride at rank {rank}: {len(log_mu)} of {len(kept)} samples have neighbor {rank} at a distance above 0 "
            f"and neighbor {2 * rank} farther: at least {FEWEST} are needed; remove duplicates, or the data lie on a "
            "lattice"
        )
    value = _maximum(log_mu, rank)
    scale = 0.5 * (float(near.mean()) + float(far.mean()))
    return Dimension(value, _error(log_mu, rank, value), scale, int(np.count_nonzero(~kept)), rank)


def _maximum(t: np.ndarray, n: int) -> float:
    """The d at which the likelihood of t = log mu is largest.

    Up to a constant, log L = N log d - n d sum(t) + (n-1) sum(log(1 - e^(-d t))), so d dlogL/dd is

        g(d) = N - n d sum(t) + (n-1) sum(B(d t)),    B(s) = s / (e^s - 1).

    B falls from 1 to 0 and is convex, hence so is g, and its root lies between N / (n sum(t)), where the last term
    is left out, and n times that. Newton's method from the lower end is below the root at every step and rises to it,
    whatever the data; no power of mu is ever formed.
    """
    total = n * float(t.sum())
    d = len(t) / total
    for _ in range(STEPS if n > 1 else 0):
        s = d * t
        bernoulli = _bernoulli(s)
        g = len(t) - d * total + (n - 1) * float(bernoulli.sum())
        slope = (n - 1) * float((bernoulli * (1 - s - bernoulli)).sum()) / d - total
        larger = d - g / slope
        if not larger > d:
            break
        d = larger
    return d


def _bernoulli(s: np.ndarray) -> np.ndarray:
    """s / (e^s - 1) for s >= 0."""
    s = np.maximum(s, TINY)
    return s * np.exp(-s) / -np.expm1(-s)


def _error(t: np.ndarray, n: int, d: float) -> float:
    """1 / sqrt(-d^2 log L / dd^2): d / sqrt(N + (n-1) sum(s^2 e^s / (e^s - 1)^2)), s = d t."""
    s = np.maximum(d * t, TINY)
    curvature = np.exp(-s) * (s / np.expm1(-s)) ** 2
    return d / float(np.sqrt(len(t) + (n - 1) * float(curvature.sum())))
