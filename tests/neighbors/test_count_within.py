"""How many samples lie within a radius: exact for every precision, block and worker; ranks, ties and refusals."""

import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import dnuc
from dnuc.errors import DataError, DnucError
from dnuc.neighbors.search import nearest_neighbors
from dnuc.neighbors.within import count_within
from tests import reference, synthetic
from tests.conftest import small_blocks

PRECISIONS = ["auto", "int8", "bfloat16", "float32", "float64"]
DATA = {
    "clusters": lambda: synthetic.clustered(120, 30).astype(np.float32),
    "lattice full of ties": lambda: synthetic.lattice(110, 4),
    "three copies": lambda: synthetic.duplicated(90, 8),
    "heavy-tailed": lambda: synthetic.heavy_tailed(90, 60),
    "offset": lambda: synthetic.offset(80, 20),
    "values that overflow float32": lambda: 1e30 * synthetic.normal(50, 8),
}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("rows", [1000, 17])
@pytest.mark.parametrize("name", DATA)
def test_ranks_of_neighbors_are_counted_back(name, rows, precision, monkeypatch):
    """The count within a neighbor's distance, before the neighbor, is its rank less one: the hardest radius of all."""
    small_blocks(monkeypatch, rows)
    x = DATA[name]()
    n = len(x)
    index, _ = reference.nearest_neighbors(x, n - 1)
    exact = nearest_neighbors(x, n - 1, precision="float64")  # the bits of our own distances
    np.testing.assert_array_equal(exact.index, index)
    rank = np.random.default_rng(0).integers(0, n - 1, n)
    place = np.arange(n), rank
    found = count_within(x, exact.distance[place], before=exact.index[place], precision=precision)
    np.testing.assert_array_equal(found, rank)


def test_a_closed_ball_without_the_sample_itself():
    x = np.array([[0.0], [1.0], [3.0], [3.0]])
    assert count_within(x, 2.0).tolist() == [1, 3, 2, 2]
    assert count_within(x, 0).tolist() == [0, 0, 1, 1]
    assert count_within(x, np.inf).tolist() == [3, 3, 3, 3]
    assert count_within(x, [0, 1, 0, 3]).tolist() == [0, 1, 1, 3]
    assert count_within(x, 2.0).dtype == np.int64


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("rows", [1000, 17])
@pytest.mark.parametrize("name", DATA)
def test_several_radii_count_as_one_after_the_other(name, rows, precision, monkeypatch):
    small_blocks(monkeypatch, rows)
    x = DATA[name]()
    n = len(x)
    exact = nearest_neighbors(x, n - 1, precision="float64")
    rank = np.random.default_rng(1).integers(0, n - 1, (n, 20))
    radius, before = (np.take_along_axis(a, rank, axis=1) for a in (exact.distance, exact.index))
    found = count_within(x, radius, before=before, precision=precision)
    np.testing.assert_array_equal(found, rank)
    np.testing.assert_array_equal(
        count_within(x, radius[:, :1], precision=precision)[:, 0], count_within(x, radius[:, 0])
    )


@given(st.data())
def test_any_small_array(data):
    n, features = data.draw(st.integers(2, 20)), data.draw(st.integers(1, 4))
    x = data.draw(arrays(np.float64, (n, features), elements=st.integers(-3, 3).map(float)))
    radius = data.draw(arrays(np.float64, n, elements=st.integers(0, 6).map(float)))
    squared = ((x[:, None] - x[None]) ** 2).sum(axis=2)
    expected = (squared <= radius[:, None] ** 2).sum(axis=1) - 1
    np.testing.assert_array_equal(count_within(x, radius), expected)


@pytest.mark.cluster
def test_workers_change_nothing(client, tmp_path, monkeypatch):
    small_blocks(monkeypatch, 20)
    x = synthetic.clustered(90, 12).astype(np.float32)
    radius = nearest_neighbors(x, 9).distance[:, -1]
    stored = zarr.create_array(str(tmp_path / "x.zarr"), shape=x.shape, dtype="f4", chunks=(32, 5))
    stored[:] = x
    for source in (x, stored, da.from_array(x, chunks=(35, 7))):
        np.testing.assert_array_equal(count_within(source, radius, client=client), np.full(90, 9))


REFUSED = {
    "negative": (lambda x: count_within(x, [1, 1, -2, 1, 1]), r"radius of sample 2 is -2\.0; it must be a distance"),
    "NaN": (lambda x: count_within(x, np.nan), "radius of sample 0 is nan"),
    "length": (
        lambda x: count_within(x, [1.0, 2.0]),
        r"radius has shape \(2,\); x has 5 samples, so it must be \(5,\)",
    ),
    "no radius": (lambda x: count_within(x, np.ones((5, 0))), r"radius has shape \(5, 0\)"),
    "before": (lambda x: count_within(x, 1.0, before=[1]), r"before has shape \(1,\) and radius \(5,\)"),
    "NaN among several": (lambda x: count_within(x, [[1, 2]] * 4 + [[1, np.nan]]), "radius of sample 4 is nan"),
    "before of floats": (lambda x: count_within(x, 1.0, before=np.ones(5)), "before has type float64; it must be pos"),
    "precision": (lambda x: count_within(x, 1.0, precision="half"), "'half'"),
    "one dimension": (lambda x: count_within(x[:, 0], 1.0), r"must be \(samples, features\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_say_what_is_allowed(name):
    call, message = REFUSED[name]
    with pytest.raises(DnucError, match=message):
        call(np.arange(10.0).reshape(5, 2))


def test_samples_without_a_distance_are_named():
    x = synthetic.normal(20, 3)
    x[4, 1] = np.inf
    with pytest.raises(DataError, match=r"1 samples \(positions 4"):
        count_within(x, 1.0)


def test_it_is_public():
    assert dnuc.count_within is count_within


@pytest.mark.parametrize("precision", PRECISIONS)
def test_several_balls_among_values_too_large_for_a_tier(precision):
    x = 1e25 * synthetic.normal(60, 5)
    neighbors = nearest_neighbors(x, 20)
    ranks = [0, 6, 19]
    found = count_within(x, neighbors.distance[:, ranks], before=neighbors.index[:, ranks], precision=precision)
    np.testing.assert_array_equal(found, np.tile(ranks, (60, 1)))
