"""The error bound of the filter: no distance lies outside it, in any tier, however the features are cut."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dnuc.neighbors import products
from dnuc.neighbors.candidates import Bound
from dnuc.neighbors.crew import crew
from dnuc.neighbors.products import Products, TierOverflowError
from dnuc.neighbors.rows import Rows
from dnuc.neighbors.tiers import BFLOAT16, FLOAT32, FLOAT64, INT8, LADDER, plain_products, product
from tests import reference, synthetic
from tests.neighbors.hard import ROWS

IDS = {"ids": lambda tier: tier.name}


def filtered(x, tier, chunk=None):
    """(bound, estimate, e, m): the bound's constants, the estimated squared distances, residuals, and norms."""
    with crew(1) as workers, pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "CHUNK", chunk or products.CHUNK)
        rows = Rows(x, 0, len(x))
        found = Products(rows, rows, tier, workers)
        stand = found.stands[0]
        whole = slice(0, len(x))
        product = stand.scale[:, None] * stand.scale * found.piece(whole, whole).astype(np.float64)
    norm_sq = stand.norm_sq
    return found.bound, norm_sq[:, None] + norm_sq - 2 * product, stand.residual, np.sqrt(norm_sq)


def limits(bound, estimate, residual, norm):
    """Lower and upper bounds of all distances, as the module `filtering` states them."""
    slack = 2 * bound.gamma * np.outer(norm, norm) + bound.epsilon * np.add.outer(norm**2, norm**2) + bound.eta
    e = np.add.outer(residual, residual)
    return np.sqrt(np.maximum(0, estimate - slack)) - e, np.sqrt(np.maximum(0, estimate + slack)) + e


def outside(x, bound, *terms):
    """How many true distances lie outside the bound."""
    lower, upper = limits(bound, *terms)
    distance = reference.distances_in_extended_precision(x)
    return np.count_nonzero((distance < lower) | (distance > upper))


@pytest.mark.parametrize("tier", LADDER, **IDS)
@pytest.mark.parametrize("name", ROWS)
def test_every_distance_is_within_its_bound(name, tier):
    x = ROWS[name]()
    assert outside(x, *filtered(x, tier)) == 0


@pytest.mark.parametrize("tier", LADDER, **IDS)
@pytest.mark.parametrize("name", ["heavy tails", "two sides", "two sides, as float64", "always the same rounding",
                                  "products that underflow over chunks", "large norms, all positive"])  # fmt: skip
def test_every_distance_is_within_its_bound_over_many_chunks(name, tier):
    x = ROWS[name]()
    assert x.shape[1] > 512
    assert outside(x, *filtered(x, tier, chunk=512)) == 0


@settings(max_examples=80)
@given(st.sampled_from(LADDER), st.integers(1, 1100), st.integers(-12, 12), st.integers(-12, 12), st.integers(0, 2**32))
def test_every_distance_is_within_its_bound_at_any_scale(tier, features, scale, spread, seed):
    """Clusters of any size at any distance from one another."""
    rng = np.random.default_rng(seed)
    centers = 10.0**scale * rng.standard_normal((3, features))
    x = centers[rng.integers(0, 3, 12)] + 10.0 ** (scale + spread) * rng.standard_normal((12, features))
    x = x.astype(rng.choice([np.float32, np.float64]))
    try:
        terms = filtered(x, tier, chunk=512)
    except TierOverflowError:
        assert tier is not FLOAT64
    else:
        assert outside(x, *terms) == 0


# So that the tests above prove something: bounds that promise too much, and data that belie them.
TOO_SMALL = {
    "8 bits without residuals": (INT8, "two sides", lambda bound, e: (bound, 0 * e)),
    "8 bits with half the residuals": (INT8, "near-duplicates", lambda bound, e: (bound, e / 40)),
    "8 bits that do not underflow": (
        INT8, "products that underflow over chunks", lambda bound, e: (replace(bound, eta=0.0), e)
    ),
    "bfloat16 without residuals": (BFLOAT16, "heavy tails", lambda bound, e: (bound, 0 * e)),
    "bfloat16 that is not rounded at the end": (
        BFLOAT16, "tight classes", lambda bound, e: (replace(bound, gamma=FLOAT32.gamma(200)), e)
    ),
    "float32 that sums without an error": (
        FLOAT32, "two sides", lambda bound, e: (replace(bound, gamma=bound.gamma / 1e4), e)
    ),
    "float32 that rounds nothing": (FLOAT32, "one feature, as float64", lambda bound, e: (bound, 0 * e)),
    "products that do not underflow": (
        FLOAT32, "products that underflow", lambda bound, e: (replace(bound, eta=0.0), e)
    ),
    "float64 that sums without an error": (
        FLOAT64, "two sides, as float64", lambda bound, e: (replace(bound, gamma=0.0, epsilon=0.0), e)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TOO_SMALL)
def test_a_bound_that_is_too_small_is_seen(name):
    tier, rows, hopeful = TOO_SMALL[name]
    x = ROWS[rows]()
    bound, estimate, residual, norm = filtered(x, tier)
    bound, residual = hopeful(bound, residual)
    assert outside(x, bound, estimate, residual, norm) > 0


@pytest.mark.parametrize("tier", LADDER, **IDS)
def test_the_bound_is_of_use(tier):
    """A bound of infinity would pass all tests of exactness, and take forever."""
    x = synthetic.normal(40, 600).astype(np.float32)
    lower, upper = limits(*filtered(x, tier))
    distance = reference.distances_in_extended_precision(x)
    np.fill_diagonal(distance, np.inf)
    width = {INT8: 0.03, BFLOAT16: 0.02, FLOAT32: 1e-3, FLOAT64: 1e-11}[tier]
    assert ((upper - lower) < width * distance).all()


# --- one product ------------------------------------------------------------------------------------------------


def computed(left, right, tier):
    out = torch.empty(len(left), len(right), dtype=tier.output)
    with plain_products():
        product(left.to(tier.dtype), right.to(tier.dtype), out)
    return out.double().numpy()


@pytest.mark.parametrize("tier", [BFLOAT16, FLOAT32, FLOAT64], **IDS)
@pytest.mark.parametrize("length", [1, 2, 31, 512, 8192])
@pytest.mark.parametrize("kind", ["normal", "positive", "cancelling", "growing"])
def test_products_err_by_at_most_gamma(tier, length, kind):
    rng = np.random.default_rng(length)
    x, y = rng.standard_normal((2, 50, length))
    if kind == "positive":
        x, y = np.abs(x), np.abs(y)
    elif kind == "cancelling":
        x[:, length // 2 :], y[:, length // 2 :] = x[:, : length - length // 2], -y[:, : length - length // 2]
    elif kind == "growing":
        x, y = x * np.logspace(-3, 3, length), y * np.logspace(-3, 3, length)
    x, y = (torch.from_numpy(a).to(tier.dtype) for a in (x, y))
    wide_x, wide_y = (a.double().numpy().astype(np.longdouble) for a in (x, y))
    bound = tier.gamma(length) * np.sqrt(np.outer((wide_x**2).sum(axis=1), (wide_y**2).sum(axis=1)))
    assert (np.abs(computed(x, y, tier) - wide_x @ wide_y.T) <= bound).all()


def test_the_last_rounding_of_a_bfloat16_product_is_in_its_bound():
    """257 has nine significant bits: the product comes back as 256, off by nearly the whole of u = 2^-8."""
    x = torch.ones(1, 257)
    found = computed(x, x, BFLOAT16).item()
    assert found == 256
    assert FLOAT32.gamma(257) * 257 < 257 - found <= BFLOAT16.gamma(257) * 257


@pytest.mark.parametrize("length", [16, 4096, 8192])
def test_products_of_integers_are_exact(length):
    rng = np.random.default_rng(length)
    x, y = rng.choice([-127, 126, 127], (2, 40, length))
    y[:20] = 127
    x[:20] = 127  # the largest sum of all
    found = computed(torch.from_numpy(x), torch.from_numpy(y), INT8)
    np.testing.assert_array_equal(found, x @ y.T)


def test_gamma_is_what_the_books_say():
    assert FLOAT32.gamma(1000) == 1000 * 2.0**-24 / (1 - 1000 * 2.0**-24)
    assert INT8.gamma(8192) == 0
    assert BFLOAT16.gamma(8192) > FLOAT32.gamma(8192) + 2.0**-8
    one, ten = Bound.of(FLOAT32, 8192, 80_000), Bound.of(FLOAT32, 8192, 80_000, chunks=10)
    assert one.gamma + 10 * 2.0**-24 < ten.gamma < one.gamma + 11 * 2.0**-24  # several chunks are added up in float32
    one, ten = Bound.of(FLOAT64, 8192, 80_000), Bound.of(FLOAT64, 8192, 80_000, chunks=10)
    assert one.gamma + 10 * 2.0**-53 < ten.gamma < one.gamma + 11 * 2.0**-53  # in float64
