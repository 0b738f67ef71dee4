"""Plain loops for every algorithm: slow, obvious, and the judge of everything else in dnuc."""

from __future__ import annotations

import math

import numpy as np


def nearest_neighbors(x, k):
    """O(N^2 D) brute force in float64 under the total order (distance, index), the sample excluded by index."""
    x = np.asarray(x, dtype=np.float64)
    n = len(x)
    index = np.empty((n, k), dtype=np.int64)
    distance = np.empty((n, k))
    for i in range(n):
        d = [(math.sqrt(float(np.sum((x[i] - x[j]) ** 2))), j) for j in range(n) if j != i]
        d.sort()
        for rank in range(k):
            distance[i, rank], index[i, rank] = d[rank]
    return index, distance


def label_overlap(index, labels):
    """chi^{l,gt}: for each sample, the share of its neighbors with its label (Doimo et al. 2020, Sec. 2.1)."""
    return np.array([sum(labels[j] == labels[i] for j in row) / len(row) for i, row in enumerate(index)])


def data_overlap(a, b):
    """chi^{l,m}: for each sample, the share of common neighbors (Doimo et al. 2020, Eq. 1)."""
    return np.array([len(set(p) & set(q)) / len(p) for p, q in zip(a.tolist(), b.tolist(), strict=True)])


def two_nn(r1, r2, fraction):
    """TwoNN by linear fit through the origin (Facco et al. 2017; Ansuini et al. 2019, Sec. 2)."""
    mu = sorted(b / a for a, b in zip(r1, r2, strict=True) if a > 0)
    n = len(mu)
    keep = int(fraction * n)
    x = [math.log(m) for m in mu[:keep]]
    y = [-math.log(1 - i / n) for i in range(1, keep + 1)]
    return sum(p * q for p, q in zip(x, y, strict=True)) / sum(p * p for p in x)
