"""The intrinsic dimension of stored layers at growing scales, of classes and by principal components.

Each has a group of its own, so that to ask for one more, or to change one's settings, computes nothing else anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from dnuc.cluster import Cluster, Task
from dnuc.errors import DnucError, ResourceError, StoreError
from dnuc.job import Job
from dnuc.measures.classes import class_dimension
from dnuc.measures.decimation import decimation
from dnuc.measures.dimension import Dimension
from dnuc.measures.gride import gride_at, powers_of_two
from dnuc.measures.parts import MeanDimension
from dnuc.measures.pca import components_for, pca_spectrum, sample_for
from dnuc.measures.surrogate import gaussian_surrogate
from dnuc.neighbors.lists import stored_distances, stored_neighbors
from dnuc.store import RunStore, StoredArray, digest, stage_group

REVISION = 1  # raised when the meaning of a result here changes, so that old ones are computed anew
Found = tuple[Mapping[str, np.ndarray], Mapping[str, Any]]  # arrays and values of a stage
STAGES = ("dimension", "decimation", "classes", "spectrum", "surrogate")


@dataclass(frozen=True)
class DimensionWork:
    """One stage of one layer: what it depends on, and whether the job asks for it."""

    stage: str
    model: str
    layer: str
    digest: str
    asked: bool

    @property
    def group(self) -> str:
        """Where it is stored."""
        return stage_group(self.model, self.layer, self.stage)


def dimension_work(
    job: Job, activations: Mapping[tuple[str, str], str], neighbors: Mapping[tuple[str, str], str], classes: str
) -> list[DimensionWork]:
    """Every stage of every layer, from the digests of its activations and neighbors, and of the samples' classes.

    Only Gride depends on how many neighbors are stored; the others take these to save searches.
    """
    settings = job.dimension
    two_nn = [settings.method, job.measures.fraction if settings.method == "fit" else None]
    found = []
    for layer, of in activations.items():
        wanted = settings.wants_surrogate(*layer)
        asked = (True, bool(settings.decimation), settings.per_class, settings.pca, wanted)
        depends: Sequence[list[Any]] = (
            [neighbors[layer], settings.ranks],
            [of, settings.decimation, job.seed, two_nn],
            [of, classes, two_nn],
            [of, settings.standardize, settings.pca_samples, job.seed],
            [of, settings.decimation, job.seed, two_nn],
        )
        keys = [digest(REVISION, stage, parts) for stage, parts in zip(STAGES, depends, strict=True)]
        found += [DimensionWork(s, *layer, key, a) for s, key, a in zip(STAGES, keys, asked, strict=True)]
    return found


def outdate_dimensions(store: RunStore, work: Sequence[DimensionWork]) -> None:
    """What was computed from other data or with other settings is no result of this job, asked for or not."""
    for one in work:
        if not store.is_complete(one.group, one.digest):
            store.outdate(one.group)


def run_dimensions(store: RunStore, job: Job, work: Sequence[DimensionWork], cluster: Cluster) -> list[Any]:
    """Compute and store what is asked for and not complete; returns what the results depend on."""
    for stage in STAGES:
        waiting = [w for w in work if w.stage == stage and w.asked and not store.is_complete(w.group, w.digest)]
        if waiting:
            with cluster.progress.stage(stage, len(waiting), "layers") as progress:
                for one in _RUN[stage](store, job, waiting, cluster):
                    progress.advance(note=f"{one.model}/{one.layer}")
    _count_components(store, [w for w in work if w.stage == "spectrum" and w.asked], job.dimension.variance)
    return [*(w.digest for w in work if w.asked), job.dimension.variance if job.dimension.pca else None]


# --- a task a layer ---------------------------------------------------------------------------------------------------


def _run_gride(store: RunStore, job: Job, waiting: list[DimensionWork], cluster: Cluster) -> Iterator[DimensionWork]:
    ranks = list(job.dimension.ranks) or powers_of_two(job.neighbors.k // 2)
    yield from _as_tasks(gride_layer, store, waiting, (ranks,), cluster)


def _run_spectra(store: RunStore, job: Job, waiting: list[DimensionWork], cluster: Cluster) -> Iterator[DimensionWork]:
    settings = job.dimension
    arguments = (settings.standardize, settings.pca_samples, job.seed, cluster.capacity.memory)
    yield from _as_tasks(spectrum_layer, store, waiting, arguments, cluster)


def _run_surrogates(
    store: RunStore, job: Job, waiting: list[DimensionWork], cluster: Cluster
) -> Iterator[DimensionWork]:
    two_nn = {"fraction": job.measures.fraction, "method": job.dimension.method}
    arguments = (_blocks_of(job), job.seed, two_nn, cluster.capacity.memory)
    yield from _as_tasks(surrogate_layer, store, waiting, arguments, cluster)


def _as_tasks(
    function: Callable[..., None],
    store: RunStore,
    waiting: list[DimensionWork],
    arguments: tuple[Any, ...],
    cluster: Cluster,
) -> Iterator[DimensionWork]:
    for one in waiting:
        store.begin(one.group, one.digest)
    tasks = [Task(function, (store, w, *arguments), w, f"{w.stage}-{w.model}-{w.layer}") for w in waiting]
    for task, _ in cluster.run(tasks):
        yield task.context


def gride_layer(store: RunStore, work: DimensionWork, ranks: Sequence[int]) -> None:
    """Gride of one layer at every rank. A rank at which there is none (duplicates, ties) is NaN and has a note."""
    neighbors = stored_distances(store, work.model, work.layer)
    found: list[Dimension] = []
    notes = []
    for rank in ranks:
        try:
            found.append(gride_at(neighbors, rank))
        except DnucError as error:
            found.append(Dimension(np.nan, np.nan, np.nan, neighbors.n_samples, rank))
            notes.append(str(error))
    known = [f for f in found if not np.isnan(f.value)]
    values: dict[str, Any] = {"notes": notes} if known else {"note": notes[0]}
    if known:
        last = max(known, key=lambda f: f.rank)
        values |= {
            "dimension_gride": last.value,
            "dimension_gride_error": last.error,
            "dimension_gride_rank": last.rank,
        }
    columns = ("rank", "value", "error", "scale", "dropped")
    _finish(store, work, {f"gride_{c}": np.array([getattr(f, c) for f in found]) for c in columns}, values)


def spectrum_layer(store: RunStore, work: DimensionWork, standardize: bool, most: int, seed: int, memory: int) -> None:
    """Variance spectrum of one layer; of `most` samples where there are more of both samples and features."""
    x = _activations(store, work)
    samples = sample_for(x.shape[0], x.shape[1], most)

    def compute() -> Found:
        ratio = pca_spectrum(x, standardize=standardize, samples=samples, seed=seed, memory_limit=memory)
        values = {"pca_samples": samples or x.shape[0], "pca_exact": samples is None, "standardized": standardize}
        return {"variance_ratio": ratio}, values

    _finish(store, work, *_or_note(compute))


def surrogate_layer(
    store: RunStore,
    work: DimensionWork,
    blocks: Sequence[int] | None,
    seed: int,
    two_nn: Mapping[str, Any],
    memory: int,
) -> None:
    """Decimation of Gaussian samples with the mean and the covariance of one layer."""

    def compute() -> Found:
        y = gaussian_surrogate(_activations(store, work), seed, memory_limit=memory // 2)
        return _levels(decimation(y, blocks, seed, memory_limit=memory // 2, **two_nn), "surrogate"), {}

    _finish(store, work, *_or_note(compute))


def _or_note(compute: Callable[[], Found]) -> Found:
    """What `compute` finds, or why a layer has no such thing: that must not stop a run over many layers."""
    try:
        return compute()
    except (StoreError, ResourceError):
        raise
    except DnucError as error:
        return {}, {"note": str(error)}


def _levels(found: Sequence[MeanDimension], prefix: str) -> dict[str, np.ndarray]:
    """What decimation found, as it is stored."""
    columns = ("value", "error", "scale", "dropped")
    arrays = {f"{prefix}_{c}": np.array([getattr(f, c) for f in found]) for c in columns}
    return arrays | {f"{prefix}_blocks": np.array([len(f.values) for f in found])}


def _blocks_of(job: Job) -> tuple[int, ...] | None:
    """The numbers of blocks of decimation; None: those that it chooses."""
    return None if isinstance(job.dimension.decimation, bool) else job.dimension.decimation


def _finish(store: RunStore, work: DimensionWork, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> None:
    """Nothing is stored where this is not awaited: the run may be another's by now."""
    if store.awaits(work.group, work.digest):
        store.save(work.group, arrays)
        store.finish(work.group, **values)


def _activations(store: RunStore, work: DimensionWork) -> StoredArray:
    return store.array(stage_group(work.model, work.layer, "activations"), "activation")


def _count_components(store: RunStore, work: Sequence[DimensionWork], variance: float) -> None:
    """PC-ID, counted from the stored spectrum: another share of the variance needs no other spectrum."""
    for one in work:
        attributes = store.attributes(one.group)
        if "note" not in attributes and attributes.get("pca_variance") != variance:
            count = components_for(store.read(one.group, "variance_ratio"), variance)
            store.finish(one.group, pca_dimension=count, pca_variance=variance)


# --- several tasks a layer --------------------------------------------------------------------------------------------


def _run_blocks(store: RunStore, job: Job, waiting: list[DimensionWork], cluster: Cluster) -> Iterator[DimensionWork]:
    blocks = _blocks_of(job)

    def compute(x: StoredArray, **settings: Any) -> Found:
        found = decimation(x, blocks, job.seed, **settings)
        arrays = _levels(found, "decimation")
        arrays["block_value"] = np.concatenate([f.values for f in found])
        return arrays, {"blocks_left_out": sum(f.left_out for f in found)}

    yield from _in_parts(store, job, waiting, cluster, compute)


def _run_classes(store: RunStore, job: Job, waiting: list[DimensionWork], cluster: Cluster) -> Iterator[DimensionWork]:
    labels = store.read("samples", "label")

    def compute(x: StoredArray, **settings: Any) -> Found:
        found = class_dimension(x, labels, **settings)
        values = {"class_dimension": found.value, "class_dimension_std": found.error, "class_scale": found.scale}
        return {"class_value": found.values}, values | {"classes_left_out": found.left_out}

    yield from _in_parts(store, job, waiting, cluster, compute)


def _in_parts(
    store: RunStore,
    job: Job,
    waiting: list[DimensionWork],
    cluster: Cluster,
    compute: Callable[..., Found],
) -> Iterator[DimensionWork]:
    """Layer after layer, for a layer's parts keep all workers busy."""
    for one in waiting:
        store.begin(one.group, one.digest)
        work = partial(
            compute,
            _activations(store, one),
            neighbors=stored_neighbors(store, one.model, one.layer),
            fraction=job.measures.fraction,
            method=job.dimension.method,
            memory_limit=cluster.capacity.memory,
            client=cluster.client,
        )
        _finish(store, one, *_or_note(work))
        yield one


_RUN = {
    "dimension": _run_gride,
    "decimation": _run_blocks,
    "classes": _run_classes,
    "spectrum": _run_spectra,
    "surrogate": _run_surrogates,
}
