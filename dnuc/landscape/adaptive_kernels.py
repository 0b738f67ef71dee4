"""The loops behind k* and PAk, compiled."""

from __future__ import annotations

import numpy as np
from numba import njit

STEPS = 200  # a search that halves its interval has long ended by then
CLOSE = 1e-12  # change of the log density in the last step, whose error is of the order of its square


@njit(cache=True, nogil=True)
def largest_constant(index, distance, d, threshold, smallest):
    """(N,) int64: k* of every sample, `smallest` .. K - 1, and never a ball of radius 0 unless all are.

    index, distance : (N, K)
    """
    n, stored = index.shape
    k = np.empty(n, dtype=np.int64)
    for i in range(n):
        q = smallest
        while q < stored - 1 and distance[i, q - 1] == 0:
            q += 1
        # index[i, q] is the neighbor of rank q + 1
        while q < stored - 1 and _difference(distance[i, q - 1], distance[index[i, q], q - 1], q, d) <= threshold:
            q += 1
        k[i] = q
    return k


@njit(cache=True, nogil=True)
def _difference(mine, theirs, q, d):
    """Twice the log likelihood that is lost if two balls with q neighbors, of these radii, have one density."""
    if mine == theirs:
        return 0.0  # also where both are 0
    t = -abs(d * (np.log(mine) - np.log(theirs)))  # the larger ball's volume is exp(-t) times the smaller one's
    return -2.0 * q * (t - 2.0 * np.log1p(np.exp(t)) + np.log(4.0))


@njit(cache=True, nogil=True)
def likelihood_maximum(distance, k, d):
    """(N,) b and (N,) a at the maximum of sum_j (b + a j - v_j exp(b + a j)), volumes in units of the ball of k.

    NaN where there is no maximum. For a given a the best b is log k - log sum_j v_j exp(a j). With it the likelihood
    is a concave function of a alone, whose slope is k times (mean rank) - (mean rank weighted by v_j exp(a j)).
    """
    n, stored = distance.shape
    b, a = np.full(n, np.nan), np.full(n, np.nan)
    log_volume, weight = np.empty(stored), np.empty(stored)
    for i in range(n):
        first, last = _log_shells(distance[i], k[i], d, log_volume)
        if first < 0.5 * (k[i] + 1) < last:
            a[i] = _slope(log_volume, weight, k[i])
            _, _, log_sum = _weighted_ranks(log_volume, weight, k[i], a[i])
            b[i] = np.log(k[i]) - log_sum
    return b, a


@njit(cache=True, nogil=True)
def _log_shells(radius, k, d, log_volume):
    """Fill the logarithms of the volumes between neighbors; the ranks of the first and last shell with a volume."""
    first, last = 0, 0
    for j in range(k):
        log_volume[j] = -np.inf
        inner = radius[j - 1] if j else 0.0
        if radius[j] > inner:
            log_volume[j] = d * (np.log(radius[j]) - np.log(radius[k - 1]))
            if inner > 0:
                log_volume[j] += np.log(-np.expm1(d * (np.log(inner) - np.log(radius[j]))))
        if log_volume[j] > -np.inf:
            last = j + 1
            if first == 0:
                first = j + 1
    return first, last


@njit(cache=True, nogil=True)
def _slope(log_volume, weight, k):
    """The a for which the weighted mean rank is the mean rank: Newton's steps, kept inside an interval that shrinks."""
    a, low, high = 0.0, -np.inf, np.inf
    for _ in range(STEPS):
        excess, variance, _ = _weighted_ranks(log_volume, weight, k, a)
        low, high = (a, high) if excess < 0 else (low, a)
        longest = 1.0 + 2.0 * abs(a)  # of a step into the unknown
        step = min(max(-excess / max(variance, 1e-300), -longest), longest)
        if not low <= a + step <= high:
            step = 0.5 * (low + high) - a
        a += step
        if abs(step) * k <= CLOSE:
            break
    return a


@njit(cache=True, nogil=True)
def _weighted_ranks(log_volume, weight, k, a):
    """Of the ranks 1 .. k with weights v_j exp(a j): mean minus (k + 1)/2, variance, logarithm of the sum of weights.

    Where nearly all the weight is on the middle rank, what is left on its sides decides: so ranks count from there.
    """
    top = -np.inf
    for j in range(k):
        weight[j] = log_volume[j] + a * (j + 1)
        top = max(top, weight[j])
    total, excess, square = 0.0, 0.0, 0.0
    for j in range(k):
        w, from_middle = np.exp(weight[j] - top), j - 0.5 * (k - 1)
        total += w
        excess += w * from_middle
        square += w * from_middle**2
    excess /= total
    return excess, square / total - excess**2, top + np.log(total)
