"""The estimators: scikit-learn's own checks, and that they say what the functions say."""

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import zarr
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import dnuc
from dnuc import DensityPeaks, TwoNN
from dnuc.errors import DnucError


# Their tables have 10 samples and more, so k is small; nothing else is left out.
@parametrize_with_checks(
    [DensityPeaks(n_neighbors=5), DensityPeaks(n_neighbors=8, density="pak"), TwoNN(), TwoNN(method="mle")]
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def blobs():
    return make_blobs(400, centers=[[0, 0, 0], [6, 6, 0], [9, -3, 4]], random_state=0)[0]


def test_density_peaks_are_those_of_the_functions(blobs):
    found = DensityPeaks(n_neighbors=20, z=1.0).fit(blobs)
    neighbors = dnuc.nearest_neighbors(blobs, 20)
    dimension = dnuc.two_nn(neighbors)
    landscape = dnuc.density_peaks(neighbors, dnuc.knn_density(neighbors, dimension, 20), 1.0)
    assert found.dimension_ == dimension.value
    np.testing.assert_array_equal(found.labels_, landscape.labels)
    np.testing.assert_array_equal(found.center_indices_, landscape.centers)
    np.testing.assert_array_equal(found.core_, landscape.core)
    assert found.n_clusters_ == landscape.n_peaks == 3
    assert (found.n_features_in_, found.neighbors_.k) == (3, 20)
    pd.testing.assert_frame_equal(found.landscape_.saddles, landscape.saddles)


@pytest.mark.parametrize(("density", "estimate"), [("kstar", dnuc.kstar_density), ("pak", dnuc.pak_density)])
def test_adaptive_densities_and_settings_are_passed_on(blobs, density, estimate):
    settings = {"density": density, "dimension": 3.0, "alpha": 1e-3, "error_model": "paper", "convention": "paper"}
    found = DensityPeaks(60, z=0.5, **settings).fit(blobs)
    neighbors = dnuc.nearest_neighbors(blobs, 60)
    expected = estimate(neighbors, 3.0, 1e-3, error_model="paper")
    np.testing.assert_array_equal(found.density_.log_density, expected.log_density)
    np.testing.assert_array_equal(found.density_.error, expected.error)
    landscape = dnuc.density_peaks(neighbors, expected, 0.5, convention="paper")
    np.testing.assert_array_equal(found.labels_, landscape.labels)
    assert found.dimension_ == 3


def test_the_halo_is_noise_where_asked_for(blobs):
    squeezed = blobs * 0.4 + np.random.default_rng(0).normal(size=blobs.shape)
    plain, halo = (DensityPeaks(15, z=0.0, halo=h).fit(squeezed) for h in (False, True))
    assert plain.n_clusters_ > 1
    np.testing.assert_array_equal(halo.labels_ == -1, ~plain.core_)
    np.testing.assert_array_equal(halo.labels_[plain.core_], plain.labels_[plain.core_])
    assert 0 < np.sum(halo.labels_ == -1) < 400


def test_two_nn_is_that_of_the_function(blobs):
    found, expected = TwoNN(0.8).fit(blobs), dnuc.two_nn(dnuc.nearest_neighbors(blobs, 2), 0.8)
    assert (found.dimension_, found.error_, found.scale_) == (expected.value, expected.error, expected.scale)
    assert found.n_dropped_ == 0
    assert TwoNN(method="mle").fit(np.concatenate([blobs, blobs[:50]])).n_dropped_ == 100


def test_arrays_of_chunks_and_tables_give_the_same(blobs):
    expected = DensityPeaks(20).fit_predict(blobs)
    chunked = zarr.array(blobs, chunks=(64, 2))
    for x in (chunked, da.from_array(blobs, chunks=(64, 2)), pd.DataFrame(blobs, columns=list("abc")), blobs.tolist()):
        np.testing.assert_array_equal(DensityPeaks(20).fit_predict(x), expected)
    assert TwoNN().fit(chunked).dimension_ == TwoNN().fit(blobs).dimension_
    assert TwoNN().fit(chunked).n_features_in_ == 3


def test_they_live_in_pipelines(blobs):
    pipeline = make_pipeline(StandardScaler(), DensityPeaks(20))
    assert len(np.unique(pipeline.fit_predict(blobs))) == 3
    assert clone(DensityPeaks(7, z=2.0, halo=True)).get_params() == {
        "n_neighbors": 7,
        "z": 2.0,
        "density": "knn",
        "dimension": None,
        "alpha": 1e-6,
        "error_model": "code",
        "convention": "dadapy",
        "halo": True,
    }


@pytest.mark.parametrize(
    ("estimator", "x", "message"),
    [
        (DensityPeaks(30), np.eye(10), "k = 30 neighbors asked for among N = 10 samples"),
        (DensityPeaks(5, density="kstarnn"), np.eye(10), "density 'kstarnn'; closest: 'kstar'"),
        (DensityPeaks(3, density="pak"), np.random.default_rng(0).normal(size=(9, 2)), "3 neighbors stored"),
        (DensityPeaks(5, dimension=0), np.random.default_rng(0).normal(size=(9, 2)), "dimension = 0"),
        (DensityPeaks(5, dimension=np.nan), np.random.default_rng(0).normal(size=(9, 2)), "dimension = nan"),
        (DensityPeaks(5), np.ones((9, 2)), "TwoNN: 0 of 9 samples"),
        (DensityPeaks(5, dimension=1.0), np.ones((9, 2)), "density is infinite for 9 of 9 samples"),
        (DensityPeaks(1), np.array([[0.0], [1.0]]), "2 sample"),
        (TwoNN(), np.ones((9, 2)), "TwoNN: 0 of 9 samples"),
        (TwoNN(), zarr.ones((9, 2, 2), chunks=(3, 2, 2)), r"X has shape \(9, 2, 2\)"),
        (TwoNN(), np.array([[0.0], [np.nan], [1.0]]), "NaN"),
    ],
)
def test_what_has_no_answer_is_refused(estimator, x, message):
    with pytest.raises(ValueError, match=message) as caught:
        estimator.fit(x)
    assert isinstance(caught.value, DnucError) or "sample" in message or "NaN" in message


def test_one_peak_is_one_cluster():
    found = DensityPeaks(20, z=4.0).fit(np.random.default_rng(0).normal(size=(200, 2)))
    assert found.n_clusters_ == 1
    assert not found.labels_.any()
    assert dnuc.peak_tree(found.landscape_).n_peaks == 1
