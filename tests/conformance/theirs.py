"""DADApy's answers: `python -m tests.conformance.theirs DIRECTORY`, where DADApy is and dnuc is not.

Reads DIRECTORY/task.npz and writes DIRECTORY/theirs.npz, which also holds the versions. DADApy searches neighbors
itself, as it does for everybody who gives it coordinates.
"""

from __future__ import annotations

import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tests.conformance.quantities import Answers, collect


class Subject:
    """DADApy's object for the samples, which every group of answers goes on with."""

    def __init__(self, task: dict[str, Any]) -> None:
        from dadapy import Data

        self.x, self.y, self.labels, self.z = (task[name] for name in ("x", "y", "labels", "z"))
        self.k, self.stored = int(task["k"]), int(task["stored"])
        self.data = Data(coordinates=self.x, maxk=self.stored)
        self.data.compute_distances()
        self.dimension = float(task["dimension"])


def neighbors(s: Subject) -> dict[str, Any]:
    return {"index": s.data.dist_indices[:, 1:], "distance": s.data.distances[:, 1:]}


def two_nn(s: Subject) -> dict[str, Any]:
    return {
        "fit": s.data.compute_id_2NN(algorithm="base", mu_fraction=0.9)[0],
        "mle": s.data.compute_id_2NN(algorithm="ml")[0],
    }


def overlap(s: Subject) -> dict[str, Any]:
    return {
        "data": s.data.return_data_overlap(coordinates=s.y, k=s.k, avg=False),
        "labels": s.data.return_label_overlap(s.labels, k=s.k, avg=False),
    }


def knn(s: Subject) -> dict[str, Any]:
    s.data.intrinsic_dim = s.dimension
    log_density, error = s.data.compute_density_kNN(s.k)
    return {"log_density": np.array(log_density), "error": np.array(error)}


def peaks(s: Subject) -> dict[str, Any]:
    """The landscape of the last density at every z: peaks are told by their centers."""
    labels, core, centers, saddles, heights, errors = [], [], [], [], [], []
    for number, z in enumerate(s.z):
        halo = s.data.compute_clustering_ADP(Z=z, halo=True).copy()
        of = s.data.compute_clustering_ADP(Z=z, halo=False)
        center = np.array(s.data.cluster_centers)
        labels.append(center[of])
        core.append(halo != -1)
        centers += [(number, c) for c in np.sort(center)]
        sample = np.asarray(s.data.bord_indices)
        for a, b in np.argwhere(np.tril(sample != -1, -1)):
            saddles.append((number, *sorted((center[a], center[b])), sample[a, b]))
            heights.append(s.data.log_den_bord[a][b])
            errors.append(s.data.log_den_bord_err[a][b])
    return landscape(labels, core, centers, saddles, heights, errors)


def landscape(labels: Any, core: Any, centers: Any, saddles: Any, heights: Any, errors: Any) -> dict[str, Any]:
    """One order, whoever found it: a row a sample and z, a center and z, a saddle (z, peak, peak, sample)."""
    saddles = np.array(saddles, dtype=np.int64).reshape(-1, 4)
    order = np.lexsort(saddles.T[::-1])
    return {
        "labels": np.ravel(labels),
        "core": np.ravel(core),
        "centers": np.array(centers),
        "saddles": saddles[order],
        "heights": np.array(heights, dtype=float)[order],
        "errors": np.array(errors, dtype=float)[order],
    }


GROUPS = {"neighbors": neighbors, "two_nn": two_nn, "overlap": overlap, "knn": knn, "knn_peaks": peaks}


def answers(task: dict[str, Any]) -> Answers:
    """Everything that DADApy says; its warnings are not repeated here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return collect(GROUPS, Subject(task))


def main(directory: str) -> None:
    """The command line, of one word."""
    with np.load(Path(directory) / "task.npz") as file:
        found = answers(dict(file))
    packages = ("dadapy", "numpy", "scipy", "scikit-learn")
    told = ", ".join(f"{'DADApy' if name == 'dadapy' else name} {version(name)}" for name in packages)
    np.savez(Path(directory) / "theirs.npz", versions=np.array(told), **found)


if __name__ == "__main__":
    main(sys.argv[1])
