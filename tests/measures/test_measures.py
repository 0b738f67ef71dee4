"""Overlap, intrinsic dimension, hubs and entropy, against plain loops and against what must hold."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from dnuc.errors import DnucError
from dnuc.measures import dimension, overlap
from dnuc.measures.dimension import two_nn
from dnuc.measures.entropy import neighborhood_entropy
from dnuc.measures.hubs import hubness, top_hubs
from dnuc.measures.overlap import data_overlap, label_overlap
from dnuc.neighbors.lists import Neighbors
from dnuc.neighbors.search import nearest_neighbors
from tests import reference, synthetic

LABELS = np.arange(120) % 5


@pytest.fixture(scope="module")
def layers():
    x = synthetic.clustered(120, 12, clusters=5, spread=0.8)
    return nearest_neighbors(x, 10), nearest_neighbors(x + 0.5 * synthetic.normal(120, 12, seed=9), 10)


@pytest.mark.parametrize("k", [1, 4, 10])
def test_overlaps_equal_plain_loops(layers, k):
    a, b = layers
    found = data_overlap(a, b, k)
    np.testing.assert_allclose(found.per_sample, reference.data_overlap(a.index[:, :k], b.index[:, :k]))
    assert found.mean == pytest.approx(found.per_sample.mean())
    labels = label_overlap(a, LABELS, k)
    np.testing.assert_allclose(labels.per_sample, reference.label_overlap(a.index[:, :k], LABELS))


def test_overlap_and_entropy_print_as_one_line(layers):
    assert repr(data_overlap(layers[0], layers[0], 7)) == "Overlap(mean=1.0000, N=120)"
    found = repr(neighborhood_entropy(layers[0], np.full(120, 3.0), 5))
    assert found == "NeighborhoodEntropy(mean=3.0000 +- 0 bit, shuffled=3.0000 +- 0 bit, N=120)"


def test_overlap_is_symmetric_and_one_with_itself(layers):
    a, b = layers
    np.testing.assert_array_equal(data_overlap(a, b, 7).per_sample, data_overlap(b, a, 7).per_sample)
    assert data_overlap(a, a, 7).mean == 1


def test_unrelated_layers_overlap_by_chance():
    n, k = 2000, 20
    a, b = (nearest_neighbors(synthetic.normal(n, 6, seed), k) for seed in (1, 2))
    assert data_overlap(a, b, k).mean == pytest.approx(k / (n - 1), rel=0.2)


def test_samples_without_a_class_are_left_out(layers):
    labels = np.where(LABELS == 3, -1, LABELS)
    found = label_overlap(layers[0], labels, 5)
    assert np.isnan(found.per_sample[labels < 0]).all()
    assert found.mean == pytest.approx(found.per_sample[labels >= 0].mean())
    assert np.isnan(label_overlap(layers[0], np.full(120, -1), 5).mean)


UNEQUAL = np.array([0] * 80 + [1] * 25 + [2] * 10 + [-1] * 5)[np.random.default_rng(0).permutation(120)]


def test_weighted_overlaps_are_means_of_the_means_of_classes(layers):
    a, b = layers
    for found in (
        label_overlap(a, UNEQUAL, 7, weights="class_size"),
        data_overlap(a, b, 7, weights="class_size", labels=UNEQUAL),
    ):
        assert found.mean == pytest.approx(reference.mean_of_class_means(found.per_sample, UNEQUAL), rel=1e-12)
    plain = label_overlap(a, UNEQUAL, 7)
    np.testing.assert_array_equal(label_overlap(a, UNEQUAL, 7, weights="class_size").per_sample, plain.per_sample)
    assert data_overlap(a, b, 7, labels=UNEQUAL).mean == data_overlap(a, b, 7).mean


def test_weights_change_nothing_where_classes_are_equally_large(layers):
    found = label_overlap(layers[0], LABELS, 6, weights="class_size").mean
    assert found == pytest.approx(label_overlap(layers[0], LABELS, 6).mean, rel=1e-12)
    assert np.isnan(label_overlap(layers[0], np.full(120, -1), 5, weights="class_size").mean)


@pytest.mark.parametrize("fraction", [0.001, 0.05, 0.125])
def test_neighbors_as_a_fraction_of_the_class(layers, fraction):
    found = label_overlap(layers[0], UNEQUAL, class_fraction=fraction)
    labeled = UNEQUAL >= 0
    expected = reference.label_overlap_of_fraction(layers[0].index, UNEQUAL, fraction)
    np.testing.assert_allclose(found.per_sample[labeled], expected[labeled])
    assert np.isnan(found.per_sample[~labeled]).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: label_overlap(a, LABELS, 5, weights="classes"), "weights = 'classes': must be None"),
        (lambda a: data_overlap(a, a, 5, weights="class_size"), "give the classes too, labels="),
        (lambda a: data_overlap(a, a, 5, weights="class_size", labels=LABELS[1:]), r"shape \(119,\) for 120 samples"),
        (lambda a: label_overlap(a, LABELS), "k = None and class_fraction = None; give just one"),
        (lambda a: label_overlap(a, LABELS, 5, class_fraction=0.1), "k = 5 and class_fraction = 0.1; give just one"),
        (lambda a: label_overlap(a, LABELS, class_fraction=0), r"class_fraction = 0: must be in \(0, 1\]"),
        (lambda a: label_overlap(a, LABELS, class_fraction=0.5), "k = 12 neighbors asked for, 10 stored"),
        (lambda a: label_overlap(a, LABELS[:-1], 5), r"shape \(119,\) for 120 samples"),
        (lambda a: label_overlap(a, LABELS.astype(str), 5), "labels have type <U21; they must be integers: np.unique"),
        (lambda a: label_overlap(a, LABELS + 0.5, 5), "labels have type float64"),
        (lambda a: label_overlap(a, LABELS, 11), "k = 11 neighbors asked for, 10 stored"),
        (lambda a: data_overlap(a, Neighbors(a.index[:50], a.distance[:50]), 5), "120 and 50 samples"),
        (lambda a: data_overlap(a, a, 0), r"k must be 1 \.\. 10"),
    ],
)
def test_overlaps_refuse_what_does_not_fit(layers, call, message):
    with pytest.raises(DnucError, match=message):
        call(layers[0])


def test_overlaps_do_not_depend_on_the_rows_taken_at_once(layers, monkeypatch):
    a, b = layers
    expected = [data_overlap(a, b, 7).per_sample, label_overlap(a, LABELS, 7).per_sample]
    monkeypatch.setattr(overlap, "ROWS_AT_ONCE", 13)
    np.testing.assert_array_equal([data_overlap(a, b, 7).per_sample, label_overlap(a, LABELS, 7).per_sample], expected)


@pytest.mark.parametrize("kind", [np.uint8, np.int32, bool])
def test_labels_of_any_integer_type(layers, kind):
    labels = (LABELS % 2).astype(kind)
    expected = reference.label_overlap(layers[0].index[:, :5], LABELS % 2)
    np.testing.assert_allclose(label_overlap(layers[0], labels, 5).per_sample, expected)


@pytest.mark.parametrize("fraction", [0.5, 0.9, 0.99])
def test_two_nn_equals_the_plain_fit(layers, fraction):
    near = layers[0]
    found = two_nn(near, fraction)
    assert found.value == pytest.approx(reference.two_nn(near.distance[:, 0], near.distance[:, 1], fraction), rel=1e-12)
    assert found.scale == pytest.approx(near.distance[:, 1].mean())


@pytest.mark.parametrize("dimension", [1, 2, 5, 10])
def test_two_nn_finds_the_dimension_of_a_manifold(dimension):
    near = nearest_neighbors(synthetic.manifold(4000, dimension), 2)
    for method in ("fit", "mle"):
        found = two_nn(near, method=method)
        assert found.value == pytest.approx(dimension, rel=0.1)
        assert found.error == pytest.approx(found.value / np.sqrt(4000), rel=0.06)


def periodic_neighbors(n, dimension, seed):
    """Two neighbors in a box without walls: constant density, and no edge to distort the ratios."""
    x = np.random.default_rng(seed).uniform(size=(n, dimension))
    distance, index = cKDTree(x, boxsize=1).query(x, 3)
    return Neighbors(index[:, 1:], distance[:, 1:])


@pytest.mark.parametrize("method", ["fit", "mle"])
def test_two_nn_has_no_bias_and_an_honest_error(method):
    found = [two_nn(periodic_neighbors(400, 3, seed), method=method) for seed in range(100)]
    values = np.array([f.value for f in found])
    assert values.mean() == pytest.approx(3, abs=4 * values.std() / np.sqrt(100))
    spread = values.std(ddof=1) / np.mean([f.error for f in found])
    assert 1 < spread < 1.5  # as the docstring says: neighboring ratios are correlated


def test_two_nn_does_not_see_scale_or_rotation():
    x = synthetic.manifold(500, 4, embedding=20)
    expected = two_nn(nearest_neighbors(x, 2)).value
    assert two_nn(nearest_neighbors(1e-3 * x @ synthetic.rotation(20, 5), 2)).value == pytest.approx(expected, rel=1e-6)


def test_two_nn_drops_duplicates_and_counts_them():
    x = synthetic.normal(300, 3)
    x[10] = x[200]
    near = nearest_neighbors(x, 3)
    assert near.duplicates == 2
    found = two_nn(near)
    assert found.dropped == 2
    others = near.distance[:, 0] > 0
    assert found.value == two_nn(Neighbors(near.index[others], near.distance[others])).value


def test_two_nn_with_all_ratios_leaves_out_only_the_largest():
    """At F = 1 its -log(1 - F) is infinite."""
    near = nearest_neighbors(synthetic.normal(200, 3), 2)
    assert two_nn(near, fraction=1).value == two_nn(near, fraction=0.9951).value


def test_two_nn_works_at_any_scale():
    x = synthetic.normal(300, 3)
    expected = two_nn(nearest_neighbors(x, 2))
    for scale in (2.0**-400, 2.0**400):
        found = two_nn(nearest_neighbors(x * scale, 2))
        assert found.value == pytest.approx(expected.value, rel=1e-9)
        assert found.scale == pytest.approx(scale * expected.scale)


def test_two_nn_rounds_to_a_whole_number_when_asked():
    near = nearest_neighbors(synthetic.normal(300, 3), 2)
    exact, rounded = two_nn(near), two_nn(near, integer=True)
    assert (rounded.value, rounded.error, rounded.scale) == (round(exact.value), exact.error, exact.scale)
    low = Neighbors(near.index, near.distance**9)  # a ninth of the dimension
    assert two_nn(low).value < 0.5
    assert two_nn(low, integer=True).value == 1


@pytest.mark.parametrize("method", ["fit", "mle"])
def test_two_nn_by_resampling(method):
    """Resamples of the ratios spread as the Fisher information says where the ratios follow their law."""
    near = periodic_neighbors(2000, 3, seed=0)
    fisher, bootstrap = two_nn(near, method=method), two_nn(near, method=method, error="bootstrap", seed=1)
    assert bootstrap.value == fisher.value
    assert bootstrap.error == pytest.approx(fisher.error, rel=0.25)
    assert two_nn(near, method=method, error="bootstrap", seed=1) == bootstrap
    assert two_nn(near, method=method, error="bootstrap", seed=2) != bootstrap


def test_two_nn_resamples_whole_samples():
    """Against a plain loop: draw ratios, sort them, fit them again."""
    near, rng = nearest_neighbors(synthetic.normal(60, 3), 2), np.random.default_rng(4)
    log_mu = np.sort(np.log(near.distance[:, 1] / near.distance[:, 0]))
    values = []
    for _ in range(dimension.RESAMPLES):
        drawn = np.exp([log_mu[i] for i in rng.integers(0, 60, 60)])
        values.append(reference.two_nn(np.ones(60), drawn, 0.9))
    found = two_nn(near, error="bootstrap", seed=4).error
    assert found == pytest.approx(np.std(values, ddof=1), rel=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: two_nn(nearest_neighbors(synthetic.normal(20, 2), 2), error="jackknife"),  # type: ignore[arg-type]
            "error = 'jackknife': must be 'fisher' or 'bootstrap'",
        ),
        (
            lambda: two_nn(
                nearest_neighbors(np.append(np.argwhere(np.ones((9, 9))), [[40, 50]], axis=0), 2),
                method="mle",
                error="bootstrap",
            ),
            r"resample \d+ of 200 has no dimension, .* \(use 'fisher'\)",
        ),
        (lambda: two_nn(nearest_neighbors(np.ones((20, 2)), 2)), "0 of 20 samples"),
        (lambda: two_nn(nearest_neighbors(np.arange(20.0)[:, None], 1)), "1 is stored"),
        (
            lambda: two_nn(nearest_neighbors(synthetic.normal(20, 2), 2), fraction=0),
            r"fraction = 0: must be in \(0, 1\]",
        ),
        (lambda: two_nn(nearest_neighbors(synthetic.normal(20, 2), 2), method="ml"), "'fit' or 'mle'"),  # type: ignore[arg-type]
        (lambda: two_nn(nearest_neighbors(np.argwhere(np.ones((20, 20))), 2)), "some ratio above 1 are needed"),
        (
            lambda: two_nn(nearest_neighbors(np.append(np.argwhere(np.ones((9, 9))), [[40, 50]], axis=0), 2)),
            r"they do not differ from 1; raise the fraction \(now 0\.9\) or use method='mle'",
        ),
    ],
)
def test_two_nn_refuses_what_has_no_dimension(call, message):
    with pytest.raises(DnucError, match=message):
        call()


def test_hubs_are_the_most_frequent_neighbors(layers):
    near = layers[0]
    counts = np.array(reference.hubness(near.index[:, :6]))
    np.testing.assert_array_equal(hubness(near, 6), counts)
    assert counts.mean() == 6
    hubs = top_hubs(near, 6, top=3)
    order = sorted(range(120), key=lambda i: (-counts[i], i))[:3]
    assert hubs.sample.tolist() == order
    reached = sum(any(j in order for j in row) for row in near.index[:, :6])
    assert hubs.coverage == pytest.approx(reached / 120)
    assert hubs.occurrence.tolist() == [counts[i] for i in order]
    everyone = top_hubs(near, 6, top=1000)
    assert (len(everyone.sample), everyone.coverage) == (120, 1)


def test_hubs_grow_with_the_dimension():
    """What hubs are about: in many dimensions some samples are near to very many others."""
    most = [hubness(nearest_neighbors(synthetic.normal(500, d), 10), 10).max() for d in (2, 20, 200)]
    assert most[0] < most[1] < most[2]
    assert most[2] > 10 * 10


def test_neighborhood_entropy_is_the_mean_over_neighbors(layers):
    near = layers[0]
    entropy = np.random.default_rng(0).uniform(1, 7, 120)
    found = neighborhood_entropy(near, entropy, 5, seed=1)
    expected = reference.neighborhood_entropy(near.index[:, :5], entropy)
    np.testing.assert_allclose(found.per_sample, expected)
    assert found.mean == pytest.approx(np.mean(expected))
    assert found.error == pytest.approx(np.std(expected, ddof=1) / np.sqrt(120))
    assert found.shuffled == pytest.approx(entropy.mean(), abs=5 * found.shuffled_error)
    assert neighborhood_entropy(near, entropy, 5, seed=1).shuffled == found.shuffled
    with pytest.raises(DnucError, match="one value a sample"):
        neighborhood_entropy(near, entropy[1:], 5)
