"""Three layers at the size of ImageNet: 1,281,167 samples of 1000 classes, with exact neighbors from a k-d tree.

A concept of WordNet lies a random step from the concept above it, the deeper the shorter the step; a class lies where
its concept does, and its samples around it. So what is to be found is known: which classes are alike. From layer to
layer the classes draw together, until each is a set of small clusters of its own. Four dimensions are few enough for a
tree to find neighbors fast; from the neighbors on it makes no difference how many features samples have.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from dnuc import Taxonomy
from dnuc.data.text import read_ids
from dnuc.data.wordnet import wordnet_taxonomy
from dnuc.neighbors.blocks import Blocks
from dnuc.neighbors.ledger import StoredLedger
from dnuc.neighbors.stage import LayerSearch
from dnuc.store import RunStore, stage_group
from tests.benchmarks.machine import ROOT

IMAGENET, CLASSES = 1_281_167, 1000
FULL_CLASSES, FULL = 895, 1300  # of ImageNet's classes so many have so many images, the others fewer
DIMENSION = 4
STEP, SHRINK = 3.0, 0.75  # of a concept from the one above it, at the top; and from depth to depth
ROWS = 16_384  # of a block of neighbors


@dataclass(frozen=True)
class Layer:
    """How far the samples of a class lie from its center, in how many clusters, and how wide these are."""

    name: str
    spread: float
    clusters: int
    width: float


LAYERS = (
    Layer("early", 1.0, 1, 1.0),
    Layer("middle", 0.0, 1, 0.12),
    Layer("late", 0.1, 10, 0.02),
)


def wnids() -> list[str]:
    """ImageNet's 1000 classes."""
    return read_ids(ROOT / "jobs" / "imagenet_wnids.txt")


def labels(n: int) -> np.ndarray:
    """(n,) the class of each sample, one class after the other, of ImageNet's relative sizes."""
    rest = (IMAGENET - FULL_CLASSES * FULL) / (CLASSES - FULL_CLASSES)
    size = np.where(np.arange(CLASSES) < FULL_CLASSES, FULL, rest)
    ends = np.round(np.cumsum(size) / size.sum() * n).astype(np.int64)
    return np.repeat(np.arange(CLASSES), np.diff(ends, prepend=0))


def centers(taxonomy: Taxonomy, seed: int = 0) -> np.ndarray:
    """(classes, DIMENSION) where the classes lie."""
    random, place = np.random.default_rng(seed), np.zeros((len(taxonomy.parent), DIMENSION))
    for node in range(1, len(place)):
        step = STEP * SHRINK ** (taxonomy.depth[node] - 1)
        place[node] = place[taxonomy.parent[node]] + step * random.standard_normal(DIMENSION)
    return place[taxonomy.leaf]


def samples(layer: Layer, label: np.ndarray, taxonomy: Taxonomy, seed: int = 1) -> np.ndarray:
    """(n, DIMENSION) float32 of one layer."""
    random = np.random.default_rng([seed, LAYERS.index(layer)])
    cluster = label * layer.clusters + random.integers(0, layer.clusters, len(label))
    offset = layer.spread * random.standard_normal((int(label.max() + 1) * layer.clusters, DIMENSION))
    x = centers(taxonomy)[label] + offset[cluster] * (layer.clusters > 1)
    return (x + layer.width * random.standard_normal(x.shape)).astype(np.float32)


def write_arrays(directory: Path, n: int) -> None:
    """What a job with source = "arrays" reads: labels.npy (ids of WordNet), ids.txt, and <layer>.npy."""
    label, classes = labels(n), wnids()
    taxonomy = wordnet_taxonomy(classes)
    directory.mkdir(parents=True, exist_ok=True)
    np.save(directory / "labels.npy", np.array(classes)[label])
    first = np.searchsorted(label, label)
    names = (f"{classes[c]}_{i}\n" for c, i in zip(label.tolist(), (np.arange(n) - first).tolist(), strict=True))
    (directory / "ids.txt").write_text("".join(names), encoding="utf-8")
    for layer in LAYERS:
        np.save(directory / f"{layer.name}.npy", samples(layer, label, taxonomy))


def lists(x: np.ndarray, k: int, rows: int = ROWS) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """(rows, index, distance) of the k nearest of each sample, by (distance, index), a block of rows at a time."""
    tree = cKDTree(x.astype(np.float64))
    for first in range(0, len(x), rows):
        block = slice(first, min(len(x), first + rows))
        distance, index = tree.query(tree.data[block], k + 1, workers=-1)
        own = np.arange(block.start, block.stop)[:, None]
        if not ((index[:, :1] == own).all() and (distance[:, 1] > 0).all()):
            raise AssertionError("two samples are equal: choose another seed")
        order = np.lexsort((index, distance), axis=1)[:, 1:]
        yield block, np.take_along_axis(index, order, axis=1), np.take_along_axis(distance, order, axis=1)


def store_lists(store: RunStore, search: LayerSearch, x: np.ndarray, k: int) -> None:
    """Store the neighbors of a layer as a search leaves them when it has finished."""
    group, blocks = stage_group(search.model, search.layer, "neighbors"), Blocks(len(x), ROWS)
    store.begin(group, search.digest)
    ledger = StoredLedger(store, group, blocks, k)
    for rows, index, distance in lists(x, k):
        ledger.write(rows, index, distance)
    store.write(group, "tile_redone", slice(0, blocks.tiles), np.zeros(blocks.tiles, np.int64))
    store.discard(group, "last_merge")
    store.finish(group, k=k, redone=0, seconds=0.0, flop=0.0, precision="k-d tree", tier="k-d tree")
