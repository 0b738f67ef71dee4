"""dnuc's answers, by its public functions."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

import dnuc
from tests.conformance.cases import Task
from tests.conformance.quantities import Answers, collect
from tests.conformance.theirs import landscape


class Subject:
    """The samples, and what several groups of answers need; each is computed when it is first asked for."""

    def __init__(self, task: Task, given: Answers) -> None:
        self.task, self.given = task, given

    @cached_property
    def neighbors(self) -> dnuc.Neighbors:
        return dnuc.nearest_neighbors(self.task.x, self.task.stored)

    @cached_property
    def knn(self) -> dnuc.Density:
        return dnuc.knn_density(self.neighbors, self.task.dimension, self.task.k)

    @cached_property
    def kstar(self) -> dnuc.Density:
        return dnuc.kstar_density(self.neighbors, self.task.dimension)

    @cached_property
    def pak(self) -> dnuc.Density:
        return dnuc.pak_density(self.neighbors, self.task.dimension)

    @cached_property
    def given_pak(self) -> dnuc.Density:
        """The one that is given, if one is: what differs in its last digits may be ordered differently."""
        if not self.given:
            return self.pak
        return dnuc.Density(*(self.given[f"pak.{part}"] for part in ("log_density", "error", "k")))


def neighbors(s: Subject) -> dict[str, Any]:
    return {"index": s.neighbors.index, "distance": s.neighbors.distance}


def two_nn(s: Subject) -> dict[str, Any]:
    return {"fit": dnuc.two_nn(s.neighbors, 0.9).value, "mle": dnuc.two_nn(s.neighbors, method="mle").value}


def overlap(s: Subject) -> dict[str, Any]:
    k = s.task.k
    other = dnuc.nearest_neighbors(s.task.y, k)
    return {
        "data": dnuc.data_overlap(s.neighbors, other, k).per_sample,
        "labels": dnuc.label_overlap(s.neighbors, s.task.labels, k).per_sample,
        "fraction": dnuc.label_overlap(s.neighbors, s.task.labels, class_fraction=s.task.class_fraction).per_sample,
        "weighted": dnuc.label_overlap(s.neighbors, s.task.labels, k, weights="class_size").mean,
    }


def imbalance(s: Subject) -> dict[str, Any]:
    return s.task.imbalances(dnuc.information_imbalance)


def gride(s: Subject) -> dict[str, Any]:
    found = dnuc.gride(s.neighbors)
    return {part: [getattr(dimension, part) for dimension in found] for part in ("value", "error", "scale")}


def density(found: dnuc.Density) -> dict[str, Any]:
    return {"log_density": found.log_density, "error": found.error, "k": found.k}


def peaks(s: Subject, density: dnuc.Density) -> dict[str, Any]:
    """The landscape at every z: peaks are told by their centers."""
    labels, core, centers, saddles, heights, errors = [], [], [], [], [], []
    for number, z in enumerate(s.task.z):
        found = dnuc.density_peaks(s.neighbors, density, float(z))
        labels.append(found.centers[found.labels])
        core.append(found.core)
        centers += [(number, c) for c in np.sort(found.centers)]
        ends = np.sort(found.centers[found.saddles[["peak_a", "peak_b"]]], axis=1)
        saddles += [(number, *pair, sample) for pair, sample in zip(ends, found.saddles["sample"], strict=True)]
        heights += found.saddles["log_density"].tolist()
        errors += found.saddles["error"].tolist()
    return landscape(labels, core, centers, saddles, heights, errors)


GROUPS = {
    "neighbors": neighbors,
    "two_nn": two_nn,
    "gride": gride,
    "overlap": overlap,
    "imbalance": imbalance,
    "knn": lambda s: density(s.knn),
    "knn_peaks": lambda s: peaks(s, s.knn),
    "kstar": lambda s: density(s.kstar),
    "kstar_peaks": lambda s: peaks(s, s.kstar),
    "pak": lambda s: density(s.pak),
    "pak_peaks": lambda s: peaks(s, s.given_pak),
}


def answers(task: Task, given: Answers) -> Answers:
    """Everything that dnuc says; the landscape of PAk is that of the given densities, or of its own."""
    return collect(GROUPS, Subject(task, given))
