"""k*, k*NN and PAk: equal to plain loops, at the true maximum, finite in many dimensions, and what is refused."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.special import gammaln
from scipy.stats import chi2

from dnuc.errors import DataError, DnucError
from dnuc.landscape import density_peaks, knn_density, kstar, kstar_density, pak_density
from dnuc.landscape.adaptive_kernels import likelihood_maximum
from dnuc.neighbors.lists import Neighbors
from tests import reference, synthetic

# How samples lie: name -> (samples, their dimension).
DATA = {
    "uniform": lambda: (np.random.default_rng(0).uniform(size=(150, 2)), 2.0),
    "two heights": lambda: (
        np.concatenate([synthetic.normal(100, 3), 0.2 * synthetic.normal(100, 3, seed=1) + 3]),
        2.6,
    ),
    "pairs": lambda: (np.repeat(synthetic.normal(75, 2), 2, axis=0), 2.0),
    "manifold": lambda: (synthetic.manifold(150, 6), 6.3),
}


def neighbors_of(x, k):
    distance = cdist(x, x)
    np.fill_diagonal(distance, -1)
    index = np.ascontiguousarray(np.argsort(distance, axis=1, kind="stable")[:, 1 : k + 1])
    return Neighbors(index, np.take_along_axis(distance, index, axis=1))


def log_ball(d):
    return 0.5 * d * math.log(math.pi) - gammaln(0.5 * d + 1)


@pytest.mark.parametrize("alpha", [1e-6, 1e-2])
@pytest.mark.parametrize("kind", DATA)
def test_kstar_equals_plain_loops(kind, alpha):
    x, d = DATA[kind]()
    neighbors = neighbors_of(x, 30)
    k = kstar(neighbors, d, alpha)
    np.testing.assert_array_equal(k, reference.kstar(neighbors.index, neighbors.distance, d, chi2.isf(alpha, 1)))
    assert k.dtype == np.int64
    assert k.min() >= 3
    assert k.max() <= 29


def test_the_threshold_of_the_papers():
    """The ratio of two radii at which k = 3 neighbors first tell two densities apart at alpha = 1e-6."""

    def two(ratio):
        """Samples 0 and 4 far apart in density; the others are only there to be neighbors."""
        index = np.array([[1, 2, 3, 4, 5], *([[0, 2, 3, 4, 5]] * 3), [5, 1, 2, 3, 0], [4, 1, 2, 3, 0]])
        distance = np.ones((6, 5)) * np.array([1, 1, 1, 1, ratio, 1])[:, None]
        return kstar(Neighbors(index, distance), 1.0)[0]

    ratio = next(r for r in np.arange(1, 1000, 0.5) if -6 * (math.log(r) - 2 * math.log(1 + r) + math.log(4)) > 23.928)
    assert (two(ratio - 0.5), two(ratio)) == (4, 3)


@pytest.mark.parametrize("kind", DATA)
def test_kstar_density_is_that_of_the_ball_of_kstar(kind):
    x, d = DATA[kind]()
    neighbors = neighbors_of(x, 30)
    density = kstar_density(neighbors, d)
    for i, k in enumerate(kstar(neighbors, d)):
        alone = knn_density(neighbors, d, int(k))
        assert density.log_density[i] == pytest.approx(alone.log_density[i], rel=1e-14, abs=1e-14)
        assert density.error[i] == alone.error[i] == 1 / math.sqrt(k)
        assert density.k[i] == k


@pytest.mark.parametrize("kind", DATA)
def test_pak_equals_plain_halving(kind):
    x, d = DATA[kind]()
    neighbors = neighbors_of(x, 30)
    density = pak_density(neighbors, d)
    for i, k in enumerate(density.k):
        radius = neighbors.distance[i, :k]
        b, _ = reference.pak(radius.tolist(), d)
        expected = b - log_ball(d) - d * math.log(radius[-1]) - math.log(len(x))
        assert density.log_density[i] == pytest.approx(expected, rel=1e-10, abs=1e-10)
    np.testing.assert_allclose(density.error, np.sqrt((4 * density.k + 2) / (density.k * (density.k - 1))), rtol=1e-15)
    assert density.replaced == 0


@settings(deadline=None)  # the first example compiles
@given(
    seed=st.integers(0, 2**32 - 1),
    k=st.integers(2, 40),
    d=st.floats(0.3, 700),
    spread=st.sampled_from([0.01, 1.0, 30.0]),
)
def test_pak_is_at_the_maximum(seed, k, d, spread):
    """Both slopes of the likelihood vanish, on the scale of their own terms, however steep the shells are."""
    radius = np.cumsum(np.random.default_rng(seed).exponential(spread / d, k)) + 1
    [b], [a] = likelihood_maximum(radius[None], np.array([k]), d)
    log_ratio = np.log(radius / radius[-1])
    inner = np.concatenate([[-np.inf], log_ratio[:-1]])
    log_shell = d * log_ratio + np.log(-np.expm1(d * (inner - log_ratio)))
    rank = np.arange(1, k + 1)
    term = np.exp(b + a * rank + log_shell)
    assert np.sum(term) == pytest.approx(k, rel=1e-9)
    assert np.sum(rank * term) == pytest.approx(k * (k + 1) / 2, rel=1e-9)


def test_pak_corrects_for_the_fall_of_the_density_around_a_summit():
    """The density exp(-|x|)/2, without noise: a ball around the summit sees less than the summit on average."""
    share = (np.arange(2000) + 0.37) / 2000
    x = np.where(share < 0.5, np.log(2 * share), -np.log(2 * (1 - share)))[:, None]
    neighbors, top = neighbors_of(x, 250), np.abs(x[:, 0]).argmin()
    pak, ball = (f(neighbors, 1.0).log_density[top] - math.log(0.5) for f in (pak_density, kstar_density))
    assert ball < -0.05
    assert abs(pak) < 0.2 * abs(ball)


@pytest.mark.parametrize("d", [140, 700])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 700.0])
def test_densities_stay_finite_in_many_dimensions(d, scale):
    """r^d under- or overflows float64 for all these but r = 1."""
    neighbors = neighbors_of(synthetic.normal(60, 200), 20)
    neighbors = Neighbors(neighbors.index, neighbors.distance / neighbors.distance.mean() * scale)
    for density in (kstar_density(neighbors, d), pak_density(neighbors, d)):
        assert np.isfinite(density.log_density).all()
        assert density_peaks(neighbors, density).n_peaks >= 1
    k = kstar(neighbors, d)[0]
    radius = neighbors.distance[0, k - 1]
    expected = math.log(k) - log_ball(d) - d * math.log(radius) - math.log(60)
    assert kstar_density(neighbors, d).log_density[0] == pytest.approx(expected, rel=1e-13)


@settings(deadline=None)
@given(scale=st.floats(1e-6, 1e6), d=st.floats(0.5, 200), method=st.sampled_from([kstar_density, pak_density]))
def test_scaling_the_data_shifts_the_log_density(scale, d, method):
    neighbors = neighbors_of(synthetic.normal(40, 3), 12)
    before = method(neighbors, d)
    after = method(Neighbors(neighbors.index, neighbors.distance * scale), d)
    np.testing.assert_array_equal(after.k, before.k)
    np.testing.assert_allclose(after.log_density, before.log_density - d * math.log(scale), rtol=1e-8, atol=1e-7)


@pytest.mark.parametrize("method", [kstar_density, pak_density])
def test_permuting_samples_permutes_the_density(method):
    x = synthetic.clustered(120, 3, spread=0.3)
    old = np.random.default_rng(3).permutation(120)
    before, after = (method(neighbors_of(y, 20), 2.5) for y in (x, x[old]))
    np.testing.assert_array_equal(after.k, before.k[old])
    np.testing.assert_array_equal(after.log_density, before.log_density[old])


def test_the_error_models():
    neighbors = neighbors_of(synthetic.normal(60, 2), 20)
    k = kstar(neighbors, 2.0)
    paper = np.sqrt((4 * k + 2) / (k * (k + 1)))
    for method in (kstar_density, pak_density):
        np.testing.assert_array_equal(method(neighbors, 2.0, error_model="paper").error, paper)
    np.testing.assert_allclose(knn_density(neighbors, 2.0, 10, error_model="paper").error, math.sqrt(42 / 110))
    np.testing.assert_array_equal(knn_density(neighbors, 2.0, 10, error_model="code").error, 1 / math.sqrt(10))


def test_capped_samples_are_counted_and_told():
    """In an evenly filled square the density is constant farther than 12 neighbors; a steep density is not."""
    flat = kstar_density(neighbors_of(np.random.default_rng(0).uniform(size=(200, 2)), 12), 2.0)
    assert flat.capped == np.sum(flat.k == 11) > 150
    assert flat.note == (
        f"k* reached the number of stored neighbors for {flat.capped} of 200 samples, so it is mostly a constant k: "
        "store more neighbors"
    )
    steep = pak_density(neighbors_of(np.exp(6 * synthetic.normal(200, 1)), 60), 1.0)
    assert steep.capped == np.sum(steep.k == 59) < 50
    assert steep.note == ""


def test_duplicates_within_kstar_do_no_harm():
    """Four copies of each sample: a ball of 3 neighbors has no volume, so k* starts at 4."""
    neighbors = neighbors_of(np.repeat(synthetic.normal(30, 2), 4, axis=0), 20)
    density = kstar_density(neighbors, 2.0)
    assert np.isfinite(density.log_density).all()
    assert density.k.min() >= 4
    assert np.isfinite(pak_density(neighbors, 2.0).log_density).all()


def test_pak_without_a_maximum_is_kstar_density_and_told():
    """All neighbors of every sample at one distance: one shell holds them all, and any slope explains it."""
    n = 6
    index = np.array([[j for j in range(n) if j != i] for i in range(n)])
    neighbors = Neighbors(index, np.ones((n, n - 1)))
    density = pak_density(neighbors, 2.0)
    assert density.replaced == 6
    np.testing.assert_array_equal(density.log_density, kstar_density(neighbors, 2.0).log_density)
    assert "k* reached" in density.note
    assert (
        "no maximum for 6 of 6 samples" in type(density)(density.log_density, density.error, density.k, replaced=6).note
    )


@pytest.mark.parametrize("method", [kstar, kstar_density, pak_density])
def test_only_duplicates_are_refused(method):
    with pytest.raises(DataError, match=r"4 of the 5 stored neighbors lie at distance 0 .* for 7 of 7 samples"):
        method(neighbors_of(np.ones((7, 2)), 5), 2.0)


@pytest.mark.parametrize("method", [kstar, kstar_density, pak_density])
@pytest.mark.parametrize("dimension", [0, -1.0, math.nan, math.inf])
def test_impossible_dimension_is_refused(method, dimension):
    with pytest.raises(DnucError, match="positive, finite number, see two_nn"):
        method(neighbors_of(np.arange(9.0)[:, None], 5), dimension)


def test_unusable_input_is_refused():
    x = np.arange(9.0)[:, None] ** 2
    with pytest.raises(DnucError, match="3 neighbors stored; k\\* lies between 3 and one less than the stored number"):
        kstar(neighbors_of(x, 3), 1.0)
    with pytest.raises(DnucError, match="alpha = 0"):
        kstar(neighbors_of(x, 5), 1.0, alpha=0)
    with pytest.raises(DnucError, match="error_model 'papre'; closest: 'paper'"):
        pak_density(neighbors_of(x, 5), 1.0, error_model="papre")
    with pytest.raises(DnucError, match="error_model 'dadapy'; allowed: 'code', 'paper'"):
        knn_density(neighbors_of(x, 5), 1.0, 3, error_model="dadapy")
    elsewhere = Neighbors(np.full((9, 5), 9), np.ones((9, 5)))
    with pytest.raises(DnucError, match="kstar: neighbor positions run from 9 to 9; samples from 0 to 8"):
        kstar(elsewhere, 1.0)
    spoilt = Neighbors(neighbors_of(x, 5).index, np.full((9, 5), np.nan))
    with pytest.raises(DataError, match="distance to neighbor k\\* is not finite for 9 of 9 samples"):
        kstar(spoilt, 1.0)
