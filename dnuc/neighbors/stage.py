"""Neighbors of every stored layer: their tiles share one window, their lists are merged into the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dnuc.cluster import Capacity, Cluster
from dnuc.errors import ResourceError
from dnuc.job import NeighborSearch
from dnuc.neighbors.blocks import Blocks, bytes_of_tile, choose_rows
from dnuc.neighbors.graph import accelerator_memory, run_searches
from dnuc.neighbors.ledger import StoredLedger
from dnuc.neighbors.search import Search, check_search
from dnuc.neighbors.work import Work, search_work, tile_work
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
    own = accelerator_memory(cluster.capacity.device, cluster.client)
    plans = [(w, _blocks(store, w, settings, cluster, own)) for w in waiting]
    total = sum(blocks.tiles for _, blocks in plans)
    flop = sum(search_work(blocks, _activations(store, w).shape[1]).flop for w, blocks in plans)
    with cluster.progress.stage("neighbors", total, "tiles", flop_total=flop) as stage:
        last = time.monotonic()
        searches = _searches(store, plans, settings, cluster.capacity, stage.resume)
        for search, i, j in run_searches(searches, cluster.client):
            now = time.monotonic()
            search.count(now - last)
            last = now
            work = search.work(i, j)
            stage.advance(note=f"{search.label} in {search.tier}", flop=work.flop)


class _StoredSearch(Search):
    """The search of one stored layer, marked complete with its last tile."""

    def __init__(
        self, store: RunStore, wanted: LayerSearch, blocks: Blocks, settings: NeighborSearch, capacity: Capacity
    ) -> None:
        self._store, self._group = store, _group(wanted)
        source = _activations(store, wanted)
        self.itemsize, self.features, self._asked = source.dtype.itemsize, source.shape[1], settings.precision
        store.begin(self._group, wanted.digest)
        ledger = StoredLedger(store, self._group, blocks, settings.k)
        label = f"{wanted.model}/{wanted.layer}"
        super().__init__(
            [source],
            settings.k,
            blocks,
            ledger,
            precision=settings.precision,
            device=capacity.device,
            threads=capacity.cores,
            spare=max(0, capacity.memory - task_bytes(blocks, self.features, self.itemsize, settings, capacity)),
            label=label,
        )
        self._unmerged, self._seconds = len(self.left), 0.0

    def work(self, i: int, j: int) -> Work:
        """What a tile costs."""
        return tile_work(self.blocks, i, j, self.features)

    def count(self, seconds: float) -> None:
        """Another tile is merged, `seconds` after the one before."""
        self._unmerged -= 1
        self._seconds += seconds
        if self._unmerged == 0:
            self.finish()

    def finish(self) -> None:
        """Write the completion marker."""
        self._store.discard(self._group, "last_merge")
        self._store.finish(
            self._group,
            k=self.k,
            redone=self.redone,
            seconds=round(self._seconds, 3),
            flop=search_work(self.blocks, self.features).flop,
            precision=self._asked,
            tier=self.tier,
        )


def _searches(
    store: RunStore,
    plans: list[tuple[LayerSearch, Blocks]],
    settings: NeighborSearch,
    capacity: Capacity,
    resume: Callable[[int, float], None],
) -> Iterator[_StoredSearch]:
    """Each layer's search, made when its turn comes; a layer whose tiles are all merged is finished at once."""
    for wanted, blocks in plans:
        search = _StoredSearch(store, wanted, blocks, settings, capacity)
        left = sum(search.work(i, j).flop for i, j in search.left)
        resume(blocks.tiles - len(search.left), search_work(blocks, search.features).flop - left)
        if search.left:
            yield search
        else:
            search.finish()


def _activations(store: RunStore, wanted: LayerSearch) -> StoredArray:
    return store.array(stage_group(wanted.model, wanted.layer, "activations"), "activation")


def _group(wanted: LayerSearch) -> str:
    return stage_group(wanted.model, wanted.layer, "neighbors")


def _blocks(
    store: RunStore, wanted: LayerSearch, settings: NeighborSearch, cluster: Cluster, device_memory: int | None
) -> Blocks:
    """The blocks of an interrupted search if they may still be used, so that it goes on; else those of a new one."""
    source = _activations(store, wanted)
    check_search(source.shape, settings.k, f"{wanted.model}/{wanted.layer}")
    n, features = source.shape
    group, itemsize = _group(wanted), source.dtype.itemsize
    stored = store.has(group, "neighbor_index") and store.attributes(group).get("digest") == wanted.digest
    rows = store.array(group, "neighbor_index").chunks[0] if stored else 0
    capacity = cluster.capacity
    fits = stored and task_bytes(Blocks(n, rows), features, itemsize, settings, capacity) <= capacity.memory
    if stored and settings.block is None and fits:
        return Blocks(n, rows)
    blocks = blocks_of(n, features, settings, capacity, _multiple(source), itemsize, device_memory)
    if stored and blocks.rows != rows:
        store.drop(group)
    return blocks


def blocks_of(
    n: int,
    features: int,
    settings: NeighborSearch,
    capacity: Capacity,
    multiple: int,
    itemsize: int,
    device_memory: int | None = None,
) -> Blocks:
    """The blocks of a search that begins: as the job says, or as many rows as memory allows (of the device, if any).

    Raises
    ------
    ResourceError
        If a tile needs more memory than a task may use.
    """
    memory = capacity.memory
    if settings.block is None:
        tasks, threads = capacity.tasks, capacity.cores
        rows = choose_rows(
            n, features, memory, multiple, itemsize, settings.k, tasks, device_memory, settings.precision, threads
        )
        return Blocks(n, rows)
    rows = min(n, -(-settings.block // multiple) * multiple)
    needed = task_bytes(Blocks(n, rows), features, itemsize, settings, capacity)
    if needed > memory:
        raise ResourceError(
            f"neighbors.block = {settings.block}: a tile of {rows} x {rows} samples with {features} features needs "
            f"{needed / 2**20:.0f} MiB, a task may use {memory / 2**20:.0f} MiB: lower neighbors.block (a multiple of "
            f"{multiple}, the rows stored together), or leave it out"
        )
    return Blocks(n, rows)


def task_bytes(blocks: Blocks, features: int, itemsize: int, settings: NeighborSearch, capacity: Capacity) -> int:
    """Largest memory of a tile of a layer in bytes."""
    return bytes_of_tile(blocks, features, itemsize, settings.k, settings.precision, capacity.cores)


def _multiple(source: StoredArray) -> int:
    """Rows that are stored together: a block reads whole chunks."""
    return min(source.chunks[0], source.shape[0])
