"""The density: the formula, its behavior in many dimensions, and what is refused."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnuc.errors import DataError, DnucError
from dnuc.landscape import Density, knn_density
from dnuc.measures.dimension import two_nn
from dnuc.neighbors.lists import Neighbors
from tests import reference


def neighbors_of(x, k):
    return Neighbors(*reference.nearest_neighbors(x, k))


@pytest.mark.parametrize(("dimension", "unit_ball"), [(1, 2.0), (2, math.pi), (3, 4 / 3 * math.pi)])
def test_density_is_share_of_samples_per_volume(dimension, unit_ball):
    x = np.random.default_rng(0).normal(size=(50, dimension))
    neighbors = neighbors_of(x, 7)
    density = knn_density(neighbors, dimension, 5)
    expected = [(5 / 50) / (unit_ball * row[4] ** dimension) for row in neighbors.distance]
    np.testing.assert_allclose(np.exp(density.log_density), expected, rtol=1e-12)
    np.testing.assert_array_equal(density.error, np.full(50, 1 / math.sqrt(5)))
    np.testing.assert_array_equal(density.k, np.full(50, 5))


def test_the_dimension_may_be_what_two_nn_returns():
    neighbors = neighbors_of(np.random.default_rng(0).normal(size=(50, 3)), 7)
    dimension = two_nn(neighbors)
    expected = knn_density(neighbors, dimension.value, 5).log_density
    np.testing.assert_array_equal(knn_density(neighbors, dimension, 5).log_density, expected)


def test_a_density_prints_as_one_line():
    density = Density(np.array([-3.0, 2.5]), np.array([0.5, 0.5]), np.array([4, 4]))
    assert repr(density) == "Density(N=2, k=4, log_density=-3..2.5)"
    assert "k=4..9," in repr(Density(density.log_density, density.error, np.array([4, 9])))
    assert repr(Density(*np.empty((3, 0)))) == "Density(N=0)"


def test_density_of_uniform_samples_is_one_over_the_area():
    x = np.random.default_rng(1).uniform(size=(300, 2))
    inside = np.all(np.abs(x - 0.5) < 0.3, axis=1)
    log_density = knn_density(neighbors_of(x, 15), 2, 15).log_density[inside]
    assert abs(np.mean(log_density)) < 0.1


def test_high_dimension_stays_finite():
    """700^140 is 1e398, beyond float64; the logarithm is a normal number."""
    neighbors = Neighbors(np.array([[1], [0]]), np.full((2, 1), 700.0))
    density = knn_density(neighbors, 140, 1)
    expected = math.lgamma(71) - 70 * math.log(math.pi) - 140 * math.log(700) - math.log(2)
    np.testing.assert_allclose(density.log_density, expected, rtol=1e-14)


@given(scale=st.floats(1e-6, 1e6), dimension=st.floats(0.5, 200))
def test_scaling_the_data_shifts_the_log_density(scale, dimension):
    index, distance = np.array([[1], [0], [1]]), np.array([[1.5], [1.5], [2.5]])
    before = knn_density(Neighbors(index, distance), dimension, 1).log_density
    after = knn_density(Neighbors(index, distance * scale), dimension, 1).log_density
    np.testing.assert_allclose(after, before - dimension * math.log(scale), rtol=1e-9, atol=1e-9)


def test_duplicates_are_refused_with_samples_and_a_sufficient_k():
    x = np.array([[0.0], [5.0], [5.0], [5.0], [9.0], [11.0]])
    with pytest.raises(DataError, match=r"positions 1, 2, 3\); use k = 3 or more, or remove the duplicates"):
        knn_density(neighbors_of(x, 3), 1, 2)
    with pytest.raises(DataError, match="store more than the 2 neighbors of now and use a k of at least 3"):
        knn_density(neighbors_of(x, 2), 1, 2)
    assert np.all(np.isfinite(knn_density(neighbors_of(x, 3), 1, 3).log_density))


@pytest.mark.parametrize("dimension", [0, -1.0, math.nan, math.inf])
def test_impossible_dimension_is_refused(dimension):
    with pytest.raises(DnucError, match="positive, finite number, see two_nn"):
        knn_density(neighbors_of(np.arange(4.0)[:, None], 2), dimension, 2)


@pytest.mark.parametrize("k", [0, 3])
def test_k_that_is_not_stored_is_refused(k):
    with pytest.raises(DnucError, match=f"k = {k} neighbors asked for, 2 stored"):
        knn_density(neighbors_of(np.arange(4.0)[:, None], 2), 1, k)


def test_distances_that_are_not_finite_are_refused():
    neighbors = Neighbors(np.array([[1], [0]]), np.array([[1.0], [np.nan]]))
    with pytest.raises(DataError, match=r"distance to neighbor 1 is not finite for 1 of 2 samples \(positions 1\)"):
        knn_density(neighbors, 1, 1)


@pytest.mark.parametrize(
    ("log_density", "error", "k", "message"),
    [
        ([0.0, 1.0], [0.1], [3, 3], r"all three must be \(N,\)"),
        ([0.0, -math.inf], [0.1, 0.1], [3, 3], r"log_density is not finite for 1 of 2 samples \(positions 1\)"),
        ([0.0, 1.0], [0.1, 0.0], [3, 3], "error is not a positive, finite number"),
        ([0.0, 1.0], [0.1, math.nan], [3, 3], "error is not a positive, finite number"),
        ([0.0, 1.0], [0.1, 0.1], [3, 0], "k has the value 0"),
    ],
)
def test_unusable_density_is_refused(log_density, error, k, message):
    with pytest.raises(DnucError, match=message):
        Density(np.array(log_density), np.array(error), np.array(k))
