"""Agreement with known classes, of the peaks and of every cut of their tree."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import linkage
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

from dnuc.errors import DataError, DnucError
from dnuc.landscape import Tree, agreement, branch_agreement, cut_tree
from dnuc.landscape.partitions import expected_information
from tests import reference


def random_tree(rng, n):
    """A tree of n peaks with heights at random."""
    merges = linkage(rng.uniform(1, 2, n * (n - 1) // 2), "weighted") if n > 1 else np.empty((0, 4))
    return Tree(merges, rng.random(n - 1) < 0.3, 3.0, 0.0, -np.sort(rng.random(n)))


def test_hand_made_rand_index_and_purity():
    """Of 6 pairs, 1 is together in both, 2 in the labels, 2 in the reference: (1 - 4/6) / (2 - 4/6)."""
    found = agreement([0, 0, 1, 1], [0, 0, 1, 2])
    assert found.ari == pytest.approx(4 / 7)
    assert found.purity == 3 / 4


@given(pairs=st.lists(st.tuples(st.integers(-1, 5), st.integers(0, 5)), min_size=2, max_size=60))
def test_equals_scikit_learn_and_the_plain_loop(pairs):
    labels, known = np.array(pairs).T
    found = agreement(labels, known)
    assert found.ari == adjusted_rand_score(known, labels)
    assert found.ami == pytest.approx(adjusted_mutual_info_score(known, labels), abs=1e-10)
    assert found.purity == reference.purity(labels, known)


def test_samples_without_a_class_are_left_out():
    rng = np.random.default_rng(0)
    labels, known = rng.integers(0, 4, 200), rng.integers(-2, 3, 200)
    found = agreement(labels, known)
    has_class = known >= 0
    assert found.n_samples == has_class.sum() < 200
    assert found.ari == adjusted_rand_score(known[has_class], labels[has_class])


def test_names_of_groups_do_not_matter():
    rng = np.random.default_rng(1)
    labels, known = rng.integers(0, 4, 100), rng.integers(0, 3, 100)
    assert agreement(7 - 2 * labels, known) == pytest.approx(agreement(labels, known))


def test_equal_partitions_agree_fully_and_one_group_tells_nothing():
    each, one = np.arange(50), np.zeros(50, dtype=int)
    for partition in (each, one, each // 7):
        assert agreement(partition, partition).ari == agreement(partition, partition).ami == 1
    for a, b in ((each // 7, one), (one, each // 7), (each, one)):
        assert (agreement(a, b).ari, agreement(a, b).ami) == (0, 0)
    assert agreement(each, each // 7).ami == pytest.approx(0, abs=1e-12)  # as much as any singletons would tell


@given(
    size=st.lists(st.integers(0, 25), min_size=1, max_size=6),
    groups=st.lists(st.integers(1, 25), min_size=1, max_size=5),
)
def test_the_expectation_by_chance_equals_exact_sums(size, groups):
    total = sum(groups)
    size = np.minimum(size, total)
    expected = [sum(reference.expected_n_log_n(a, b, total) for b in groups) for a in size.tolist()]
    np.testing.assert_allclose(expected_information(size, np.array(groups)), expected, rtol=1e-12, atol=1e-14)


def test_the_expectation_of_large_groups_is_not_cut_short():
    """Against the Taylor series of n log n around its mean, to the fourth moment: what is left out is below 1e-9."""
    total, a, b = 400_000, 150_000, 130_000
    variance = a * b / total * (1 - a / total) * (1 - b / total) * total / (total - 1)
    third = variance * (1 - 2 * a / total) * (1 - 2 * b / total) * total / (total - 2)
    expected = 0.0
    for mean, skew in ((a * b / total, third), (a * (total - b) / total, -third)):
        expected += mean * math.log(mean) + variance / (2 * mean) - skew / (6 * mean**2) + variance**2 / (4 * mean**3)
    [found] = expected_information(np.array([a]), np.array([b, total - b]))
    assert found == pytest.approx(expected, abs=1e-8)  # of 1.7e6; a tail cut at three sigmas would miss 1e-3


@given(seed=st.integers(0, 2**32 - 1), n_peaks=st.integers(1, 12), n_classes=st.integers(1, 6))
def test_every_cut_of_a_tree_equals_the_agreement_of_its_branches(seed, n_peaks, n_classes):
    rng = np.random.default_rng(seed)
    tree = random_tree(rng, n_peaks)
    labels, known = rng.integers(0, n_peaks, 80), rng.integers(-1, n_classes, 80)
    known[:2] = 0
    found = branch_agreement(tree, labels, known)
    assert found.n_samples == np.count_nonzero(known >= 0)
    for n in range(1, n_peaks + 1):
        expected = agreement(cut_tree(tree, n=n)[labels], known)
        assert found.ari[n - 1] == expected.ari
        assert found.purity[n - 1] == expected.purity
        assert found.ami[n - 1] == pytest.approx(expected.ami, abs=1e-9)
    assert found.best == np.flatnonzero(found.ari == found.ari.max())[0] + 1
    assert repr(found).startswith(f"BranchAgreement(n_peaks={n_peaks}, peaks: ari=")


def test_a_tree_that_nests_as_the_classes_do_agrees_fully_where_it_is_cut_right():
    merges = np.array([[0, 1, 1, 2], [2, 3, 1, 2], [4, 5, 2, 4]], dtype=float)
    found = branch_agreement(Tree(merges, np.zeros(3, bool), 3.0, 0.0, np.zeros(4)), [0, 1, 2, 3] * 5, [7, 7, 9, 9] * 5)
    assert found.ari[1] == found.ami[1] == found.purity[1] == 1
    assert found.best == 2
    assert found.ari[0] == 0
    assert found.purity.tolist() == [0.5, 1, 1, 1]


@pytest.mark.parametrize(
    ("labels", "known", "error", "message"),
    [
        ([0, 1, 2], [0, 1], DnucError, r"labels \(3,\) and reference \(2,\)"),
        ([[0, 1]], [[0, 1]], DnucError, r"both must be \(N,\)"),
        ([0.0, 1.0], [0, 1], DnucError, "labels are float64 and reference int64; both must be integers"),
        ([0, 1], ["cat", "dog"], DnucError, "return_inverse=True"),
        ([0, 1, 2], [-1, -1, 4], DataError, "1 of 3 samples have a class"),
    ],
)
def test_unusable_input_is_refused(labels, known, error, message):
    with pytest.raises(error, match=message):
        agreement(np.array(labels), np.array(known))
    with pytest.raises(error, match=f"branch_agreement: .*{message}"):
        branch_agreement(random_tree(np.random.default_rng(0), 3), np.array(labels), np.array(known))


def test_labels_of_another_tree_are_refused():
    with pytest.raises(DnucError, match=r"labels run from 0 to 3, the tree has the peaks 0 \.\. 2"):
        branch_agreement(random_tree(np.random.default_rng(0), 3), [0, 3], [0, 0])
