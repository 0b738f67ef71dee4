"""Exact means: equal to plain float64 loops, on data that is built to break fast arithmetic."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dnuc.errors import DataError, DnucError, ResourceError
from dnuc.neighbors import blocks, search, tile
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
    "a tight cluster beside outliers": lambda: _tight_cluster(60, 7),
    "products that overflow when doubled": lambda: _circle(40, 1.6e19).astype(np.float32),
    "the largest float32": lambda: (3.4e38 * np.sign(synthetic.normal(40, 5))).astype(np.float32),
    "squares close to the end of float64": lambda: 1e152 * synthetic.normal(40, 5),
    "squares that underflow in float64": lambda: 1e-170 * synthetic.lattice(40, 3, values=9).astype(np.float64),
    "denormal numbers": lambda: 1e-310 * synthetic.lattice(30, 4, values=9).astype(np.float64),
}


def _circle(n, radius):
    angle = 2 * np.pi * np.arange(n) ** 2 / (n + 0.5)
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _tight_cluster(n, features):
    """Samples that differ in their last bits, and a few far ones that pull the mean away from them."""
    x = (3 + 1e-6 * synthetic.normal(n, features)).astype(np.float32)
    x[:3] = 1000 * synthetic.normal(3, features, seed=1)
    return x


def assert_exact(found, x, k):
    index, distance = reference.nearest_neighbors(x, k)
    np.testing.assert_array_equal(found.index, index)
    np.testing.assert_allclose(found.distance, distance, rtol=1e-12, atol=0)


@cache
def by_loops(name):
    """The data and all their neighbors."""
    x = ADVERSARIAL[name]()
    return x, *reference.nearest_neighbors(x, len(x) - 1)


def small_blocks(monkeypatch, rows):
    monkeypatch.setattr(search, "choose_rows", lambda n, *_, **__: min(n, rows))


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("rows", [1000, 17])
@pytest.mark.parametrize("name", ADVERSARIAL)
def test_equal_to_float64_loops(name, rows, precision, monkeypatch):
    small_blocks(monkeypatch, rows)
    x, index, distance = by_loops(name)
    for k in (1, 7, len(x) - 1):
        found = nearest_neighbors(x, k, precision=precision)
        np.testing.assert_array_equal(found.index, index[:, :k])
        np.testing.assert_allclose(found.distance, distance[:, :k], rtol=1e-12, atol=0)


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


BAD = {
    "k = 0": (lambda: nearest_neighbors(np.zeros((5, 2)), 0), r"k = 0 .*N = 5.*k must be 1 \.\. 4"),
    "k = N": (lambda: nearest_neighbors(np.zeros((5, 2)), 5), r"k = 5 .*N = 5.*k must be 1 \.\. 4"),
    "one dimension": (lambda: nearest_neighbors(np.zeros(5), 1), r"shape \(5,\).*\(samples, features\)"),
    "no numbers": (lambda: nearest_neighbors(np.array([["a"], ["b"], ["c"]]), 1), "x has type <U1; it must be real"),
    "complex": (lambda: nearest_neighbors(np.ones((5, 2)) * 1j, 1), "x has type complex128; it must be real numbers"),
    "memory": (lambda: nearest_neighbors(np.ones((5, 2)), 1, memory_limit="4 GBit"), "memory_limit = '4 GBit': give a"),
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


def test_distances_that_overflow_float64_are_refused():
    """The products are finite, the distances would not be."""
    x = np.array([[1.0], [0.9], [-1.0], [0.0]]) * 2.0**511.5
    with pytest.raises(DataError, match="squared distances overflow float64; rescale the layer"):
        nearest_neighbors(x, 2)
    assert_exact(nearest_neighbors(x / 4, 2), x / 4, 2)


def test_too_little_memory_says_how_much_is_needed():
    with pytest.raises(ResourceError, match=r"needs [\d.]+ MiB.*may use 0\.0 MiB.*activations\.block"):
        blocks.choose_rows(10_000, 50_000, memory=10_000, multiple=64)
    assert nearest_neighbors(synthetic.normal(100, 5), 3, memory_limit="100 kB").k == 3
