"""Exact means: equal to plain float64 loops, on data that is built to break fast arithmetic."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dnuc.errors import DataError, DnucError, ResourceError
from dnuc.neighbors import blocks, search, tile
from dnuc.neighbors.rows import Rows
from dnuc.neighbors.search import nearest_neighbors
from tests import reference, synthetic

# What breaks float32 products, and how. Each is compared with tests/reference.py.
ADVERSARIAL = {
    "nothing special": lambda: synthetic.normal(97, 11),
    "clusters": lambda: synthetic.clustered(97, 23),
    "offset 1e4 on every feature": lambda: synthetic.offset(80, 40),
    "near-duplicates at 1e-7": lambda: synthetic.near_duplicates(60, 30),
    "near-duplicates, stored as float32": lambda: synthetic.near_duplicates(60, 30).astype(np.float32),
    "three copies of everything": lambda: synthetic.duplicated(75, 9),
    "lattice full of ties": lambda: synthetic.lattice(120, 4),
    "one feature 1e6 times larger": lambda: synthetic.one_large_feature(80, 20),
    "heavy-tailed and not negative": lambda: synthetic.heavy_tailed(90, 50),
    "constant rows": lambda: np.repeat(np.arange(20.0)[:, None], 6, axis=1)[np.arange(60) % 20],
    "all samples equal": lambda: np.ones((40, 3)),
    "float16": lambda: synthetic.normal(70, 33).astype(np.float16),
    "integers": lambda: synthetic.lattice(70, 5, values=50).astype(np.int64),
    "one feature": lambda: synthetic.normal(101, 1),
    "many features, few samples": lambda: synthetic.heavy_tailed(30, 20_000),
    "differences that vanish in float32": lambda: 1 + 1e-12 * synthetic.normal(50, 8),
    "squares that underflow in float32": lambda: 1e-30 * synthetic.normal(50, 8),
    "squares that overflow in float32": lambda: 1e30 * synthetic.normal(50, 8),
    "denormal numbers": lambda: 1e-310 * synthetic.lattice(30, 4, values=9).astype(np.float64),
}


def assert_exact(found, x, k):
    index, distance = reference.nearest_neighbors(x, k)
    np.testing.assert_array_equal(found.index, index)
    np.testing.assert_allclose(found.distance, distance, rtol=1e-12, atol=0)


def small_blocks(monkeypatch, rows):
    monkeypatch.setattr(search, "choose_rows", lambda n, *_: min(n, rows))


@pytest.mark.parametrize("rows", [1000, 17])
@pytest.mark.parametrize("name", ADVERSARIAL)
def test_equal_to_float64_loops(name, rows, monkeypatch):
    small_blocks(monkeypatch, rows)
    x = ADVERSARIAL[name]()
    for k in (1, 7, len(x) - 1):
        assert_exact(nearest_neighbors(x, k), x, k)


def test_overflow_is_redone_in_float64_and_counted():
    found = nearest_neighbors(ADVERSARIAL["squares that overflow in float32"](), 3)
    assert found.redone == 50
    assert nearest_neighbors(synthetic.normal(50, 8), 3).redone == 0


@pytest.mark.parametrize("precision", ["auto", "float32", "float64"])
@pytest.mark.parametrize("name", ["clusters", "offset 1e4 on every feature", "lattice full of ties"])
def test_no_setting_changes_a_bit(name, precision, monkeypatch):
    x = ADVERSARIAL[name]()
    expected = nearest_neighbors(x, 9)
    for rows, panel, chunk in ((5, 1024, 1024), (16, 2048, 8192), (33, 1024, 2048)):
        small_blocks(monkeypatch, rows)
        monkeypatch.setattr(tile, "PANEL", panel)
        monkeypatch.setattr(tile, "CHUNK", chunk)
        found = nearest_neighbors(x, 9, precision=precision)
        np.testing.assert_array_equal(found.index, expected.index)
        np.testing.assert_array_equal(found.distance, expected.distance)


def test_many_panels_and_chunks_give_the_same_bits(monkeypatch):
    x = synthetic.heavy_tailed(40, 10_000)
    expected = nearest_neighbors(x, 5)
    for panel, chunk in ((1024, 1024), (1024, 3072), (2048, 8192)):
        monkeypatch.setattr(tile, "PANEL", panel)
        monkeypatch.setattr(tile, "CHUNK", chunk)
        found = nearest_neighbors(x, 5)
        np.testing.assert_array_equal(found.index, expected.index)
        np.testing.assert_array_equal(found.distance, expected.distance)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_small_array(data):
    n, features = data.draw(st.integers(2, 25)), data.draw(st.integers(1, 6))
    values = st.one_of(st.integers(-3, 3).map(float), st.floats(-1e6, 1e6, width=32))
    x = data.draw(arrays(np.float64, (n, features), elements=values))
    k = data.draw(st.integers(1, n - 1))
    assert_exact(nearest_neighbors(x, k), x, k)


@pytest.mark.parametrize(
    ("name", "x"),
    [
        ("large norms, all positive", np.abs(synthetic.normal(64, 3000)) + 100),
        ("norms from 1e-3 to 1e3", synthetic.normal(64, 500) * np.logspace(-3, 3, 64)[:, None]),
        ("near-duplicates", synthetic.near_duplicates(64, 2000)),
        ("one large feature", synthetic.one_large_feature(64, 300)),
        ("rounding always the same way", np.full((64, 8192), 1 + 2.0**-24) + 2.0**-23 * synthetic.lattice(64, 8192)),
    ],
)
def test_the_bound_never_excludes_a_pair_within_the_radius(name, x):
    """With each row's radius set to its exact distance to one sample, that sample must be selected."""
    x = np.asarray(x, dtype=np.float32)
    rows = Rows(x, 0, len(x))
    all_rows, all_cols = np.divmod(np.arange(len(x) ** 2), len(x))
    distance = tile.exact_distances(rows, rows, all_rows, all_cols).reshape(len(x), len(x))
    product, norm, _ = tile._products(rows, rows, tile.FLOAT32, "cpu")
    bound = tile._Bound(tile.FLOAT32, min(tile.PANEL, x.shape[1]), x.shape[1])
    nothing = np.full(len(x), -1e30)
    for target in range(0, len(x), 5):
        radius = distance[:, target].copy()
        left, right = tile._select(product, norm, norm, radius, nothing, bound, False)
        assert set(left[right == target].tolist()) == set(range(len(x))), name


def test_the_filter_discards_most_pairs():
    """A filter that keeps every pair would pass all other tests, and take forever."""
    x = synthetic.clustered(400, 200).astype(np.float32)
    rows = Rows(x, 0, len(x))
    found = nearest_neighbors(x, 5)
    product, norm, _ = tile._products(rows, rows, tile.FLOAT32, "cpu")
    bound = tile._Bound(tile.FLOAT32, 200, 200)
    left, _ = tile._select(product, norm, norm, found.distance[:, -1], np.full(400, -1e30), bound, False)
    assert len(left) <= 400 * 8  # 5 neighbors, the sample itself, and few more


@pytest.mark.cluster
def test_workers_and_kinds_of_input_change_nothing(client, tmp_path, monkeypatch):
    import dask.array as da
    import zarr

    x = synthetic.clustered(150, 60).astype(np.float32)
    expected = nearest_neighbors(x, 6)
    stored = zarr.create_array(str(tmp_path / "x.zarr"), shape=x.shape, dtype="f4", chunks=(32, 30))
    stored[:] = x
    small_blocks(monkeypatch, 40)
    for kind in (x, stored, da.from_array(x, chunks=(50, 20))):
        for where in (None, client):
            found = nearest_neighbors(kind, 6, client=where)
            np.testing.assert_array_equal(found.index, expected.index)
            np.testing.assert_array_equal(found.distance, expected.distance)


BAD = {
    "k = 0": (lambda: nearest_neighbors(np.zeros((5, 2)), 0), r"k = 0 .*N = 5.*k must be 1 \.\. 4"),
    "k = N": (lambda: nearest_neighbors(np.zeros((5, 2)), 5), r"k = 5 .*N = 5.*k must be 1 \.\. 4"),
    "one dimension": (lambda: nearest_neighbors(np.zeros(5), 1), r"shape \(5,\).*\(samples, features\)"),
    "no features": (lambda: nearest_neighbors(np.zeros((5, 0)), 1), "at least one feature"),
    "unknown precision": (lambda: nearest_neighbors(np.zeros((5, 2)), 1, precision="half"), "'half'.*'auto'"),
}


@pytest.mark.parametrize("name", BAD)
def test_refusals_say_what_is_allowed(name):
    call, message = BAD[name]
    with pytest.raises(DnucError, match=message):
        call()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_without_a_distance_are_refused_by_sample(value):
    x = synthetic.normal(30, 4)
    x[[7, 21], 2] = value
    with pytest.raises(DataError, match=r"2 samples \(positions 7, 21"):
        nearest_neighbors(x, 3)


def test_too_little_memory_says_how_much_is_needed():
    with pytest.raises(ResourceError, match=r"needs \d+ MiB.*may use 0 MiB"):
        blocks.choose_rows(10_000, 50_000, memory=10_000, multiple=64)
    assert nearest_neighbors(synthetic.normal(100, 5), 3, memory_limit="100 kB").k == 3
