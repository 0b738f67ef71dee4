"""How fast this machine is at what a job asks for: short pieces of its own work, timed.

Pieces run in as many processes at once as the job will have threads (or this machine cores), for cores share memory
and caches: what one process does alone says little about two.
"""

from __future__ import annotations

import io
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import mean

import numpy as np
from dask.system import CPU_COUNT
from PIL import Image
from scipy.spatial import cKDTree

from dnuc.activations.extract import extract, reproducible
from dnuc.activations.layers import select_layers
from dnuc.activations.models import Network, build_network
from dnuc.cluster import WORKER_ENVIRONMENT
from dnuc.data import image_entropy, image_hash, open_source
from dnuc.job import Job, Model
from dnuc.landscape.stage import landscape_layer
from dnuc.measures.cka import TileSums
from dnuc.measures.dimension_stage import DimensionWork, gride_layer
from dnuc.measures.gride import powers_of_two
from dnuc.measures.kernels import Gaussian, gram_tile
from dnuc.measures.panels import TILE, Centered
from dnuc.measures.pca import pca_spectrum
from dnuc.measures.stage import measure_layer, overlap_row
from dnuc.neighbors.calibration import Calibration, calibrate
from dnuc.neighbors.search import nearest_neighbors
from dnuc.neighbors.within import count_within
from dnuc.store import RunStore, stage_group

PHOTO = (375, 500, 3)  # the most frequent shape in ImageNet, for images that are not here
IMAGES = 16  # through each network, and decoded
LISTED = 2**21  # neighbors in the lists that are measured: N k
WRITTEN = (512, 8192)  # values that are written and read
SPECTRUM = (1024, 4096)
GRAM = 4096  # features
COUNTED = (3072, 1024)
DIRECTIONS = 3  # that the lists' samples vary along


@dataclass(frozen=True)
class Question:
    """What is to be measured; small to send."""

    job: Job
    samples: int
    classes: int
    image_shape: tuple[int, int, int]
    examples: tuple[str, ...]  # ids of images that can be read; none where they are not here

    @property
    def models(self) -> list[Model]:
        """Networks that images go through."""
        return [model for model in self.job.model if model.arrays is None]


@dataclass(frozen=True)
class Pace:
    """Seconds of one thread for a unit of work, by name.

    start (of a process, once), image (read and decoded), inspect, prepare MODEL, forward MODEL (an image each), byte
    (written or read), measures, overlap, landscape, gride (each with a constant, NAME 0), spectrum (an operation), gram
    (a pair of samples and a feature), kernel, product (a pair of samples), count (relative to a search).
    """

    search: Calibration
    seconds: Mapping[str, float]

    def lists(self, name: str, n: int) -> float:
        """What is made of a layer's lists, for n samples."""
        return self.seconds[f"{name} 0"] + self.seconds[name] * n


def measure_pace(question: Question, threads: int) -> Pace:
    """Measure this machine as it is when so many threads compute."""
    at_once = max(1, min(threads, CPU_COUNT))
    search = calibrate(question.job.neighbors.k, question.job.neighbors.precision, threads)
    return Pace(search, _mean(_in_processes(question, at_once)))


def _mean(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: mean(one[name] for one in found) for name in found[0]}


def _in_processes(question: Question, at_once: int) -> list[dict[str, float]]:
    with _environment(WORKER_ENVIRONMENT), ProcessPoolExecutor(at_once, get_context("spawn")) as pool:
        return list(pool.map(_timed_start, [question] * at_once, [time.time()] * at_once))


@contextmanager
def _environment(values: Mapping[str, object]) -> Iterator[None]:
    """Variables that processes started meanwhile see, as workers do."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update({name: str(value) for name, value in values.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _timed_start(question: Question, asked: float) -> dict[str, float]:
    start = time.time() - asked
    return {"start": start, **measure(question)}


def measure(question: Question) -> dict[str, float]:
    """All pieces, in this process; see `Pace`."""
    with reproducible(1), tempfile.TemporaryDirectory(prefix="dnuc-pace-") as directory:
        return {
            **_images(question),
            **_disk(Path(directory)),
            **_lists(question, Path(directory) / "run"),
            **_products(question.job),
        }


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


# --- images -----------------------------------------------------------------------------------------------------------


def _images(question: Question) -> dict[str, float]:
    """An image read, looked at, preprocessed, and put through each network."""
    if not question.models:
        return {"image": 0.0, "inspect": 0.0}
    read = _reader(question)
    images = [read(0)]
    seconds = {"image": _seconds(lambda: images.extend(read(i) for i in range(IMAGES))) / IMAGES}
    images = images[1:]
    seconds["inspect"] = _seconds(lambda: [(image_entropy(i), image_hash(i)) for i in images]) / IMAGES
    for model in question.models:
        net = _network(model, question)
        layers = select_layers(net, model.layers)
        size = min(IMAGES, question.job.activations.batch_size)
        fitting = images
        if tuple(net.transform(images[0]).shape) != net.input_shape:  # a photograph is not what this one takes
            fitting = [np.zeros(question.image_shape, np.uint8)] * IMAGES
        seconds[f"prepare {model.name}"] = _seconds(partial(net.preprocess, fitting)) / IMAGES
        forward = partial(extract, net, layers, net.preprocess(fitting[:size]), batch_size=size)
        forward()  # warms up
        seconds[f"forward {model.name}"] = _seconds(forward) / size
    return seconds


def _network(model: Model, question: Question) -> Network:
    """With random weights: what values it computes does not change how long that takes."""
    untrained = model.model_copy(update={"train": None, "weights": "random"})
    return build_network(untrained, seed=0, n_classes=question.classes, image_shape=question.image_shape)


def _reader(question: Question) -> Callable[[int], np.ndarray]:
    """The i-th image, from where the job's are; a photograph of ImageNet's size where they are not here."""
    source, ids = open_source(question.job.data, question.job.seed), question.examples
    if ids:
        return lambda i: source.image(ids[i % len(ids)])
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((PHOTO[1], PHOTO[0])).save(buffer, "JPEG", quality=90)
    return lambda _: np.array(Image.open(io.BytesIO(buffer.getvalue())).convert("RGB"))


# --- the store, and what is made of lists -----------------------------------------------------------------------------


def _disk(directory: Path) -> dict[str, float]:
    """Values written and read back through the store's codecs; the system keeps them in memory, if it can."""
    store, group = RunStore.create(directory / "disk"), "models/m/a/activations"
    values = np.random.default_rng(0).standard_normal(WRITTEN, np.float32)
    store.describe(group, digest="")
    store.declare(group, "activation", WRITTEN, WRITTEN)
    rows = (slice(None), slice(None))
    both = _seconds(lambda: store.write(group, "activation", rows, values))
    both += _seconds(lambda: store.array(group, "activation")[rows])
    return {"byte": both / values.nbytes / 2}


def _lists(question: Question, path: Path) -> dict[str, float]:
    """The stages after the neighbors, of lists of two sizes: what a sample takes, and what a layer takes at least."""
    k = question.job.neighbors.k
    most = min(question.samples, max(4 * k, LISTED // k))
    sizes = sorted({max(min(question.samples, k + 2), most // 4), most})
    _run_of_lists(question, path / "first", sizes[0])  # compiles
    found = [_run_of_lists(question, path / str(n), n) for n in sizes]
    seconds: dict[str, float] = {}
    for name, last in found[-1].items():
        slope = (last - found[0][name]) / (sizes[-1] - sizes[0]) if len(sizes) > 1 else last / most
        slope = min(max(slope, 0.0), last / most)
        seconds |= {name: slope, f"{name} 0": last - slope * most}
    return seconds


def _run_of_lists(question: Question, path: Path, n: int) -> dict[str, float]:
    """Seconds of each stage for two layers of n samples of a low-dimensional mixture, in random order."""
    job, store = question.job, RunStore.create(path)
    settings = job.measures.model_dump() | job.dimension.model_dump(include={"method", "error"})
    settings |= {"overlap_k": list(job.overlap_k), "seed": job.seed}
    landscape = job.landscape.model_dump() | {"k": job.landscape_k, "integer_dimension": False}
    _store_lists(store, n, job.neighbors.k, question)
    for stage in ("measures", "landscape", "dimension"):
        store.begin(stage_group("m", "a", stage), "")
    work = DimensionWork("dimension", "m", "a", "", True)
    ranks = list(job.dimension.ranks) or powers_of_two(job.neighbors.k // 2)
    pairs = 2  # of a row: the layer with itself, and with the other
    return {
        "measures": _seconds(lambda: measure_layer(store, "m", 0, settings, "")),
        "landscape": _seconds(lambda: landscape_layer(store, "m", "a", landscape, "")),
        "gride": _seconds(lambda: gride_layer(store, work, ranks)),
        "overlap": _seconds(lambda: overlap_row(store, "m", 0, list(job.overlap_k), job.measures.weights)) / pairs,
    }


def _store_lists(store: RunStore, n: int, k: int, question: Question) -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, question.classes, n)
    centers = 4 * rng.normal(size=(question.classes, DIRECTIONS))
    entropy = np.full(n, 1.0 if question.models else np.nan)
    names = [str(c) for c in range(question.classes)]
    store.save("samples", {"label": label, "macro": np.full(n, -1), "entropy": entropy})
    store.describe("samples", label_names=names, macro_names=[])
    store.describe("models/m", layers=[{"name": "a"}, {"name": "b"}])
    for layer in ("a", "b"):
        points = centers[label] + rng.normal(size=(n, DIRECTIONS))
        distance, index = cKDTree(points).query(points, k + 1)
        group = stage_group("m", layer, "neighbors")
        store.begin(group, "")
        store.save(group, {"neighbor_index": index[:, 1:], "neighbor_distance": distance[:, 1:]})
        store.finish(group)


# --- products ---------------------------------------------------------------------------------------------------------


def _products(job: Job) -> dict[str, float]:
    """Principal components, kernels, and counting within radii, each only where the job asks for it."""
    seconds = {}
    if job.dimension.pca or "cca" in job.similarity.kinds:
        n, d = SPECTRUM
        x = np.random.default_rng(0).standard_normal((n, d), np.float32)
        seconds["spectrum"] = _seconds(lambda: pca_spectrum(x)) / spectrum_operations(n, d)
    if "cka" in job.similarity.kinds:
        seconds |= _kernels()
    if "imbalance" in job.similarity.kinds:
        seconds["count"] = _counting(job)
    return seconds


def spectrum_operations(n: int, d: int) -> float:
    """Multiplications and additions of the products of the shorter side, and of its eigenvalues."""
    side = float(min(n, d))
    return side * n * d + 4 / 3 * side**3


def _kernels() -> dict[str, float]:
    """Tiles of inner products, Gaussians of them, and the products of these."""
    x = np.random.default_rng(0).standard_normal((2 * TILE, GRAM), np.float32)
    centered = Centered.of(x)
    rows, columns = slice(0, TILE), slice(TILE, 2 * TILE)
    gram_tile(centered, rows, columns)
    gram = gram_tile(centered, rows, columns)
    layers, pairs = 4, TILE**2
    tile = np.ones((layers, TILE, TILE))
    return {
        "gram": _seconds(lambda: gram_tile(centered, rows, columns)) / pairs / GRAM,
        "kernel": _seconds(lambda: Gaussian(100.0, 0.5, 0.5)(gram)) / pairs,
        "product": _seconds(lambda: TileSums.of(tile, False)) / pairs / layers**2,
    }


def _counting(job: Job) -> float:
    """How much longer it takes to count within the radii of all layers than to search."""
    x = np.maximum(np.random.default_rng(0).standard_normal(COUNTED, np.float32), 0)
    k = min(job.neighbors.k, COUNTED[0] // 4)
    nearest_neighbors(x[:512], 4)
    near = nearest_neighbors(x, k)
    columns = min(k, 8) * job.similarity.imbalance_k
    radius = np.resize(near.distance, (COUNTED[0], columns))
    count_within(x[:512], radius[:512])
    return _seconds(lambda: count_within(x, radius)) / max(1e-9, _seconds(lambda: nearest_neighbors(x, k)))
