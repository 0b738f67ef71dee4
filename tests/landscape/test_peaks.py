"""Density peaks: equal to plain loops, and what must hold whatever the data."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.metrics import adjusted_rand_score

from dnuc.errors import DataError, DnucError
from dnuc.landscape import Density, density_peaks, knn_density, kstar_density, pak_density
from dnuc.landscape.basins import density_order, find_basins
from dnuc.landscape.merging import Points, merge_peaks
from dnuc.landscape.saddles import find_saddles
from dnuc.neighbors.lists import Neighbors
from tests import reference

CONVENTIONS = ("dadapy", "paper")

# How samples lie: name -> (n, rng) -> (n, 2).
DATA = {
    "random": lambda n, rng: rng.normal(size=(n, 2)),
    "clustered": lambda n, rng: rng.integers(0, 3, (n, 1)) * 5 + rng.normal(size=(n, 2)),
    "tied": lambda n, rng: rng.integers(0, 6, (n, 2)).astype(float),
    "duplicated": lambda n, rng: np.repeat(rng.normal(size=(n // 2 + 1, 2)), 2, axis=0)[:n],
}


def neighbors_of(x, k):
    """The k nearest neighbors under (distance, index); faster than the reference."""
    distance = cdist(x, x)
    np.fill_diagonal(distance, -1)
    index = np.ascontiguousarray(np.argsort(distance, axis=1, kind="stable")[:, 1 : k + 1])
    return Neighbors(index, np.take_along_axis(distance, index, axis=1))


def constant(log_density, k, error=0.2):
    """A Density with one error and one k."""
    log_density = np.asarray(log_density, dtype=float)
    return Density(log_density, np.full(len(log_density), error), np.full(len(log_density), k))


@st.composite
def cases(draw, *, distinct=False, constant_error=False):
    """Neighbors of random samples with a density that has nothing to do with them: every branch is reached."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(4, 50))
    stored = draw(st.integers(1, min(n - 1, 8)))
    log_density = rng.permutation(n) * 0.1 if distinct else rng.integers(0, 8, n) * 0.4
    error = np.full(n, 0.3) if constant_error else rng.choice([0.1, 0.2, 0.4], n)
    x = DATA["random" if distinct else draw(st.sampled_from(sorted(DATA)))](n, rng)
    return neighbors_of(x, stored), Density(log_density, error, rng.integers(1, stored + 1, n))


def saddle_dict(landscape):
    table = landscape.saddles
    return dict(zip(zip(table["peak_a"], table["peak_b"], strict=True), table["sample"], strict=True))


def assert_equals_reference(neighbors, density, z, convention):
    found = density_peaks(neighbors, density, z, convention=convention)
    labels, centers, core, saddles = reference.density_peaks(
        neighbors.index, density.log_density, density.error, density.k, z, convention
    )
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_array_equal(found.centers, centers)
    np.testing.assert_array_equal(found.core, core)
    assert saddle_dict(found) == saddles
    np.testing.assert_array_equal(found.border, border_of(neighbors, density, convention, labels))
    np.testing.assert_array_equal(found.peak_log_density, density.log_density[centers])
    np.testing.assert_array_equal(found.saddles["log_density"], density.log_density[found.saddles["sample"]])
    np.testing.assert_array_equal(found.saddles["error"], density.error[found.saddles["sample"]])


def border_of(neighbors, density, convention, labels):
    """(N,) the peak that each border sample faces after merging, -1 elsewhere, from the plain loops."""
    _, centers, peak = reference.basins(neighbors.index, density.log_density, density.error, density.k)
    candidates = [i for i in range(len(labels)) if convention == "paper" or i not in centers]
    border = [-1] * len(labels)
    for p, faced in reference.border_points(neighbors.index, density.k, peak, candidates).items():
        border[p] = labels[faced] if labels[faced] != labels[p] else -1
    return border


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("z", [0.0, 1.0, 1.65, 3.0])
@pytest.mark.parametrize("kind", DATA)
def test_knn_landscape_equals_plain_loops(kind, z, convention):
    neighbors = neighbors_of(DATA[kind](120, np.random.default_rng(5)), 12)
    assert_equals_reference(neighbors, knn_density(neighbors, 2, 12), z, convention)


@settings(deadline=None)  # the first example compiles
@given(case=cases(), z=st.sampled_from([0.0, 0.5, 1.0, 1.65, 3.0]), convention=st.sampled_from(CONVENTIONS))
def test_any_landscape_equals_plain_loops(case, z, convention):
    assert_equals_reference(*case, z, convention)


def test_four_gaussians_give_four_peaks():
    rng = np.random.default_rng(0)
    means = np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0], [9.0, 9.0]])
    truth = np.repeat(np.arange(4), 200)
    x = means[truth] + rng.normal(size=(800, 2))
    neighbors = neighbors_of(x, 30)
    found = density_peaks(neighbors, knn_density(neighbors, 2, 30))
    assert found.n_peaks == 4
    assert adjusted_rand_score(truth, found.labels) > 0.98
    assert np.all(cdist(x[found.centers], means).min(axis=1) < 0.7)
    assert found.sizes.sum() == 800


def test_one_gaussian_is_one_peak_without_saddles_or_halo():
    neighbors = neighbors_of(np.random.default_rng(2).normal(size=(400, 2)), 30)
    found = density_peaks(neighbors, knn_density(neighbors, 2, 30))
    assert found.n_peaks == 1
    assert found.core.all()
    assert len(found.saddles) == 0
    assert found.saddles.dtypes.to_dict() == {
        "peak_a": np.int64,
        "peak_b": np.int64,
        "log_density": np.float64,
        "error": np.float64,
        "sample": np.int64,
    }


def test_plateau_of_equal_densities_is_one_peak():
    """On a closed ring every sample has the same density; a peak for each tie would give as many as samples."""
    n, steps = 40, np.array([1, -1, 2, -2])
    index = (np.arange(n)[:, None] + steps) % n
    neighbors = Neighbors(index, np.tile([1.0, 1.0, 2.0, 2.0], (n, 1)))
    found = density_peaks(neighbors, knn_density(neighbors, 1, 4))
    assert found.n_peaks == 1
    assert found.centers[0] == 0


def test_lattice_is_one_peak_even_unmerged():
    lattice = np.stack(np.meshgrid(np.arange(12.0), np.arange(12.0)), axis=-1).reshape(-1, 2)
    neighbors = neighbors_of(lattice, 12)
    density = knn_density(neighbors, 2, 12)
    assert np.sum(density.log_density == density.log_density.max()) > 60
    assert density_peaks(neighbors, density, 0).n_peaks == 1


def test_before_merging_samples_follow_their_nearest_denser_neighbor():
    neighbors = neighbors_of(np.random.default_rng(3).uniform(size=(300, 2)), 8)
    log_density = np.random.default_rng(4).permutation(300) + 0.0
    order = density_order(constant(log_density, 8))
    centers, basin = find_basins(neighbors.index, np.full(300, 8), order)
    assert len(centers) > 10
    for i in set(range(300)) - set(centers.tolist()):
        reachable = [j for j in neighbors.index[i] if log_density[j] > log_density[i] or j in centers]
        if reachable:
            assert basin[i] == basin[reachable[0]]


@given(seed=st.integers(0, 1000), k=st.integers(1, 10), stored=st.integers(10, 20))
def test_with_one_k_every_chain_of_nearest_denser_neighbors_ends_at_the_center(seed, k, stored):
    """And a center is the densest of its basin. (An adaptive k may send a sample to a center that is less dense.)"""
    neighbors = neighbors_of(np.random.default_rng(seed).normal(size=(60, 2)), stored)
    order = density_order(knn_density(neighbors, 2, k))
    rank = np.argsort(order)
    centers, basin = find_basins(neighbors.index, np.full(60, k), order)
    for sample in range(60):
        end = sample
        while end not in centers:
            end = next(j for j in neighbors.index[end] if rank[j] < rank[end])
        assert centers[basin[sample]] == end
    for number, center in enumerate(centers):
        assert center == order[basin[order] == number][0]


def test_neighbor_of_a_denser_sample_is_no_center():
    """Sample 2 sees only sample 3, which is less dense, but sample 0 counts 2 as a neighbor."""
    index = np.array([[1, 2], [0, 2], [3, 4], [2, 4], [3, 2]])
    density = Density(np.array([5.0, 4.0, 3.0, 2.0, 1.0]), np.full(5, 0.1), np.array([2, 1, 1, 1, 1]))
    found = density_peaks(Neighbors(index, np.ones((5, 2))), density, 0)
    np.testing.assert_array_equal(found.centers, [0])
    np.testing.assert_array_equal(found.labels, [0, 0, 0, 0, 0])


def test_border_point_must_be_the_first_of_its_basin_for_the_other_side():
    """Basins {0, 1, 2} and {3, 4, 5} on a line; 2 and 3 face each other, 1 also sees 3 but 2 is nearer to it."""
    index = np.array([[1, 2], [2, 3], [3, 1], [2, 4], [5, 3], [4, 3]])
    basin, order = np.array([0, 0, 0, 1, 1, 1]), np.arange(6)
    none = np.empty(0, dtype=np.int64)
    pairs, samples, facing = find_saddles(index, np.full(6, 2), order, basin, none)
    np.testing.assert_array_equal(pairs, [[0, 1]])
    np.testing.assert_array_equal(samples, [2])
    np.testing.assert_array_equal(facing, [-1, -1, 1, 0, -1, -1])
    _, without_2, _ = find_saddles(index, np.full(6, 2), order, basin, np.array([2]))
    np.testing.assert_array_equal(without_2, [3])


def test_border_point_counts_where_the_other_side_lists_nobody_of_its_basin():
    index = np.array([[1], [2], [3], [2]])
    pairs, samples, _ = find_saddles(
        index, np.ones(4, dtype=int), np.arange(4), np.array([0, 0, 1, 1]), np.empty(0, dtype=np.int64)
    )
    np.testing.assert_array_equal(pairs, [[0, 1]])
    np.testing.assert_array_equal(samples, [1])


def points(log_density, error, rank):
    return Points(np.array(log_density), np.array(error), np.array(rank))


@pytest.mark.parametrize(("convention", "survivor"), [("dadapy", 1), ("paper", 0)])
def test_conventions_choose_different_survivors(convention, survivor):
    """Peak 0 is higher but uncertain (rise 0.5, error 1.1), peak 1 lower but certain (rise 0.4, error 0.2)."""
    peaks = points([2.0, 1.9], [1.0, 0.1], [0, 1])
    into, remaining, ends = merge_peaks(peaks, points([1.5], [0.1], [2]), np.array([[0, 1]]), 1.0, convention)
    np.testing.assert_array_equal(into, [survivor, survivor])
    assert remaining.shape == (0,)
    assert ends.shape == (0, 2)


def test_survivor_inherits_the_higher_saddle():
    """Peak 2 merges into 1; both touch peak 0, at 3.0 and 2.0."""
    peaks = points([9.0, 8.0, 5.0], [0.1] * 3, [0, 1, 2])
    saddles = points([2.0, 3.0, 4.9], [0.1] * 3, [7, 6, 3])
    into, remaining, ends = merge_peaks(peaks, saddles, np.array([[0, 1], [0, 2], [1, 2]]), 1.0, "dadapy")
    np.testing.assert_array_equal(into, [0, 1, 1])
    np.testing.assert_array_equal(remaining, [1])
    np.testing.assert_array_equal(np.sort(ends), [[0, 1]])


def test_inherited_saddle_is_judged_again():
    """The saddle of 0 and 2 passes for the certain peak 2; 2 merges into the uncertain peak 1, for which it fails."""
    peaks = points([20.0, 10.5, 10.0], [0.1, 1.0, 0.01], [0, 2, 1])
    saddles = points([9.5, 9.99], [0.01, 0.1], [4, 3])
    into, *_ = merge_peaks(peaks, points([9.5], [0.01], [4]), np.array([[0, 2]]), 1.0, "dadapy")
    np.testing.assert_array_equal(into, [0, 1, 2])
    into, remaining, _ = merge_peaks(peaks, saddles, np.array([[0, 2], [1, 2]]), 1.0, "dadapy")
    np.testing.assert_array_equal(into, [0, 0, 0])
    assert len(remaining) == 0


@settings(deadline=None)
@given(case=cases(), z=st.floats(0, 4), convention=st.sampled_from(CONVENTIONS))
def test_no_remaining_saddle_fails(case, z, convention):
    neighbors, density = case
    found = density_peaks(neighbors, density, z, convention=convention)
    for row in found.saddles.itertuples():
        for peak in (row.peak_a, row.peak_b):
            noise = density.error[found.centers[peak]] + row.error
            assert found.peak_log_density[peak] - row.log_density >= z * noise


@settings(deadline=None)
@given(case=cases(constant_error=True), z=st.lists(st.floats(0, 5), min_size=2, max_size=4))
def test_more_confidence_never_gives_more_peaks(case, z):
    counts = [density_peaks(*case, value).n_peaks for value in sorted(z)]
    assert counts == sorted(counts, reverse=True)


@settings(deadline=None)
@given(case=cases(distinct=True, constant_error=True), z=st.floats(0, 3), seed=st.integers(0, 100))
def test_permuting_samples_permutes_the_landscape(case, z, seed):
    neighbors, density = case
    old = np.random.default_rng(seed).permutation(neighbors.n_samples)  # new position -> old position
    new = np.argsort(old)
    before = density_peaks(neighbors, density, z)
    after = density_peaks(
        Neighbors(new[neighbors.index[old]], neighbors.distance[old]),
        Density(density.log_density[old], density.error[old], density.k[old]),
        z,
    )
    np.testing.assert_array_equal(after.labels, before.labels[old])
    np.testing.assert_array_equal(old[after.centers], before.centers)
    np.testing.assert_array_equal(after.core, before.core[old])
    assert {pair: old[sample] for pair, sample in saddle_dict(after).items()} == saddle_dict(before)


@settings(deadline=None)
@given(
    seed=st.integers(0, 1000),
    estimate=st.sampled_from([kstar_density, pak_density]),
    z=st.floats(0, 3),
    convention=st.sampled_from(CONVENTIONS),
)
def test_permuting_samples_permutes_the_landscape_of_an_adaptive_density(seed, estimate, z, convention):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(80, 2)) * rng.choice([0.2, 1.0], (80, 1))
    old = rng.permutation(80)

    def landscape(y):
        neighbors = neighbors_of(y, 12)
        density = estimate(neighbors, 2.0)
        # two samples that are each other's last neighbor of the same k have equal densities
        untied = density.log_density + 1e-9 * y[:, 0]
        return density_peaks(neighbors, Density(untied, density.error, density.k), z, convention=convention)

    before, after = landscape(x), landscape(x[old])
    for labels, expected in ((after.labels, before.labels), (after.border, before.border), (after.core, before.core)):
        np.testing.assert_array_equal(labels, expected[old])
    np.testing.assert_array_equal(old[after.centers], before.centers)
    assert {pair: old[sample] for pair, sample in saddle_dict(after).items()} == saddle_dict(before)


@settings(deadline=None)
@given(case=cases(), z=st.floats(0, 3), convention=st.sampled_from(CONVENTIONS))
def test_peaks_are_numbered_from_the_densest(case, z, convention):
    neighbors, density = case
    found = density_peaks(neighbors, density, z, convention=convention)
    g = density.log_density - density.error
    keys = [(-g[c], c) for c in found.centers]
    assert keys == sorted(keys)
    np.testing.assert_array_equal(found.labels[found.centers], np.arange(found.n_peaks))
    assert np.all(found.sizes > 0)
    assert np.all(found.saddles["peak_a"] < found.saddles["peak_b"])
    pairs = list(saddle_dict(found))
    assert pairs == sorted(pairs)


def test_two_samples_are_one_peak():
    neighbors = neighbors_of(np.array([[0.0], [1.0]]), 1)
    found = density_peaks(neighbors, knn_density(neighbors, 1, 1), 0)
    np.testing.assert_array_equal(found.labels, [0, 0])
    np.testing.assert_array_equal(found.centers, [0])


@pytest.mark.parametrize("distinct", [1, 2])
@pytest.mark.parametrize("estimate", [lambda n: knn_density(n, 1, 5), lambda n: kstar_density(n, 1)])
def test_fewer_than_three_distinct_points_have_no_density(distinct, estimate):
    x = np.arange(12.0)[:, None] % distinct
    with pytest.raises(DataError, match=r"duplicates\), so the density is infinite for 12 of 12 samples"):
        estimate(neighbors_of(x, 5))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"density": constant(np.zeros(3), 2)}, "neighbors of 4 samples and densities of 3"),
        ({"density": constant(np.zeros(4), 3)}, "the density uses 3 neighbors and 2 are stored"),
        ({"neighbors": Neighbors(np.full((4, 2), 4), np.ones((4, 2)))}, "run from 4 to 4; samples from 0 to 3"),
        ({"z": -1.0}, "z = -1.0; it must be 0 or a positive"),
        ({"z": float("nan")}, "z = nan"),
        ({"convention": "dadapi"}, "convention 'dadapi'; closest: 'dadapy'"),
    ],
)
def test_unusable_input_is_refused(change, message):
    x = np.arange(4.0)[:, None] ** 2
    given_ = {"neighbors": neighbors_of(x, 2), "density": constant(np.zeros(4), 2)} | change
    with pytest.raises(DnucError, match=message):
        density_peaks(**given_)
