"""What is compared: names, and how far two answers may lie apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Answers = dict[str, np.ndarray]


@dataclass(frozen=True)
class Quantity:
    """A name "group.part", a title for tables, and the largest difference that is allowed; 0 means identical.

    A difference of numbers is |a - b| / max(1, |b|): absolute for numbers up to 1, relative beyond. Of identical things
    it is the number of rows that differ. `inexact` is allowed where DADApy's own numbers are no better; where it is
    farther off, plain loops decide who is right.
    """

    name: str
    title: str
    allowed: float = 0.0
    inexact: float = 0.0

    @property
    def group(self) -> str:
        """What is computed together, and fails together."""
        return self.name.partition(".")[0]


def peaks(density: str, title: str) -> tuple[Quantity, ...]:
    """The landscape of a density."""
    return (
        Quantity(f"{density}_peaks.centers", f"centers of the peaks, {title}"),
        Quantity(f"{density}_peaks.labels", f"peak of every sample, {title}"),
        Quantity(f"{density}_peaks.core", f"core or halo, {title}"),
        Quantity(f"{density}_peaks.saddles", f"saddles: peaks and sample, {title}"),
        Quantity(f"{density}_peaks.heights", f"log density at the saddles, {title}", 1e-10),
        Quantity(f"{density}_peaks.errors", f"error at the saddles, {title}", 1e-12),
    )


QUANTITIES = (
    Quantity("neighbors.index", "neighbors, in order"),
    Quantity("neighbors.distance", "distances of the neighbors", 1e-9),
    Quantity("two_nn.fit", "intrinsic dimension, TwoNN by fit", 1e-9),
    Quantity("two_nn.mle", "intrinsic dimension, TwoNN by maximum likelihood", 1e-9),
    Quantity("gride.value", "intrinsic dimension, Gride at ranks 1, 2, 4, ...", 1e-9),
    Quantity("gride.error", "its error, Gride", 1e-9),
    Quantity("gride.scale", "its scale, Gride", 1e-9),
    Quantity("overlap.data", "overlap with another layer, every sample", 1e-12),
    Quantity("overlap.labels", "overlap with the classes, every sample", 1e-12),
    Quantity("overlap.fraction", "the same with k a fraction of the class, every sample", 1e-12),
    Quantity("overlap.weighted", "overlap with the classes, weighted by class size", 1e-12),
    Quantity("imbalance.forward", "information imbalance to another layer, k = 1 and 10", 1e-12),
    Quantity("imbalance.backward", "information imbalance from it, k = 1 and 10", 1e-12),
    Quantity("knn.log_density", "log density, kNN", 1e-10),
    Quantity("knn.error", "its error, kNN", 1e-12),
    *peaks("knn", "kNN density"),
    Quantity("kstar.k", "k* of every sample"),
    Quantity("kstar.log_density", "log density, k*NN", 1e-10),
    Quantity("kstar.error", "its error, k*NN", 1e-12),
    *peaks("kstar", "k*NN density"),
    Quantity("pak.log_density", "log density, PAk", 1e-9, inexact=1e-5),
    Quantity("pak.error", "its error, PAk", 1e-12),
    *peaks("pak", "PAk density"),
)


def collect(groups: Mapping[str, Callable[[Any], Mapping[str, Any]]], subject: Any) -> Answers:
    """The answers of every group; "group.failed" is the message of one that raises."""
    found: Answers = {}
    for group, compute in groups.items():
        try:
            found |= {f"{group}.{part}": np.asarray(value) for part, value in compute(subject).items()}
        except Exception as error:
            found[f"{group}.failed"] = np.array(f"{type(error).__name__}: {error}")
    return found
