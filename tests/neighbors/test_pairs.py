"""Distances of named pairs: the bits of the neighbors' distances, for any block, type and worker."""

import dask.array as da
import numpy as np
import pytest
import zarr

import dnuc
from dnuc.errors import DataError, DnucError
from dnuc.neighbors import pairs
from dnuc.neighbors.refine import STRIP
from dnuc.neighbors.search import nearest_neighbors
from dnuc.neighbors.within import pair_distances
from tests import synthetic
from tests.conftest import small_blocks
from tests.neighbors.hard import ADVERSARIAL


@pytest.mark.parametrize("rows", [1000, 17])
@pytest.mark.parametrize("name", ADVERSARIAL)
def test_they_have_the_bits_of_the_neighbors(name, rows, monkeypatch):
    small_blocks(monkeypatch, rows)
    x = ADVERSARIAL[name]()
    near = nearest_neighbors(x, min(20, len(x) - 1))
    first = np.repeat(np.arange(len(x)), near.k)
    order = np.random.default_rng(0).permutation(len(first))
    found = pair_distances(x, first[order], near.index.ravel()[order])
    np.testing.assert_array_equal(found, near.distance.ravel()[order])


def test_chunks_of_features_and_blocks_change_nothing(monkeypatch):
    x = synthetic.heavy_tailed(60, 3 * STRIP + 77)
    rows, cols = np.random.default_rng(0).integers(0, 60, (2, 500))
    expected = pair_distances(x, rows, cols)
    np.testing.assert_allclose(expected, np.linalg.norm(x[rows].astype(float) - x[cols], axis=1), rtol=1e-12)
    monkeypatch.setattr(pairs, "CHUNK", STRIP)
    small_blocks(monkeypatch, 11)
    np.testing.assert_array_equal(pair_distances(x, rows, cols), expected)
    np.testing.assert_array_equal(pair_distances(x, cols, rows), expected)


def test_the_same_sample_no_pairs_and_repeated_pairs():
    x = synthetic.normal(9, 4)
    assert pair_distances(x, [3, 3, 3], [3, 5, 5]).tolist() == [0, *[pytest.approx(np.linalg.norm(x[3] - x[5]))] * 2]
    assert pair_distances(x, [], []).shape == (0,)


@pytest.mark.cluster
def test_workers_change_nothing(client, tmp_path, monkeypatch):
    small_blocks(monkeypatch, 20)
    x = synthetic.clustered(90, 12).astype(np.float32)
    near = nearest_neighbors(x, 9)
    stored = zarr.create_array(str(tmp_path / "x.zarr"), shape=x.shape, dtype="f4", chunks=(32, 5))
    stored[:] = x
    for source in (x, stored, da.from_array(x, chunks=(35, 7))):
        found = pair_distances(source, np.arange(90), near.index[:, -1], client=client)
        np.testing.assert_array_equal(found, near.distance[:, -1])


@pytest.mark.parametrize(
    ("rows", "cols", "message"),
    [
        ([0, 1], [1], r"rows have shape \(2,\) and cols \(1,\); both must be \(P,\)"),
        ([[0]], [[1]], r"both must be \(P,\)"),
        ([0], [5], "cols must be positions of samples, integers from 0 to 4"),
        ([-1], [0], "rows must be positions of samples"),
        ([0.0], [1], "rows must be positions of samples"),
    ],
)
def test_refusals_say_what_is_allowed(rows, cols, message):
    with pytest.raises(DnucError, match=message):
        pair_distances(np.arange(10.0).reshape(5, 2), rows, cols)


@pytest.mark.parametrize(("value", "message"), [(np.nan, r"1 samples \(positions 4"), (1e200, "overflow float64")])
def test_samples_without_a_distance_are_named(value, message):
    x = synthetic.normal(20, 3)
    x[4, 1] = value
    with pytest.raises(DataError, match=message):
        pair_distances(x, [0, 4], [1, 2])


def test_it_is_public():
    assert dnuc.pair_distances is pair_distances
