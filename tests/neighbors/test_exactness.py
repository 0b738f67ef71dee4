"""Exact means: equal to plain float64 loops, on data that is built to break fast arithmetic."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import dnuc
from dnuc.errors import DataError, DnucError, ResourceError
from dnuc.neighbors import blocks, filtering, graph, nearest, pairs, products, search, tiers
from dnuc.neighbors.refine import STRIP
from dnuc.neighbors.search import nearest_neighbors
from dnuc.neighbors.tiers import LADDER
from dnuc.store import RunStore, stage_group
from tests import reference, synthetic
from tests.conftest import small_blocks
from tests.neighbors.hard import ADVERSARIAL, trained_classes

PRECISIONS = ["auto", *(tier.name for tier in LADDER)]


def assert_exact(found, x, k):
    index, distance = reference.nearest_neighbors(x, k)
    np.testing.assert_array_equal(found.index, index)
    np.testing.assert_allclose(found.distance, distance, rtol=1e-12, atol=0)


def assert_same_bits(found, expected):
    np.testing.assert_array_equal(found.index, expected.index)
    np.testing.assert_array_equal(found.distance.view(np.int64), expected.distance.view(np.int64))


@cache
def by_loops(name):
    """The data and all their neighbors."""
    x = ADVERSARIAL[name]()
    return x, *reference.nearest_neighbors(x, len(x) - 1)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("rows", [1000, 41])
@pytest.mark.parametrize("name", ADVERSARIAL)
def test_equal_to_float64_loops(name, rows, precision, monkeypatch):
    small_blocks(monkeypatch, rows)
    monkeypatch.setattr(search, "CPU_COUNT", 1)  # threads have a test of their own
    x, index, distance = by_loops(name)
    for k in sorted({1, min(7, len(x) - 1), len(x) - 1}):
        found = nearest_neighbors(x, k, precision=precision)
        np.testing.assert_array_equal(found.index, index[:, :k])
        np.testing.assert_allclose(found.distance, distance[:, :k], rtol=1e-12, atol=0)


@pytest.mark.parametrize("rows", [7, 16])
@pytest.mark.parametrize("name", ["clusters", "near-duplicates at 1e-7", "lattice full of ties", "float16"])
def test_equal_to_float64_loops_in_small_blocks(name, rows, monkeypatch):
    small_blocks(monkeypatch, rows)
    x, index, distance = by_loops(name)
    found = nearest_neighbors(x, 7)
    np.testing.assert_array_equal(found.index, index[:, :7])
    np.testing.assert_allclose(found.distance, distance[:, :7], rtol=1e-12, atol=0)


# --- rows that a tier cannot decide -------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["int8", "bfloat16", "float32"])
def test_classes_too_tight_for_a_tier_are_redone(precision):
    """More samples lie within the bound than a list holds: finer tiers take over, and it is told how often."""
    x = trained_classes()
    found = nearest_neighbors(x, 5, precision=precision)
    assert found.redone == len(x)
    assert_same_bits(found, nearest_neighbors(x, 5, precision="float64"))
    assert_exact(found, x, 5)


def test_one_tight_class_is_redone_alone():
    """Rows that a tier can decide are not redone because of others that it cannot."""
    x = synthetic.normal(400, 40).astype(np.float32)
    x[::4] = 5 + 1e-3 * x[::4]
    found = nearest_neighbors(x, 5, precision="int8")
    assert found.redone == 100
    assert_exact(found, x, 5)


def alike(n, features):
    """All distances are nearly the same, as between samples of many independent features."""
    return synthetic.normal(n, features).astype(np.float32)


@pytest.mark.parametrize("rows", [200, 700])
def test_a_search_goes_on_in_the_tier_that_its_first_tile_ended_in(rows, monkeypatch):
    """Where "auto" begins in a tier that cannot decide most rows, it does so once, not in every tile."""
    small_blocks(monkeypatch, rows)
    monkeypatch.setattr(tiers, "fastest_tier", lambda device: tiers.INT8)
    monkeypatch.setattr(tiers, "SMALL", 0)
    seen = []
    settle = graph.TileSearch.settle
    monkeypatch.setattr(graph.TileSearch, "settle", lambda search, tile: seen.append(tile) or settle(search, tile))
    x = alike(600, 3000)
    found = nearest_neighbors(x, 5)
    assert_exact(found, x, 5)
    assert {tile.tier for tile in seen} == {tiers.finer(tiers.INT8)[0].name}
    assert [tile.too_coarse for tile in seen] == [True, *(False for _ in seen[1:])]
    assert found.redone == min(rows, len(x))
    index, distance = found.index, found.distance
    radius = distance[:, -1]
    np.testing.assert_array_equal(dnuc.count_within(x, radius, before=index[:, -1]), np.full(len(x), 4))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_ordinary_data_are_not_redone(precision):
    relu = np.maximum(synthetic.normal(400, 64), 0)
    for x in (synthetic.normal(400, 64), synthetic.clustered(400, 64, spread=0.3), relu):
        assert nearest_neighbors(x, 5, precision=precision).redone == 0


@pytest.mark.parametrize("precision", ["int8", "bfloat16", "float32"])
def test_values_too_large_for_a_tier_are_redone_in_float64(precision):
    found = nearest_neighbors(ADVERSARIAL["values that overflow in float32"](), 3, precision=precision)
    assert found.redone == 50


def equal_rows(n, features, share):
    """A layer of which many units are dead: so many rows are zero, in no order; the others are not."""
    x = np.abs(synthetic.normal(n, features)).astype(np.float32)
    x[np.random.default_rng(1).permutation(n)[: int(share * n)]] = 0
    return x


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("rows", [1000, 170])
@pytest.mark.parametrize(("share", "features"), [(1, 30), (0.6, 30), (0.6, 700)])
def test_of_equal_rows_one_is_searched(share, features, rows, precision, monkeypatch):
    """Their distances are tied, so no list can hold them; but they have the same neighbors."""
    small_blocks(monkeypatch, rows)
    cut(monkeypatch, 512)
    refined = []
    distances = filtering.TileFilter.distances
    monkeypatch.setattr(filtering.TileFilter, "distances", lambda *a: refined.append(len(a[1])) or distances(*a))
    x = equal_rows(500, features, share)
    found = nearest_neighbors(x, 4, precision=precision)
    assert_exact(found, x, 4)
    assert found.redone >= share * len(x)
    assert sum(refined) < 40 * len(x)  # all pairs of equal rows would be 250 or 90 a row


@pytest.mark.parametrize("rows", [1000, 33])
def test_more_ties_than_any_list_holds(rows, monkeypatch):
    """Even float64 cannot tell them apart: lists as long as the block, for a few rows at a time."""
    small_blocks(monkeypatch, rows)
    monkeypatch.setattr(filtering, "PAIRS_AT_ONCE", 1000)
    x = synthetic.lattice(200, 1, values=2)
    for precision in PRECISIONS:
        found = nearest_neighbors(x, 2, precision=precision)
        assert_exact(found, x, 2)
        assert (found.redone > 0) == (rows == 1000)  # a block of 33 rows has room for all of them in its lists


# --- no setting changes a bit --------------------------------------------------------------------------------------


SETTINGS = {  # rows of a block, features of a chunk, rows of a piece, threads
    "one tile": (1000, 8192, 2048, 1),
    "two threads": (1000, 8192, 2048, 2),
    "three threads": (1000, 8192, 100, 3),
    "chunks": (1000, 2 * STRIP, 2048, 1),
    "small chunks, small pieces": (1000, STRIP, 77, 1),
    "blocks": (250, 8192, 2048, 1),
    "small blocks": (101, 8192, 2048, 2),
    "blocks and chunks": (301, STRIP, 128, 1),
    "blocks, chunks and threads": (350, 2 * STRIP, 64, 3),
}
LARGER = {
    "clusters": lambda: synthetic.clustered(600, 1300, spread=0.5),
    "heavy-tailed": lambda: synthetic.heavy_tailed(600, 1300),
    "tight classes": lambda: trained_classes(600, 1030, classes=4),
    "ties": lambda: synthetic.lattice(600, 1100, values=2) * (np.arange(1100) < 4),
}


@cache
def expected(name):
    """The data and their neighbors as one thread finds them in float64; some are compared with plain float64 sums."""
    x = LARGER[name]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "CPU_COUNT", 1)
        found = nearest_neighbors(x, 9, precision="float64")
    assert_rows_exact(found, x, range(0, len(x), 29))
    return x, found


def assert_rows_exact(found, x, rows):
    """Some rows equal sums over the whole array: for arrays that are too large for loops."""
    wide = x.astype(np.float64)
    for row in rows:
        distance = np.sqrt(((wide - wide[row]) ** 2).sum(axis=1))
        distance[row] = np.inf
        k = found.k
        np.testing.assert_allclose(found.distance[row], np.sort(distance)[:k], rtol=1e-12)
        np.testing.assert_allclose(distance[found.index[row]], found.distance[row], rtol=1e-12)
        tied = np.diff(found.distance[row]) == 0
        assert (np.diff(found.index[row])[tied] > 0).all()


@pytest.mark.parametrize("precision", [tier.name for tier in LADDER])
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", LARGER)
def test_no_setting_changes_a_bit(name, setting, precision, monkeypatch):
    rows, chunk, piece, threads = SETTINGS[setting]
    small_blocks(monkeypatch, rows)
    cut(monkeypatch, chunk, piece)
    monkeypatch.setattr(search, "CPU_COUNT", threads)
    x, neighbors = expected(name)
    assert_same_bits(nearest_neighbors(x, 9, precision=precision), neighbors)


def cut(monkeypatch, chunk, piece=2048):
    assert chunk % STRIP == 0
    for module in (filtering, nearest, pairs, products):
        monkeypatch.setattr(module, "CHUNK", chunk)
    monkeypatch.setattr(products, "PIECE", piece)


# --- wide and stored arrays ----------------------------------------------------------------------------------------


@cache
def wide():
    x = synthetic.heavy_tailed(300, 100_000)
    x[150:] = x[:150] + np.float32(0.01) * x[::-1][:150]  # every sample has one near neighbor
    return x


@cache
def wide_neighbors():
    found = nearest_neighbors(wide(), 7, precision="float64")
    assert_rows_exact(found, wide(), range(0, 300, 37))
    return found


@pytest.mark.parametrize("precision", ["auto", "int8", "bfloat16", "float32"])
def test_a_hundred_thousand_features(precision):
    assert_same_bits(nearest_neighbors(wide(), 7, precision=precision), wide_neighbors())


def stored(path, x, chunks):
    """The array as a run keeps its activations, in the type of x."""
    store = RunStore.create(path)
    group = stage_group("net", "fc", "activations")
    store.declare(group, "activation", x.shape, chunks, dtype=x.dtype.name)
    store.write(group, "activation", slice(None), x)
    return store.array(group, "activation")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_stored_in_half_precision(precision, tmp_path, monkeypatch):
    """What is stored is exact; that it was rounded before is not the search's business."""
    x = synthetic.heavy_tailed(103, 1201).astype(np.float16)
    source = stored(tmp_path, x, (32, 512))
    assert source.dtype == np.float16
    expected = nearest_neighbors(x.astype(np.float64), 7, precision="float64")
    assert_rows_exact(expected, x, range(0, 103, 10))
    for rows, chunk in ((1000, 8192), (32, 8192), (64, STRIP)):
        small_blocks(monkeypatch, rows)
        cut(monkeypatch, chunk)
        assert_same_bits(nearest_neighbors(source, 7, precision=precision), expected)


# --- anything else -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", LADDER, ids=lambda tier: tier.name)
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_small_array(precision, data):
    n, features = data.draw(st.integers(2, 25)), data.draw(st.integers(1, 6))
    values = st.one_of(st.integers(-3, 3).map(float), st.floats(-1e6, 1e6, width=32))
    x = data.draw(arrays(np.float64, (n, features), elements=values))
    k = data.draw(st.integers(1, n - 1))
    assert_exact(nearest_neighbors(x, k, precision=precision.name), x, k)


BAD = {
    "k = 0": (lambda: nearest_neighbors(np.zeros((5, 2)), 0), r"k = 0 .*N = 5.*k must be 1 \.\. 4"),
    "k = N": (lambda: nearest_neighbors(np.zeros((5, 2)), 5), r"k = 5 .*N = 5.*k must be 1 \.\. 4"),
    "one dimension": (lambda: nearest_neighbors(np.zeros(5), 1), r"shape \(5,\).*\(samples, features\)"),
    "no numbers": (lambda: nearest_neighbors(np.array([["a"], ["b"], ["c"]]), 1), "x has type <U1; it must be real"),
    "complex": (lambda: nearest_neighbors(np.ones((5, 2)) * 1j, 1), "x has type complex128; it must be real numbers"),
    "memory": (lambda: nearest_neighbors(np.ones((5, 2)), 1, memory_limit="4 GBit"), "memory_limit = '4 GBit': give a"),
    "no features": (lambda: nearest_neighbors(np.zeros((5, 0)), 1), "at least one feature"),
    "unknown precision": (
        lambda: nearest_neighbors(np.zeros((5, 2)), 1, precision="half"),
        "'half': must be one of 'auto', 'int8', 'bfloat16', 'float32', 'float64'",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_refusals_say_what_is_allowed(name):
    call, message = BAD[name]
    with pytest.raises(DnucError, match=message):
        call()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("features", [1, 4, 1500])
@pytest.mark.parametrize("rows", [1000, 6])
def test_values_without_a_distance_are_refused_by_sample(rows, features, value, precision, monkeypatch):
    """Whichever tile reads them first, and though they spoil the mean that is subtracted from all rows."""
    small_blocks(monkeypatch, rows)
    cut(monkeypatch, STRIP)
    x = synthetic.normal(30, features)
    x[[7, 9], -1] = value
    last = (features - 1) // STRIP * STRIP  # the first feature of the last chunk; float64 has chunks half as long
    with pytest.raises(DataError, match=rf"2 samples \(positions 7, 9; features ({last}|{last + STRIP // 2}) \.\. "):
        nearest_neighbors(x, 3, precision=precision)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_distances_that_overflow_float64_are_refused(precision):
    """The products are finite, the distances would not be."""
    x = np.array([[1.0], [0.9], [-1.0], [0.0]]) * 2.0**511.5
    with pytest.raises(DataError, match="squared distances overflow float64; rescale the layer"):
        nearest_neighbors(x, 2, precision=precision)
    assert_exact(nearest_neighbors(x / 4, 2), x / 4, 2)


def test_too_little_memory_says_how_much_is_needed():
    with pytest.raises(ResourceError, match=r"needs [\d.]+ MiB.*may use 0\.0 MiB.*activations\.block"):
        blocks.choose_rows(10_000, 50_000, memory=10_000, multiple=64)
    assert nearest_neighbors(synthetic.normal(100, 5), 3, memory_limit="100 kB").k == 3
