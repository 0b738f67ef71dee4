"""Counting within a radius: as plain loops count, in every tier, with the same order among ties as the neighbors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnuc.neighbors import counting, filtering, pairs, products
from dnuc.neighbors.counting import Ball, count_tile
from dnuc.neighbors.refine import STRIP
from dnuc.neighbors.rows import Rows
from dnuc.neighbors.search import nearest_neighbors
from dnuc.neighbors.tiers import LADDER
from tests import synthetic
from tests.neighbors.hard import ADVERSARIAL, trained_classes

IDS = {"ids": lambda tier: tier.name}


def ranks(x, neighbors, rank, cut, tier, threads=1):
    """(N,) how many samples come before each row's neighbor of this rank, counted in tiles of two blocks."""
    ball = Ball(neighbors.distance[:, rank], neighbors.index[:, rank])
    parts = [(Rows(x, a, b), Ball(ball.radius[a:b], ball.before[a:b])) for a, b in ((0, cut), (cut, len(x))) if b > a]
    counts = []
    for rows, mine in parts:
        found = count_tile(rows, rows, mine, mine, tier, threads)
        assert len(found.right) == 0
        counts.append(found.left)
    if len(parts) == 2:
        (left, left_ball), (right, right_ball) = parts
        found = count_tile(left, right, left_ball, right_ball, tier, threads)
        counts = [counts[0] + found.left, counts[1] + found.right]
    return np.concatenate(counts)


LARGE = {"tight classes": lambda: trained_classes(900), "ties": lambda: synthetic.lattice(900, 2)}
DATA = ADVERSARIAL | LARGE


@pytest.mark.parametrize("tier", LADDER, **IDS)
@pytest.mark.parametrize("name", DATA)
def test_before_the_neighbor_of_a_rank_there_are_as_many(name, tier):
    """The order is total: before the neighbor of rank r (from 0) there are r others, ties and copies included."""
    x = DATA[name]()
    k = min(20, len(x) - 1)
    neighbors = nearest_neighbors(x, k)
    for rank in {0, k // 2, k - 1}:
        for cut in (len(x), len(x) // 3):
            assert (ranks(x, neighbors, rank, cut, tier) == rank).all()


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("tier", LADDER, **IDS)
def test_chunks_pieces_and_threads_change_nothing(tier, threads, monkeypatch):
    for module in (filtering, pairs, products):
        monkeypatch.setattr(module, "CHUNK", STRIP)
    monkeypatch.setattr(products, "PIECE", 77)
    x = synthetic.heavy_tailed(700, 1100)
    neighbors = nearest_neighbors(x, 9)
    assert (ranks(x, neighbors, 8, 300, tier, threads) == 8).all()


@pytest.mark.parametrize("tier", LADDER, **IDS)
@settings(max_examples=60)
@given(st.integers(2, 40), st.integers(1, 4), st.data())
def test_any_ball_counts_as_loops_do(tier, n, features, data):
    x = synthetic.lattice(n, features, values=4, seed=data.draw(st.integers(0, 999)))
    cut = data.draw(st.integers(1, n))
    distance = np.array([np.sqrt(((x - row).astype(float) ** 2).sum(axis=1)) for row in x])
    radius = np.array([data.draw(st.sampled_from([0.0, 1.0, np.sqrt(2), 1.7, np.inf])) for _ in range(n)])
    before = np.array([data.draw(st.integers(0, n)) for _ in range(n)])
    inside = (distance < radius[:, None]) | ((distance == radius[:, None]) & (np.arange(n) < before[:, None]))
    np.fill_diagonal(inside, False)
    a, b = (Rows(x, 0, cut), Ball(radius[:cut], before[:cut])), (Rows(x, cut, n), Ball(radius[cut:], before[cut:]))
    np.testing.assert_array_equal(count_tile(a[0], a[0], a[1], a[1], tier).left, inside[:cut, :cut].sum(axis=1))
    if cut < n:
        found = count_tile(a[0], b[0], a[1], b[1], tier)
        np.testing.assert_array_equal(found.left, inside[:cut, cut:].sum(axis=1))
        np.testing.assert_array_equal(found.right, inside[cut:, :cut].sum(axis=1))


@pytest.mark.parametrize("tier", LADDER, **IDS)
def test_balls_whose_lists_overflow_are_redone_alone(tier, monkeypatch):
    monkeypatch.setattr(counting, "COUNTED", 20)
    monkeypatch.setattr(counting, "FEWEST", 4)
    x = trained_classes(900)
    neighbors = nearest_neighbors(x, 300)
    ranks = [0, 299, 8, 150]
    ball = Ball(neighbors.distance[:, ranks], neighbors.index[:, ranks])
    rows = Rows(x, 0, 900)
    found = count_tile(rows, rows, ball, ball, tier, threads=2)
    np.testing.assert_array_equal(found.left, np.tile(ranks, (900, 1)))
    assert (found.redone > 0) == (tier.name != "float64")


@pytest.mark.parametrize("tier", LADDER, **IDS)
def test_rows_that_a_tier_cannot_decide_are_redone_and_counted(tier, monkeypatch):
    monkeypatch.setattr(counting, "COUNTED", 20)  # lists of 116
    x = trained_classes(900)
    neighbors = nearest_neighbors(x, 300)
    ball = Ball(neighbors.distance[:, 299], neighbors.index[:, 299])
    found = count_tile(Rows(x, 0, 900), Rows(x, 0, 900), ball, ball, tier)
    assert (found.left == 299).all()
    assert (found.redone > 0) == (tier.name != "float64")
