"""Rows of an array as an array of its own: the same values whatever the array is, and no more read than is needed."""

import pickle

import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from dnuc.errors import DataError
from dnuc.neighbors.search import nearest_neighbors
from dnuc.store import DamagedError, RunStore, Subset, stage_group
from tests import synthetic

GROUP = stage_group("net", "fc", "activations")
N, D = 50, 9
X = synthetic.normal(N, D).astype(np.float32)


def stored(path, x=X, chunks=(8, 4)):
    store = RunStore.create(path)
    store.begin(GROUP, "d")
    store.declare(GROUP, "activation", x.shape, chunks)
    store.write(GROUP, "activation", (slice(None), slice(None)), x)
    store.finish(GROUP)
    return store.array(GROUP, "activation")


def kinds(path, x=X):
    """The same values as every kind of array that a search takes."""
    np.save(path / "x.npy", x)
    return {
        "numpy": x,
        "memmap": np.load(path / "x.npy", mmap_mode="r"),
        "zarr": zarr.array(x, chunks=(8, 4)),
        "dask": da.from_array(x, chunks=(8, 4)),
        "stored": stored(path / "run", x),
    }


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    return kinds(tmp_path_factory.mktemp("arrays"))


some_features = st.slices(D).filter(lambda s: s.step in (None, 1))
rows_of_it = st.sets(st.integers(0, N - 1), min_size=1).map(lambda rows: np.array(sorted(rows)))


@given(rows=rows_of_it, start=st.integers(0, N), width=st.integers(0, N), features=some_features)
def test_it_is_indexed_like_the_rows_themselves(arrays, rows, start, width, features):
    for source in arrays.values():
        subset = Subset(source, rows)
        assert (subset.shape, subset.dtype, len(subset)) == ((len(rows), D), X.dtype, len(rows))
        np.testing.assert_array_equal(subset[start : start + width, features], X[rows][start : start + width, features])
        np.testing.assert_array_equal(subset[:], X[rows])


@pytest.mark.parametrize("kind", ["numpy", "memmap", "zarr", "dask", "stored"])
def test_a_search_takes_it_in_place_of_an_array(arrays, kind):
    rows = np.arange(1, N, 3)
    expected = nearest_neighbors(X[rows], 5)
    found = nearest_neighbors(Subset(arrays[kind], rows), 5)
    np.testing.assert_array_equal(found.index, expected.index)
    np.testing.assert_array_equal(found.distance, expected.distance)


class Counting:
    """An array in chunks that notes which rows are read."""

    shape, dtype, chunks = X.shape, X.dtype, (8, 4)

    def __init__(self):
        self.read = []

    def __getitem__(self, key):
        self.read.append((key[0].start, key[0].stop))
        return X[key]


def test_only_chunks_with_wanted_rows_are_read_one_at_a_time():
    source = Counting()
    Subset(source, np.array([1, 5, 6, 30, 31, 32]))[:, 0:3]
    assert source.read == [(1, 7), (30, 32), (32, 33)]


def test_it_travels_to_a_worker(arrays):
    subset = pickle.loads(pickle.dumps(Subset(arrays["stored"], np.array([3, 40]))))
    np.testing.assert_array_equal(subset[:], X[[3, 40]])


def test_values_that_are_not_finite_are_told_by_their_place_in_the_array(tmp_path):
    x = X.copy()
    x[20, 5], x[31, 2] = np.nan, np.inf
    rows = np.arange(0, N, 1)[11:]
    for kind, source in kinds(tmp_path, x).items():
        subset = Subset(source, rows)
        np.testing.assert_array_equal(subset[0:9], x[11:20])
        error = DamagedError if kind == "stored" else DataError
        expected = (
            "damaged at or after element .20, 0.: values are missing" if kind == "stored" else r"positions 20, 31;"
        )
        with pytest.raises(error, match=expected):
            subset[:]


@pytest.mark.parametrize("rows", [[3, 3], [4, 2], [-1, 5], [0, N]])
def test_rows_that_do_not_increase_are_refused(rows):
    with pytest.raises(ValueError, match=f"increase strictly and lie in 0 .. {N - 1}"):
        Subset(X, np.array(rows))
