"""Neighbors of every stored layer: their tiles share one window, their lists are merged into the store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from dnuc.cluster import Cluster
from dnuc.errors import ResourceError
from dnuc.job import NeighborSearch
from dnuc.neighbors.blocks import Blocks, choose_rows, tile_bytes
from dnuc.neighbors.ledger import StoredLedger
from dnuc.neighbors.search import Search, check_search, run_searches
from dnuc.store import RunStore, StoredArray, stage_group


@dataclass(frozen=True)
class LayerSearch:
    """One layer whose neighbors are wanted, and the digest of what they depend on."""

    model: str
    layer: str
    digest: str


def run_neighbors(store: RunStore, wanted: list[LayerSearch], settings: NeighborSearch, cluster: Cluster) -> None:
    """Find and store the neighbors of all layers that are not complete."""
    waiting = [w for w in wanted if not store.is_complete(_group(w), w.digest)]
    if not waiting:
        return
    plans = {_group(w): _blocks(store, w, settings, cluster.memory) for w in waiting}
    total = sum(blocks.tiles for blocks in plans.values())
    with cluster.progress.stage("neighbors", total, "tiles") as stage:
        seconds: dict[Search, float] = {}
        last = time.monotonic()
        opened: dict[Search, tuple[str, int]] = {}
        searches = _open(store, waiting, settings, plans, opened, stage.resume)
        for search, _, _ in run_searches(searches, cluster.client):
            now = time.monotonic()
            seconds[search] = seconds.get(search, 0.0) + now - last
            last = now
            group, left = opened[search]
            opened[search] = (group, left - 1)
            stage.advance(note=search.label)
            if left == 1:
                store.finish(group, k=settings.k, redone=search.redone, seconds=round(seconds[search], 3))


def _open(store, waiting, settings, plans, opened, resume) -> Iterator[Search]:
    """Each layer's search, made when its turn comes; a layer whose tiles are all merged is finished at once."""
    for w in waiting:
        group, blocks = _group(w), plans[_group(w)]
        source = store.array(stage_group(w.model, w.layer, "activations"), "activation")
        store.begin(group, w.digest)
        ledger = StoredLedger(store, group, blocks, settings.k)
        search = Search(
            [source], settings.k, blocks, ledger, precision=settings.precision, label=f"{w.model}/{w.layer}"
        )
        resume(blocks.tiles - len(search.left))
        if not search.left:
            store.finish(group, k=settings.k, redone=search.redone, seconds=0.0)
            continue
        opened[search] = (group, len(search.left))
        yield search


def _group(wanted: LayerSearch) -> str:
    return stage_group(wanted.model, wanted.layer, "neighbors")


def _blocks(store: RunStore, wanted: LayerSearch, settings: NeighborSearch, memory: int) -> Blocks:
    """The blocks of an interrupted search if its tiles still fit; else the largest that do."""
    source = store.array(stage_group(wanted.model, wanted.layer, "activations"), "activation")
    check_search(source.shape, settings.k, f"{wanted.model}/{wanted.layer}")
    n, features = source.shape
    group, multiple = _group(wanted), _multiple(source)
    if store.has(group, "neighbor_index") and store.attributes(group).get("digest") == wanted.digest:
        rows = store.array(group, "neighbor_index").chunks[0]
        if tile_bytes(rows, features, source.dtype.itemsize) <= memory and settings.block in (None, rows):
            return Blocks(n, rows)
        store.drop(group)
    return blocks_of(n, features, settings, memory, multiple, source.dtype.itemsize)


def blocks_of(n: int, features: int, settings: NeighborSearch, memory: int, multiple: int, itemsize: int) -> Blocks:
    """The blocks of a search that begins: as the job says, or as many rows as memory allows.

    Raises
    ------
    ResourceError
        If a tile needs more than `memory` bytes.
    """
    if settings.block is None:
        return Blocks(n, choose_rows(n, features, memory, multiple, itemsize))
    rows = min(n, -(-settings.block // multiple) * multiple)
    needed = tile_bytes(rows, features, itemsize)
    if needed > memory:
        raise ResourceError(
            f"neighbors.block = {settings.block}: a tile of {rows} x {rows} samples with {features} features needs "
            f"{needed / 2**20:.0f} MiB, a task may use {memory / 2**20:.0f} MiB: lower neighbors.block (a multiple of "
            f"{multiple}, the rows stored together), or leave it out"
        )
    return Blocks(n, rows)


def _multiple(source: StoredArray) -> int:
    """Rows that are stored together: a block reads whole chunks."""
    return min(source.chunks[0], source.shape[0])
