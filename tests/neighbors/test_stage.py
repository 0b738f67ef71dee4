"""Neighbors of stored layers: what is computed again and what is not, and in which blocks."""

import numpy as np
import pytest

from dnuc.errors import DnucError, ResourceError
from dnuc.job import NeighborSearch
from dnuc.neighbors import stage
from dnuc.neighbors.blocks import tile_bytes
from dnuc.neighbors.lists import stored_neighbors
from dnuc.neighbors.search import nearest_neighbors
from dnuc.neighbors.stage import LayerSearch, run_neighbors
from dnuc.store import RunStore, stage_group
from tests import synthetic
from tests.conftest import quiet_cluster

N, BLOCK, K = 100, 16, 6
LAYERS = {"early": synthetic.clustered(N, 30).astype(np.float32), "late": synthetic.heavy_tailed(N, 8)}
SMALL = tile_bytes(32, 30, k=K)  # memory for blocks of 32 samples, but not of 48, and not for all in one
WANTED = [LayerSearch("net", layer, "d") for layer in LAYERS]


@pytest.fixture
def store(tmp_path):
    store = RunStore.create(tmp_path / "run")
    for layer, values in LAYERS.items():
        group = stage_group("net", layer, "activations")
        store.declare(group, "activation", values.shape, (BLOCK, 8192))
        store.write(group, "activation", slice(None), values)
    return store


def run(store, wanted=WANTED, memory=2**30, client=None, **settings):
    run_neighbors(store, wanted, NeighborSearch(**{"k": K, **settings}), quiet_cluster(store.path, client, memory))


def rows(store, layer="early"):
    return store.array(stage_group("net", layer, "neighbors"), "neighbor_index").chunks[0]


def assert_right(store, k=K):
    for layer, values in LAYERS.items():
        expected = nearest_neighbors(values, k)
        found = stored_neighbors(store, "net", layer)
        np.testing.assert_array_equal(found.index, expected.index)
        np.testing.assert_array_equal(found.distance, expected.distance)
        assert store.is_complete(stage_group("net", layer, "neighbors"), "d")


@pytest.mark.parametrize("settings", [{}, {"block": 16}, {"block": 40, "precision": "float64"}])
def test_every_layer_is_searched_and_marked(store, settings):
    run(store, **settings)
    assert_right(store)
    attributes = store.attributes(stage_group("net", "early", "neighbors"))
    assert attributes["k"] == K
    assert attributes["redone"] == 0
    assert attributes["seconds"] >= 0


@pytest.mark.cluster
def test_on_workers(store, client):
    run(store, client=client, block=32)
    assert_right(store)


def test_what_is_complete_is_left_alone(store, monkeypatch):
    run(store)
    monkeypatch.setattr(stage, "run_searches", lambda *_: pytest.fail("nothing is left to search"))
    run(store)


def test_only_the_layer_that_changed_is_searched(store, monkeypatch):
    run(store, block=64)
    seen = []
    searching = stage.run_searches

    def watched(searches, client):
        for search, i, j in searching(searches, client):
            seen.append((search.label, i, j))
            yield search, i, j

    monkeypatch.setattr(stage, "run_searches", watched)
    run(store, [WANTED[0], LayerSearch("net", "late", "another digest")], block=64)
    assert seen == [("net/late", 0, 0), ("net/late", 1, 1), ("net/late", 0, 1)]


def stop_after(monkeypatch, tiles):
    """The process ends when so many tiles are merged."""
    searching = stage.run_searches

    def stopped(searches, client):
        for count, found in enumerate(searching(searches, client)):
            if count == tiles:
                raise KeyboardInterrupt
            yield found

    monkeypatch.setattr(stage, "run_searches", stopped)
    return lambda: monkeypatch.setattr(stage, "run_searches", searching)


def left(store, layer):
    tiles = store.read(stage_group("net", layer, "neighbors"), "tile_redone")
    return int(np.count_nonzero(tiles < 0))


@pytest.mark.parametrize("block", [None, 32, 30], ids=["chosen", "whole chunks", "rounded up"])
def test_a_stopped_search_goes_on_in_its_blocks(store, monkeypatch, block):
    again = stop_after(monkeypatch, 4)
    with pytest.raises(KeyboardInterrupt):
        run(store, block=block, memory=SMALL)
    before, unmerged = rows(store), left(store, "early")
    assert before == 32
    assert 0 < unmerged < 10
    again()
    kept = store.path / stage_group("net", "early", "neighbors") / "neighbor_index/zarr.json"
    time = kept.stat().st_mtime_ns
    run(store, block=block, memory=10 * SMALL)  # more memory now: no reason to begin anew
    assert rows(store) == before
    assert kept.stat().st_mtime_ns == time
    assert_right(store)


OTHER_BLOCKS = {"another block": {"block": 16}, "less memory": {"memory": tile_bytes(20, 30, k=K)}}


@pytest.mark.parametrize("change", OTHER_BLOCKS.values(), ids=OTHER_BLOCKS)
def test_a_stopped_search_begins_anew_where_its_blocks_no_longer_do(store, monkeypatch, change):
    again = stop_after(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        run(store, memory=SMALL)
    assert rows(store) == 32
    again()
    run(store, **change)
    assert rows(store) == 16
    assert_right(store)


def test_a_search_that_was_stopped_before_its_marker_is_finished_at_once(store):
    run(store)
    group = stage_group("net", "early", "neighbors")
    store.describe(group, complete=False)
    run(store)
    assert_right(store)


def test_refusals_come_before_any_work(store):
    with pytest.raises(DnucError, match=r"k = 100 neighbors asked for among N = 100 samples of net/early: k must be"):
        run(store, k=100)
    with pytest.raises(ResourceError, match=r"a tile of 16 x 16 samples with 30 features needs .* or store fewer"):
        run(store, memory=1000)
    with pytest.raises(ResourceError, match=r"neighbors\.block = 90: a tile of 96 x 96 samples"):
        run(store, memory=SMALL, block=90)
    assert not store.exists(stage_group("net", "early", "neighbors"))
