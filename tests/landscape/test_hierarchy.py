"""The tree of peaks beside a taxonomy of the classes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform

from dnuc.errors import DnucError
from dnuc.landscape import Tree, agreement, branch_agreement, taxonomy_agreement, tree_distances
from dnuc.taxonomy import Taxonomy
from tests import reference
from tests.landscape.test_agreement import random_tree

PARENTS = {"a": "x", "b": "x", "c": "y", "d": "y", "e": "z", "x": "left", "y": "left", "left": "top", "z": "top"}
TAXONOMY = Taxonomy.of_parents(PARENTS, "abcde")


def test_hand_made_distances():
    merges = np.array([[0, 2, 1, 2], [1, 3, 2, 2], [4, 5, 5, 4]], dtype=float)
    found = tree_distances(Tree(merges, np.zeros(3, bool), 6.0, 0.0, np.zeros(4)))
    assert found.tolist() == [[0, 5, 1, 5], [5, 0, 5, 2], [1, 5, 0, 5], [5, 2, 5, 0]]
    assert tree_distances(Tree(np.empty((0, 4)), np.empty(0, bool), 1.0, 0.0, np.zeros(1))).tolist() == [[0]]


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 15))
def test_distances_in_the_tree_equal_the_plain_loop(seed, n):
    tree = random_tree(np.random.default_rng(seed), n)
    np.testing.assert_array_equal(tree_distances(tree), reference.cophenetic(tree.linkage))


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 15), count=st.integers(0, 20))
def test_distances_of_some_peaks_are_those_of_all(seed, n, count):
    rng = np.random.default_rng(seed)
    tree, some = random_tree(rng, n), rng.integers(0, n, count)
    np.testing.assert_array_equal(tree_distances(tree, some), tree_distances(tree)[np.ix_(some, some)])


@pytest.mark.parametrize("peaks", [[3], [-1], [0.5], [[0, 1]]])
def test_distances_of_what_is_no_peak_are_refused(peaks):
    with pytest.raises(DnucError, match=r"tree_distances: peaks must be whole numbers 0 \.\. 2"):
        tree_distances(random_tree(np.random.default_rng(0), 3), peaks)


def test_a_tree_made_of_the_taxonomy_reproduces_it():
    """A peak a class, merged in the order of the taxonomy: each level is found, and the rank correlation is 1."""
    merges = linkage(squareform(TAXONOMY.distances("wu_palmer")), "weighted")
    tree = Tree(merges, np.zeros(4, bool), 9.0, 0.0, np.zeros(5))
    found = taxonomy_agreement(tree, np.arange(5).repeat(10), np.arange(5).repeat(10), TAXONOMY, permutations=199)
    assert found.levels["depth"].tolist() == [1, 2, 3]
    assert found.levels["n_groups"].tolist() == [2, 3, 5]
    assert found.levels["branches"].tolist() == [2, 3, 5]
    for name in ("branch_ari", "branch_ami", "branch_purity"):
        assert found.levels[name].tolist() == [1, 1, 1]
    assert found.levels["purity"].tolist() == [1, 1, 1]
    assert found.levels["ari"].tolist()[2] == 1 > found.levels["ari"].tolist()[0]
    assert found.distances["wu_palmer"].correlation > 0.95
    assert found.distances["wu_palmer"].p_value < 0.1
    assert found.class_peak.tolist() == [0, 1, 2, 3, 4]
    assert found.class_share.tolist() == [1, 1, 1, 1, 1]
    assert found.assumed_share == 0
    assert repr(found).startswith("TaxonomyAgreement(3 levels, path: rho=")


@given(seed=st.integers(0, 2**32 - 1), n_peaks=st.integers(1, 9))
def test_every_part_equals_what_it_is_made_of(seed, n_peaks):
    rng = np.random.default_rng(seed)
    tree = random_tree(rng, n_peaks)
    labels, classes = rng.integers(0, n_peaks, 60), rng.permutation(np.arange(60) % 5)
    found = taxonomy_agreement(tree, labels, classes, TAXONOMY, permutations=9, seed=3)
    for row, branches in zip(found.levels.itertuples(), found.branches, strict=True):
        group = TAXONOMY.level(row.depth)[classes]
        expected = branch_agreement(tree, labels, group)
        for name in ("ari", "ami", "purity"):
            np.testing.assert_array_equal(getattr(branches, name), getattr(expected, name))
            assert getattr(row, name) == pytest.approx(getattr(agreement(labels, group), name), abs=1e-9)
            assert getattr(row, f"branch_{name}") == getattr(expected, name)[row.branches - 1]
    for number in range(5):
        inside = labels[classes == number].tolist()
        assert found.class_peak[number] == min(set(inside), key=lambda p: (-inside.count(p), p))
        assert found.class_share[number] == inside.count(found.class_peak[number]) / 12
    apart = reference.cophenetic(tree.linkage)[np.ix_(found.class_peak, found.class_peak)]
    if len(set(apart[np.triu_indices(5, 1)])) > 1:
        for measure, test in found.distances.items():
            assert test.correlation == pytest.approx(reference.spearman(apart, TAXONOMY.distances(measure)), abs=1e-12)
    height_assumed = set(tree.linkage[tree.assumed, 2])
    pairs = [(i, j) for i in range(5) for j in range(i)]
    differ = [found.class_peak[i] != found.class_peak[j] for i, j in pairs]
    assumed = [apart[i, j] in height_assumed and d for (i, j), d in zip(pairs, differ, strict=True)]
    assert found.assumed_share == sum(assumed) / len(pairs)


def test_one_peak_and_one_class():
    one = Tree(np.empty((0, 4)), np.empty(0, bool), 1.0, 0.0, np.zeros(1))
    found = taxonomy_agreement(one, [0] * 10, np.arange(10) % 5, TAXONOMY)
    assert found.levels["ari"].tolist() == [0, 0, 0]
    assert np.isnan(found.distances["path"].correlation)
    found = taxonomy_agreement(one, [0, 0], [0, 0], Taxonomy.of_parents(PARENTS, "a"))
    assert len(found.levels) == 0
    assert found.assumed_share == 0


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ([0, 1, 2, 3, 0], [0, 1, 2, 3, 4], r"labels run from 0 to 3, the tree has 3: 0 \.\. 2"),
        ([0, 1, 2, 1, 0], [0, 1, 2, 3, 5], r"classes run from 0 to 5, the taxonomy has 5: 0 \.\. 4"),
        ([0, 1, 2, 1, 0], [0, 1, 2, 3, -1], r"classes run from -1 to 3, the taxonomy has 5"),
        ([0, 1, 2, 1, 0], [0, 1, 2, 3, 3], "1 classes have no sample, e.g. class 4"),
        ([0, 1, 2], [0, 1], r"classes are int64 \(2,\)"),
        ([0.5, 1], [0, 1], r"labels are float64 \(2,\)"),
    ],
)
def test_unusable_input_is_refused(labels, classes, message):
    with pytest.raises(DnucError, match=message):
        taxonomy_agreement(random_tree(np.random.default_rng(0), 3), labels, classes, TAXONOMY)
