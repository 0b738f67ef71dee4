"""Measures over stored neighbors: one task a layer, and one for the overlaps of all pairs of layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dnuc.errors import DnucError
from dnuc.measures.dimension import two_nn
from dnuc.measures.entropy import neighborhood_entropy
from dnuc.measures.hubs import hubness, top_hubs
from dnuc.measures.overlap import Overlap, Weights, label_overlap, overlaps_of_lists, sample_weights
from dnuc.neighbors.lists import Neighbors, stored_lists, stored_neighbors
from dnuc.store import RunStore, stage_group


def measure_layer(store: RunStore, model: str, position: int, settings: Mapping[str, Any], digest: str) -> None:
    """Compute and store every measure of a model's `position`-th layer.

    `settings`: overlap_k, fraction, top_hubs, seed; those of them that may be left out are weights of mean overlaps,
    method and error of TwoNN. Nothing is stored where measures of this `digest` are not awaited. In memory at once are
    the lists of this layer, without the distances, and some rows of another layer's.
    """
    layers = [entry["name"] for entry in store.layers(model)]
    group = stage_group(model, layers[position], "measures")
    ks = list(settings["overlap_k"])
    neighbors = _who(store, model, layers[position], ks)
    nearest = stored_neighbors(store, model, layers[position], 2)
    arrays, values = _overlaps(store, model, layers, position, neighbors, ks, settings.get("weights"))
    arrays["occurrence"] = hubness(neighbors, ks[0])
    hubs = top_hubs(neighbors, ks[0], settings["top_hubs"])
    values |= {
        "hub_sample": hubs.sample.tolist(),
        "hub_occurrence": hubs.occurrence.tolist(),
        "hub_coverage": hubs.coverage,
        "duplicates": nearest.duplicates,
        "overlap_k": ks,
    }
    values |= _dimension(nearest, settings)
    entropy = store.read("samples", "entropy")
    if not np.isnan(entropy).any():
        found = neighborhood_entropy(neighbors, entropy, ks[0], seed=settings["seed"])
        arrays["neighborhood_entropy"] = found.per_sample
        values |= {
            "neighborhood_entropy": found.mean,
            "neighborhood_entropy_error": found.error,
            "shuffled_entropy": found.shuffled,
            "shuffled_entropy_error": found.shuffled_error,
        }
    if store.awaits(group, digest):
        store.save(group, arrays)
        store.finish(group, **values)


def _dimension(neighbors: Neighbors, settings: Mapping[str, Any]) -> dict[str, Any]:
    """TwoNN, or why there is none: a layer of duplicates must not stop a run over a hundred layers."""
    fraction, method = settings["fraction"], settings.get("method", "fit")
    try:
        found = two_nn(neighbors, fraction, method, error=settings.get("error", "fisher"), seed=settings["seed"])
    except DnucError as error:
        return {"intrinsic_dimension": None, "intrinsic_dimension_error": None, "dimension_note": str(error)}
    return {
        "intrinsic_dimension": found.value,
        "intrinsic_dimension_error": found.error,
        "dimension_scale": found.scale,
        "dimension_method": method,
        "dimension_fraction": fraction if method == "fit" else None,
        "dimension_dropped": found.dropped,
    }


def _overlaps(
    store: RunStore,
    model: str,
    layers: list[str],
    position: int,
    neighbors: Neighbors,
    ks: list[int],
    weights: Weights,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    label, macro = store.read("samples", "label"), store.read("samples", "macro")
    found: dict[str, list[Overlap]] = {
        "label_overlap": [label_overlap(neighbors, label, k, weights=weights) for k in ks]
    }
    if (macro >= 0).any():
        found["macro_overlap"] = [label_overlap(neighbors, macro, k, weights=weights) for k in ks]
    others = {"input_overlap": 0, "output_overlap": len(layers) - 1, "next_overlap": position + 1}
    seen: dict[int, list[Overlap]] = {}
    for name, other in others.items():
        if other < len(layers):
            if other not in seen:
                theirs = neighbors.index if other == position else stored_lists(store, model, layers[other])
                seen[other] = overlaps_of_lists(neighbors.index, theirs, ks, sample_weights(weights, label))
            found[name] = seen[other]
    arrays = {name: np.stack([o.per_sample for o in overlaps]) for name, overlaps in found.items()}
    return arrays, {f"{name}_mean": [o.mean for o in overlaps] for name, overlaps in found.items()}


def overlap_row(store: RunStore, model: str, position: int, ks: list[int], weights: Weights = None) -> np.ndarray:
    """Mean overlaps (k, layers) of one layer with itself and every later layer of its model; 0 for earlier ones."""
    weight = sample_weights(weights, store.read("samples", "label"))
    layers = [entry["name"] for entry in store.layers(model)]
    mine = _who(store, model, layers[position], ks).index
    row = np.zeros((len(ks), len(layers)))
    for other in range(position, len(layers)):
        theirs = mine if other == position else stored_lists(store, model, layers[other])
        row[:, other] = [found.mean for found in overlaps_of_lists(mine, theirs, ks, weight)]
    return row


def _who(store: RunStore, model: str, layer: str, ks: list[int]) -> Neighbors:
    """The neighbors of a layer as far as overlaps go, whose distances nobody reads: 0, and one number in memory."""
    index = stored_lists(store, model, layer)[:, : max(ks)]
    return Neighbors(index, np.broadcast_to(0.0, index.shape))
