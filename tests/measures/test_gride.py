"""Gride against the published density, against TwoNN, and where the numbers are extreme."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.spatial import cKDTree

from dnuc.errors import DnucError
from dnuc.measures.dimension import Dimension, two_nn
from dnuc.measures.gride import gride, powers_of_two
from dnuc.neighbors.lists import Neighbors
from dnuc.neighbors.search import nearest_neighbors
from tests import reference, synthetic


def with_ratios(mu, rank, first=1.0):
    """Neighbors whose distances at ranks `rank` and 2 `rank` have given ratios."""
    mu = np.asarray(mu, dtype=np.float64)
    distance = np.full((len(mu), 2 * rank), first)
    distance[:, -1] = first * mu
    return Neighbors(np.zeros(distance.shape, np.int64), distance)


def drawn(rank, dimension, n, seed):
    """Independent ratios of the law that the likelihood is of: mu^-d has a Beta(n, n) distribution."""
    share = np.random.default_rng(seed).beta(rank, rank, n)
    return with_ratios(np.exp(-np.log(share) / dimension), rank)


def periodic(n, dimension, seed, k):
    """Neighbors in a box without walls: constant density, and no edge to distort the ratios."""
    x = np.random.default_rng(seed).uniform(size=(n, dimension))
    distance, index = cKDTree(x, boxsize=1).query(x, k + 1)
    return Neighbors(index[:, 1:], distance[:, 1:])


@pytest.mark.parametrize("rank", [1, 2, 5, 8])
@pytest.mark.parametrize("dimension", [0.5, 3, 12])
def test_the_likelihood_is_maximal(rank, dimension):
    near = drawn(rank, dimension, 150, seed=rank)
    mu = near.distance[:, -1]
    [found] = gride(near, [rank])
    assert found.value == pytest.approx(reference.gride(mu, rank, 2 * rank), rel=1e-13)
    best = reference.gride_log_likelihood(mu, rank, 2 * rank, found.value)
    for factor in (0.99, 0.999, 1.001, 1.01):
        assert reference.gride_log_likelihood(mu, rank, 2 * rank, factor * found.value) < best


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_the_error_is_the_curvature_of_the_likelihood(rank):
    near = drawn(rank, 4.0, 200, seed=1)
    mu, [found] = near.distance[:, -1], gride(near, [rank])
    d, h = found.value, 1e-4 * found.value

    def log_likelihood(d):
        return reference.gride_log_likelihood(mu, rank, 2 * rank, d)

    curvature = (log_likelihood(d + h) - 2 * log_likelihood(d) + log_likelihood(d - h)) / h**2
    assert found.error == pytest.approx(1 / math.sqrt(-curvature), rel=1e-3)


@pytest.mark.parametrize("rank", [1, 4, 16])
def test_independent_ratios_have_no_bias_and_an_honest_error(rank):
    found = [gride(drawn(rank, 6.0, 300, seed), [rank])[0] for seed in range(300)]
    values, errors = np.array([f.value for f in found]), np.array([f.error for f in found])
    unbiased = 299 / 300 if rank == 1 else 1  # N / sum(log mu) is too large by N / (N - 1)
    assert values.mean() * unbiased == pytest.approx(6, abs=4 * values.std() / math.sqrt(300))
    assert values.std(ddof=1) / errors.mean() == pytest.approx(1, abs=0.17)  # 4 / sqrt(2 * 300)


def test_neighboring_ratios_are_correlated_as_the_docstring_says():
    found = [gride(periodic(500, 3, seed, k=32)) for seed in range(100)]
    values = np.array([[f.value for f in profile] for profile in found])
    errors = np.array([[f.error for f in profile] for profile in found])
    assert values.mean(axis=0) == pytest.approx(3, rel=0.02)
    spread = values.std(axis=0, ddof=1) / errors.mean(axis=0)
    assert (spread > 1).all()
    assert (spread < 1.7).all()


def test_the_published_density_is_one():
    """The reference's own formula integrates to 1, so that it is a density and no typing error."""
    for n1, n2, d in ((1, 2, 3.0), (2, 4, 1.5), (4, 8, 5.0)):
        total, _ = quad(lambda m, a=(n1, n2, d): math.exp(reference.gride_log_likelihood([m], *a)), 1, np.inf)
        assert total == pytest.approx(1, rel=1e-6)


def test_rank_one_is_two_nn_without_its_factor():
    x = synthetic.manifold(300, 4)
    x[7] = x[100]
    near = nearest_neighbors(x, 2)
    [found], other = gride(near), two_nn(near, method="mle")
    used = 300 - other.dropped
    assert (found.dropped, other.dropped) == (2, 2)
    assert found.value * (used - 1) / used == pytest.approx(other.value, rel=1e-14)
    assert found.error == pytest.approx(found.value / math.sqrt(used), rel=1e-14)


def test_ranks_are_all_powers_of_two_that_are_stored():
    near = nearest_neighbors(synthetic.normal(100, 3), 20)
    assert [f.rank for f in gride(near)] == [1, 2, 4, 8]
    assert gride(near, [3, 1]) == [gride(near, [3])[0], gride(near)[0]]
    assert powers_of_two(0) == []


def test_the_scale_is_the_mean_of_both_distances():
    near = nearest_neighbors(synthetic.normal(100, 3), 8)
    found = gride(near, [4])[0]
    assert found.scale == pytest.approx((near.distance[:, 3].mean() + near.distance[:, 7].mean()) / 2, rel=1e-14)
    scales = [f.scale for f in gride(near)]
    assert scales == sorted(scales)


@given(
    dimension=st.floats(0.1, 1000),
    rank=st.sampled_from([1, 2, 7, 32]),
    n=st.integers(3, 60),
    seed=st.integers(0, 2**32 - 1),
    scale=st.sampled_from([1e-150, 1.0, 700.0, 1e150]),
)
def test_any_dimension_is_found_at_any_scale(dimension, rank, n, seed, scale):
    """mu may be 1e300 (d = 0.1 and small n) or 1 + 1e-6 (d = 1000): the estimate is the maximum all the same."""
    share = np.random.default_rng(seed).beta(rank, rank, n)
    log_mu = np.minimum(-np.log(share) / dimension, 300)
    near = with_ratios(np.exp(log_mu), rank, scale)
    [found] = gride(near, [rank])
    t = np.log(near.distance[:, -1]) - np.log(near.distance[:, 0])
    assert found.value == pytest.approx(reference.gride(np.exp(t), rank, 2 * rank), rel=1e-9)
    assert 0 < found.error < np.inf


def test_ratios_of_very_different_size():
    for rank in (1, 2, 16):
        mu = [1 + 1e-15, 1 + 1e-9, 1.5, 1e9, 1e300]
        [found] = gride(with_ratios(mu, rank), [rank])
        assert found.value == pytest.approx(reference.gride(mu, rank, 2 * rank), rel=1e-12)
        assert found.dropped == 0


def test_ties_and_duplicates_are_dropped_and_counted():
    near = drawn(4, 3.0, 50, seed=0)
    distance = near.distance.copy()
    distance[:3, :4] = 0  # three samples with at least four duplicates
    distance[3:5, -1] = 1  # two whose neighbors 4 and 8 are equally far
    [found] = gride(Neighbors(near.index, distance), [4])
    assert found.dropped == 5
    assert found.value == gride(Neighbors(near.index[5:], distance[5:]), [4])[0].value


def test_it_does_not_see_scale_or_rotation():
    x = synthetic.manifold(300, 4, embedding=20)
    expected = gride(nearest_neighbors(x, 16))
    larger = gride(nearest_neighbors(2.0**40 * x, 16))
    assert [f.value for f in larger] == [f.value for f in expected]
    turned = gride(nearest_neighbors(1e-3 * x @ synthetic.rotation(20, 5), 16))
    assert [f.value for f in turned] == pytest.approx([f.value for f in expected], rel=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda near: gride(near.nearest(1)), "1 is stored: search with k >= 2"),
        (lambda near: gride(near, [1, 8]), r"Gride at rank 8 .* 10 are stored: ranks must be 1 \.\. 5, or .* k >= 16"),
        (lambda near: gride(near, [0]), r"Gride at rank 0 .* ranks must be 1 \.\. 5"),
        (lambda near: gride(nearest_neighbors(np.ones((20, 2)), 4)), "rank 1: 0 of 20 samples"),
        (lambda near: gride(nearest_neighbors(np.argwhere(np.ones((20, 20))), 2)), "the data lie on a lattice"),
        (lambda near: gride(nearest_neighbors(np.repeat([[0.0], [1], [5]], 2, axis=0), 4), [1]), "0 of 6 samples"),
    ],
)
def test_it_refuses_what_has_no_dimension(call, message):
    with pytest.raises(DnucError, match=message):
        call(nearest_neighbors(synthetic.normal(30, 3), 10))


def test_a_dimension_is_a_number():
    assert float(Dimension(3.5, 0.1, 1.0)) == 3.5
