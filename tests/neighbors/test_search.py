"""The graph of a search: what is computed when, what survives an interruption, where the data may come from."""

from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import zarr

from dnuc.errors import DataError
from dnuc.neighbors import search as module
from dnuc.neighbors.blocks import Blocks
from dnuc.neighbors.ledger import MemoryLedger, StoredLedger
from dnuc.neighbors.lists import Neighbors, stored_neighbors
from dnuc.neighbors.rows import Rows
from dnuc.neighbors.search import Search, nearest_neighbors, run_searches
from dnuc.neighbors.tile import tile
from dnuc.store import DamagedError, RunStore, stage_group
from tests import synthetic

N, K, ROWS = 90, 5, 20
GROUP = stage_group("net", "fc", "neighbors")


@pytest.fixture(scope="module")
def x():
    return synthetic.clustered(N, 12).astype(np.float32)


@pytest.fixture(scope="module")
def expected(x):
    return nearest_neighbors(x, K)


def same(found, expected):
    np.testing.assert_array_equal(found.index, expected.index)
    np.testing.assert_array_equal(found.distance, expected.distance)


def stored_search(store, x):
    """A search whose state lies in the store."""
    blocks = Blocks(N, ROWS)
    return Search([x], K, blocks, StoredLedger(store, GROUP, blocks, K))


@pytest.fixture
def store(tmp_path):
    store = RunStore.create(tmp_path)
    store.begin(GROUP, "d")
    return store


# --- interruption -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [0, 1, 7, 14, 15])
def test_a_stopped_search_goes_on_with_the_tiles_that_are_left(store, x, expected, stop):
    done = []
    for _, i, j in run_searches([stored_search(store, x)]):
        done.append((i, j))
        if len(done) >= stop:
            break
    again = stored_search(store, x)
    assert again.left == [pair for pair in again.blocks.pairs() if pair not in done]
    assert len(again.left) == 15 - max(1, stop)
    for _ in run_searches([again]):
        pass
    assert stored_search(store, x).left == []
    store.finish(GROUP)
    same(stored_neighbors(store, "net", "fc"), expected)


def test_a_tile_that_was_merged_but_not_marked_is_merged_again(store, x, expected):
    """The process may be killed between the two."""
    search = stored_search(store, x)
    for task in search.tasks():
        _, i, j = task.context
        search.absorb(i, j, task.function(*task.args))
        search.ledger.mark(search.blocks.position(i, j), -1)  # as if the mark had not been written
    again = stored_search(store, x)
    assert len(again.left) == 15
    for _ in run_searches([again]):
        pass
    store.finish(GROUP)
    same(stored_neighbors(store, "net", "fc"), expected)


def test_radii_of_an_interrupted_search_are_used_again(store, x, expected):
    for _ in run_searches([stored_search(store, x)]):
        pass
    again = stored_search(store, x)
    np.testing.assert_array_equal(again._known[:, -1], expected.distance[:, -1])


@pytest.mark.parametrize("order", [1, -1])
def test_tiles_may_come_back_in_any_order(x, expected, order):
    blocks = Blocks(N, ROWS)
    ledger = MemoryLedger(blocks, K)
    search = Search([x], K, blocks, ledger)
    results = [(task.context, task.function(*task.args)) for task in search.tasks()]  # with no radius known
    for (_, i, j), result in results[::order]:
        search.absorb(i, j, result)
    same(Neighbors(ledger.index, ledger.distance), expected)


def test_later_tiles_know_what_earlier_ones_found(x):
    """Every tile is made when it is asked for, with the radii of that moment: it returns only what may still help."""
    blocks = Blocks(N, ROWS)
    search = Search([x], K, blocks, MemoryLedger(blocks, K))
    found = 0
    for task in search.tasks():
        result = task.function(*task.args)
        found += len(result.left.row) + len(result.right.row)
        search.absorb(*task.context[1:], result)
    blind = Search([x], K, blocks, MemoryLedger(blocks, K))
    without = [task.function(*task.args) for task in blind.tasks()]
    assert found < 0.7 * sum(len(r.left.row) + len(r.right.row) for r in without)


def test_several_searches_share_one_stream(x, expected):
    """Tiles of a layer follow those of the layer before without a pause."""
    searches = []
    for scale in (1.0, 2.0):
        blocks = Blocks(N, 40)
        searches.append(Search([x * scale], K, blocks, MemoryLedger(blocks, K), label=f"times {scale}"))
    seen = [search.label for search, _, _ in run_searches(iter(searches))]
    assert seen == ["times 1.0"] * 6 + ["times 2.0"] * 6
    for scale, search in zip((1.0, 2.0), searches, strict=True):
        np.testing.assert_array_equal(search.ledger.index, expected.index)
        np.testing.assert_array_equal(search.ledger.distance, scale * expected.distance)


def test_redone_rows_are_counted_over_all_tiles(x):
    blocks = Blocks(N, ROWS)
    ledger = MemoryLedger(blocks, K)
    search = Search([x * np.float32(1e25)], K, blocks, ledger)
    for _ in run_searches([search]):
        pass
    tiles = [blocks.span(i).stop - blocks.span(i).start for i in range(blocks.count)]
    expected = {(i, j): tiles[i] + (tiles[j] if i != j else 0) for i, j in blocks.pairs()}
    assert {pair: ledger.tiles[blocks.position(*pair)] for pair in expected} == expected
    assert search.redone == sum(expected.values())


# --- where the data are -----------------------------------------------------------------------------------------


def sources(x, directory):
    """The same samples in everything that may be given."""
    stored = zarr.create_array(str(directory / "x.zarr"), shape=x.shape, dtype="f4", chunks=(32, 5))
    stored[:] = x
    np.save(directory / "x.npy", x)
    return {
        "numpy": x,
        "fortran order": np.asfortranarray(x),
        "every other row": np.repeat(x, 2, axis=0)[::2],
        "list": x.tolist(),
        "memory map": np.load(directory / "x.npy", mmap_mode="r"),
        "zarr": stored,
        "dask": da.from_array(x, chunks=(35, 7)),
    }


def test_any_kind_of_array(x, expected, tmp_path):
    for kind in sources(x, tmp_path).values():
        same(nearest_neighbors(kind, K), expected)


@pytest.mark.parametrize("limit", ["25 kB", 40_000, "60kB", "2GiB", None])
def test_any_memory_limit(x, expected, limit):
    same(nearest_neighbors(x, K, memory_limit=limit), expected)


@pytest.mark.cluster
def test_workers_change_nothing(x, expected, client, tmp_path, monkeypatch):
    """Two processes, several blocks: data that are sent, that workers read, and that workers compute."""
    monkeypatch.setattr(module, "choose_rows", lambda n, *_, **__: ROWS)
    for kind in sources(x, tmp_path).values():
        for precision in ("auto", "float64"):
            same(nearest_neighbors(kind, K, client=client, precision=precision), expected)
    stored = stored_source(tmp_path / "run", x)
    same(nearest_neighbors(stored, K, client=client), expected)


@pytest.mark.cluster
def test_one_block_on_workers(x, expected, client):
    same(nearest_neighbors(x, K, client=client), expected)
    same(nearest_neighbors(da.from_array(x, chunks=20), K, client=client), expected)


@pytest.mark.cluster
def test_refusals_reach_the_user_from_a_worker(x, client, monkeypatch):
    monkeypatch.setattr(module, "choose_rows", lambda n, *_, **__: ROWS)
    bad = x.copy()
    bad[41, 3] = np.nan
    with pytest.raises(DataError, match=r"NaN or infinite values in 1 samples \(positions 41; features 0 \.\. 11\)"):
        nearest_neighbors(bad, K, client=client)


def stored_source(path, x):
    store = RunStore.create(path)
    group = stage_group("net", "fc", "activations")
    store.declare(group, "activation", x.shape, (30, 8))
    store.write(group, "activation", slice(None), x)
    return store.array(group, "activation")


def test_a_lost_file_of_the_store_is_damage_not_bad_data(x, tmp_path):
    stored = stored_source(tmp_path, x)
    next(Path(tmp_path, stored.group, "activation/c/1").iterdir()).unlink()
    with pytest.raises(DamagedError, match=r"at or after element \(30, 0\): values are missing: a file is lost"):
        nearest_neighbors(stored, K)


def test_pairs_at_just_the_radius_are_found():
    """A tie with the k-th neighbor so far may have the smaller index, whichever block it is in."""
    x = synthetic.lattice(60, 3)
    distance = np.sqrt(((x[:30, None] - x[None, 30:]) ** 2).sum(axis=2))
    radius_left, radius_right = np.full(30, 1.0), np.full(30, np.sqrt(2))
    result = tile(Rows(x, 0, 30), Rows(x, 30, 60), radius_left, radius_right, 30)
    assert np.bincount(result.left.row, minlength=30).tolist() == (distance <= 1).sum(axis=1).tolist()
    assert np.bincount(result.right.row, minlength=30).tolist() == (distance <= np.sqrt(2)).sum(axis=0).tolist()


def test_a_tile_finds_for_both_its_blocks(x):
    """Rows of i look among those of j and the other way round, and nobody is told about itself."""
    radius = np.full(45, np.inf)
    result = tile(Rows(x, 0, 45), Rows(x, 45, 90), radius, radius, K)
    assert set(result.left.index) <= set(range(45, 90))
    assert set(result.right.index) <= set(range(45))
    assert np.bincount(result.left.row).tolist() == np.bincount(result.right.row).tolist() == [K] * 45
    diagonal = tile(Rows(x, 45, 90), Rows(x, 45, 90), radius, radius, K)
    assert not np.any(diagonal.left.row + 45 == diagonal.left.index)
    assert len(diagonal.right.row) == 0
