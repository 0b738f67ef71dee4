"""Merging candidates: associative, idempotent, and blind to the order in which tiles come."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dnuc.neighbors.blocks import Blocks, choose_rows, panels, tile_bytes
from dnuc.neighbors.refine import STRIP, add_squared_differences, merge_candidates

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


@settings(max_examples=200, deadline=None)
@given(st.lists(candidate, max_size=30), st.randoms())
def test_order_and_repetition_do_not_matter(candidates, random):
    shuffled = random.sample(candidates, len(candidates))
    cut = random.randint(0, len(candidates))
    expected = merged(candidates)
    assert merged(shuffled) == expected
    assert merged(candidates[cut:], candidates[:cut]) == expected
    assert merged(candidates, shuffled[cut:], candidates) == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(candidate, max_size=30))
def test_the_k_best_by_distance_then_index_are_kept(candidates):
    index, distance = merged(candidates)
    for row in range(3):
        best = sorted({((7 * r + c) % 5 / 2.0, c) for r, c in candidates if r == row})[:K]
        padding = K - len(best)
        assert index[row] == [c for _, c in best] + [-1] * padding
        assert distance[row] == [d for d, _ in best] + [np.inf] * padding


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3 * STRIP + 70), st.sampled_from([np.float32, np.float64]), st.integers(0, 2**32 - 1))
def test_distances_do_not_depend_on_how_features_are_cut(features, dtype, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((2, 5, features)).astype(dtype)
    rows, cols = rng.integers(0, 5, (2, 9))
    whole, cut = np.zeros(9), np.zeros(9)
    add_squared_differences(x, y, rows, cols, whole)
    for part in panels(0, features, STRIP):
        add_squared_differences(np.ascontiguousarray(x[:, part]), np.ascontiguousarray(y[:, part]), rows, cols, cut)
    np.testing.assert_array_equal(whole, cut)
    expected = [np.sum((x[a].astype(float) - y[b].astype(float)) ** 2) for a, b in zip(rows, cols, strict=True)]
    np.testing.assert_allclose(whole, expected, rtol=1e-13)


@given(st.integers(1, 120), st.integers(1, 60))
def test_blocks_cover_every_pair_of_rows_once(n, rows):
    blocks = Blocks(n, rows)
    pairs = list(blocks.pairs())
    assert len(pairs) == len(set(pairs)) == blocks.tiles
    assert [blocks.position(i, j) for i, j in pairs] == list(range(blocks.tiles))
    spans = [blocks.span(b) for b in range(blocks.count)]
    assert [r for s in spans for r in range(s.start, s.stop)] == list(range(n))
    assert set(pairs) == {(i, j) for i in range(blocks.count) for j in range(i, blocks.count)}


@given(st.integers(2, 2_000_000), st.integers(1, 900_000), st.integers(2**28, 2**36), st.sampled_from([1, 16, 64, 256]))
def test_chosen_blocks_fit_into_memory_and_are_whole_stored_blocks(n, features, memory, multiple):
    rows = choose_rows(n, features, memory, multiple)
    assert rows % multiple == 0
    assert tile_bytes(rows, features) <= memory
