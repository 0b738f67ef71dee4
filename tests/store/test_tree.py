"""The stored tree: some of its peaks alone, and trees of runs before trees had arrays of their own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import is_valid_linkage, linkage

from dnuc.store import RunStore, StoredTree, stage_group, stored_tree
from tests import reference


def tree_of(seed, n):
    rng = np.random.default_rng(seed)
    merges = linkage(rng.uniform(1, 2, n * (n - 1) // 2), "weighted") if n > 1 else np.empty((0, 4))
    return StoredTree(merges, rng.random(n - 1) < 0.4, "weighted", 3.0, 0.0, "")


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 15), data=st.data())
def test_some_peaks_merge_as_high_as_in_the_whole_tree(seed, n, data):
    tree = tree_of(seed, n)
    kept = np.array(data.draw(st.lists(st.integers(0, n - 1), min_size=1, unique=True)))
    merges, assumed = tree.of(kept)
    if len(kept) == 1:
        assert merges.shape == (0, 4)
        return
    assert is_valid_linkage(merges)
    whole, some = reference.cophenetic(tree.linkage), reference.cophenetic(merges)
    np.testing.assert_array_equal(some, whole[np.ix_(kept, kept)])
    of_height = dict(zip(tree.linkage[:, 2], tree.assumed, strict=True))  # no two heights are equal
    assert assumed.tolist() == [of_height[height] for height in merges[:, 2]]


def test_all_peaks_are_the_whole_tree():
    tree = tree_of(0, 9)
    merges, assumed = tree.of(np.arange(9))
    np.testing.assert_array_equal(merges, tree.linkage)
    np.testing.assert_array_equal(assumed, tree.assumed)


@pytest.fixture
def store(tmp_path):
    return RunStore.create(tmp_path)


def test_a_tree_among_the_attributes_of_an_older_run(store):
    group, tree = stage_group("m", "l", "landscape"), tree_of(1, 5)
    store.begin(group, "d")
    told = {"method": "single", "fill": 3.0, "summit": -1.5, "newick": "(0,1);"}
    store.finish(group, tree=told | {"linkage": tree.linkage.tolist(), "filled": np.flatnonzero(tree.assumed).tolist()})
    found = stored_tree(store, "m", "l")
    np.testing.assert_array_equal(found.linkage, tree.linkage)
    np.testing.assert_array_equal(found.assumed, tree.assumed)
    assert (found.method, found.fill, found.summit, found.newick) == tuple(told.values())


def test_where_there_is_no_tree(store):
    assert stored_tree(store, "m", "l") is None
    group = stage_group("m", "l", "landscape")
    store.begin(group, "d")
    assert stored_tree(store, "m", "l") is None
    store.finish(group, tree=None)
    assert stored_tree(store, "m", "l") is None
