"""The Neighbors type: what it refuses, and that less can be taken from more."""

import numpy as np
import pytest

from dnuc.errors import DnucError
from dnuc.neighbors.lists import Neighbors, stored_distances, stored_lists, stored_neighbors
from dnuc.neighbors.search import nearest_neighbors
from dnuc.store import DamagedError, RunStore, stage_group
from tests import synthetic


def test_fewer_neighbors_are_the_first_columns():
    x = synthetic.duplicated(30, 4)
    found = nearest_neighbors(x, 9)
    assert (found.n_samples, found.k) == (30, 9)
    fewer = found.nearest(4)
    expected = nearest_neighbors(x, 4)
    np.testing.assert_array_equal(fewer.index, expected.index)
    np.testing.assert_array_equal(fewer.distance, expected.distance)


def test_duplicates_are_neighbors_at_distance_0_and_counted():
    x = synthetic.normal(20, 3)
    x[[4, 11, 17]] = x[2]
    found = nearest_neighbors(x, 4)
    assert found.duplicates == 4
    assert found.index[2, :3].tolist() == [4, 11, 17]
    assert found.index[11, :3].tolist() == [2, 4, 17]
    assert (found.distance[[2, 4, 11, 17], :3] == 0).all()


@pytest.mark.parametrize("k", [0, 5, -1])
def test_neighbors_that_are_not_stored(k):
    found = nearest_neighbors(synthetic.normal(10, 2), 4)
    with pytest.raises(DnucError, match=rf"k = {k} neighbors asked for, 4 stored: k must be 1 \.\. 4"):
        found.nearest(k)


@pytest.mark.parametrize("shape", [(5,), (5, 2), (4, 3)])
def test_lists_must_have_one_shape(shape):
    with pytest.raises(DnucError, match=r"both must be \(samples, k\)"):
        Neighbors(np.zeros((5, 3), np.int64) if shape != (5,) else np.zeros(5, np.int64), np.zeros(shape))


def test_stored_neighbors_are_read_whole(tmp_path):
    store = RunStore.create(tmp_path)
    group = stage_group("m", "l", "neighbors")
    expected = nearest_neighbors(synthetic.normal(20, 3), 4)
    store.begin(group, "d")
    store.save(group, {"neighbor_index": expected.index, "neighbor_distance": expected.distance})
    store.finish(group, redone=3)
    found = stored_neighbors(store, "m", "l")
    np.testing.assert_array_equal(found.index, expected.index)
    np.testing.assert_array_equal(found.distance, expected.distance)
    assert found.redone == 3
    few = stored_neighbors(store, "m", "l", 2)
    np.testing.assert_array_equal(few.index, expected.index[:, :2])
    np.testing.assert_array_equal(few.distance, expected.distance[:, :2])
    np.testing.assert_array_equal(stored_lists(store, "m", "l")[3:7], expected.index[3:7])
    np.testing.assert_array_equal(stored_distances(store, "m", "l").distance, expected.distance)
    (tmp_path / group / "neighbor_index/c/0/0").unlink()
    for read in (stored_neighbors, stored_lists):
        with pytest.raises(DamagedError, match=r"neighbor_index .*1 of its files are lost"):
            read(store, "m", "l")
