"""What workers do to compare the layers of a model: a mean, a tile of all kernels, the directions of a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dnuc.errors import DataError, DnucError, StoreError
from dnuc.job import Similarity
from dnuc.measures.cca import Scores, correlations, mean_correlation, principal_scores, projection_weights
from dnuc.measures.cca import weighted_correlation as weighted
from dnuc.measures.cka import TileSums
from dnuc.measures.compared import NAME, compared_rows
from dnuc.measures.kernels import Gaussian, Linear, gaussian_kernels, gram_tile
from dnuc.measures.panels import CHUNK, TILE, Centered, tiles
from dnuc.store import RunStore, stage_group

SIDES = 3  # of a tile's sums: its rows, its columns, its diagonal


@dataclass(frozen=True)
class Comparison:
    """Which samples of a model's layers are compared, and how; small to send."""

    store: RunStore
    model: str
    settings: Similarity
    seed: int

    @property
    def layers(self) -> list[str]:
        """In order of depth."""
        return [entry["name"] for entry in self.store.layers(self.model)]

    def group(self, layer: str, stage: str) -> str:
        """Where a stage of a layer is stored."""
        return stage_group(self.model, layer, stage)

    def source(self, layer: str) -> Any:
        """The activations of the samples that are compared, (n, D): those that were kept for it, if others are not."""
        kept = self.group(layer, "compared")
        if self.store.is_complete(kept):
            return self.store.array(kept, NAME)
        stored = self.store.array(self.group(layer, "activations"), "activation")
        return compared_rows(stored, self.settings.samples, self.seed)

    def centered(self, layer: str) -> Centered:
        """The same without their mean, which is stored."""
        group = self.group(layer, "moments")
        found = self.store.attributes(group)
        mean, label = self.store.read(group, "feature_mean"), f"{self.model}/{layer}"
        return Centered(self.source(layer), mean, found["scale"], found["constant"], label)

    def kernels(self, layer: str) -> list[Linear | Gaussian | None]:
        """The kernels of a layer, those of `kernel_names`; None where it has none, for too many samples are equal."""
        found = self.store.attributes(self.group(layer, "moments"))
        made: list[Linear | Gaussian | None] = [Gaussian(*values) for values in found["gaussian"]]
        if "linear" in self.settings.cka:
            made.insert(0, None if found["constant"] else Linear())
        return made + [None] * (len(kernel_names(self.settings)) - len(made))


def kernel_names(settings: Similarity) -> list[str]:
    """The kernels of CKA: linear, then a Gaussian of each width."""
    linear = ["linear"] if "linear" in settings.cka else []
    return linear + [f"gaussian {width:g}" for width in settings.widths if "gaussian" in settings.cka]


def measure_moments(work: Comparison, layer: str, digest: str) -> None:
    """The mean activation of a layer and the widths of its Gaussian kernels, stored.

    A layer in which all or most samples are equal gets a note instead, and does not stop the run.
    """
    x = Centered.of(work.source(layer), f"{work.model}/{layer}")
    values: dict[str, Any] = {"scale": x.scale, "constant": x.constant, "gaussian": []}
    if x.constant:
        values["note"] = f"{x.label}: all {x.n} samples are equal"
    elif "gaussian" in work.settings.cka:
        try:
            found = gaussian_kernels(x, work.settings.widths, work.seed)
        except (DataError, StoreError):
            raise
        except DnucError as error:
            values["note"] = str(error)
        else:
            values["gaussian"] = [[k.sigma, k.mean, k.mean_below_one] for k in found]
            values["median_distance"] = found[0].sigma / work.settings.widths[0] / x.scale
    group = work.group(layer, "moments")
    if work.store.awaits(group, digest):
        work.store.save(group, {"feature_mean": x.mean})
        work.store.finish(group, **values)


def cka_tile(work: Comparison, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
    """What a tile of N x N adds to the CKA of all pairs of layers, with each kernel.

    Each layer is read once. Returns products (kernel, layer, layer) and sums (kernel, layer, SIDES, TILE); a layer
    without kernels adds nothing.
    """
    layers, count = work.layers, len(kernel_names(work.settings))
    kernels = [work.kernels(layer) for layer in layers]
    grams = [
        gram_tile(work.centered(layer), rows, columns) if any(made) else None
        for layer, made in zip(layers, kernels, strict=True)
    ]
    products = np.zeros((count, len(layers), len(layers)))
    sums = np.zeros((count, len(layers), SIDES, TILE))
    tile = np.empty((len(layers), rows.stop - rows.start, columns.stop - columns.start))
    for number in range(count):
        for place, (gram, made) in enumerate(zip(grams, kernels, strict=True)):
            kernel = made[number]
            tile[place] = 0 if gram is None or kernel is None else kernel(gram)
        found = TileSums.of(tile, rows == columns)
        products[number] = found.products
        for side, values in enumerate((found.rows, found.columns, found.diagonal)):
            sums[number, :, side, : values.shape[1]] = values
    return products, sums


def cka_bytes(layers: int, n: int, features: int, itemsize: int) -> int:
    """Memory of a tile of so many layers, the widest of which has so many features."""
    rows, width = min(n, TILE), min(features, CHUNK)
    reading = rows * width * (2 * 8 + itemsize) + 8 * features  # both sides, one of them as it was stored; the mean
    return reading + 8 * rows**2 * (2 * layers + 5)  # inner products and a kernel of every layer


def measure_scores(work: Comparison, layer: str, digest: str) -> None:
    """The samples along the principal directions of a layer, stored; a note where all samples are equal."""
    group = work.group(layer, "scores")
    x = work.centered(layer)
    if x.constant:
        if work.store.awaits(group, digest):
            work.store.finish(group, note=f"{x.label}: all {x.n} samples are equal")
        return
    scores = principal_scores(x, work.settings.variance)
    if work.store.awaits(group, digest):
        work.store.discard(group, "score")
        work.store.declare(group, "score", scores.shape, (TILE, scores.shape[1]))
        for rows in tiles(x.n):
            work.store.write(group, "score", (rows, slice(None)), scores[rows])
        work.store.finish(group, directions=scores.shape[1])


def cca_row(work: Comparison, position: int) -> np.ndarray:
    """(2, layers) the mean and the weighted canonical correlations of one layer with all; NaN where there are none.

    PWCCA is NaN where the job does not ask for it; SVCCA is computed with later layers only, for it is symmetric.
    """
    layers = work.layers
    found = np.full((2, len(layers)), np.nan)
    mine = _scores(work, layers[position])
    if mine is None:
        return found
    partners, rotations, rhos = [], [], []
    for other, layer in enumerate(layers):
        theirs = _scores(work, layer)
        if theirs is not None and (other >= position or work.settings.pwcca):
            rotation, rho = correlations(mine, mine if other == position else theirs)
            found[0, other] = mean_correlation(rho)
            partners.append(other)
            rotations.append(rotation)
            rhos.append(rho)
    if work.settings.pwcca:
        weights = projection_weights(work.centered(layers[position]), mine, rotations)
        found[1, partners] = [weighted(rho, weight) for rho, weight in zip(rhos, weights, strict=True)]
    return found


def _scores(work: Comparison, layer: str) -> Scores | None:
    group = work.group(layer, "scores")
    return None if "note" in work.store.attributes(group) else work.store.array(group, "score")
