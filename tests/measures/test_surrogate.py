"""Surrogates have the second moments of the data, and are Gaussian in everything else."""

import numpy as np
import pytest
import zarr
from scipy.stats import kstest, kurtosis

from dnuc.errors import DataError, DnucError, ResourceError
from dnuc.measures import surrogate
from dnuc.measures.dimension import two_nn
from dnuc.measures.surrogate import gaussian_surrogate
from dnuc.neighbors.search import nearest_neighbors
from tests import synthetic

SHAPES = [(200, 6), (30, 80), (7, 6), (8, 6), (6, 6), (2, 3), (300, 1)]


@pytest.fixture(autouse=True)
def _short_steps(monkeypatch):
    monkeypatch.setattr(surrogate, "ROWS", 64)
    monkeypatch.setattr(surrogate, "COLUMNS", 32)


@pytest.mark.parametrize("shape", SHAPES)
def test_mean_and_covariance_are_those_of_the_data(shape):
    x = synthetic.normal(*shape) ** 2 @ synthetic.normal(shape[1], shape[1], 1) * np.geomspace(1, 100, shape[1]) + 30
    y = gaussian_surrogate(x, seed=1)
    assert y.shape == shape
    covariance, size = np.atleast_2d(np.cov(x.T)), np.cov(x.T).max()
    np.testing.assert_allclose(np.atleast_2d(np.cov(y.T)), covariance, rtol=1e-11, atol=1e-12 * size)
    np.testing.assert_allclose(y.mean(axis=0), x.mean(axis=0), rtol=1e-11)
    if shape[0] > 2:
        assert np.abs(y - x).max() > 0.1 * x.std()


@pytest.mark.parametrize("shape", [(500, 3), (100, 150)])
def test_constant_and_repeated_features(shape):
    x = synthetic.normal(*shape)
    x[:, 1], x[:, 2] = 5, x[:, 0]
    y = gaussian_surrogate(x)
    np.testing.assert_allclose(y[:, 1], 5, rtol=1e-12)
    np.testing.assert_allclose(y[:, 2], y[:, 0], atol=1e-12)


@pytest.mark.parametrize("shape", [(3000, 2), (400, 450)])
def test_it_is_gaussian(shape):
    """Two points apart, mixed by a random matrix: nothing of the gap is left."""
    rng = np.random.default_rng(0)
    x = rng.choice([-1.0, 1.0], size=shape)
    y = gaussian_surrogate(x, seed=3)
    values = y.ravel() / x.std()
    assert kurtosis(x.ravel()) < -1.9
    assert abs(kurtosis(values)) < 0.15
    assert kstest(values[:: max(1, len(values) // 3000)], "norm").pvalue > 1e-3


@pytest.mark.parametrize("shape", [(5, 3), (4, 6)])
def test_it_is_drawn_uniformly_among_all_with_that_covariance(shape):
    """One sample of one feature over many seeds: as likely above the mean as below, and every sample alike."""
    x = synthetic.normal(*shape)
    drawn = np.array([gaussian_surrogate(x, seed)[:, 0] - x[:, 0].mean() for seed in range(400)])
    assert np.abs((drawn > 0).mean(axis=0) - 0.5).max() < 0.125  # five standard errors
    spread = (drawn**2).mean(axis=0)
    assert spread == pytest.approx(x[:, 0].var(), rel=0.35)


def test_the_seed_makes_it():
    x = synthetic.normal(100, 4)
    np.testing.assert_array_equal(gaussian_surrogate(x, 5), gaussian_surrogate(x, 5))
    assert (gaussian_surrogate(x, 5) != gaussian_surrogate(x, 6)).all()


def test_arrays_on_disk():
    for shape in ((200, 6), (30, 80)):
        x = synthetic.normal(*shape).astype(np.float32)
        expected = gaussian_surrogate(x)
        np.testing.assert_array_equal(gaussian_surrogate(zarr.array(x, chunks=(7, 5))), expected)


def test_a_curved_manifold_has_fewer_dimensions_than_its_surrogate():
    """Fig. 5B of Ansuini et al. 2019 in small: three circles need six straight directions."""
    x = synthetic.torus(1500, 3, 40)
    own, flat = (two_nn(nearest_neighbors(data, 2)).value for data in (x, gaussian_surrogate(x)))
    assert own == pytest.approx(3, rel=0.1)
    assert flat == pytest.approx(6, rel=0.15)


def test_what_cannot_be_done_is_refused():
    with pytest.raises(DnucError, match="N = 1 samples"):
        gaussian_surrogate(np.ones((1, 3)))
    with pytest.raises(DataError, match=r"positions 4;"):
        gaussian_surrogate(np.where(np.arange(12).reshape(6, 2) == 9, np.nan, 1.0))
    with pytest.raises(ResourceError, match=r"needs 2,289 MiB beside the result, 2,048 MiB may be used"):
        gaussian_surrogate(np.broadcast_to(np.float32(0), (10**4, 10**4)))
