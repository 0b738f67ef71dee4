"""The landscape over stored neighbors: one task a layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from dnuc.errors import DnucError, StoreError
from dnuc.landscape.adaptive import density_by
from dnuc.landscape.agreement import agreement
from dnuc.landscape.branches import composition
from dnuc.landscape.density import Density
from dnuc.landscape.hierarchy import level_agreement, taxonomy_agreement
from dnuc.landscape.newick import to_newick
from dnuc.landscape.peaks import Landscape, density_peaks
from dnuc.landscape.tree import Tree, peak_tree
from dnuc.neighbors.lists import stored_neighbors
from dnuc.store import RunStore, stage_group, stored_taxonomy
from dnuc.taxonomy import Taxonomy

LARGEST_TREE = 10_000  # peaks: distances of all pairs of more take over 0.4 GB


def landscape_layer(store: RunStore, model: str, layer: str, settings: Mapping[str, Any], digest: str) -> None:
    """Density, peaks, saddles, tree and agreement with the classes of one layer, computed and stored.

    `settings`: those of [landscape] in the job, and the job's seed if it has a taxonomy. A layer whose density does not
    exist (no intrinsic dimension, or more duplicates than neighbors) is stored with a note that says why, and does not
    stop the run. Nothing is stored where a landscape of this `digest` is not awaited.
    """
    group = stage_group(model, layer, "landscape")
    try:
        dimension = _dimension(store, model, layer, settings["integer_dimension"])
        density, found = _peaks(store, model, layer, dimension, settings)
    except StoreError:
        raise
    except DnucError as error:
        if store.awaits(group, digest):
            store.finish(group, note=str(error))
        return
    tree = peak_tree(found, settings["tree_method"]) if found.n_peaks <= LARGEST_TREE else None
    values = {
        "n_peaks": found.n_peaks,
        "core_share": float(found.core.mean()),
        "dimension": dimension,
        **{name: settings[name] for name in ("density", "k", "error_model", "z", "convention")},
        **_adaptive_values(density, settings),
        "tree": None if tree is None else {"method": settings["tree_method"], "fill": tree.fill, "summit": tree.summit},
        **_agreements(store, found.labels),
    }
    arrays = _arrays(density, found) | _tree(store, found, tree)
    taxonomy = stored_taxonomy(store)
    if taxonomy is not None:
        told, more = _taxonomy(found.labels, store.read("samples", "label"), taxonomy, tree, settings["seed"])
        values, arrays = values | told, arrays | more
    if store.awaits(group, digest):
        store.save(group, arrays)
        store.finish(group, **values)


def _peaks(
    store: RunStore, model: str, layer: str, dimension: float, settings: Mapping[str, Any]
) -> tuple[Density, Landscape]:
    """Density and peaks; the neighbors, which take most of the memory, are needed no longer."""
    neighbors = stored_neighbors(store, model, layer)
    how = (settings[name] for name in ("k", "alpha", "error_model"))
    density = density_by(settings["density"], neighbors, dimension, *how)
    return density, density_peaks(neighbors, density, settings["z"], convention=settings["convention"])


def _dimension(store: RunStore, model: str, layer: str, integer: bool) -> float:
    attributes = store.attributes(stage_group(model, layer, "measures"))
    if attributes["intrinsic_dimension"] is None:
        raise DnucError(f"no density without an intrinsic dimension: {attributes['dimension_note']}")
    value = float(attributes["intrinsic_dimension"])
    return float(max(1, round(value))) if integer else value


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


def _tree(store: RunStore, found: Landscape, tree: Tree | None) -> dict[str, np.ndarray]:
    """The merges of the tree, which of them rest on the fill, and all of it as Newick text."""
    if tree is None:
        return {}
    newick = np.array([to_newick(tree, _leaf_names(store, found))], dtype=np.dtypes.StringDType())
    return {"tree_linkage": tree.linkage, "tree_assumed": tree.assumed, "tree_newick": newick}


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
            values |= {f"ari_{name}": found.ari, f"ami_{name}": found.ami, f"purity_{name}": found.purity}
    return values


def _taxonomy(
    labels: np.ndarray, classes: np.ndarray, taxonomy: Taxonomy, tree: Tree | None, seed: int
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """How far peaks and tree reproduce the taxonomy, as values and arrays; without a tree only the peaks.

    A class none of whose images could be read has no place in the tree.
    """
    present, code = np.unique(classes, return_inverse=True)
    kinds = taxonomy.take(present)
    if tree is None:
        return {"taxonomy": {"levels": level_agreement(labels, code, kinds).to_dict("records")}}, {}
    found = taxonomy_agreement(tree, labels, code, kinds, seed=seed)
    distances = {measure: _plain(asdict(test)) for measure, test in found.distances.items()}
    values = {
        "taxonomy_correlation": distances["wu_palmer"]["correlation"],
        "taxonomy_p_value": distances["wu_palmer"]["p_value"],
        "taxonomy": {
            "levels": found.levels.to_dict("records"),
            "distances": distances,
            "assumed_share": found.assumed_share,
        },
    }
    peak, share = np.full(taxonomy.n_classes, -1), np.full(taxonomy.n_classes, np.nan)
    peak[present], share[present] = found.class_peak, found.class_share
    arrays = {"class_peak": peak, "class_peak_share": share}
    if found.branches:
        for name in ("ari", "ami", "purity"):
            arrays[f"branch_{name}"] = np.stack([getattr(level, name) for level in found.branches], axis=1)
    return values, arrays


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """NaN as None: attributes are JSON."""
    return {key: None if value != value else value for key, value in values.items()}
