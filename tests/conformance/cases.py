"""The data that both are asked about: a table of kinds, sizes and settings, each made from a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tests import synthetic

Z = (0.0, 0.5, 1.0, 1.65, 2.5, 4.0, 6.0)  # every landscape is made with each
PLAIN = 500  # up to so many samples the plain loops answer as well
RANKED = 1000  # samples whose ranks among all others are compared: DADApy's information imbalance needs N x N


@dataclass(frozen=True)
class Case:
    """Samples, and what is asked of them.

    `stored` neighbors of each are searched, of which `k` make the density with constant k. Both compute densities with
    the given `dimension`, for their own differ in the last digits. `trouble` says what such data do to DADApy; it is
    empty where both must agree.
    """

    name: str
    title: str
    make: Callable[[int], np.ndarray]
    n: int
    dimension: float
    k: int = 30
    stored: int = 100
    trouble: str = ""

    def tiny(self) -> Case:
        """The same in a size that takes no time, to see that everything works."""
        return replace(self, n=min(self.n, 64), k=min(self.k, 8), stored=min(self.stored, 16))


@dataclass(frozen=True)
class Task:
    """What is asked: arrays that any Python can read."""

    x: np.ndarray  # (N, D) float64
    y: np.ndarray  # (N, D') float64: another layer of the same samples
    labels: np.ndarray  # (N,) int64
    z: np.ndarray  # (Z,) float64
    dimension: float
    k: int
    stored: int
    separate_ties: bool  # for DADApy, before it looks for peaks
    class_fraction: float  # of a class, as many neighbors: k for the largest
    ranked: int  # the first samples, alone, for information imbalance

    def imbalances(self, imbalance: Callable[[np.ndarray, np.ndarray, int], float]) -> dict[str, list[float]]:
        """What a function (x, y, k) says of the information imbalance, both ways, for k = 1 and 10."""
        x, y = self.x[: self.ranked], self.y[: self.ranked]
        return {
            "forward": [imbalance(x, y, k) for k in (1, 10)],
            "backward": [imbalance(y, x, k) for k in (1, 10)],
        }

    def arrays(self) -> dict[str, Any]:
        """For `np.savez`."""
        return vars(self)


def task_of(case: Case) -> Task:
    """The case's samples, with a second layer and classes that have something to do with them."""
    x = np.ascontiguousarray(case.make(case.n), dtype=np.float64)
    rng = np.random.default_rng(99)
    mix = rng.standard_normal((x.shape[1], 5))
    y = np.tanh(x @ mix / np.linalg.norm(mix, axis=0) / x.std()) + 0.1 * rng.standard_normal((len(x), 5))
    few = x[:, :3]
    labels = ((few > np.quantile(few, 0.4, axis=0)) @ (1 << np.arange(few.shape[1]))).astype(np.int64)
    fraction = case.k / np.bincount(labels).max()
    ranked = min(RANKED, len(x))
    return Task(x, y, labels, np.array(Z), case.dimension, case.k, case.stored, not case.trouble, fraction, ranked)


def some_twice(n: int) -> np.ndarray:
    """Of the samples a fifth are copies of others, far from them in the order."""
    x = synthetic.normal(n - n // 5, 3, seed=13)
    return np.concatenate([x, x[: n // 5]])


def lattice(n: int) -> np.ndarray:
    """A square lattice in rows: nearly every distance is tied, and whole regions have the same density."""
    side = round(n**0.5)
    return np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2).astype(float)


CASES = (
    # one Gaussian: few peaks, a border that is sparse
    Case("gaussian-100", "one Gaussian, 2 features", lambda n: synthetic.normal(n, 2, seed=1), 100, 2, k=8, stored=20),
    Case("gaussian-2k", "one Gaussian, 10 features", lambda n: synthetic.normal(n, 10, seed=2), 2_000, 9.5),
    # several: peaks that are real
    Case(
        "gaussians-500", "6 Gaussians, 2 features", lambda n: synthetic.clustered(n, 2, 6, 0.25, seed=3), 500, 2, k=20
    ),
    Case("gaussians-10k", "12 Gaussians, 8 features", lambda n: synthetic.clustered(n, 8, 12, 0.5, seed=4), 10_000, 8),
    # peaks within peaks
    Case(
        "hierarchy-300", "hierarchical mixture, 3 features", lambda n: synthetic.hierarchy(n, 3, seed=5), 300, 3, k=15
    ),
    Case("hierarchy-5k", "hierarchical mixture, 10 features", lambda n: synthetic.hierarchy(n, 10, seed=6), 5_000, 10),
    Case(
        "hierarchy-20k", "hierarchical mixture, 20 features", lambda n: synthetic.hierarchy(n, 20, seed=7), 20_000, 17.3
    ),
    # uniform: every peak is noise, so that all of them have to be merged
    Case("uniform-400", "uniform square", lambda n: synthetic.uniform(n, 2, seed=8), 400, 2, k=10, stored=60),
    Case("uniform-20k", "uniform cube, 5 features", lambda n: synthetic.uniform(n, 5, seed=9), 20_000, 5),
    # manifolds: fewer dimensions than features, as representations are
    Case(
        "curved-300", "curved, 2 dimensions in 50", lambda n: synthetic.curved(n, 2, seed=10), 300, 2, k=12, stored=50
    ),
    Case("curved-3k", "curved, 4 dimensions in 50", lambda n: synthetic.curved(n, 4, seed=11), 3_000, 4),
    Case("curved-20k", "curved, 3 dimensions in 50", lambda n: synthetic.curved(n, 3, seed=12), 20_000, 3),
)

TROUBLE = (
    Case(
        "one-summit-twice",
        "one Gaussian, 2 features",
        lambda n: synthetic.normal(n, 2, seed=45),
        300,
        2,
        k=8,
        stored=40,
        trouble="two samples that are each other's k-th neighbor have exactly the same kNN density; where no neighbor "
        "is denser, both are taken for a peak",
    ),
    Case(
        "no-peak",
        "uniform square",
        lambda n: synthetic.uniform(n, 2, seed=8),
        400,
        2,
        k=10,
        stored=60,
        trouble="with an adaptive k, a sample without denser neighbors may lie in the neighborhood of a denser one. "
        "The list of such samples is off by one, so that they join no peak, and neither does who follows them: their "
        "labels are what the memory held before",
    ),
    Case(
        "lattice",
        "square lattice, 20 x 20",
        lattice,
        400,
        2,
        k=12,
        stored=40,
        trouble="ties: neighbors at one distance come in any order, and of equal densities none is larger, so that "
        "every sample of a plateau is a peak",
    ),
    Case(
        "duplicates",
        "Gaussian, 3 features, a fifth of the samples copies of others",
        some_twice,
        300,
        3,
        k=12,
        stored=40,
        trouble="duplicates: the first column is taken to be the sample itself, which may be its copy, so that samples "
        "are neighbors of themselves; and a ratio of distances is infinite",
    ),
    Case(
        "high-140",
        "Gaussian, 1,000 features, wide",
        lambda n: 100 * synthetic.normal(n, 1000, seed=14),
        400,
        140,
        stored=60,
        trouble="volumes are r to the power d, beyond float64",
    ),
    Case(
        "high-700",
        "Gaussian, 10,000 features",
        lambda n: synthetic.normal(n, 10_000, seed=15),
        150,
        700,
        stored=60,
        trouble="the volume of the unit ball is below what float64 can hold",
    ),
    Case(
        "offset",
        "curved, 2 dimensions in 50, a million away from the origin",
        lambda n: synthetic.curved(n, 2, seed=10) + 1e6,
        300,
        2,
        k=12,
        stored=50,
        trouble="squared distances as differences of squared norms, of which few digits are left",
    ),
)


def find(name: str) -> Case:
    """The case of a name."""
    return next(case for case in (*CASES, *TROUBLE) if case.name == name)
