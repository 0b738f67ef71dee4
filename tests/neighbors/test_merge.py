"""Merging candidates: associative, idempotent, and blind to the order in which tiles come."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dnuc.neighbors.refine import group_by_row, merge_candidates, merge_grouped

K = 4
candidate = st.tuples(st.integers(0, 2), st.integers(0, 12))  # row, neighbor; its distance is a function of both


def empty():
    return np.full((3, K), -1, dtype=np.int64), np.full((3, K), np.inf)


def merged(*batches):
    index, distance = empty()
    for batch in batches:
        rows, found = (np.array([c[part] for c in batch], dtype=np.int64) for part in (0, 1))
        merge_candidates(index, distance, rows, found, (7 * rows + found) % 5 / 2.0)  # many ties
    return index.tolist(), distance.tolist()


@settings(max_examples=200)
@given(st.lists(candidate, max_size=30), st.randoms())
def test_order_and_repetition_do_not_matter(candidates, random):
    shuffled = random.sample(candidates, len(candidates))
    cut = random.randint(0, len(candidates))
    expected = merged(candidates)
    assert merged(shuffled) == expected
    assert merged(candidates[cut:], candidates[:cut]) == expected
    assert merged(candidates, shuffled[cut:], candidates) == expected


@settings(max_examples=100)
@given(st.lists(candidate, max_size=30))
def test_the_k_best_by_distance_then_index_are_kept(candidates):
    index, distance = merged(candidates)
    for row in range(3):
        best = sorted({((7 * r + c) % 5 / 2.0, c) for r, c in candidates if r == row})[:K]
        padding = K - len(best)
        assert index[row] == [c for _, c in best] + [-1] * padding
        assert distance[row] == [d for d, _ in best] + [np.inf] * padding


def test_a_sum_in_another_order_is_no_other_neighbor():
    """A GPU may sum the same squared differences in two orders: the sample must not be listed twice."""
    index, distance = empty()
    rows, found = np.zeros(4, np.int64), np.array([3, 5, 3, 5])
    merge_candidates(index, distance, rows, found, np.array([1.0, 1.0, 1 + 1e-13, 1 - 1e-13]))
    assert index[0].tolist() == [5, 3, -1, -1]
    merge_candidates(index, distance, rows[:2], np.array([3, 7]), np.array([1 - 2e-13, 1 + 1e-6]))
    assert sorted(index[0, :2].tolist()) == [3, 5]
    assert index[0, 2:].tolist() == [7, -1]


def neighbor_lists(rows, k, seed):
    """Lists of k, some of them not full yet, and candidates for them: many ties, many listed already."""
    rng = np.random.default_rng(seed)
    table = rng.integers(0, 6, (rows, 60)) / 2.0  # the distance of row r to sample c
    known = [rng.choice(60, rng.integers(0, k + 1), replace=False) for _ in range(rows)]
    index, distance = np.full((rows, k), -1, np.int64), np.full((rows, k), np.inf)
    for r, samples in enumerate(known):
        ordered = sorted((table[r, c], c) for c in samples)
        for rank, (d, c) in enumerate(ordered):
            distance[r, rank], index[r, rank] = d, c
    row, sample = rng.integers(0, rows, 150), rng.integers(0, 60, 150)
    return known, table, (index, distance), (row, sample, table[row, sample])


@settings(max_examples=100)
@given(st.integers(1, 6), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_merging_equals_sorting_everything(rows, k, seed):
    """Whatever the number of candidates: short and long runs are sorted in different ways."""
    known, table, (index, distance), candidates = neighbor_lists(rows, k, seed)
    merge_candidates(index, distance, *candidates)
    for r in range(rows):
        samples = {*known[r].tolist(), *candidates[1][candidates[0] == r].tolist()}
        best = sorted((table[r, c], c) for c in samples)[:k]
        padding = k - len(best)
        assert index[r].tolist() == [c for _, c in best] + [-1] * padding
        assert distance[r].tolist() == [d for d, _ in best] + [np.inf] * padding


@settings(max_examples=50)
@given(st.integers(1, 6), st.integers(1, 40), st.integers(0, 6), st.integers(0, 2**32 - 1))
def test_rows_may_be_merged_apart(rows, k, cut, seed):
    """As by the threads of a tile, each of which has rows of its own."""
    _, _, lists, (row, sample, d) = neighbor_lists(rows, k, seed)
    whole, parts = [a.copy() for a in lists], [a.copy() for a in lists]
    merge_candidates(*whole, row, sample, d)
    order, starts = group_by_row(row, rows)
    for first, last in ((0, min(cut, rows)), (min(cut, rows), rows)):
        merge_grouped(*parts, order, starts, sample, d, first, last)
    np.testing.assert_array_equal(parts[0], whole[0])
    np.testing.assert_array_equal(parts[1], whole[1])


def test_many_candidates_of_a_row_in_any_order():
    for values in (np.arange(5000), np.arange(5000)[::-1], np.arange(5000) % 7, np.zeros(5000)):
        index, distance = np.full((1, 30), -1, np.int64), np.full((1, 30), np.inf)
        sample = np.random.default_rng(0).permutation(5000)
        merge_candidates(index, distance, np.zeros(5000, np.int64), sample, values.astype(float))
        best = sorted(zip(values.tolist(), sample.tolist(), strict=True))[:30]
        assert index[0].tolist() == [c for _, c in best]
        assert distance[0].tolist() == [d for d, _ in best]
