"""The answers of the plain loops in tests/reference.py: slow, so for small data only."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from tests import reference
from tests.conformance.cases import Task
from tests.conformance.quantities import Answers, collect
from tests.conformance.theirs import landscape


class Subject:
    """The samples and their neighbors."""

    def __init__(self, task: Task) -> None:
        self.task = task

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
    k = s.task.k
    other, _ = reference.nearest_neighbors(s.task.y, k)
    return {
        "data": reference.data_overlap(s.index[:, :k], other),
        "labels": reference.label_overlap(s.index[:, :k], s.task.labels),
    }


def knn(s: Subject) -> dict[str, Any]:
    k = s.task.k
    log_density = [reference.knn_log_density(r, s.task.dimension, k, len(s.index)) for r in s.distance[:, k - 1]]
    return {"log_density": log_density, "error": np.full(len(s.index), k**-0.5)}


def knn_peaks(s: Subject) -> dict[str, Any]:
    density = knn(s)
    return peaks(s, density["log_density"], density["error"], np.full(len(s.index), s.task.k))


def peaks(s: Subject, log_density: Any, error: Any, k: Any) -> dict[str, Any]:
    """The landscape at every z: peaks are told by their centers."""
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


GROUPS = {"neighbors": neighbors, "two_nn": two_nn, "overlap": overlap, "knn": knn, "knn_peaks": knn_peaks}


def answers(task: Task) -> Answers:
    """Everything that the plain loops say."""
    return collect(GROUPS, Subject(task))
