"""Products of a tile, piece by piece: each pair once, and the same whether features come in one chunk or in many."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnuc.errors import DataError
from dnuc.neighbors import products
from dnuc.neighbors.crew import crew
from dnuc.neighbors.products import Products, TierOverflowError, _pieces
from dnuc.neighbors.rows import Picked, Rows
from dnuc.neighbors.tiers import BFLOAT16, FLOAT32, FLOAT64, INT8, LADDER
from tests import synthetic

IDS = {"ids": lambda tier: tier.name}
RELATIVE = {INT8: 0.02, BFLOAT16: 0.01, FLOAT32: 1e-5, FLOAT64: 1e-13}  # of the norms: what a tier loses


@given(st.integers(1, 700), st.integers(1, 700), st.booleans(), st.integers(1, 5))
def test_pieces_hold_every_pair_once(rows, cols, same, threads):
    cols = rows if same else cols
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(products, "PIECE", 97)
        pieces = _pieces((rows, cols), same, threads)
    seen = np.zeros((rows, cols), np.int64)
    for r, c in pieces:
        seen[r, c] += 1
    if same:  # the diagonal and all above it; what lies below in a piece of the diagonal is not asked for
        assert (seen[np.triu_indices(rows)] == 1).all()
        assert all(r.start <= c.start for r, c in pieces)
    else:
        assert (seen == 1).all()


def test_several_threads_have_pieces_for_all():
    assert len(_pieces((1000, 1000), False, 1)) == 1
    assert len(_pieces((1000, 1000), False, 2)) == 16
    assert len(_pieces((100_000, 100_000), False, 2)) == 49**2  # so large that a piece stays in the cache


def test_pieces_in_a_row_belong_to_different_rows_and_columns():
    """So that threads seldom wait for each other."""
    for same in (True, False):
        pieces = _pieces((2048, 2048), same, 2)
        for first, second in pairwise(pieces[:8]):
            assert first[0] != second[0]
            assert first[1] != second[1]


def cut(monkeypatch, chunk, piece=2048):
    monkeypatch.setattr(products, "CHUNK", chunk)
    monkeypatch.setattr(products, "PIECE", piece)


def whole(found):
    """(R, C) float64: all products with their scales; nan where no piece is."""
    total = np.full(found.shape, np.nan)
    for rows, cols in found.pieces:
        part = found.piece(rows, cols).astype(np.float64)
        total[rows, cols] = found.stands[0].scale[rows, None] * found.stands[-1].scale[cols] * part
    return total


def centered(x):
    """What is multiplied: blocks of as many rows are shifted by the mean of all."""
    return x.astype(np.float64) - x.astype(np.float64).mean(axis=0)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("chunk", [8192, 1024, 512])
@pytest.mark.parametrize("tier", LADDER, **IDS)
def test_products_are_those_of_the_shifted_rows(tier, chunk, threads, monkeypatch):
    cut(monkeypatch, chunk, 50)
    x = (5 + synthetic.normal(260, 1300)).astype(np.float32)
    left, right = Rows(x, 0, 130), Rows(x, 130, 260)
    with crew(threads) as workers:
        found = Products(left, right, tier, workers)
        product = whole(found)
    rows = centered(x)
    norm = np.sqrt((rows**2).sum(axis=1))
    assert found.shape == (130, 130)
    error = np.abs(product - rows[:130] @ rows[130:].T)
    assert (error <= RELATIVE[tier] * np.outer(norm[:130], norm[130:])).all()
    for stand, part in ((found.stands[0], slice(0, 130)), (found.stands[-1], slice(130, 260))):
        assert (np.abs(np.sqrt(stand.norm_sq) - norm[part]) <= stand.residual + 1e-5).all()
        assert (stand.residual <= RELATIVE[tier] * norm[part]).all()


@pytest.mark.parametrize("tier", LADDER, **IDS)
def test_a_block_with_itself_is_multiplied_above_the_diagonal(tier, monkeypatch):
    cut(monkeypatch, 512, 30)
    x = synthetic.normal(100, 700)
    rows = Rows(x, 0, 100)
    with crew(1) as workers:
        found = Products(rows, rows, tier, workers)
        product = whole(found)
    assert found.same
    assert len(found.stands) == 1
    upper = np.triu_indices(100)
    shifted = centered(x)
    norm = np.sqrt((shifted**2).sum(axis=1))
    error = np.abs(product - shifted @ shifted.T) / np.outer(norm, norm)
    assert (error[upper] <= RELATIVE[tier]).all()


def test_some_rows_of_a_block_are_multiplied_alone():
    x = synthetic.normal(60, 40)
    positions = np.array([3, 17, 4])
    with crew(1) as workers:
        found = Products(Picked(Rows(x, 0, 30), positions), Rows(x, 30, 60), FLOAT64, workers)
        product = whole(found)
    center = (x[positions].mean(axis=0) + x[30:].mean(axis=0)) / 2
    np.testing.assert_allclose(product, (x[positions] - center) @ (x[30:] - center).T, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("chunk", [8192, 512])
@pytest.mark.parametrize("tier", LADDER, **IDS)
def test_what_is_too_large_for_a_tier_is_told(tier, chunk, monkeypatch):
    """Not as wrong products, and not as bad data: a finer tier may hold it."""
    cut(monkeypatch, chunk)
    limit = {FLOAT64: 2e153}.get(tier, 9e18)
    x = np.zeros((8, 1000))
    x[1, 700] = 4 * limit
    with crew(1) as workers:
        with pytest.raises(TierOverflowError):
            Products(Rows(x, 0, 4), Rows(x, 4, 8), tier, workers)
        Products(Rows(x / 8, 0, 4), Rows(x / 8, 4, 8), tier, workers)


@pytest.mark.parametrize("tier", LADDER, **IDS)
def test_bad_data_are_told_from_large_data(tier, monkeypatch):
    cut(monkeypatch, 512)
    x = 1e200 * synthetic.normal(8, 1000)
    x[6, 900] = np.nan
    with crew(1) as workers, pytest.raises(TierOverflowError):  # in the first chunk
        Products(Rows(x, 0, 4), Rows(x, 4, 8, label="net/fc"), tier, workers)
    x[:, :] = 1.0
    x[6, 900] = np.nan
    with (
        crew(1) as workers,
        pytest.raises(DataError, match=r"net/fc: NaN .* 1 samples \(positions 6; features (512|768) \.\. 999"),
    ):
        Products(Rows(x, 0, 4), Rows(x, 4, 8, label="net/fc"), tier, workers)
