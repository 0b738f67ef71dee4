"""The answers of the plain loops in tests/reference.py: slow, so for small data only."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
from scipy.stats import chi2

from tests import reference
from tests.conformance.cases import Task
from tests.conformance.quantities import Answers, collect
from tests.conformance.theirs import landscape


class Subject:
    """The samples, their neighbors, and densities that are given."""

    def __init__(self, task: Task, given: Answers) -> None:
        self.task, self.given = task, given

    @cached_property
    def neighbors(self) -> tuple[np.ndarray, np.ndarray]:
        return reference.nearest_neighbors(self.task.x, self.task.stored)

    @property
    def index(self) -> np.ndarray:
        return self.neighbors[0]

    @property
    def distance(self) -> np.ndarray:
        return self.neighbors[1]


def neighbors(s: Subject) -> dict[str, Any]:
    return {"index": s.index, "distance": s.distance}


def two_nn(s: Subject) -> dict[str, Any]:
    r1, r2 = s.distance[:, 0], s.distance[:, 1]
    return {"fit": reference.two_nn(r1, r2, 0.9), "mle": reference.two_nn_mle(r1, r2)}


def overlap(s: Subject) -> dict[str, Any]:
    k, labels = s.task.k, s.task.labels
    other, _ = reference.nearest_neighbors(s.task.y, k)
    size = np.bincount(labels)[labels]
    some = [max(1, int(n * s.task.class_fraction)) for n in size]
    same = reference.label_overlap(s.index[:, :k], labels)
    return {
        "data": reference.data_overlap(s.index[:, :k], other),
        "labels": same,
        "fraction": reference.label_overlap([row[:q] for row, q in zip(s.index, some, strict=True)], labels),
        "weighted": np.mean([same[labels == label].mean() for label in np.unique(labels)]),
    }


def imbalance(s: Subject) -> dict[str, Any]:
    return s.task.imbalances(reference.information_imbalance)


def gride(s: Subject) -> dict[str, Any]:
    found: dict[str, Any] = {"value": [], "error": [], "scale": []}
    n = 1
    while 2 * n <= s.task.stored:
        pairs = [(a, b) for a, b in s.distance[:, [n - 1, 2 * n - 1]].tolist() if a > 0 and (b > a or n == 1)]
        if all(a == b for a, b in pairs):
            raise ValueError("all ratios are 1: the likelihood has no maximum")
        d = reference.gride([b / a for a, b in pairs], n, 2 * n)
        found["value"].append(d)
        found["error"].append(reference.gride_error([b / a for a, b in pairs], n, 2 * n, d))
        found["scale"].append(np.mean(pairs))
        n *= 2
    return found


def knn(s: Subject) -> dict[str, Any]:
    return in_ball(s, np.full(len(s.index), s.task.k))


def in_ball(s: Subject, k: np.ndarray) -> dict[str, Any]:
    """The density in the ball of each sample's own k neighbors."""
    n, d = len(s.index), s.task.dimension
    log_density = [reference.knn_log_density(row[q - 1], d, q, n) for row, q in zip(s.distance, k, strict=True)]
    return {"log_density": np.array(log_density), "error": k**-0.5, "k": k}


def kstar(s: Subject) -> dict[str, Any]:
    return in_ball(s, reference.kstar(s.index, s.distance, s.task.dimension, chi2.isf(1e-6, 1)))


def pak(s: Subject) -> dict[str, Any]:
    ball = kstar(s)
    k = ball["k"]
    log_density = np.array([pak_of(*pair, s.task.dimension, len(k)) for pair in zip(s.distance, k, strict=True)])
    log_density = np.where(np.isnan(log_density), ball["log_density"], log_density)
    return {"log_density": log_density, "error": np.sqrt((4 * k + 2) / (k * (k - 1))), "k": k}


def pak_of(distance: np.ndarray, k: int, d: float, n: int) -> float:
    """PAk of one of n samples, from the distances of its neighbors."""
    b, _ = reference.pak(distance[:k].tolist(), d)
    return b - math.log(k) + reference.knn_log_density(distance[k - 1], d, k, n)


def peaks(s: Subject, density: dict[str, Any]) -> dict[str, Any]:
    """The landscape at every z: peaks are told by their centers."""
    log_density, error, k = density["log_density"], density["error"], density["k"]
    all_labels, all_core, all_centers, all_saddles = [], [], [], []
    for number, z in enumerate(s.task.z):
        labels, centers, core, saddles = reference.density_peaks(s.index, log_density, error, k, z, "dadapy")
        all_labels.append([centers[peak] for peak in labels])
        all_core.append(core)
        all_centers += [(number, c) for c in sorted(centers)]
        all_saddles += [(number, *sorted((centers[a], centers[b])), p) for (a, b), p in saddles.items()]
    at = [saddle[3] for saddle in all_saddles]
    heights, errors = [log_density[p] for p in at], [error[p] for p in at]
    return landscape(all_labels, all_core, all_centers, all_saddles, heights, errors)


GROUPS = {
    "neighbors": neighbors,
    "two_nn": two_nn,
    "gride": gride,
    "overlap": overlap,
    "imbalance": imbalance,
    "knn": knn,
    "knn_peaks": lambda s: peaks(s, knn(s)),
    "kstar": kstar,
    "kstar_peaks": lambda s: peaks(s, kstar(s)),
    "pak": pak,
    "pak_peaks": lambda s: peaks(s, {part: s.given[f"pak.{part}"] for part in ("log_density", "error", "k")}),
}


def answers(task: Task, given: Answers | None = None) -> Answers:
    """Everything that the plain loops say; the landscape of PAk is that of the given densities, or of their own."""
    found = collect({group: GROUPS[group] for group in GROUPS if group != "pak_peaks"}, Subject(task, {}))
    return found | collect({"pak_peaks": GROUPS["pak_peaks"]}, Subject(task, given or found))
