"""The landscape over stored neighbors: one task a layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dnuc.errors import DnucError, StoreError
from dnuc.landscape.agreement import agreement
from dnuc.landscape.density import Density, knn_density
from dnuc.landscape.peaks import Landscape, density_peaks
from dnuc.landscape.tree import peak_tree
from dnuc.neighbors.lists import stored_neighbors
from dnuc.store import RunStore, stage_group

LARGEST_TREE = 2000  # peaks; beyond that a drawn tree shows nothing


def landscape_layer(store: RunStore, model: str, layer: str, settings: Mapping[str, Any], digest: str) -> None:
    """Density, peaks, saddles, tree and agreement with the classes of one layer, computed and stored.

    `settings`: k, z, convention, integer_dimension. A layer whose density does not exist (no intrinsic dimension,
    or more duplicates than neighbors) is stored with a note that says why, and does not stop the run. Nothing is stored
    where a landscape of this `digest` is not awaited.
    """
    group = stage_group(model, layer, "landscape")
    neighbors = stored_neighbors(store, model, layer)
    try:
        dimension = _dimension(store, model, layer, settings["integer_dimension"])
        density = knn_density(neighbors, dimension, settings["k"])
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
        "k": settings["k"],
        "z": settings["z"],
        "convention": settings["convention"],
        "tree": _tree(found),
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


def _arrays(density: Density, found: Landscape) -> dict[str, np.ndarray]:
    saddles = found.saddles
    return {
        "log_density": density.log_density,
        "log_density_error": density.error,
        "peak": found.labels,
        "core": found.core,
        "peak_center": found.centers,
        "peak_log_density": found.peak_log_density,
        "saddle_peak_a": saddles["peak_a"].to_numpy(),
        "saddle_peak_b": saddles["peak_b"].to_numpy(),
        "saddle_log_density": saddles["log_density"].to_numpy(),
        "saddle_error": saddles["error"].to_numpy(),
        "saddle_sample": saddles["sample"].to_numpy(),
    }


def _tree(found: Landscape) -> dict[str, Any] | None:
    """The WPGMA tree as plain values: the merges, and which of them rest on the fill."""
    if found.n_peaks > LARGEST_TREE:
        return None
    tree = peak_tree(found, "weighted")
    return {
        "method": "weighted",
        "linkage": tree.linkage.tolist(),
        "filled": np.flatnonzero(tree.assumed).tolist(),
        "fill": tree.fill,
        "summit": tree.summit,
    }


def _agreements(store: RunStore, peaks: np.ndarray) -> dict[str, float]:
    values: dict[str, float] = {}
    for name, reference in (("class", "label"), ("macro", "macro")):
        classes = store.read("samples", reference)
        if np.count_nonzero(classes >= 0) >= 2:
            found = agreement(peaks, classes)
            values[f"ari_{name}"], values[f"ami_{name}"] = found.ari, found.ami
    return values
