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
from unittest.mock import patch

import numpy as np

from tests.conformance.quantities import Answers, collect

NO_PEAK = -1  # the peak of a sample that DADApy puts into none


class Subject:
    """DADApy's object for the samples, which every group of answers goes on with."""

    def __init__(self, task: dict[str, Any]) -> None:
        from dadapy import Data

        self.x, self.y, self.labels, self.z = (task[name] for name in ("x", "y", "labels", "z"))
        self.k, self.stored, self.ranked = (int(task[name]) for name in ("k", "stored", "ranked"))
        self.separate_ties, self.class_fraction = bool(task["separate_ties"]), float(task["class_fraction"])
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
        "fraction": s.data.return_label_overlap(s.labels, class_fraction=s.class_fraction, avg=False),
        "weighted": s.data.return_label_overlap(s.labels, k=s.k),
    }


def imbalance(s: Subject) -> dict[str, Any]:
    """Of the first samples alone, with all ranks: DADApy draws those that it has not stored at random."""
    from dadapy import Data

    few = Data(coordinates=s.x[: s.ranked])
    found = [few.return_information_imbalace(s.y[: s.ranked], k=k, subset_size=s.ranked) for k in (1, 10)]
    return {"forward": [pair[0][0] for pair in found], "backward": [pair[1][0] for pair in found]}


def gride(s: Subject) -> dict[str, Any]:
    """At ranks 1, 2, 4, ..., with the two changes that make it the maximum of the likelihood; and as it is."""
    from dadapy._utils import utils

    def run() -> Any:
        return s.data.return_id_scaling_gride(range_max=s.stored, eps=1e-12)

    slope = utils._neg_dloglik_did
    as_it_is = run()[0]
    with (
        patch.object(utils, "_neg_dloglik_did", lambda d, mus, n1, n2, n, eps: slope(d, mus, n1, n2, n + 1, eps)),
        patch.object(utils, "_filter_mus", lambda dtype, mus, n1, n2: (mus, n1, n2)),
    ):
        value, error, scale = run()
    return {"value": value, "error": error, "scale": scale, "as_it_is": as_it_is}


def knn(s: Subject) -> dict[str, Any]:
    s.data.intrinsic_dim = s.dimension
    return density(*s.data.compute_density_kNN(s.k), s.data.kstar)


def kstar(s: Subject) -> dict[str, Any]:
    s.data.compute_kstar()
    return density(*s.data.compute_density_kstarNN(), s.data.kstar)


def pak(s: Subject) -> dict[str, Any]:
    return density(*s.data.compute_density_PAk(), s.data.kstar)


def density(log_density: Any, error: Any, k: Any) -> dict[str, Any]:
    return {"log_density": np.array(log_density), "error": np.array(error), "k": np.array(k)}


def separated(log_density: np.ndarray, error: np.ndarray, index: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Where two neighbors share a summit, the one with the larger sample number lowered by 1e-12.

    That happens in any data: two samples that are each other's k-th neighbor have exactly the same density.
    """
    g = log_density - error
    near = np.arange(1, index.shape[1]) <= k[:, None]  # (N, K): what makes up the neighborhood
    of_neighbor = np.where(near, g[index[:, 1:]], -np.inf)
    second = (of_neighbor == g[:, None]) & (index[:, 1:] < index[:, :1])
    return log_density - 1e-12 * (second.any(axis=1) & (of_neighbor <= g[:, None]).all(axis=1))


def peaks(s: Subject) -> dict[str, Any]:
    """The landscape of the last density at every z: peaks are told by their centers."""
    if s.separate_ties:
        s.data.log_den = separated(s.data.log_den, s.data.log_den_err, s.data.dist_indices, s.data.kstar)
    labels, core, centers, saddles, heights, errors = [], [], [], [], [], []
    for number, z in enumerate(s.z):
        halo = s.data.compute_clustering_ADP(Z=z, halo=True).copy()
        s.data.compute_clustering_ADP(Z=z, halo=False)
        center = np.array(s.data.cluster_centers)
        label = np.full(len(halo), NO_PEAK)  # which samples are in no list; their entry in the result is never written
        for samples, c in zip(s.data.cluster_indices, center, strict=True):
            label[samples] = c
        labels.append(label)
        core.append((halo != -1) & (label != NO_PEAK))
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


GROUPS = {
    "neighbors": neighbors,
    "two_nn": two_nn,
    "gride": gride,
    "overlap": overlap,
    "imbalance": imbalance,
    "knn": knn,
    "knn_peaks": peaks,
    "kstar": kstar,
    "kstar_peaks": peaks,
    "pak": pak,
    "pak_peaks": peaks,
}


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
