"""What stands for a row after rounding: how far it is from the row, measured in extended precision."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dnuc.neighbors.crew import crew
from dnuc.neighbors.rounding import GROUP, _signs, center_of, round_rows
from dnuc.neighbors.rows import working_type
from dnuc.neighbors.tiers import BFLOAT16, FLOAT32, FLOAT64, INT8, INT8_LEVELS, LADDER
from tests import reference
from tests.neighbors.hard import ROWS


def rounded(x, tier, threads=1, center=None):
    """The rows in a tier, and the center that was subtracted."""
    x = np.ascontiguousarray(x, working_type(x.dtype))
    center = center_of([x], tier) if center is None else center
    with crew(threads) as workers:
        return round_rows(x, center, tier, workers), center


def stands_for(rows):
    """(R, W) longdouble: scale * values."""
    return rows.scale[:, None].astype(np.longdouble) * rows.values.double().numpy()


def meant(x, center, tier):
    """(R, W) longdouble: the rows that were to be rounded, shifted and for 8 bits rotated without any error."""
    x = np.ascontiguousarray(x, working_type(x.dtype))
    shifted = x.astype(np.longdouble) - center
    if tier is not INT8:
        return shifted
    width = -(-x.shape[1] // GROUP) * GROUP
    return reference.spread(np.pad(shifted, ((0, 0), (0, width - x.shape[1]))), _signs(width), GROUP)


def norms(rows):
    return np.sqrt((rows**2).sum(axis=1))


def assert_bounded(x, tier, center=None):
    """The residual bounds the error of every row, and the norm is that of what stands for it."""
    rows, center = rounded(x, tier, center=center)
    assert rows.finite
    found = stands_for(rows)
    assert (norms(meant(x, center, tier) - found) <= rows.residual).all()
    underflow = found.shape[1] * 2.0**-1022
    assert (np.abs(rows.norm_sq - (found**2).sum(axis=1)) <= 1e-14 * rows.norm_sq + underflow).all()


@pytest.mark.parametrize("tier", LADDER, ids=lambda tier: tier.name)
@pytest.mark.parametrize("name", ROWS)
def test_residuals_bound_the_error_of_every_row(name, tier):
    assert_bounded(ROWS[name](), tier)


@pytest.mark.parametrize("tier", LADDER, ids=lambda tier: tier.name)
@pytest.mark.parametrize("features", [1, 7, 16, 31, 32, 33, 48, 100, 512, 784, 1040])
def test_residuals_hold_for_any_number_of_features(features, tier):
    rng = np.random.default_rng(features)
    assert_bounded(rng.standard_normal((5, features)).astype(np.float32), tier)
    assert_bounded(rng.standard_normal((5, features)) * 10.0 ** rng.integers(-9, 9, features), tier)


FLOAT32_VALUES = st.floats(-(2.0**62), 2.0**62, width=32)
FLOAT64_VALUES = st.one_of(FLOAT32_VALUES, st.floats(-(2.0**60), 2.0**60))


@pytest.mark.parametrize("tier", LADDER, ids=lambda tier: tier.name)
@settings(max_examples=100)
@given(st.data())
def test_residuals_hold_for_any_rows(tier, data):
    shape = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 40)))
    dtype, values = data.draw(st.sampled_from([(np.float32, FLOAT32_VALUES), (np.float64, FLOAT64_VALUES)]))
    x = data.draw(arrays(dtype, shape, elements=values))
    center = data.draw(arrays(dtype, shape[1], elements=values)).astype(np.float64 if tier is FLOAT64 else dtype)
    assert_bounded(x, tier, center if data.draw(st.booleans()) else None)


@pytest.mark.parametrize("tier", LADDER, ids=lambda tier: tier.name)
def test_residuals_are_not_much_larger_than_the_error(tier):
    """A bound of infinity would pass all other tests."""
    x = np.random.default_rng(0).standard_normal((50, 1000)).astype(np.float32)
    rows, center = rounded(x, tier)
    relative = {INT8: 0.01, BFLOAT16: 2.0**-9, FLOAT32: 2.0**-22, FLOAT64: 2.0**-51}[tier]
    assert (rows.residual < relative * norms(meant(x, center, tier))).all()
    if tier in (INT8, BFLOAT16):  # whose errors are measured
        assert (rows.residual < 1.01 * norms(meant(x, center, tier) - stands_for(rows))).all()


@pytest.mark.parametrize("name", ["heavy tails", "one large feature", "near-duplicates", "17 features", "one feature"])
def test_a_rotation_changes_no_distance(name):
    x = ROWS[name]()
    rotated = meant(x, np.zeros(x.shape[1]), INT8)
    wide = reference.distances_in_extended_precision(x)
    np.testing.assert_allclose(reference.distances_in_extended_precision(rotated), wide, rtol=1e-15, atol=1e-17)
    rows, _ = rounded(x, INT8)
    error = np.abs(reference.distances_in_extended_precision(stands_for(rows)) - wide)
    assert (error <= rows.residual[:, None] + rows.residual).all()


def test_a_rotation_spreads_what_is_in_few_features():
    """Else 8 bits would lose all but the largest features."""
    x = np.random.default_rng(0).standard_normal((40, 800)).astype(np.float32)
    x[:, 7] *= 30
    rows, _ = rounded(x, INT8)
    assert (rows.residual < 0.05 * np.sqrt(rows.norm_sq)).all()


@pytest.mark.parametrize("name", ROWS)
def test_integers_use_the_whole_range_and_no_more(name):
    x = ROWS[name]()
    rows, center = rounded(x, INT8)
    largest = rows.values.abs().amax(dim=1).numpy()
    assert largest.max() <= INT8_LEVELS
    long = norms(meant(x, center, INT8)) > 1e-25  # what is shorter may become 0: the residual says so
    assert (largest[long] == INT8_LEVELS).all()


def nearest_even(value):
    """A float32 rounded to 8 significant bits, by way of integers."""
    mantissa, exponent = np.frexp(np.float64(value))
    return np.ldexp(np.rint(mantissa * 256), exponent - 8)  # rint takes ties to even


@settings(max_examples=300)
@given(st.one_of(st.floats(2.0**-126, 2.0**120, width=32), st.floats(-(2.0**120), -(2.0**-126), width=32)))
def test_bfloat16_is_rounded_to_nearest_even(value):
    rows, _ = rounded(np.array([[value]], np.float32), BFLOAT16, center=np.zeros(1, np.float32))
    assert rows.values.item() == nearest_even(value) == torch.tensor(value).to(torch.bfloat16).item()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1 + 2.0**-8, 1.0),  # a tie: to even, downward
        (1 + 3 * 2.0**-8, 1 + 2.0**-6),  # a tie: to even, upward
        (1 + 2.0**-8 + 2.0**-23, 1 + 2.0**-7),
        (-1 - 2.0**-8, -1.0),
        (2.0**-126, 2.0**-126),
        (2.0**-127, 0.0),  # below the smallest normal number
        (2.0**-149, 0.0),
    ],
)
def test_ties_and_small_numbers_in_bfloat16(value, expected):
    rows, _ = rounded(np.array([[value]], np.float32), BFLOAT16, center=np.zeros(1, np.float32))
    assert rows.values.item() == expected
    assert abs(value - expected) <= rows.residual[0]


# What a tier cannot hold: a value, and the tiers that hold it nevertheless.
TOO_LARGE = {
    "large": (np.float32(2.0**127), set(LADDER)),
    "more than float32": (1e39, {FLOAT64}),
    "squares overflow": (1e160, set()),
    "infinity": (np.inf, set()),
    "minus infinity": (-np.inf, set()),
    "NaN": (np.nan, set()),
}


@pytest.mark.parametrize("tier", LADDER, ids=lambda tier: tier.name)
@pytest.mark.parametrize("name", TOO_LARGE)
@pytest.mark.parametrize("features", [1, 16, 40])
def test_overflow_is_told(name, tier, features):
    value, holds = TOO_LARGE[name]
    x = np.zeros((9, features), np.asarray(value).dtype)
    x[4, -1] = value
    rows, _ = rounded(x, tier, center=np.zeros(features, x.dtype))
    assert rows.finite == (tier in holds)
    if not rows.finite:
        ill = ~np.isfinite(rows.norm_sq) | ~np.isfinite(rows.residual)
        assert ill[4]


def test_the_largest_float32_is_infinity_in_bfloat16():
    x = np.full((2, 1), 3.4028235e38, np.float32)
    assert [rounded(x, tier, center=np.zeros(1, np.float32))[0].finite for tier in LADDER] == [True, False, True, True]


@pytest.mark.parametrize("tier", LADDER, ids=lambda tier: tier.name)
def test_a_sum_of_many_large_values_overflows(tier):
    """Each value can be held, but not what a rotation or a norm makes of them."""
    x = np.full((3, 4096), 1e38 if tier is INT8 else 1e154)
    assert not rounded(x, tier, center=np.zeros(4096))[0].finite


@pytest.mark.parametrize("tier", LADDER, ids=lambda tier: tier.name)
def test_threads_and_other_rows_change_nothing(tier):
    x = ROWS["heavy tails"]()
    rows, center = rounded(x, tier)
    for other, part in (
        (rounded(x, tier, threads=3)[0], slice(None)),
        (rounded(x[7:9], tier, center=center)[0], slice(7, 9)),
    ):
        assert torch.equal(other.values, rows.values[part])
        for name in ("scale", "norm_sq", "residual"):
            np.testing.assert_array_equal(getattr(other, name), getattr(rows, name)[part])


def test_the_center_is_a_mean_in_the_type_of_the_values():
    x = ROWS["large norms, all positive"]()
    for tier in LADDER:
        center = center_of([x, x[:7]], tier)
        assert center.dtype == (np.float64 if tier is FLOAT64 else np.float32)
        np.testing.assert_allclose(center, (x.mean(axis=0) + x[:7].mean(axis=0)) / 2, rtol=1e-5)
