"""The rank correlation of two matrices of distances, and its test by permutation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from dnuc.errors import DnucError
from dnuc.landscape import mantel
from tests import reference


def distances(rng, n, values=None):
    """A symmetric matrix of random distances; of few `values`, many are equal."""
    d = rng.random((n, n)) if values is None else rng.integers(0, values, (n, n)).astype(float)
    d = d + d.T
    np.fill_diagonal(d, 0)
    return d


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(3, 9), values=st.sampled_from([None, 2, 4]))
def test_equals_the_plain_loop(seed, n, values):
    rng = np.random.default_rng(seed)
    x, y = distances(rng, n, values), distances(rng, n, values)
    found = mantel(x, y, permutations=20, seed=seed)
    pairs = np.triu_indices(n, 1)
    if len(set(x[pairs])) == 1 or len(set(y[pairs])) == 1:
        assert math.isnan(found.correlation)
        assert math.isnan(found.p_value)
        return
    expected = reference.spearman(x, y)
    assert found.correlation == pytest.approx(expected, abs=1e-12)
    assert expected == pytest.approx(spearmanr(x[pairs], y[pairs]).statistic, abs=1e-12)
    random = np.random.default_rng(seed)
    orders = [random.permutation(n) for _ in range(20)]
    as_good = sum(reference.spearman(x, y[np.ix_(o, o)]) >= expected - 1e-9 for o in orders)
    assert found.p_value == (1 + as_good) / 21
    assert (found.n_pairs, found.permutations) == (n * (n - 1) // 2, 20)


def test_a_monotone_change_of_distances_changes_nothing():
    rng = np.random.default_rng(0)
    x, y = distances(rng, 30), distances(rng, 30)
    assert mantel(x, y) == mantel(np.exp(3 * x) - 1, y) == mantel(x, y)
    assert mantel(x, x).correlation == 1
    assert mantel(x, x).p_value == 0.001
    assert mantel(x, x.max() - x + np.diag(np.full(30, -x.max()))).correlation == pytest.approx(-1)


def test_only_the_seed_decides_the_orders():
    rng = np.random.default_rng(1)
    x, y = distances(rng, 12), distances(rng, 12)
    p = [mantel(x, y, permutations=99, seed=seed).p_value for seed in (0, 0, 1, 2, 3)]
    assert p[0] == p[1]
    assert len(set(p)) > 1


def test_unrelated_distances_are_rarely_significant():
    """Over 200 pairs of unrelated matrices the p-values are spread evenly: near a tenth of them below 0.1."""
    rng = np.random.default_rng(2)
    p = [mantel(distances(rng, 8), distances(rng, 8), permutations=99, seed=i).p_value for i in range(200)]
    assert 8 <= sum(value <= 0.1 for value in p) <= 33
    assert 0.4 < np.mean(p) < 0.6


def test_fewer_than_three_things_or_equal_distances_have_no_correlation():
    for n in (1, 2):
        assert math.isnan(mantel(np.zeros((n, n)), np.zeros((n, n))).correlation)
    x = distances(np.random.default_rng(0), 5)
    assert math.isnan(mantel(x, np.ones((5, 5))).p_value)


@pytest.mark.parametrize(
    ("x", "y", "permutations", "message"),
    [
        (np.zeros((3, 2)), np.zeros((3, 3)), 9, r"x has shape \(3, 2\)"),
        (np.zeros((3, 3)), np.full((3, 3), np.nan), 9, "y has shape .* finite"),
        (np.triu(np.ones((3, 3))), np.zeros((3, 3)), 9, "x is not symmetric"),
        (np.zeros((3, 3)), np.zeros((4, 4)), 9, r"x \(3, 3\) and y \(4, 4\)"),
        (np.zeros((3, 3)), np.zeros((3, 3)), 0, "0 permutations; .* at least one"),
    ],
)
def test_unusable_input_is_refused(x, y, permutations, message):
    with pytest.raises(DnucError, match=message):
        mantel(x, y, permutations)
