"""Networks trained and activations extracted, block by block, into the store; every finished block is kept."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import lru_cache, partial
from typing import Any, Protocol

import numpy as np
from torch import Tensor

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
from dnuc.store import RunStore, digest, open_external, stage_group

SPACE_MARGIN = 1.02  # of the disk space needed: metadata, measures, report


class Images(Protocol):
    """Where images come from; sent to workers, so small."""

    def image(self, sample_id: str) -> np.ndarray:
        """One image, (height, width, channels) uint8 or, perturbed, float32."""


def run_activations(
    store: RunStore,
    job: Job,
    cluster: Cluster,
    images: Images | None,
    training_data: Callable[[Any], Any],
    manifest: Mapping[str, str],
) -> dict[tuple[str, str], str]:
    """Train what is to be trained, extract what is not stored; the digest of each layer's activations.

    `training_data(images)` gives the training and held-out images on a worker, as many as [model.train] wants;
    `manifest` holds the digests of the samples that each `NetworkRun.origin` depends on. Sets the run's models and
    layers.
    """
    n = len(store.array("samples", "label"))
    attributes = store.attributes("samples")
    n_classes = len(attributes["label_names"])
    shape = tuple(attributes["image_shape"] or (1, 1, 1))
    runs = runs_in(job, store.path, manifest["training"])
    layers = {run.name: outline(run, job, shape, n_classes) for run in runs}
    for run in runs:
        store.describe(f"models/{run.name}", layers=layers[run.name], network=describe_network(run))
        forget_other_training(store, run)
    store.describe("", models=[run.name for run in runs])
    keys = {run.name: network_digest(run, job, manifest[run.origin]) for run in runs}
    digests = {
        (run.name, entry["name"]): layer_digest(keys[run.name], run, entry)
        for run in runs
        for entry in layers[run.name]
    }
    waiting = [
        _Extraction(store, job, run, layers[run.name], digests, n, shape, n_classes, cluster.capacity) for run in runs
    ]
    waiting = [extraction for extraction in waiting if extraction.open()]
    for extraction in waiting:
        for layer, dtype in rounded_arrays(extraction.run, job.activations):
            cluster.progress.say(
                f"{extraction.run.name}/{layer}: {dtype} values are rounded to {job.activations.dtype}; "
                'activations.dtype = "float64" keeps them'
            )
    check_disk(store, sum(extraction.bytes_to_write for extraction in waiting))
    for extraction in waiting:
        if extraction.run.model.train is not None:
            run_training(store, job, extraction.run, training_data, n_classes, cluster)
        elif extraction.run.model.arrays is None:
            extraction.network()  # a download or a wrong checkpoint is told before any work
    for extraction in waiting:
        extraction.execute(cluster, images)
    return digests


def check_disk(store: RunStore, needed: int) -> None:
    """Refuse a run whose `needed` bytes of activations do not fit on the disk."""
    free = shutil.disk_usage(store.path).free
    if needed * SPACE_MARGIN > free:
        raise ResourceError(
            f"activations need {needed:,} bytes ({needed / 2**30:.1f} GiB) on the disk of {store.path}, which has "
            f"{free:,} free: give a run directory on a larger disk with --out, choose fewer layers, or set "
            'activations.dtype = "float16"'
        )


class _Extraction:
    """What is left to extract of one network."""

    def __init__(
        self,
        store: RunStore,
        job: Job,
        run: NetworkRun,
        layers: list[dict[str, Any]],
        digests: dict[tuple[str, str], str],
        n: int,
        image_shape: tuple[int, ...],
        n_classes: int,
        capacity: Capacity,
    ) -> None:
        self.store, self.job, self.run, self.n = store, job, run, n
        self.wanted = {entry["name"]: digests[run.name, entry["name"]] for entry in layers}
        self.layers = [e for e in layers if not store.is_complete(self._group(e["name"]), self.wanted[e["name"]])]
        version = digest(sorted(self.wanted.items()))  # a file that changes under the same name is another network
        self._build = (run.model.model_dump_json(), run.weights, job.seed, n_classes, tuple(image_shape), version)
        self._capacity = capacity
        self._all_layers = layers
        self.rows = 0
        self.left: dict[str, np.ndarray] = {}  # layer -> blocks that are not stored

    def _group(self, layer: str) -> str:
        return stage_group(self.run.name, layer, "activations")

    def open(self) -> bool:
        """Prepare the arrays; False if nothing is left to do."""
        if not self.layers:
            return False
        check_rows(self.run, self.n)
        self.rows = self._stored_rows() or self._chosen_rows()
        for entry in self.layers:
            group, name = self._group(entry["name"]), entry["name"]
            self.store.begin(group, self.wanted[name])
            shape = (self.n, int(entry["features"]))
            dtype = self.job.activations.dtype
            self.store.declare(group, "activation", shape, (self.rows, FEATURES_A_CHUNK), dtype)
            self.store.declare(group, "block_done", (-(-self.n // self.rows),), (1,))
            self.left[name] = ~self.store.flags(group, "block_done")
        return True

    def _stored_rows(self) -> int:
        """Samples a block of what an earlier attempt stored: all layers of a network share their blocks."""
        for name, wanted in self.wanted.items():
            group = self._group(name)
            if self.store.has(group, "activation") and self.store.attributes(group).get("digest") == wanted:
                return self.store.array(group, "activation").chunks[0]
        return 0

    def _chosen_rows(self) -> int:
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
