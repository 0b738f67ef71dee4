"""SVCCA and PWCCA: the definitions with full matrices, and the maps that they must not see."""

import tracemalloc

import dask.array as da
import numpy as np
import pytest
import zarr

import dnuc
from dnuc.errors import DnucError, ResourceError
from dnuc.measures import cca, kernels, panels
from dnuc.measures.cca import cca_bytes, pwcca, svcca
from tests import reference, synthetic

N = 80


def low_rank(n, features, rank, seed=0):
    """A few directions only, exactly as far as rounding allows."""
    return synthetic.normal(n, rank, seed) @ synthetic.normal(rank, features, seed + 1)


def decaying(n, features, seed=0):
    """Directions that matter less and less, as in a network."""
    return (synthetic.normal(n, features, seed) * 0.8 ** np.arange(features)) @ synthetic.rotation(features, seed + 1)


PAIRS = {
    "more samples than features": (decaying(N, 20), decaying(N, 20) + 0.1 * synthetic.normal(N, 20, 3)),
    "more features than samples": (decaying(N, 200), synthetic.clustered(N, 150, spread=0.3)),
    "wide and narrow": (synthetic.heavy_tailed(N, 300), decaying(N, 7, seed=8)),
    "of deficient rank": (low_rank(N, 30, 4), low_rank(N, 120, 6, seed=5)),
    "far from the origin": (synthetic.offset(N, 12), synthetic.offset(N, 30, by=-300, seed=2)),
    "one feature": (synthetic.normal(N, 1), synthetic.normal(N, 2)),
    "integers": (synthetic.lattice(N, 5, values=9).astype(int), synthetic.normal(N, 4).astype(np.float16)),
}


@pytest.mark.parametrize("variance", [0.5, 0.99, 1])
@pytest.mark.parametrize("name", PAIRS)
def test_they_equal_the_definitions_with_full_matrices(name, variance):
    for x, y in (PAIRS[name], PAIRS[name][::-1]):
        rho, _ = reference.canonical_correlations(x, y, variance)
        assert svcca(x, y, variance) == pytest.approx(rho.mean(), rel=1e-8)
        assert pwcca(x, y, variance) == pytest.approx(reference.pwcca(x, y, variance), rel=1e-8)


def test_with_itself_and_its_linear_images_it_is_one():
    x = decaying(N, 12)
    for y in (x, 3 * x @ synthetic.rotation(12, 4) - 2, x @ synthetic.normal(12, 12, seed=9)):
        assert svcca(x, y, variance=1) == pytest.approx(1, abs=1e-9)
        assert pwcca(x, y, variance=1) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("name", ["more samples than features", "more features than samples"])
def test_rotation_scale_and_shift_are_not_seen(name):
    x, y = PAIRS[name]
    turned = 1e-4 * y @ synthetic.rotation(y.shape[1], 7) + 3
    assert svcca(x, turned) == pytest.approx(svcca(x, y), rel=1e-8)
    assert pwcca(x, turned) == pytest.approx(pwcca(x, y), rel=1e-8)


def test_an_invertible_map_of_what_is_kept_is_not_seen():
    x, y = decaying(N, 6), decaying(N, 8, seed=1)
    mixed = y @ (np.eye(8) + 0.3 * synthetic.normal(8, 8, seed=2))
    assert svcca(x, mixed, variance=1) == pytest.approx(svcca(x, y, variance=1), rel=1e-8)
    assert pwcca(x, mixed, variance=1) == pytest.approx(pwcca(x, y, variance=1), rel=1e-8)


def test_weights_are_those_of_x():
    """The direction that x mostly is has a partner in y; nothing of the rest of y has one in x."""
    shared = synthetic.normal(500, 1)
    x = np.hstack([10 * shared, synthetic.normal(500, 3, seed=1)])
    y = np.hstack([shared, 10 * synthetic.normal(500, 3, seed=2)])
    assert pwcca(x, y, variance=1) > 0.7
    assert pwcca(y, x, variance=1) < 0.4
    assert svcca(x, y, variance=1) == pytest.approx(svcca(y, x, variance=1), rel=1e-9)


def test_any_scale_and_one_tiny_direction():
    x, y = PAIRS["more samples than features"]
    for scale in (2.0**-400, 2.0**400):
        assert svcca(x * scale, y) == pytest.approx(svcca(x, y), rel=1e-12)
    faint = np.hstack([synthetic.normal(N, 3), 1e-5 * synthetic.normal(N, 1, seed=1)])
    assert svcca(faint, faint[:, 3:], variance=1) == pytest.approx(1, abs=1e-6)


def test_panels_change_less_than_rounding(monkeypatch):
    expected = {name: (svcca(*PAIRS[name]), pwcca(*PAIRS[name])) for name in PAIRS}
    monkeypatch.setattr(panels, "TILE", 16)
    for module in (cca, kernels, panels):
        monkeypatch.setattr(module, "CHUNK", 48)
    for name, found in expected.items():
        assert (svcca(*PAIRS[name]), pwcca(*PAIRS[name])) == pytest.approx(found, rel=1e-10)


def test_stored_and_dask_arrays_give_the_same(tmp_path):
    x, y = (a.astype(np.float32) for a in PAIRS["wide and narrow"])
    stored = zarr.create_array(str(tmp_path / "x.zarr"), shape=x.shape, dtype="f4", chunks=(16, 33))
    stored[:] = x
    assert svcca(stored, da.from_array(y, chunks=(35, 7))) == svcca(x, y)
    assert pwcca(stored, y.tolist()) == pwcca(x, y)


@pytest.mark.parametrize("call", [svcca, pwcca])
def test_what_is_too_large_is_refused_with_numbers(call):
    x = np.broadcast_to(0.0, (30_000, 900))  # refused before it is read
    needed = rf"30,000 samples of 900 features need {cca_bytes(30_000, 900) / 2**20:.1f} MiB, 9.5 MiB may be used"
    with pytest.raises(ResourceError, match=needed):
        call(x, x, memory_limit="10MB")


@pytest.mark.parametrize(("n", "features"), [(2500, 400), (600, 9000), (500, 500)])
def test_the_memory_that_is_planned_is_not_exceeded(n, features):
    x, y = (synthetic.normal(n, features, seed) for seed in (0, 1))
    tracemalloc.start()
    try:
        pwcca(x, y, variance=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 0.4 * cca_bytes(n, features) < peak < cca_bytes(n, features)


@pytest.mark.parametrize("call", [svcca, pwcca])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: (x, x[1:]), "x has 20 samples and y 19"),
        (lambda x: (x, np.ones((20, 2))), "y: all 20 samples are equal"),
        (lambda x: (x, x, 0), r"variance = 0: must be in \(0, 1\]"),
        (lambda x: (x, x, 99), r"variance = 99: must be in \(0, 1\]"),
    ],
)
def test_refusals_say_what_is_allowed(call, change, message):
    with pytest.raises(DnucError, match=message):
        call(*change(synthetic.normal(20, 3)))
    with pytest.raises(DnucError, match="memory_limit = 'much'"):
        call(np.eye(3), np.eye(3), memory_limit="much")


def test_they_are_public():
    assert (dnuc.svcca, dnuc.pwcca) == (svcca, pwcca)
