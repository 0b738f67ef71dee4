"""Density peaks at the size of ImageNet: `python -m tests.landscape.scale 1281167` prints time and memory as JSON.

The samples are clusters in clusters in clusters in four dimensions, where a tree finds neighbors fast; from the
neighbors on it makes no difference how many features samples have.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from dnuc.landscape import Density, density_peaks, knn_density, pak_density
from dnuc.landscape.basins import density_order, find_basins
from dnuc.neighbors.lists import Neighbors
from tests import synthetic

DIMENSION, K = 4, 100
BRANCHES = (30, 30, 30)
DENSITIES: dict[str, Callable[[Neighbors], Density]] = {
    "kNN, k = 100": lambda neighbors: knn_density(neighbors, DIMENSION, K),
    "kNN, k = 8": lambda neighbors: knn_density(neighbors, DIMENSION, 8),  # rugged: the most raw peaks
    "PAk": lambda neighbors: pak_density(neighbors, DIMENSION),
}


def neighbors_of(n: int, rows: int = 20_000) -> Neighbors:
    """The K nearest of n samples, a block of rows at a time; no two distances from a sample are equal here."""
    x = synthetic.hierarchical(n, DIMENSION, BRANCHES)
    tree = cKDTree(x)
    index, distance = np.empty((n, K), dtype=np.int64), np.empty((n, K))
    for first in range(0, n, rows):
        block = slice(first, first + rows)
        far, who = tree.query(x[block], K + 1)
        index[block], distance[block] = who[:, 1:], far[:, 1:]  # the first is the sample itself, at distance 0
    return Neighbors(index, distance)


def measure(n: int) -> list[dict[str, Any]]:
    """Of every density: seconds of it and of its peaks, raw peaks, peaks, and the process's largest memory so far."""
    neighbors, few = neighbors_of(n), neighbors_of(2 * K)
    found = []
    for name, estimate in DENSITIES.items():
        density_peaks(few, estimate(few))  # compiles
        start = time.perf_counter()
        density = estimate(neighbors)
        middle = time.perf_counter()
        landscape = density_peaks(neighbors, density)
        end = time.perf_counter()
        centers, _ = find_basins(neighbors.index, density.k, density_order(density))
        found.append(
            {
                "samples": n,
                "density": name,
                "seconds_density": middle - start,
                "seconds_peaks": end - middle,
                "raw_peaks": len(centers),
                "peaks": landscape.n_peaks,
                "bytes": peak_bytes(),
            }
        )
    return found


def peak_bytes() -> int:
    """The largest resident memory of this process: not getrusage's, which counts that of the process it came from."""
    return 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[1])


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))
