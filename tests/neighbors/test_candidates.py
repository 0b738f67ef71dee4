"""Candidate lists never lose a neighbor: brute force on small tiles, with lists that are far too short."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dnuc.neighbors.candidates import (
    UNKNOWN,
    Bound,
    count_near,
    first_radii,
    guess_radii,
    kth_smallest,
    make_side,
    select,
    shrink,
    take_near,
)


@dataclass
class Tile:
    """Rows and columns whose true places are known only as well as their residuals tell."""

    product: np.ndarray  # (R, C) float32, of the integers that stand for them
    scale: tuple[np.ndarray, np.ndarray]
    norm_sq: tuple[np.ndarray, np.ndarray]
    residual: tuple[np.ndarray, np.ndarray]
    distance: np.ndarray  # (R, C) between their true places
    bound: Bound
    same: bool

    def sides(self, capacity, radii=None):
        """Empty lists of the rows and of the columns, which are the same ones in a tile of a block with itself."""
        radii = radii or [np.full(n, np.inf) for n in self.product.shape]
        left, right = (
            make_side(self.scale[s], self.norm_sq[s], self.residual[s], radii[s], capacity, self.bound) for s in (0, 1)
        )
        return left, left if self.same else right

    @property
    def own(self):
        return np.arange(len(self.product)) if self.same else np.full(len(self.product), -1)


def make_tile(integers, residuals, gamma, same, seed):
    """A tile from what stands for its rows: true places and products are off by as much as they may be."""
    rng = np.random.default_rng(seed)
    if same:
        integers, residuals = (integers[0],) * 2, (residuals[0],) * 2
    scale = [np.where(np.arange(len(i)) % 2, 0.5, 1.0) for i in integers]
    stand = [s[:, None] * i for s, i in zip(scale, integers, strict=True)]
    places = []
    for rows, residual in zip(stand, residuals, strict=True):
        away = rng.standard_normal(rows.shape)
        places.append(rows + residual[:, None] * away / np.linalg.norm(away, axis=1, keepdims=True))
    if same:
        scale[1], stand[1], places[1] = scale[0], stand[0], places[0]
    norm_sq = [(rows**2).sum(axis=1) for rows in stand]
    limit = gamma * np.sqrt(np.outer(*norm_sq)) / np.outer(*scale)
    noise = 0.99 * limit * rng.choice([-1, 0, 1], limit.shape)
    product = (integers[0] @ integers[1].T + noise).astype(np.float32)
    distance = np.sqrt(((places[0][:, None] - places[1]) ** 2).sum(axis=2))
    bound = Bound(gamma + 1e-6, 1e-13, 1e-13)
    return Tile(product, tuple(scale), tuple(norm_sq), tuple(r * (1 + 1e-12) for r in residuals), distance, bound, same)


@st.composite
def tiles(draw):
    features = draw(st.integers(1, 3))
    shape = draw(st.tuples(st.integers(1, 14), st.integers(1, 14)))
    integers = [draw(arrays(np.float64, (n, features), elements=st.integers(-4, 4).map(float))) for n in shape]
    residuals = [draw(arrays(np.float64, n, elements=st.sampled_from([0.0, 0.01, 0.5]))) for n in shape]
    gamma = draw(st.sampled_from([0.0, 0.001, 0.05]))
    return make_tile(integers, residuals, gamma, draw(st.booleans()), draw(st.integers(0, 2**32 - 1)))


def pieces(tile, width, upper):
    """Cuts of the tile, or of its upper triangle."""
    rows, cols = ([slice(f, f + width) for f in range(0, n, width)] for n in tile.product.shape)
    return [(r, c) for r in rows for c in cols if not upper or r.start <= c.start]


def run(tile, left, right, k, width, both=True, order=None):
    constants, work = tile.bound.constants, np.empty(left.candidate.shape[1])
    cuts = pieces(tile, width, upper=tile.same and both)
    for r, c in sorted(cuts, key=order) if order else cuts:
        part = np.ascontiguousarray(tile.product[r, c])
        first_radii(part, left, right, r.start, c.start, tile.own, k, constants)
        select(part, left, right, r.start, c.start, tile.own, both, k, constants, work)


def lists(side):
    return [side.candidate[row, :n].tolist() for row, n in enumerate(side.filled)]


def assert_none_lost(side, distance, k, radius, own):
    """Every list that did not overflow holds all the k nearest within the radius that was given, and all their ties."""
    for row, found in enumerate(lists(side)):
        assert own[row] not in found
        assert len(found) == len(set(found))
        if side.overflow[row]:
            continue
        others = np.delete(distance[row], own[row]) if own[row] >= 0 else distance[row]
        within = np.sort(others)
        far = within[k - 1] if len(within) >= k else np.inf
        wanted = set(np.flatnonzero(distance[row] <= min(far, radius[row]))) - {own[row]}
        assert wanted <= set(found)
        assert side.radius[row] >= min(far, radius[row], UNKNOWN)


@settings(max_examples=150)
@given(tiles(), st.integers(1, 15), st.integers(1, 15), st.integers(1, 15), st.randoms())
def test_both_sides_keep_their_nearest(tile, k, capacity, width, random):
    left, right = tile.sides(capacity)
    run(tile, left, right, k, width, order=lambda _: random.random())
    rows, cols = tile.product.shape
    assert_none_lost(left, tile.distance, k, np.full(rows, np.inf), tile.own)
    if not tile.same:
        assert_none_lost(right, tile.distance.T, k, np.full(cols, np.inf), np.full(cols, -1))


@settings(max_examples=150)
@given(tiles(), st.integers(1, 15), st.integers(1, 15), st.integers(1, 15))
def test_one_side_keeps_its_nearest(tile, k, capacity, width):
    """As for rows that are redone: the columns look for nobody, even if they are the rows themselves."""
    left, _ = tile.sides(capacity)
    _, right = Tile(**{**vars(tile), "same": False}).sides(1)
    run(tile, left, right, k, width, both=False)
    assert_none_lost(left, tile.distance, k, np.full(len(left.filled), np.inf), tile.own)
    assert not right.filled.any()


@settings(max_examples=150)
@given(tiles(), st.integers(1, 15), st.integers(1, 15), st.data())
def test_known_radii_exclude_only_what_is_farther(tile, k, capacity, data):
    """A radius is the distance of some sample: what lies at just that distance stays."""
    radii = [
        np.array([data.draw(st.sampled_from([*line, np.inf])) for line in d]) for d in (tile.distance, tile.distance.T)
    ]
    if tile.same:
        radii[1] = radii[0]
    left, right = tile.sides(capacity, radii)
    run(tile, left, right, k, 7)
    assert_none_lost(left, tile.distance, k, radii[0], tile.own)
    if not tile.same:
        assert_none_lost(right, tile.distance.T, k, radii[1], np.full(len(radii[1]), -1))


@settings(max_examples=100)
@given(tiles(), st.integers(1, 15), st.integers(1, 15))
def test_lists_with_room_for_all_never_overflow(tile, k, width):
    left, right = tile.sides(max(tile.product.shape))
    run(tile, left, right, k, width)
    assert not left.overflow.any()
    assert not right.overflow.any()


def equal_and_scattered(k, capacity):
    """20 equal samples, and far from them 20 on a line: the lists after they all looked for one another."""
    x = np.concatenate([np.zeros((20, 2)), np.stack([1e3 * np.arange(20), np.full(20, 5e4)], axis=1)])
    tile = make_tile((x, x), (np.zeros(40),) * 2, 0.0, True, 0)
    left, right = tile.sides(capacity)
    run(tile, left, right, k, 40)
    return left


def test_only_rows_with_too_many_ties_overflow():
    """They are told to be redone, and take no more candidates."""
    left = equal_and_scattered(3, 12)
    assert left.overflow.tolist() == [True] * 20 + [False] * 20
    assert (left.limit[:20] == -np.inf).all()
    assert (left.filled[:20] <= 1).all()
    assert not equal_and_scattered(3, 40).overflow.any()


def test_full_lists_shrink_to_what_may_still_matter():
    """Each distance is half the one before: the list is full again and again, and always finds room."""
    x = np.array([[0.0], *([2.0 ** (20 - e)] for e in range(40))])
    tile = make_tile((x[:1], x[1:]), (np.zeros(1), np.zeros(40)), 0.0, False, 0)
    left, right = tile.sides(8)
    run(tile, left, right, 3, 16, both=False)
    assert not left.overflow.any()
    shrink(left, 0, right, 3, tile.bound.constants, np.empty(8))
    assert lists(left)[0] == [37, 38, 39]


# --- small parts ---------------------------------------------------------------------------------------------------

NUMBERS = st.one_of(st.floats(0, 1e300), st.integers(0, 3).map(float), st.just(np.inf))


@settings(max_examples=300)
@given(arrays(np.float64, st.integers(1, 60), elements=NUMBERS), st.data())
def test_the_kth_smallest_is_that_of_a_sort(values, data):
    n = data.draw(st.integers(1, len(values)))
    k = data.draw(st.integers(1, n))
    work = values.copy()
    assert kth_smallest(work, n, k) == np.sort(values[:n])[k - 1]
    assert np.sort(work[:n]).tolist() == np.sort(values[:n]).tolist()  # reordered, nothing lost
    assert work[n:].tolist() == values[n:].tolist()


@pytest.mark.parametrize("values", [np.zeros(5000), np.arange(5000.0), np.arange(5000.0)[::-1], np.arange(5000.0) % 3])
def test_sorted_and_tied_numbers_are_no_trap(values):
    for k in (1, 7, 2500, 5000):
        assert kth_smallest(values.copy(), 5000, k) == np.sort(values)[k - 1]


@settings(max_examples=150)
@given(tiles(), st.integers(1, 14))
def test_first_radii_are_upper_bounds(tile, k):
    """At least k others of the piece lie within; a row that knows a radius keeps it."""
    known = np.where(np.arange(len(tile.product)) % 3, np.inf, 1.5)
    left, right = tile.sides(5, [known, known if tile.same else np.full(tile.product.shape[1], np.inf)])
    first_radii(tile.product, left, right, 0, 0, tile.own, k, tile.bound.constants)
    enough = tile.product.shape[1] > k
    for row, radius in enumerate(left.radius):
        if known[row] == 1.5 or not enough:
            assert radius == min(known[row], UNKNOWN)
        else:
            others = np.delete(tile.distance[row], tile.own[row]) if tile.same else tile.distance[row]
            assert radius >= np.sort(others)[k - 1]
            assert radius < UNKNOWN


def lower_bounds(tile, side, other, row):
    """Squared: estimate - slack, and the reach without the limit."""
    found = side.candidate[row, : side.filled[row]]
    gamma2, epsilon, eta = tile.bound.constants
    norms = side.norm_sq[row] + other.norm_sq[found]
    slack = gamma2 * side.root[row] * other.root[found] + epsilon * norms + eta
    e = side.residual[row] + other.residual[found]
    return np.sqrt(np.maximum(0, side.estimate[row, : side.filled[row]] - slack)) - e


@settings(max_examples=150)
@given(tiles(), st.data())
def test_what_may_be_within_a_limit_is_moved_and_the_rest_stays(tile, data):
    left, right = tile.sides(max(tile.product.shape))
    run(tile, left, right, 99, 7)
    before, rows = lists(left), len(left.filled)
    limit = np.array([data.draw(st.sampled_from([0.0, 0.7, 2.3, np.inf])) for _ in range(rows)])
    lower = [lower_bounds(tile, left, right, row) for row in range(rows)]
    counts = np.zeros(rows, np.int64)
    cut = data.draw(st.integers(0, rows))
    for first, last in ((0, cut), (cut, rows)):
        count_near(left, right, limit, tile.bound.constants, counts, first, last)
    places = np.cumsum(counts) - counts
    found = np.full((2, counts.sum()), -1, np.int64)
    for first, last in ((cut, rows), (0, cut)):
        take_near(left, right, limit, tile.bound.constants, places, *found, first, last)
    after = lists(left)
    for row in range(rows):
        moved = found[1, found[0] == row].tolist()
        assert len(moved) == counts[row]
        assert [c for c in before[row] if c in moved] == moved  # in the order of the list
        assert [c for c in before[row] if c not in moved] == after[row]
        assert {c for c, d in zip(before[row], lower[row], strict=True) if d <= limit[row]} <= set(moved)
        assert {c for c, d in zip(before[row], lower[row], strict=True) if d > limit[row] + 1e-6}.isdisjoint(moved)
    counts[:] = 0
    count_near(left, right, limit, tile.bound.constants, counts, 0, rows)
    assert not counts.any()


@settings(max_examples=100)
@given(tiles(), st.integers(1, 14))
def test_guesses_are_the_kth_smallest_estimates(tile, k):
    left, right = tile.sides(max(tile.product.shape))
    run(tile, left, right, k, 7)
    guess = np.empty(len(left.filled))
    guess_radii(left, k, guess, 0, len(guess))
    for row, n in enumerate(left.filled):
        estimates = np.sort(left.estimate[row, :n])
        assert guess[row] == (np.sqrt(max(estimates[k - 1], 0)) if n >= k else np.inf)
