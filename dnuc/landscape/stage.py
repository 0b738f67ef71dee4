"""The landscape over stored neighbors: one task a layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dnuc.errors import DnucError, StoreError
from dnuc.landscape.adaptive import kstar_density, pak_density
from dnuc.landscape.agreement import agreement
from dnuc.landscape.branches import composition
from dnuc.landscape.density import Density, knn_density
from dnuc.landscape.newick import to_newick
from dnuc.landscape.peaks import Landscape, density_peaks
from dnuc.landscape.tree import peak_tree
from dnuc.neighbors.lists import Neighbors, stored_neighbors
from dnuc.store import RunStore, stage_group

LARGEST_TREE = 2000  # peaks; beyond that a drawn tree shows nothing


def landscape_layer(store: RunStore, model: str, layer: str, settings: Mapping[str, Any], digest: str) -> None:
    """Density, peaks, saddles, tree and agreement with the classes of one layer, computed and stored.

    `settings`: those of [landscape] in the job. A layer whose density does not exist (no intrinsic dimension,
    or more duplicates than neighbors) is stored with a note that says why, and does not stop the run. Nothing is stored
    where a landscape of this `digest` is not awaited.
    """
    group = stage_group(model, layer, "landscape")
    neighbors = stored_neighbors(store, model, layer)
    try:
        dimension = _dimension(store, model, layer, settings["integer_dimension"])
        density = _density(neighbors, dimension, settings)
    except StoreError:
        raise
    except DnucError as error:
        if store.awaits(group, digest):
            store.finish(group, note=str(error))
        return
    found = density_peaks(neighbors, density, settings["z"], convention=settings["convention"])
    values = {
        "n_peaks": found.n_peaks,
        "core_share": float(found.core.mean()),
        "dimension": dimension,
        **{name: settings[name] for name in ("density", "k", "error_model", "z", "convention")},
        **_adaptive_values(density, settings),
        "tree": _tree(store, found, settings["tree_method"]),
        **_agreements(store, found.labels),
    }
    if store.awaits(group, digest):
        store.save(group, _arrays(density, found))
        store.finish(group, **values)


def _dimension(store: RunStore, model: str, layer: str, integer: bool) -> float:
    attributes = store.attributes(stage_group(model, layer, "measures"))
    if attributes["intrinsic_dimension"] is None:
        raise DnucError(f"no density without an intrinsic dimension: {attributes['dimension_note']}")
    value = float(attributes["intrinsic_dimension"])
    return float(max(1, round(value))) if integer else value


def _density(neighbors: Neighbors, dimension: float, settings: Mapping[str, Any]) -> Density:
    if settings["density"] == "knn":
        return knn_density(neighbors, dimension, settings["k"], error_model=settings["error_model"])
    estimate = {"kstar": kstar_density, "pak": pak_density}[settings["density"]]
    near = neighbors.nearest(settings["k"])
    return estimate(near, dimension, settings["alpha"], error_model=settings["error_model"])


def _adaptive_values(density: Density, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What is recorded of a density with an adaptive k, nothing of another."""
    if settings["density"] == "knn":
        return {}
    return {
        "alpha": settings["alpha"],
        "kstar_median": float(np.median(density.k)),
        "kstar_capped": density.capped,
        "pak_replaced": density.replaced,
        "density_note": density.note,
    }


def _arrays(density: Density, found: Landscape) -> dict[str, np.ndarray]:
    saddles = found.saddles
    return {
        "log_density": density.log_density,
        "log_density_error": density.error,
        "density_k": density.k,
        "peak": found.labels,
        "core": found.core,
        "border": found.border,
        "peak_center": found.centers,
        "peak_log_density": found.peak_log_density,
        "saddle_peak_a": saddles["peak_a"].to_numpy(),
        "saddle_peak_b": saddles["peak_b"].to_numpy(),
        "saddle_log_density": saddles["log_density"].to_numpy(),
        "saddle_error": saddles["error"].to_numpy(),
        "saddle_sample": saddles["sample"].to_numpy(),
    }


def _tree(store: RunStore, found: Landscape, method: str) -> dict[str, Any] | None:
    """The tree as plain values: the merges, and which of them rest on the fill; and as Newick text."""
    if found.n_peaks > LARGEST_TREE:
        return None
    tree = peak_tree(found, method)
    return {
        "method": method,
        "linkage": tree.linkage.tolist(),
        "filled": np.flatnonzero(tree.assumed).tolist(),
        "fill": tree.fill,
        "summit": tree.summit,
        "newick": to_newick(tree, _leaf_names(store, found)),
    }


def _leaf_names(store: RunStore, found: Landscape) -> list[str]:
    """The number of every peak, and the class that most of its samples have."""
    names = store.attributes("samples")["label_names"]
    counts = composition(found.labels, store.read("samples", "label"), names).to_numpy()
    return [f"{peak} {names[label]}" for peak, label in enumerate(counts.argmax(axis=1))]


def _agreements(store: RunStore, peaks: np.ndarray) -> dict[str, float]:
    values: dict[str, float] = {}
    for name, reference in (("class", "label"), ("macro", "macro")):
        classes = store.read("samples", reference)
        if np.count_nonzero(classes >= 0) >= 2:
            found = agreement(peaks, classes)
            values[f"ari_{name}"], values[f"ami_{name}"] = found.ari, found.ami
    return values
