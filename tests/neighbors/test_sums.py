"""Exact distances: summed in one order that nothing changes, bit for bit as it is written down."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dnuc.neighbors.blocks import CHUNK, panels
from dnuc.neighbors.refine import STRIP, add_squared_differences
from dnuc.neighbors.simd import LANES
from tests import reference

TYPES = {"ids": lambda dtype: dtype.__name__}


def summed(x, y, rows, cols, cuts=None):
    """(P,) the sums of squared differences, the features cut into chunks of `cuts`."""
    total = np.zeros(len(rows))
    for part in panels(0, x.shape[1], cuts or x.shape[1]):
        add_squared_differences(np.ascontiguousarray(x[:, part]), np.ascontiguousarray(y[:, part]), rows, cols, total)
    return total


def bits(values):
    return np.asarray(values, np.float64).view(np.int64).tolist()


FEATURES = [1, 2, 15, 16, 17, 31, 32, 33, 100, 511, 512, 513, 527, 528, 530, 1024, 1030, 1600, 2049]


@pytest.mark.parametrize("dtype", [np.float32, np.float64], **TYPES)
@pytest.mark.parametrize("features", FEATURES)
def test_sums_are_those_of_the_stated_order(features, dtype):
    rng = np.random.default_rng(features)
    x, y = (rng.standard_normal((2, 3, features)) * 10.0 ** rng.integers(-6, 6, features)).astype(dtype)
    rows, cols = np.array([0, 2, 1, 1]), np.array([1, 1, 0, 2])
    expected = [reference.sum_of_squared_differences(x[a], y[b], STRIP, LANES) for a, b in zip(rows, cols, strict=True)]
    assert bits(summed(x, y, rows, cols)) == bits(expected)


def test_another_order_would_be_seen():
    """So that the test above proves something."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 20, 600))
    pairs = np.arange(20)
    found = summed(x, y, pairs, pairs)
    for strip, lanes in ((STRIP, 8), (STRIP, 32), (256, LANES)):
        other = [reference.sum_of_squared_differences(x[p], y[p], strip, lanes) for p in pairs]
        assert bits(other) != bits(found)
        np.testing.assert_allclose(other, found, rtol=1e-13)


@settings(max_examples=60)
@given(st.data())
def test_sums_of_any_values_are_those_of_the_stated_order(data):
    features = data.draw(st.integers(1, 70))
    width = data.draw(st.sampled_from([32, 64]))
    values = st.floats(-(2.0**50), 2.0**50, width=width)
    x, y = (data.draw(arrays(f"f{width // 8}", (1, features), elements=values)) for _ in range(2))
    one = np.zeros(1, np.int64)
    expected = reference.sum_of_squared_differences(x[0], y[0], STRIP, LANES)
    assert bits(summed(x, y, one, one)) == bits([expected])


@settings(max_examples=60)
@given(
    st.integers(1, 4 * STRIP + 70),
    st.integers(1, 5),
    st.sampled_from([np.float32, np.float64]),
    st.integers(0, 2**32 - 1),
)
def test_sums_do_not_depend_on_how_features_and_pairs_are_cut(features, strips, dtype, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((2, 5, features)).astype(dtype)
    rows, cols = rng.integers(0, 5, (2, 9))
    whole = summed(x, y, rows, cols)
    assert bits(summed(x, y, rows, cols, strips * STRIP)) == bits(whole)
    one_by_one = [summed(x, y, rows[p : p + 1], cols[p : p + 1])[0] for p in range(9)]
    assert bits(one_by_one) == bits(whole)
    assert bits(summed(y, x, cols, rows)) == bits(whole)  # whichever of a pair comes first
    expected = [np.sum((x[a].astype(float) - y[b].astype(float)) ** 2) for a, b in zip(rows, cols, strict=True)]
    np.testing.assert_allclose(whole, expected, rtol=1e-13)


@pytest.mark.parametrize("features", [3, 16, 512, 515])
def test_float32_is_summed_as_if_it_were_float64(features):
    x, y = np.random.default_rng(0).standard_normal((2, 4, features)).astype(np.float32)
    pairs = np.arange(4)
    assert bits(summed(x, y, pairs, pairs)) == bits(summed(x.astype(float), y.astype(float), pairs, pairs))


def test_extreme_values():
    for x, y, expected in ((1e-170, 0.0, 0.0), (1e-155, 0.0, 1e-155**2), (3e153, -3e153, 6e153**2), (5e-324, 0.0, 0.0)):
        one = np.zeros(1, np.int64)
        assert summed(np.full((1, 1), x), np.full((1, 1), y), one, one).tolist() == [expected]


def test_chunks_are_whole_strips():
    assert CHUNK % STRIP == 0
    assert STRIP % LANES == 0


def test_nothing_to_add():
    nothing = np.zeros(0, np.int64)
    assert summed(np.ones((2, 5)), np.ones((2, 5)), nothing, nothing).shape == (0,)
