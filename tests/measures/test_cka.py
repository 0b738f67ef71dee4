"""CKA: the definition with full matrices, for any tile; what it must not see; what it must see."""

import dask.array as da
import numpy as np
import pytest
import zarr

import dnuc
from dnuc.errors import DataError, DnucError
from dnuc.measures import cka as module
from dnuc.measures import kernels, panels
from dnuc.measures.cka import cka, linear_hsic
from dnuc.measures.panels import Centered, draw_rows
from dnuc.store import DamagedError, StoredArray, Subset
from tests import reference, synthetic

N = 70
PAIRS = {
    "more samples than features": (synthetic.clustered(N, 9), synthetic.clustered(N, 9) + synthetic.normal(N, 9, 3)),
    "more features than samples": (synthetic.clustered(N, 300), synthetic.normal(N, 500, seed=4)),
    "wide and narrow": (synthetic.heavy_tailed(N, 200), synthetic.normal(N, 2)),
    "far from the origin": (synthetic.offset(N, 12), synthetic.offset(N, 30, by=-300, seed=2)),
    "one feature": (synthetic.normal(N, 1), synthetic.normal(N, 1) ** 2),
    "duplicates": (synthetic.duplicated(N, 5), synthetic.lattice(N, 3)),
    "float16 and integers": (synthetic.normal(N, 6).astype(np.float16), synthetic.lattice(N, 5, values=9).astype(int)),
}
KINDS = [("linear", 1), ("gaussian", 0.05), ("gaussian", 0.4), ("gaussian", 20)]


@pytest.mark.parametrize("debiased", [False, True])
@pytest.mark.parametrize(("kernel", "width"), KINDS)
@pytest.mark.parametrize("name", PAIRS)
def test_it_equals_the_definition_with_full_matrices(name, kernel, width, debiased):
    x, y = PAIRS[name]
    expected = reference.cka(x, y, kernel, width, debiased)
    assert cka(x, y, kernel, width, debiased=debiased) == pytest.approx(expected, rel=1e-9, abs=1e-10)


@pytest.mark.parametrize("tile", [1, 16, 64])
@pytest.mark.parametrize(("kernel", "width"), KINDS)
def test_tiles_and_chunks_change_less_than_rounding(tile, kernel, width, monkeypatch):
    """Tiles are of one constant size; if they were of another, only the order of additions would change."""
    x, y = PAIRS["wide and narrow"]
    expected = cka(x, y, kernel, width)
    monkeypatch.setattr(panels, "TILE", tile)
    for part in (kernels, panels):
        monkeypatch.setattr(part, "CHUNK", 48)
    assert cka(x, y, kernel, width) == pytest.approx(expected, rel=1e-12)


def test_features_and_samples_give_the_same():
    """The cheaper way is taken: N x N inner products of samples, or D x D of features."""
    x, y = synthetic.clustered(60, 20), synthetic.heavy_tailed(60, 31)
    for debiased in (False, True):
        from_features = module.alignment(linear_hsic([Centered.of(x), Centered.of(y)], debiased))[0, 1]
        expected = reference.cka(x, y, debiased=debiased)
        assert from_features == pytest.approx(expected, rel=1e-10)
        assert cka(x, y, debiased=debiased) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("kernel", "width"), KINDS)
def test_rotation_scale_and_shift_are_not_seen(kernel, width):
    x, y = PAIRS["more samples than features"]
    expected = cka(x, y, kernel, width)
    turned = 1e-3 * y @ synthetic.rotation(9, 5) + 4
    assert cka(x, turned, kernel, width) == pytest.approx(expected, rel=1e-9)
    assert cka(turned, x, kernel, width) == pytest.approx(expected, rel=1e-9)
    assert cka(y, turned, kernel, width) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("kernel", "width"), KINDS[:3])
def test_it_works_at_any_scale(kernel, width):
    x, y = PAIRS["more samples than features"]
    expected = cka(x, y, kernel, width)
    for exponent in (-400, 400):
        assert cka(x * 2.0**exponent, y, kernel, width) == expected


def test_a_narrow_gaussian_sees_neighbors_where_the_linear_kernel_sees_distances():
    """Two layers of the same pairs of neighbors, the pairs arranged anew: only what is near is common."""
    n = 200
    rng = np.random.default_rng(0)
    near = 0.001 * rng.normal(size=(2, n, 3))
    x, y = (np.repeat(rng.normal(size=(n // 2, 3)), 2, axis=0) + near[i] for i in (0, 1))
    assert cka(x, y) < 0.1
    assert cka(x, y, "gaussian", width=0.01) > 0.9


def test_a_kernel_narrower_than_any_distance_says_nothing_unless_debiased():
    x, y = synthetic.normal(60, 10), synthetic.normal(60, 10, seed=1)
    assert cka(x, y, "gaussian", width=0.05) == pytest.approx(1, abs=1e-6)
    assert cka(x, y, "gaussian", width=0.05, debiased=True) < 0.01


def test_the_bias_of_few_samples_is_seen_and_removed():
    x, y = synthetic.normal(50, 2000), synthetic.normal(50, 2000, seed=1)
    assert cka(x, y) > 0.9
    assert cka(x, y, debiased=True) == pytest.approx(0, abs=0.05)


def test_one_far_sample_and_a_nearly_flat_kernel_cost_no_digits():
    """Row means that differ by far more than what is left when they are taken out."""
    x, y = synthetic.normal(60, 3), synthetic.normal(60, 3, seed=1)
    x[0] += 1e4
    for width in (0.3, 1e3):
        assert cka(x, y, "gaussian", width) == pytest.approx(reference.cka(x, y, "gaussian", width), rel=1e-5)
        assert cka(x, x, "gaussian", width) == pytest.approx(1, rel=1e-12)


def test_the_median_of_many_samples_is_that_of_some_of_them(monkeypatch):
    x = synthetic.clustered(400, 8)
    exact, of_some = (kernels.gaussian_kernels(Centered.of(x), (0.4,), seed=3)[0].sigma for _ in range(2))
    assert exact == of_some
    monkeypatch.setattr(kernels, "MEDIAN_ROWS", 150)
    sigmas = {kernels.gaussian_kernels(Centered.of(x), (0.4,), seed)[0].sigma for seed in (0, 0, 1)}
    assert len(sigmas) == 2
    assert all(s == pytest.approx(exact, rel=0.1) for s in sigmas)


def test_stored_and_dask_arrays_give_the_same(tmp_path):
    x, y = (a.astype(np.float32) for a in PAIRS["wide and narrow"])
    stored = zarr.create_array(str(tmp_path / "x.zarr"), shape=x.shape, dtype="f4", chunks=(16, 33))
    stored[:] = x
    for kernel in ("linear", "gaussian"):
        expected = cka(x, y, kernel)
        assert cka(stored, y.tolist(), kernel) == pytest.approx(expected, rel=1e-12)
        assert cka(da.from_array(x, chunks=(35, 70)), y, kernel) == expected


def test_rows_are_drawn_by_seed():
    rows = draw_rows(55, 23, seed=1)
    assert len(set(rows.tolist())) == 23
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(rows, draw_rows(55, 23, seed=1))
    assert not np.array_equal(rows, draw_rows(55, 23, seed=2))
    np.testing.assert_array_equal(draw_rows(9, 10, seed=0), np.arange(9))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: cka(x, x[1:]), "x has 20 samples and y 19: both must hold the same samples"),
        (lambda x: cka(x, x[:, 0]), r"y has shape \(20,\); it must be \(samples, features\)"),
        (lambda x: cka(x[:, :0], x), r"x has shape \(20, 0\)"),
        (lambda x: cka(x.astype(str), x), "x has type <U32; it must be real numbers"),
        (lambda x: cka(x, np.ones((20, 2))), "y: all 20 samples are equal, so there is nothing to compare"),
        (lambda x: cka(x, x, "rbf"), "kernel = 'rbf': must be 'linear' or 'gaussian'"),
        (lambda x: cka(x, x, "gaussian", 0), "width = 0: must be a positive fraction of the median distance"),
        (lambda x: cka(x, np.where(np.arange(20) < 18, 0, 1)[:, None], "gaussian"), "the median distance .* is 0"),
        (lambda x: cka(x[:3], x[:3], debiased=True), "x and y have 3 samples; at least 4 are needed"),
        (lambda x: cka(x[:1], x[:1]), "x and y have 1 samples; at least 2"),
    ],
)
def test_refusals_say_what_is_allowed(call, message):
    with pytest.raises(DnucError, match=message):
        call(synthetic.normal(20, 3))


def test_bad_values_are_named(tmp_path):
    x = synthetic.normal(30, 3)
    y = x.copy()
    y[[7, 9], 1] = np.nan
    with pytest.raises(
        DataError, match=r"y: NaN or infinite values in 2 samples \(positions 7, 9; features 0 \.\. 2\)"
    ):
        cka(x, y)
    with pytest.raises(DataError, match="positions 9"):
        Centered.of(Subset(y, np.array([1, 9, 20])))
    with pytest.raises(DataError, match="sum overflows"):
        cka(np.full((30, 1), 1e308) * np.where(np.arange(30) % 2, 1, 0.9)[:, None], x)
    group = zarr.create_group(str(tmp_path))
    group.create_array("act/a", shape=y.shape, dtype="f8")[:] = y
    with pytest.raises(DamagedError, match=r"act/a in .* is damaged at or after element \(7, 0\)"):
        cka(x, StoredArray(str(tmp_path), "act", "a"))


def test_a_representation_that_hardly_varies_is_compared():
    """One sample differs from the others, by the last bit."""
    x = np.ones((20, 3))
    x[4, 1] += 2**-52
    assert cka(x, x) == pytest.approx(1)
    assert cka(x, x, debiased=False) == pytest.approx(1)


def test_it_is_public():
    assert dnuc.cka is cka
