"""What a job will cost, before anything is computed: samples, layers, bytes, FLOP, tasks, memory of a task."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dnuc.activations.budget import Budget, share_of
from dnuc.activations.runs import check_rows, outline, rows_of_block, runs_in, stored_bytes
from dnuc.cluster import Capacity, Deployment, read_deployment
from dnuc.data import Samples, Source, open_source
from dnuc.errors import DataError
from dnuc.job import Data, Job, NeighborSearch, Similarity
from dnuc.measures.dimension_plan import (
    check_dimension,
    check_names,
    check_spectrum,
    check_surrogate,
    dimension_flop,
)
from dnuc.measures.similarity import check_similarity
from dnuc.neighbors.blocks import Blocks
from dnuc.neighbors.calibration import Calibration
from dnuc.neighbors.search import check_search
from dnuc.neighbors.stage import blocks_of, task_bytes

ASSUMED = Capacity(2 * 2**30)  # where a running cluster would have to be asked
ASSUMED_IMAGE = (256, 256, 3)
EXAMPLES = 64  # images, evenly spaced, of which the time to read one may be measured


@dataclass(frozen=True)
class LayerPlan:
    """One layer's share."""

    model: str
    layer: str
    depth: int
    features: int
    bytes: int  # of activations on disk
    flop: float  # of the products, half of N x N
    blocks: Blocks  # rows that a tile takes
    tile_memory: int  # bytes of the largest task
    dimension_flop: float = 0.0  # beyond the neighbors, at most: decimation, classes, principal components

    @property
    def tiles(self) -> int:
        """Tasks of the search."""
        return self.blocks.tiles


@dataclass(frozen=True)
class Plan:
    """What will run."""

    samples: int
    note: str  # why the number of samples is an expectation, if it is one
    layers: tuple[LayerPlan, ...]
    block: dict[str, int]  # samples a task extracts, by model
    capacity: Capacity  # of the place
    budget: Budget  # of the disk
    similarity: Similarity
    classes: int
    image_shape: tuple[int, int, int]
    examples: tuple[str, ...]  # ids of some images, where there are any

    @property
    def memory(self) -> int:
        """Bytes a task may use."""
        return self.capacity.memory

    @property
    def threads(self) -> int:
        """Threads that compute at a time, over all tasks."""
        return self.capacity.tasks * self.capacity.cores

    @property
    def bytes(self) -> int:
        """Activations on disk."""
        return sum(layer.bytes for layer in self.layers)

    @property
    def peak(self) -> int:
        """Activations on disk at any moment, at most."""
        return self.bytes if self.budget.holds_all else self.budget.needed(self.budget.shares)

    @property
    def passes(self) -> dict[str, int]:
        """How often all samples go through each model."""
        imbalance = self.similarity.imbalance
        return {model: self.budget.forward_passes(model, again=imbalance) for model in self.block}

    @property
    def flop(self) -> float:
        """Multiplications and additions of the neighbor search."""
        return sum(layer.flop for layer in self.layers)

    @property
    def dimension_flop(self) -> float:
        """Multiplications and additions of decimation, classes and principal components, at most."""
        return sum(layer.dimension_flop for layer in self.layers)

    @property
    def tasks(self) -> int:
        """Tasks of extraction and search."""
        extraction = sum(-(-self.samples // b) * self.passes[model] for model, b in self.block.items())
        return sum(layer.tiles for layer in self.layers) + extraction


def plan_job(job: Job, on: str | Path | Deployment | None = None) -> Plan:
    """What `dnuc run` would do. Networks are outlined, not loaded; images are listed, not read."""
    deployment = on if isinstance(on, Deployment) else read_deployment(on)
    return plan_within(job, deployment.capacity() or ASSUMED)


def plan_within(job: Job, capacity: Capacity) -> Plan:
    """What a run does whose tasks may use so much.

    Raises
    ------
    DnucError
        If it cannot be done: k is not below N, a layer or weights are unknown, given arrays are of
        another length, a task does not fit into memory.
    """
    seen = _samples(job)
    n, image_shape, n_classes = seen.count, seen.image_shape, seen.classes
    check_search((n, 1), job.neighbors.k, f"job {job.name!r}")
    check_dimension(job.dimension, n)
    itemsize = np.dtype(job.activations.dtype).itemsize
    layers, block, shares = [], {}, []
    for network in runs_in(job):
        check_rows(network, n, job.data.max_unreadable)
        outlined = outline(network, job, image_shape, n_classes)
        features = [int(entry["features"]) for entry in outlined]
        check_similarity(job.similarity, n, features, itemsize, capacity.memory)
        block[network.name] = rows_of_block(n, features, capacity.memory, job.activations)
        for entry in outlined:
            d = int(entry["features"])
            check_spectrum(job.dimension, n, d, itemsize, capacity.memory, f"{network.name}/{entry['name']}")
            check_surrogate(job.dimension, n, d, capacity.memory, network.name, entry["name"])
            shares.append(share_of((network.name, entry["name"]), job, n, d, block[network.name]))
            blocks = blocks_of(n, d, job.neighbors, capacity, min(n, block[network.name]), itemsize)
            layers.append(
                LayerPlan(
                    network.name,
                    entry["name"],
                    entry["depth"],
                    d,
                    stored_bytes(n, d, block[network.name], job.activations.dtype),
                    float(n) * n * d,
                    blocks,
                    task_bytes(blocks, d, itemsize, job.neighbors, capacity),
                    dimension_flop(job.dimension, n, d, n_classes),
                )
            )
    check_names(job.dimension, [(layer.model, layer.layer) for layer in layers])
    budget = Budget.of(job.activations, shares)
    known = (n_classes, image_shape, seen.examples)
    return Plan(n, seen.note, tuple(layers), block, capacity, budget, job.similarity, *known)


def search_seconds(plan: Plan, settings: NeighborSearch, calibration: Calibration) -> list[float]:
    """How long the neighbors of each layer will take, if every thread is as fast as the one that was measured."""
    return [
        calibration.search_seconds(layer.blocks, layer.features, settings.precision, plan.threads)
        for layer in plan.layers
    ]


@dataclass(frozen=True)
class _Seen:
    """What is known of the samples."""

    count: int
    image_shape: tuple[int, int, int]
    classes: int
    note: str = ""  # why the number is an expectation, if it is one
    examples: tuple[str, ...] = ()


def _samples(job: Job) -> _Seen:
    """What can be seen of the data; the job's own figures where they are not here."""
    source = open_source(job.data, job.seed)
    try:
        samples = source.list(job.seed)
    except DataError as error:
        n, classes = _expected(job.data)
        if n is None:
            raise
        return _Seen(n, ASSUMED_IMAGE, classes, f"as the job says; the data cannot be listed here: {error}")
    if not source.has_images:
        return _Seen(len(samples), ASSUMED_IMAGE, len(samples.label_names))
    shape = _image_shape(source, samples, job.data.max_unreadable)
    examples = tuple(samples.id[:: max(1, len(samples) // EXAMPLES)][:EXAMPLES].tolist())
    return _Seen(len(samples), shape, len(samples.label_names), "", examples)


def _image_shape(source: Source, samples: Samples, unreadable: int) -> tuple[int, int, int]:
    """The shape of the first image, of those that are allowed to be unreadable the first that is not."""
    for sample_id in samples.id[:unreadable].tolist():
        try:
            height, width, channels = source.image(sample_id).shape
        except DataError:
            continue
        return height, width, channels
    height, width, channels = source.image(str(samples.id[min(unreadable, len(samples) - 1)])).shape
    return height, width, channels


def _expected(data: Data) -> tuple[int | None, int]:
    classes = data.classes if isinstance(data.classes, int) else len(data.classes or ())
    if data.samples is not None:
        return data.samples, max(classes, 2)
    if classes and data.images_per_class:
        return classes * data.images_per_class, classes
    return None, 0
