"""Agreement with known classes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

from dnuc.errors import DataError, DnucError
from dnuc.landscape import agreement


def test_hand_made_rand_index():
    """Of 6 pairs, 1 is together in both, 2 in the labels, 2 in the reference: (1 - 4/6) / (2 - 4/6)."""
    assert agreement([0, 0, 1, 1], [0, 0, 1, 2]).ari == pytest.approx(4 / 7)


@given(pairs=st.lists(st.tuples(st.integers(-1, 5), st.integers(0, 5)), min_size=2, max_size=60))
def test_equals_scikit_learn(pairs):
    labels, known = np.array(pairs).T
    found = agreement(labels, known)
    assert found.ari == pytest.approx(adjusted_rand_score(known, labels))
    assert found.ami == pytest.approx(adjusted_mutual_info_score(known, labels))


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
    assert agreement(7 - 2 * labels, known).ari == pytest.approx(agreement(labels, known).ari)


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
