"""All layers of a model compared with each other: which matrices a job asks for, and how they come into the store.

Each measure is a group of its own, so that another width does not recompute the imbalance. What was finished of an
interrupted one is kept: information imbalance a column (all layers to one), CKA a tile of N x N (all layers at once, so
that each is read as often as if it were alone), canonical correlations a row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dnuc.cluster import Cluster, Task
from dnuc.errors import JobError, ResourceError
from dnuc.job import Job, Similarity
from dnuc.measures.cca import check_memory
from dnuc.measures.cka import TileSums, Totals, alignment
from dnuc.measures.imbalance import complete_ranks, imbalance_of, listed_ranks
from dnuc.measures.panels import TILE, pairs_of_tiles
from dnuc.measures.similarity_tasks import (
    SIDES,
    Comparison,
    cca_row,
    cka_bytes,
    cka_tile,
    kernel_names,
    measure_moments,
    measure_scores,
)
from dnuc.neighbors.lists import stored_neighbors
from dnuc.store import RunStore, digest
from dnuc.units import size

RESULTS = 1  # raised when the meaning of a stored result changes, so that old ones are computed anew
MOST_SAMPLES = 20_000  # of which all pairs are compared unless the job says how many it wants


@dataclass(frozen=True)
class SimilarityWork:
    """One group that a job asks for."""

    kind: str  # imbalance, cka or cca
    model: str
    activations: str  # digest of the activations of all its layers
    digest: str

    @property
    def group(self) -> str:
        """Where it is stored."""
        return f"models/{self.model}/similarity/{self.kind}"


def similarity_work(job: Job, activations: Mapping[tuple[str, str], str]) -> list[SimilarityWork]:
    """What a job asks for, from the digests of the activations of every (model, layer), in order."""
    found = []
    for model in dict.fromkeys(m for m, _ in activations):
        of = digest([(layer, key) for (m, layer), key in activations.items() if m == model])
        for kind in job.similarity.kinds:
            key = digest(RESULTS, kind, of, _depends_on(kind, job))
            found.append(SimilarityWork(kind, model, of, key))
    return found


def _depends_on(kind: str, job: Job) -> list[Any]:
    """The settings that change the results of one kind."""
    s = job.similarity
    if kind == "imbalance":
        return [s.imbalance_k]
    chosen = [s.samples, job.seed]
    if kind == "cka":
        return [*chosen, kernel_names(s), s.debiased]
    return [*chosen, s.svcca, s.pwcca, s.variance]


def outdate_similarity(store: RunStore, job: Job, activations: Mapping[tuple[str, str], str]) -> None:
    """What was computed from other activations is no result, whether the job asks for it or not."""
    works = similarity_work(job.model_copy(update={"similarity": EVERYTHING}), activations)
    for work in works:
        if store.exists(work.group) and store.attributes(work.group).get("activations") != work.activations:
            store.outdate(work.group)


EVERYTHING = Similarity(imbalance=True, cka=("linear",), svcca=True)


def check_similarity(settings: Similarity, n: int, features: Iterable[int], itemsize: int, memory: int) -> None:
    """Refuse what cannot be computed, with numbers, before any work; `features` of the layers of one model.

    Raises
    ------
    JobError
        If all pairs of very many samples would be compared without the job saying that it wants that.
    ResourceError
        If a task needs more than `memory` bytes.
    """
    widths = list(features)
    compared = min(n, settings.samples or n)
    kinds = settings.kinds
    if {"cka", "cca"} & {*kinds} and settings.samples is None and n > MOST_SAMPLES:
        raise JobError(
            f"[similarity] compares all pairs of N = {n:,} samples, for every layer: say how many are to be drawn, "
            f"e.g. samples = 5000, or samples = {n} for all"
        )
    if "cka" in kinds:
        needed = cka_bytes(len(widths), compared, max(widths), itemsize)
        if needed > memory:
            raise ResourceError(
                f"[similarity] cka: a tile of {min(compared, TILE)} x {min(compared, TILE)} samples in {len(widths)} "
                f"layers needs {size(needed)}, a task may use {size(memory)}: give workers more memory, or look at "
                "fewer layers"
            )
    for d in widths if "cca" in kinds else ():
        check_memory(compared, d, memory, f"a layer with {d:,} features")


def check_stored(store: RunStore, job: Job, model: str, memory: int) -> None:
    """`check_similarity` of a model that is in the store."""
    n, itemsize = len(store.array("samples", "label")), np.dtype(job.activations.dtype).itemsize
    check_similarity(job.similarity, n, [e["features"] for e in store.layers(model)], itemsize, memory)


def run_similarity(store: RunStore, job: Job, works: list[SimilarityWork], cluster: Cluster) -> list[str]:
    """Compute and store what is not complete; returns the digests of what is stored then."""
    run = {"imbalance": _run_imbalance, "cka": _run_cka, "cca": _run_cca}
    for work in works:
        if not store.is_complete(work.group, work.digest):
            run[work.kind](_begun(store, job, work, cluster), work, cluster)
    return [work.digest for work in works]


def run_columns(store: RunStore, job: Job, work: SimilarityWork, layers: Collection[str], cluster: Cluster) -> None:
    """The information imbalance from every layer to some, whose activations are stored; the neighbors of all are."""
    if not store.is_complete(work.group, work.digest):
        _run_imbalance(_begun(store, job, work, cluster), work, cluster, layers)


def columns_left(store: RunStore, work: SimilarityWork) -> list[str]:
    """The layers whose activations information imbalance still needs."""
    layers = [entry["name"] for entry in store.layers(work.model)]
    if store.is_complete(work.group, work.digest):
        return []
    if not store.awaits(work.group, work.digest) or not store.has(work.group, "column_done"):
        return layers
    done = store.flags(work.group, "column_done")
    return [layer for layer, stored in zip(layers, done, strict=True) if not stored]


def _begun(store: RunStore, job: Job, work: SimilarityWork, cluster: Cluster) -> Comparison:
    check_stored(store, job, work.model, cluster.capacity.memory)
    store.begin(work.group, work.digest)
    store.describe(work.group, activations=work.activations)
    return Comparison(store, work.model, job.similarity, job.seed)


def _finish(comparison: Comparison, work: SimilarityWork, notes: list[str], **values: Any) -> None:
    s = comparison.settings
    chosen = {} if work.kind == "imbalance" else {"samples": s.samples, "seed": comparison.seed}
    comparison.store.finish(work.group, layers=comparison.layers, notes=notes, **chosen, **values)


# --- information imbalance --------------------------------------------------------------------------------------


def _run_imbalance(
    comparison: Comparison, work: SimilarityWork, cluster: Cluster, wanted: Collection[str] | None = None
) -> None:
    """A column at a time: in one layer, the ranks of the neighbors that samples have in all layers.

    Of `wanted` layers alone, if there are any named.
    """
    store, layers, k = comparison.store, comparison.layers, comparison.settings.imbalance_k
    count = len(layers)
    store.declare(work.group, "information_imbalance", (count, count), (count, 1))
    store.declare(work.group, "column_done", (count,), (1,))
    done = store.flags(work.group, "column_done")
    with cluster.progress.stage("imbalance", count, "layers") as stage:
        stage.resume(int(done.sum()))
        near = np.concatenate([stored_neighbors(store, work.model, name).nearest(k).index for name in layers], axis=1)
        for column in np.flatnonzero(~done).tolist():
            if wanted is not None and layers[column] not in wanted:
                continue
            done[column] = True
            found = _column(comparison, near, layers[column], cluster)
            store.write(work.group, "information_imbalance", (slice(None), slice(column, column + 1)), found[:, None])
            store.write(work.group, "column_done", slice(column, column + 1), np.ones(1, np.uint8))
            stage.advance(note=f"{work.model}/{layers[column]}")
    if done.all():
        _finish(comparison, work, [], k=k)


def _column(comparison: Comparison, near: np.ndarray, layer: str, cluster: Cluster) -> np.ndarray:
    """(layers,) the imbalance from each layer to one, from the neighbors (N, layers x k) in all of them."""
    store, k = comparison.store, comparison.settings.imbalance_k
    y = store.array(comparison.group(layer, "activations"), "activation")
    ranks = listed_ranks(near, stored_neighbors(store, comparison.model, layer).index)
    ranks = complete_ranks(near, ranks, y, memory_limit=cluster.capacity.memory, client=cluster.client)
    return np.array([imbalance_of(ranks[:, first : first + k]) for first in range(0, ranks.shape[1], k)])


# --- centered kernel alignment ----------------------------------------------------------------------------------


def _run_cka(comparison: Comparison, work: SimilarityWork, cluster: Cluster) -> None:
    """Sums of every tile, each stored when it comes, then added up in one order."""
    notes = _run_moments(comparison, work, cluster)
    store, layers, kernels = comparison.store, comparison.layers, kernel_names(comparison.settings)
    n = comparison.source(layers[0]).shape[0]
    pairs, shape = pairs_of_tiles(n), (len(kernels), len(layers))
    _declare(
        store, work.group, len(pairs), {"tile_products": (*shape, len(layers)), "tile_sums": (*shape, SIDES, TILE)}
    )
    store.declare(work.group, "tile_done", (len(pairs),), (1,))
    done = store.flags(work.group, "tile_done")
    tasks = (
        Task(cka_tile, (comparison, *pairs[t]), context=t, name=f"cka-{work.model}-{t}")
        for t in np.flatnonzero(~done).tolist()
    )
    with cluster.progress.stage("cka", len(pairs), "tiles") as stage:
        stage.resume(int(done.sum()))
        for task, (products, sums) in cluster.run(tasks):
            tile = slice(task.context, task.context + 1)
            store.write(work.group, "tile_products", tile, products[None])
            store.write(work.group, "tile_sums", tile, sums[None])
            store.write(work.group, "tile_done", tile, np.ones(1, np.uint8))
            stage.advance(note=work.model)
    found = [_alignment(comparison, work, number, n) for number in range(len(kernels))]
    arrays = {"linear_cka": found.pop(0)} if "linear" in comparison.settings.cka else {}
    if found:
        arrays["gaussian_cka"] = np.stack(found)
    store.save(work.group, arrays)
    for name in ("tile_done", "tile_products", "tile_sums"):  # first what says that the others are there
        store.discard(work.group, name)
    widths = list(comparison.settings.widths) if found else []
    _finish(comparison, work, notes, widths=widths, debiased=comparison.settings.debiased)


def _declare(store: RunStore, group: str, count: int, rest: Mapping[str, tuple[int, ...]]) -> None:
    """Arrays of `count` pieces, each a chunk."""
    for name, shape in rest.items():
        store.declare(group, name, (count, *shape), (1, *shape))


def _alignment(comparison: Comparison, work: SimilarityWork, kernel: int, n: int) -> np.ndarray:
    """(layers, layers) from the stored sums of all tiles with one kernel."""
    store = comparison.store
    products, sums = store.array(work.group, "tile_products"), store.array(work.group, "tile_sums")
    totals = Totals.empty(products.shape[-1], n)
    for tile, (rows, columns) in enumerate(pairs_of_tiles(n)):
        sides = sums[tile, kernel]
        height, width = rows.stop - rows.start, columns.stop - columns.start
        part = TileSums(products[tile, kernel], sides[:, 0, :height], sides[:, 1, :width], sides[:, 2, :height])
        totals.add(rows, columns, part)
    return alignment(totals.hsic(comparison.settings.debiased))


def _run_moments(comparison: Comparison, work: SimilarityWork, cluster: Cluster) -> list[str]:
    """The mean and the kernels of every layer; returns what is to be noted of them."""
    s = comparison.settings
    gaussian = s.widths if "gaussian" in s.cka else ()
    key = digest(RESULTS, "moments", work.activations, s.samples, comparison.seed, gaussian)
    return _run_layers(comparison, measure_moments, "moments", key, cluster)


def _run_layers(comparison: Comparison, function: Any, stage_name: str, key: str, cluster: Cluster) -> list[str]:
    """A task a layer that is not complete; returns the notes of all layers."""
    store, layers = comparison.store, comparison.layers
    tasks = []
    for layer in layers:
        group = comparison.group(layer, stage_name)
        if not store.is_complete(group, key):
            store.begin(group, key)
            tasks.append(Task(function, (comparison, layer, key), name=f"{stage_name}-{comparison.model}-{layer}"))
    if tasks:
        with cluster.progress.stage(stage_name, len(layers), "layers") as stage:
            stage.resume(len(layers) - len(tasks))
            for task, _ in cluster.run(tasks):
                stage.advance(note=task.name)
    found = [store.attributes(comparison.group(layer, stage_name)).get("note") for layer in layers]
    return [note for note in found if note]


# --- canonical correlations -------------------------------------------------------------------------------------


def _run_cca(comparison: Comparison, work: SimilarityWork, cluster: Cluster) -> None:
    """The directions of every layer, then a row of the matrices at a time; the directions are dropped at the end."""
    notes = _run_moments(comparison, work, cluster)
    store, layers, s = comparison.store, comparison.layers, comparison.settings
    key = digest(RESULTS, "scores", work.activations, s.samples, comparison.seed, s.variance)
    notes = list(dict.fromkeys(notes + _run_layers(comparison, measure_scores, "scores", key, cluster)))
    names = ["svcca"] * s.svcca + ["pwcca"] * s.pwcca
    _declare(store, work.group, len(layers), dict.fromkeys(("svcca", "pwcca"), (len(layers),)))
    store.declare(work.group, "row_done", (len(layers),), (1,))
    done = store.flags(work.group, "row_done")
    tasks = (
        Task(cca_row, (comparison, row), context=row, name=f"cca-{work.model}-{row}")
        for row in np.flatnonzero(~done).tolist()
    )
    with cluster.progress.stage("cca", len(layers), "layers") as stage:
        stage.resume(int(done.sum()))
        for task, values in cluster.run(tasks):
            row = slice(task.context, task.context + 1)
            for name, line in zip(("svcca", "pwcca"), values, strict=True):
                store.write(work.group, name, row, line[None])
            store.write(work.group, "row_done", row, np.ones(1, np.uint8))
            stage.advance(note=work.model)
    found = {name: store.read(work.group, name) for name in names}
    if "svcca" in found:  # of each pair, once
        found["svcca"] = np.triu(found["svcca"]) + np.triu(found["svcca"], 1).T
    for name in ("row_done", "svcca", "pwcca"):
        store.discard(work.group, name)
    store.save(work.group, found)
    _finish(comparison, work, notes, variance=s.variance)
    for layer in layers:
        store.drop(comparison.group(layer, "scores"))
