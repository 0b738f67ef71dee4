"""Networks trained and activations extracted, block by block, into the store; every finished block is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from functools import cached_property, lru_cache, partial
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from dnuc.activations.budget import Budget, Key, share_of
from dnuc.activations.extract import extract, to_storage
from dnuc.activations.feeding import batches_ahead
from dnuc.activations.layers import Layer
from dnuc.activations.models import Network, build_network
from dnuc.activations.runs import (
    FEATURES_A_CHUNK,
    NetworkRun,
    check_rows,
    describe_network,
    layer_digest,
    network_digest,
    outline,
    rounded_arrays,
    rows_of_block,
    runs_in,
    stored_bytes,
)
from dnuc.activations.training import forget_other_training, run_training
from dnuc.activations.weights import load_tensors
from dnuc.cluster import Capacity, Cluster, Task
from dnuc.errors import DataError, ResourceError
from dnuc.job import Activations, Job, Model
from dnuc.location import free_bytes
from dnuc.store import RunStore, digest, open_external, stage_group

SPACE_MARGIN = 1.02  # of the disk space needed: metadata, measures, report


class Images(Protocol):
    """Where images come from; sent to workers, so small."""

    def image(self, sample_id: str) -> np.ndarray:
        """One image, (height, width, channels) uint8 or, perturbed, float32."""


class Extractions:
    """The layers of a job's networks: what their activations depend on, and their way into the store.

    `training_data(images)` gives the training and held-out images on a worker, as many as [model.train] wants;
    `manifest` holds the digests of the samples that each `NetworkRun.origin` depends on. Sets the run's models and
    layers.

    Attributes
    ----------
    digests : of the activations of each (model, layer), in order.
    """

    def __init__(
        self,
        store: RunStore,
        job: Job,
        cluster: Cluster,
        images: Images | None,
        training_data: Callable[[Any], Any],
        manifest: Mapping[str, str],
    ) -> None:
        self._store, self._job, self._cluster = store, job, cluster
        self._images, self._training_data = images, training_data
        self._n = len(store.array("samples", "label"))
        attributes = store.attributes("samples")
        self._n_classes = len(attributes["label_names"])
        self._shape = tuple(attributes["image_shape"] or (1, 1, 1))
        self._runs = runs_in(job, store.path, manifest["training"])
        self._layers = {run.name: outline(run, job, self._shape, self._n_classes) for run in self._runs}
        for run in self._runs:
            store.describe(f"models/{run.name}", layers=self._layers[run.name], network=describe_network(run))
            forget_other_training(store, run)
        store.describe("", models=[run.name for run in self._runs])
        keys = {run.name: network_digest(run, job, manifest[run.origin]) for run in self._runs}
        self.digests = {
            (run.name, entry["name"]): layer_digest(keys[run.name], run, entry)
            for run in self._runs
            for entry in self._layers[run.name]
        }

    @cached_property
    def budget(self) -> Budget:
        """How much of the disk the layers may take."""
        if self._job.activations.storage_budget is None:
            return Budget(None, {})
        shares = []
        for run in self._runs:
            extraction = self._of(run, ())
            rows = extraction.stored_rows() or extraction.chosen_rows()
            shares += [
                share_of((run.name, entry["name"]), self._job, self._n, int(entry["features"]), rows)
                for entry in self._layers[run.name]
            ]
        return Budget.of(self._job.activations, shares)

    def _of(self, run: NetworkRun, wanted: Collection[Key]) -> _Extraction:
        return _Extraction(
            self._store, self._job, run, self._layers[run.name], self.digests, wanted, self._n, self._shape,
            self._n_classes, self._cluster.capacity,
        )  # fmt: skip

    def holds(self, key: Key) -> bool:
        """Whether a layer's activations are there, all of them."""
        group = stage_group(*key, "activations")
        return self._store.is_complete(group, self.digests[key]) and not self._store.is_dropped(group)

    def prepare(self, wanted: Collection[Key]) -> None:
        """What `extract` would refuse, refused before any work."""
        for run in self._runs:
            layers = [key for key in wanted if key[0] == run.name and not self.holds(key)]
            if not layers:
                continue
            check_rows(run, self._n)
            for layer, dtype in rounded_arrays(run, self._job.activations):
                self._cluster.progress.say(
                    f"{run.name}/{layer}: {dtype} values are rounded to {self._job.activations.dtype}; "
                    'activations.dtype = "float64" keeps them'
                )
            if run.model.train is None and run.model.arrays is None:
                self._of(run, layers).network()  # a download or a wrong checkpoint is told before any work

    def extract(self, wanted: Collection[Key]) -> None:
        """Train what is to be trained, extract those of the wanted layers that are not stored."""
        waiting = [extraction for run in self._runs if (extraction := self._of(run, wanted)).open()]
        check_disk(self._store, sum(extraction.bytes_to_write for extraction in waiting))
        for extraction in waiting:
            if extraction.run.model.train is not None:
                run_training(
                    self._store, self._job, extraction.run, self._training_data, self._n_classes, self._cluster
                )
        for extraction in waiting:
            extraction.execute(self._cluster, self._images)


def check_disk(store: RunStore, needed: int) -> None:
    """Refuse a run whose `needed` bytes of activations do not fit on the disk."""
    free = free_bytes(store.path)
    if free is not None and needed * SPACE_MARGIN > free:
        raise ResourceError(
            f"activations need {needed:,} bytes ({needed / 2**30:.1f} GiB) on the disk of {store.path}, which has "
            f"{free:,} free: give a run directory on a larger disk with --out, choose fewer layers, set "
            'activations.dtype = "float16", or set activations.storage_budget: layers then take turns on the disk'
        )


class _Extraction:
    """What is left to extract of one network."""

    def __init__(
        self,
        store: RunStore,
        job: Job,
        run: NetworkRun,
        layers: list[dict[str, Any]],
        digests: Mapping[Key, str],
        wanted: Collection[Key],
        n: int,
        image_shape: tuple[int, ...],
        n_classes: int,
        capacity: Capacity,
    ) -> None:
        self.store, self.job, self.run, self.n = store, job, run, n
        self.wanted = {entry["name"]: digests[run.name, entry["name"]] for entry in layers}
        self.layers = [e for e in layers if (run.name, e["name"]) in wanted and not self._is_stored(e["name"])]
        version = digest(sorted(self.wanted.items()))  # a file that changes under the same name is another network
        self._build = (run.model.model_dump_json(), run.weights, job.seed, n_classes, tuple(image_shape), version)
        self._capacity = capacity
        self._all_layers = layers
        self.rows = 0
        self.left: dict[str, np.ndarray] = {}  # layer -> blocks that are not stored

    def _group(self, layer: str) -> str:
        return stage_group(self.run.name, layer, "activations")

    def _is_stored(self, layer: str) -> bool:
        group = self._group(layer)
        return self.store.is_complete(group, self.wanted[layer]) and not self.store.is_dropped(group)

    def open(self) -> bool:
        """Prepare the arrays; False if nothing is left to do."""
        if not self.layers:
            return False
        self.rows = self.stored_rows() or self.chosen_rows()
        for entry in self.layers:
            group, name = self._group(entry["name"]), entry["name"]
            self.store.begin(group, self.wanted[name])
            shape = (self.n, int(entry["features"]))
            dtype = self.job.activations.dtype
            self.store.declare(group, "activation", shape, (self.rows, FEATURES_A_CHUNK), dtype)
            self.store.declare(group, "block_done", (-(-self.n // self.rows),), (1,))
            self.left[name] = ~self.store.flags(group, "block_done")
        return True

    def stored_rows(self) -> int:
        """Samples a block of what an earlier attempt stored: all layers of a network share their blocks."""
        for name, wanted in self.wanted.items():
            group = self._group(name)
            if self.store.has(group, "activation") and self.store.attributes(group).get("digest") == wanted:
                return self.store.array(group, "activation").chunks[0]
        return 0

    def chosen_rows(self) -> int:
        """Samples a block of activations that nothing is stored of."""
        features = [int(entry["features"]) for entry in self._all_layers]
        return rows_of_block(self.n, features, self._capacity.memory, self.job.activations)

    @property
    def bytes_to_write(self) -> int:
        """Activations that are not stored yet."""
        rows, dtype = min(self.rows, self.n), self.job.activations.dtype
        return sum(
            int(self.left[e["name"]].sum()) * stored_bytes(rows, int(e["features"]), rows, dtype) for e in self.layers
        )

    def network(self) -> Network:
        """The network itself, loaded in this process."""
        return _network(*self._build)

    def execute(self, cluster: Cluster, images: Images | None) -> None:
        """Run the blocks that are left, and mark the layers complete."""
        blocks = -(-self.n // self.rows)
        wanted = {b: [e for e in self.layers if self.left[e["name"]][b]] for b in range(blocks)}
        pending = {b: entries for b, entries in wanted.items() if entries}
        started = time.monotonic()
        tasks = (self._task(block, entries, images) for block, entries in pending.items())
        with cluster.progress.stage("activations", blocks, "blocks", blocks - len(pending)) as stage:
            for _, written in cluster.run(tasks):
                stage.advance(note=f"{self.run.name}, {written / 2**20:.0f} MiB a block")
        seconds = (time.monotonic() - started) / len(self.layers)
        for entry in self.layers:
            self.store.finish(self._group(entry["name"]), seconds=round(seconds, 3))

    def _task(self, block: int, entries: list[dict[str, Any]], images: Images | None) -> Task:
        span = slice(block * self.rows, min(self.n, (block + 1) * self.rows))
        where = (self.store, self.run.name, block, span, self.job.activations)
        name = f"extract-{self.run.name}-{block}"
        if self.run.model.arrays is not None:
            paths = {e["name"]: str(self.run.model.arrays[e["name"]]) for e in entries}
            return Task(_copy_block, (*where, self.wanted, paths), name=name)
        arguments = (*where, self.wanted, self._build, entries, images, self._capacity.device, self._capacity.cores)
        return Task(_extract_block, arguments, name=name)


@lru_cache(maxsize=2)
def _network(
    model: str, weights: str | None, seed: int, n_classes: int, shape: tuple[int, int, int], version: str
) -> Network:
    """A network, built once in a process for each `version` of what it is built from."""
    state = load_tensors(weights) if weights is not None else None
    settings = Model.model_validate_json(model)
    return build_network(settings, seed=seed, n_classes=n_classes, image_shape=shape, state=state)


def _extract_block(
    store: RunStore,
    name: str,
    block: int,
    span: slice,
    settings: Activations,
    wanted: Mapping[str, str],
    build: tuple[Any, ...],
    entries: list[dict[str, Any]],
    images: Images,
    device: str,
    readers: int,
) -> int:
    """One forward pass over a block of samples, written to all its layers; returns the bytes written.

    `readers` threads decode images meanwhile.
    """
    network = _network(*build)
    ids = store.array("samples", "id")[span].tolist()
    layers = [Layer(**{**e, "shape": tuple(e["shape"]), "aliases": tuple(e["aliases"])}) for e in entries]
    size = settings.batch_size
    with closing(batches_ahead(partial(_prepare, network, images), ids, size, readers)) as batches:
        values = extract(network, layers, batches, batch_size=size, device=device, count=len(ids))
    return sum(
        _store(store, name, layer.name, wanted, block, span, settings, values.pop(layer.name), ids) for layer in layers
    )


def _prepare(network: Network, images: Images, sample_id: str) -> Tensor:
    """What the network takes of one sample."""
    prepared = network.transform(images.image(sample_id))
    if tuple(prepared.shape) != network.input_shape:
        raise DataError(
            f"image {sample_id!r} becomes an input of shape {tuple(prepared.shape)}, the first image one of "
            f"{network.input_shape}: set image_size in [[model]], to which images are resized and cropped"
        )
    return prepared


def _copy_block(
    store: RunStore,
    name: str,
    block: int,
    span: slice,
    settings: Activations,
    wanted: Mapping[str, str],
    paths: dict[str, str],
) -> int:
    """A block of representations that something else computed, written to the store."""
    ids = store.array("samples", "id")[span].tolist()
    written = 0
    for layer, path in paths.items():
        rows = np.asarray(open_external(path)[span]).reshape(span.stop - span.start, -1)
        with np.errstate(over="ignore"):
            values = rows.astype(np.float64 if settings.dtype == "float64" else np.float32)
        if not np.isfinite(values).all() and np.isfinite(rows).all():
            raise DataError(f"model {name!r}, layer {layer!r}: values of {path} do not fit into float32; rescale them")
        written += _store(store, name, layer, wanted, block, span, settings, values, ids)
    return written


def _store(
    store: RunStore,
    model: str,
    layer: str,
    wanted: Mapping[str, str],
    block: int,
    span: slice,
    settings: Activations,
    values: np.ndarray,
    ids: list[str],
) -> int:
    """Write a block and its mark, if the layer is still `wanted` as it was when the task was made."""
    group = stage_group(model, layer, "activations")
    stored = to_storage(values, settings.dtype, f"{model}/{layer}", ids)
    if not store.awaits(group, wanted[layer]):
        return 0
    store.write(group, "activation", (span, slice(None)), stored)
    store.write(group, "block_done", slice(block, block + 1), np.ones(1, np.uint8))
    return stored.nbytes
