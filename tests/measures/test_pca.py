"""The variance spectrum by each of its ways against the singular values of the whole matrix, and PC-ID as a count."""

import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dnuc.errors import DataError, DnucError, ResourceError
from dnuc.measures import pca
from dnuc.measures.pca import components_for, largest_sample, pca_bytes, pca_dimension, pca_spectrum
from tests import reference, synthetic

TALL, WIDE = (150, 12), (30, 70)


def correlated(n, features, seed=0):
    """Features of very different variance that depend on each other."""
    x = synthetic.normal(n, features, seed) @ synthetic.normal(features, features, seed + 1)
    return x * np.geomspace(1, 1e3, features) + 5


@pytest.fixture(params=["decomposed", "summed"])
def way(request, monkeypatch):
    """All data are little, or none are; and steps are so short that there are several."""
    monkeypatch.setattr(pca, "LITTLE", 2**20 if request.param == "decomposed" else 0)
    for name in ("ROWS", "COLUMNS"):
        monkeypatch.setattr(pca, name, 16)
    monkeypatch.setattr(pca, "READ", 40)


@pytest.mark.parametrize("shape", [TALL, WIDE, (40, 40), (41, 40), (2, 5), (5, 1)])
@pytest.mark.parametrize("standardize", [True, False])
def test_every_way_gives_the_spectrum_of_the_whole_matrix(way, shape, standardize):
    x = correlated(*shape)
    found = pca_spectrum(x, standardize=standardize)
    expected = reference.variance_spectrum(x, standardize)
    assert len(found) == min(shape[0] - 1, shape[1])
    np.testing.assert_allclose(found, expected[: len(found)], rtol=1e-9, atol=1e-14)
    assert found.sum() == pytest.approx(1, rel=1e-14)
    assert (np.diff(found) <= 0).all()


@pytest.mark.parametrize("kind", ["float32", "float16", "zarr", "dask", "list"])
def test_any_kind_of_array(way, kind):
    x = correlated(*TALL).astype(np.float16 if kind == "float16" else np.float32)
    expected = reference.variance_spectrum(x.astype(float), True)
    given = {
        "zarr": lambda: zarr.array(x, chunks=(32, 5)),
        "dask": lambda: da.from_array(x, chunks=(32, 5)),
        "list": lambda: x.tolist(),
    }.get(kind, lambda: x)()
    np.testing.assert_allclose(pca_spectrum(given), expected, rtol=1e-9, atol=1e-14)


def test_chunks_change_nothing(monkeypatch):
    monkeypatch.setattr(pca, "LITTLE", 0)
    monkeypatch.setattr(pca, "ROWS", 16)
    x = correlated(300, 20)
    expected = pca_spectrum(x)
    for chunks in ((1, 20), (30, 7), (64, 20), (300, 20)):
        np.testing.assert_array_equal(pca_spectrum(zarr.array(x, chunks=chunks)), expected)


def test_constant_features_are_left_out_when_standardized(way):
    """0.1 is no binary number: the mean of many is not quite 0.1."""
    for shape in (TALL, WIDE):
        x = correlated(*shape)
        with_constants = np.concatenate([np.full((shape[0], 3), 0.1), x, np.full((shape[0], 50), -7e9)], axis=1)
        found = pca_spectrum(with_constants)
        np.testing.assert_allclose(found, pca_spectrum(x), rtol=1e-9, atol=1e-14)


def test_standardized_features_count_the_same(way):
    x = correlated(*TALL)
    found = pca_spectrum(x)
    np.testing.assert_allclose(pca_spectrum(x * np.geomspace(1e-6, 1e6, TALL[1])), found, rtol=1e-9)
    turned = (x - x.mean(axis=0)) @ synthetic.rotation(TALL[1])
    raw = [pca_spectrum(data, standardize=False) for data in (x, turned)]
    np.testing.assert_allclose(raw[1], raw[0], rtol=1e-9, atol=1e-14)


def test_the_linear_dimension_of_flat_and_of_curved_data():
    assert pca_dimension(synthetic.manifold(500, 4, 100), 0.999) == 4
    assert pca_dimension(synthetic.torus(500, 3, 100), 0.999, standardize=False) == 6  # circles need two each


@given(arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 1)), st.floats(0.01, 0.99))
@settings(max_examples=50)
def test_the_count_is_the_smallest_that_exceeds_the_share(values, variance):
    ratio = np.sort(values + 1e-3)[::-1]
    ratio /= ratio.sum()
    count = components_for(ratio, variance)
    assert ratio[:count].sum() > variance - 1e-9
    assert ratio[: count - 1].sum() <= variance + 1e-9


def test_it_is_a_count_and_more_than_the_share():
    """Ten features of equal variance: nine of them hold 0.9 of it, which is not more than 0.9."""
    x = np.concatenate([np.eye(10), -np.eye(10)])
    assert pca_dimension(x, 0.9) == 10
    assert pca_dimension(x, 0.85) == 9
    assert pca_dimension(x, 0.05) == 1


def test_samples_are_drawn_where_there_are_more(way):
    x = correlated(*TALL)
    drawn = x[np.sort(np.random.default_rng(7).choice(TALL[0], 40, replace=False))]
    np.testing.assert_array_equal(pca_spectrum(x, samples=40, seed=7), pca_spectrum(drawn))
    np.testing.assert_array_equal(pca_spectrum(x, samples=1000), pca_spectrum(x))
    assert len(pca_spectrum(x, samples=5)) == 4


def test_too_much_for_the_memory_is_refused_with_what_fits():
    x = np.broadcast_to(np.float32(0), (10**5, 10**5))
    with pytest.raises(
        ResourceError, match=r"need 15\d,\d+ MiB, 2,048 MiB may be used.*\(samples = (\d+)\)"
    ) as refusal:
        pca_spectrum(x)
    fits = int(str(refusal.value).rsplit("= ", 1)[1].rstrip(")"))
    assert pca_bytes(fits, 10**5) <= 2**31 < pca_bytes(fits + 1, 10**5)
    assert largest_sample(10**5, 2**30) < fits


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: pca_dimension(np.eye(5), 0.0), DnucError, r"variance = 0\.0: .* must be in \(0, 1\)"),
        (lambda: pca_dimension(np.eye(5), 90), DnucError, "variance = 90"),
        (lambda: pca_spectrum(np.ones((5, 3))), DnucError, "all 5 samples are equal"),
        (lambda: pca_spectrum(np.full((5, 3), 0.1)), DnucError, "all 5 samples are equal"),
        (lambda: pca_spectrum(np.full((5, 3), 0.1), standardize=False), DnucError, "all 5 samples are equal"),
        (lambda: pca_spectrum(np.ones((1, 3))), DnucError, "N = 1 samples"),
        (lambda: pca_spectrum(np.eye(3), samples=1), DnucError, "samples = 1: at least 2"),
        (lambda: pca_spectrum(np.array([[1.0, np.nan], [2, 3]])), DataError, r"1 samples \(positions 0;"),
        (lambda: pca_spectrum(np.eye(3).astype(str)), DnucError, "must be real numbers"),
    ],
)
def test_what_has_no_spectrum_is_refused(way, call, error, message):
    with pytest.raises(error, match=message):
        call()
