"""Information imbalance: the ranks of plain loops, exact for any block, tie and duplicate."""

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dnuc
from dnuc.errors import DataError, DnucError
from dnuc.measures import imbalance
from dnuc.measures.imbalance import conditional_ranks, information_imbalance
from dnuc.neighbors.search import nearest_neighbors
from tests import reference, synthetic
from tests.conftest import small_blocks

N = 90
PAIRS = {
    "a layer and the next": (synthetic.clustered(N, 12), synthetic.clustered(N, 12) + 0.1 * synthetic.normal(N, 12, 3)),
    "unrelated": (synthetic.normal(N, 5), synthetic.normal(N, 7, seed=1)),
    "ties in y": (synthetic.normal(N, 3), synthetic.lattice(N, 3)),
    "ties in x": (synthetic.lattice(N, 3), synthetic.heavy_tailed(N, 40)),
    "duplicates in both": (synthetic.duplicated(N, 4), synthetic.duplicated(N, 6, seed=2)),
    "all of y equal": (synthetic.normal(N, 3), np.ones((N, 2))),
    "float16 and integers": (synthetic.normal(N, 6).astype(np.float16), synthetic.lattice(N, 5, values=9).astype(int)),
}


@pytest.mark.parametrize("listed", [0, 7, N - 1])
@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("name", PAIRS)
def test_it_equals_plain_loops(name, k, listed, monkeypatch):
    small_blocks(monkeypatch, 40)
    x, y = PAIRS[name]
    lists = nearest_neighbors(y, listed) if listed else None
    expected = reference.information_imbalance(x, y, k)
    assert information_imbalance(x, y, k, y_neighbors=lists) == pytest.approx(expected, rel=1e-14)
    assert information_imbalance(nearest_neighbors(x, 9), y, k, y_neighbors=lists) == pytest.approx(expected, rel=1e-14)


def test_with_itself_it_is_the_smallest():
    x = synthetic.normal(50, 4)
    np.testing.assert_array_equal(conditional_ranks(x, x, 3), np.tile([1, 2, 3], (50, 1)))
    assert information_imbalance(x, x) == 2 / 50
    assert information_imbalance(x, 3 * x @ synthetic.rotation(4, 1), 3) == pytest.approx(4 / 50)


def test_unrelated_spaces_are_at_one():
    n = 1500
    assert information_imbalance(synthetic.normal(n, 3), synthetic.normal(n, 3, seed=1)) == pytest.approx(1, abs=0.1)


def test_it_tells_who_knows_more():
    """x holds all of y's information, y only a part of x's."""
    x = synthetic.normal(400, 2)
    y = x[:, :1]
    assert information_imbalance(x, y) < 0.25 < 0.5 < information_imbalance(y, x)


@settings(max_examples=40)
@given(st.data())
def test_any_small_lattice(data):
    """Nearly all distances are tied: the order among them is by index, in x and in y."""
    n, k = data.draw(st.integers(3, 14)), data.draw(st.integers(1, 2))
    seeds = [data.draw(st.integers(0, 999)) for _ in range(2)]
    x, y = (synthetic.lattice(n, 2, seed=s) for s in seeds)
    expected = reference.information_imbalance(x, y, k)
    assert information_imbalance(x, y, k) == pytest.approx(expected, rel=1e-14)


def test_only_ranks_that_no_list_holds_are_counted(monkeypatch):
    x, y = PAIRS["unrelated"]
    monkeypatch.setattr(imbalance, "count_within", None)
    with pytest.raises(TypeError):
        conditional_ranks(x, y)
    assert conditional_ranks(x, y, y_neighbors=nearest_neighbors(y, N - 1)).shape == (N, 1)


def test_rows_at_once_change_nothing(monkeypatch):
    near, lists = (np.stack([np.random.default_rng(s + i).permutation(20)[:8] for i in range(30)]) for s in (0, 99))
    expected = [[list(b).index(j) + 1 if j in b else 0 for j in a] for a, b in zip(near, lists, strict=True)]
    for rows in (7, 1000):
        monkeypatch.setattr(imbalance, "ROWS_AT_ONCE", rows)
        np.testing.assert_array_equal(imbalance.listed_ranks(near, lists), expected)


@pytest.mark.cluster
def test_workers_change_nothing(client, monkeypatch):
    small_blocks(monkeypatch, 30)
    x, y = PAIRS["a layer and the next"]
    expected = conditional_ranks(x, y, 3)
    found = conditional_ranks(da.from_array(x, chunks=(35, 5)), da.from_array(y, chunks=(50, 12)), 3, client=client)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: information_imbalance(x, x[:-1]), r"x holds 20 samples and y has shape \(19, 3\): both must be the"),
        (lambda x: information_imbalance(x, x[:, 0]), r"y has shape \(20,\)"),
        (lambda x: information_imbalance(x, x, 20), r"k must be 1 \.\. 19"),
        (lambda x: information_imbalance(x, x, 0), r"k must be 1 \.\. 19"),
        (lambda x: information_imbalance(nearest_neighbors(x, 2), x, 3), "k = 3 neighbors asked for, 2 stored"),
        (
            lambda x: information_imbalance(x, x, y_neighbors=nearest_neighbors(x[1:], 2)),
            "y_neighbors holds 19 samples",
        ),
        (lambda x: information_imbalance(nearest_neighbors(x[1:], 2), x), "x holds 19 samples"),
    ],
)
def test_refusals_say_what_is_allowed(call, message):
    with pytest.raises(DnucError, match=message):
        call(synthetic.normal(20, 3))


def test_bad_values_are_named():
    x = synthetic.normal(20, 3)
    y = x.copy()
    y[7] = np.nan
    with pytest.raises(DataError, match=r"positions 7"):
        information_imbalance(x, y)


def test_it_is_public():
    assert dnuc.information_imbalance is information_imbalance
    assert dnuc.conditional_ranks is conditional_ranks
