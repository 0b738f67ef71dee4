"""How large blocks are chosen: enough tiles for all, few tasks, within memory, whole stored blocks."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dnuc.errors import ResourceError
from dnuc.neighbors.blocks import (
    CHUNK,
    LARGEST_BLOCK,
    LARGEST_TILE,
    MOST_BLOCKS,
    SMALLEST_BLOCK,
    TILES_A_TASK,
    Blocks,
    choose_rows,
    list_capacity,
    panels,
    tile_bytes,
)

GIB = 2**30
PLENTY = 2**50

SAMPLES = st.integers(2, 3_000_000)
FEATURES = st.integers(1, 900_000)
MULTIPLES = st.sampled_from([1, 16, 64, 256, 1024])


# What limits the rows of a block, each by its own arithmetic.
LAYERS = {
    "the digits: one tile": ((1797, 64, 2 * GIB, 1), {}, 1797, 1),
    # a task that works alone needs no more than one tile
    "20,000 samples, one task": ((20_000, 4096, 2 * GIB, 1), {}, 20_000, 1),
    # two tasks: 10 tiles or more; sqrt(2 x 5 x 2) = 5 blocks make 15, of 4000 rows rounded up to whole stored blocks
    "20,000 samples, two tasks": ((20_000, 4096, 2 * GIB, 1024), {"tasks": 2}, 4096, 15),
    # sqrt(2 x 5 x 16) = 13 blocks of 4616 rows
    "Fashion-MNIST, 16 tasks": ((60_000, 784, 2 * GIB, 1), {"tasks": 16}, 4616, 91),
    # no blocks below 1024 rows for the sake of more tasks: 5 blocks of 1000 at least
    "5000 samples, 100 tasks": ((5000, 784, 2 * GIB, 1), {"tasks": 100}, 1250, 10),
    # 5e13 multiplications and additions: sqrt(5e13 / (2 x 802816)) = 5580 rows, 6 whole stored blocks
    "the widest layer of ResNet152": ((90_000, 802_816, 16 * GIB, 1024), {}, 6144, 120),
    # at most 90 blocks, however large a tile becomes: 14236 rows, 14 whole stored blocks
    "all of ImageNet, wide": ((1_281_167, 802_816, 64 * GIB, 1024), {}, 14_336, 4095),
    # at most 32768 rows
    "all of ImageNet, narrow": ((1_281_167, 64, 64 * GIB, 1024), {}, 32_768, 820),
}


@pytest.mark.parametrize("name", LAYERS)
def test_blocks_of_real_layers(name):
    (n, features, memory, multiple), settings, rows, tiles = LAYERS[name]
    assert choose_rows(n, features, memory, multiple, **settings) == rows
    assert Blocks(n, rows).tiles == tiles


@given(SAMPLES, FEATURES, st.integers(2**28, 2**36), MULTIPLES, st.sampled_from([2, 4, 8]), st.integers(1, 300))
def test_chosen_blocks_fit_into_memory_and_are_whole_stored_blocks(n, features, memory, multiple, itemsize, tasks):
    try:
        rows = choose_rows(n, features, memory, multiple, itemsize, tasks=tasks)
    except ResourceError:
        assert tile_bytes(multiple, features, itemsize, sides=1 if multiple >= n else 2) > memory
        return
    assert rows % multiple == 0
    assert rows < n + multiple
    assert tile_bytes(rows, features, itemsize, sides=1 if rows >= n else 2) <= memory


@given(SAMPLES, FEATURES, MULTIPLES, st.integers(1, 300))
def test_tiles_are_enough_for_all_tasks_and_not_too_many(n, features, multiple, tasks):
    blocks = Blocks(n, choose_rows(n, features, PLENTY, multiple, tasks=tasks))
    assert blocks.rows < LARGEST_BLOCK + multiple
    assert blocks.count <= max(MOST_BLOCKS, -(-n // LARGEST_BLOCK), np.sqrt(2 * TILES_A_TASK * tasks) + 1)
    if multiple == 1 and n > 2 * SMALLEST_BLOCK * np.sqrt(2 * TILES_A_TASK * tasks):
        assert tasks == 1 or blocks.tiles >= TILES_A_TASK * tasks
    # as large as that allows: what one tile multiplies has an end, unless there would be too many of them
    assert 2 * features * (blocks.rows - multiple) ** 2 <= LARGEST_TILE or blocks.count >= MOST_BLOCKS - multiple


@given(st.integers(1, LARGEST_BLOCK), FEATURES, st.sampled_from([4, 8]))
def test_all_samples_are_one_block_if_they_fit(n, features, itemsize):
    assume(2 * features * n**2 <= LARGEST_TILE)
    memory = tile_bytes(n, features, itemsize, sides=1)
    assert choose_rows(n, features, memory, itemsize=itemsize) == n


@given(SAMPLES, FEATURES, st.integers(2**24, 2**36), st.integers(0, 2**36))
def test_more_memory_never_makes_smaller_blocks(n, features, memory, more):
    try:
        rows = choose_rows(n, features, memory)
    except ResourceError:
        return
    assert choose_rows(n, features, memory + more) >= rows


@given(st.integers(1, 4096), FEATURES, st.sampled_from([2, 4, 8]), st.integers(1, 500), st.integers(1, 8))
def test_memory_grows_with_everything_and_not_with_many_features(rows, features, itemsize, k, threads):
    needed = tile_bytes(rows, features, itemsize, k, threads=threads)
    assert needed <= tile_bytes(rows + 1, features, itemsize, k, threads=threads)
    assert needed <= tile_bytes(2 * rows, features, itemsize, k, threads=threads)
    assert needed <= tile_bytes(rows, features + 1, itemsize, k, threads=threads)
    assert needed <= tile_bytes(rows, 2 * features, itemsize, k, threads=threads)
    assert needed <= tile_bytes(rows, features, 8, k, threads=threads)
    assert needed <= tile_bytes(rows, features, itemsize, 2 * k, threads=threads)
    assert needed <= tile_bytes(rows, features, itemsize, k, threads=threads + 1)
    assert tile_bytes(rows, features, itemsize, k, sides=1, threads=threads) <= needed
    assert tile_bytes(rows, 10**5, itemsize) == tile_bytes(rows, 10**6, itemsize)


def test_memory_holds_at_least_what_lies_in_it():
    """Both blocks as they are read and as float32, the products of a tile of many chunks, and the lists of both."""
    rows, k = 2000, 50
    features = 2 * rows * CHUNK * 4
    lists = 2 * rows * 12 * list_capacity(k, rows)
    assert tile_bytes(rows, CHUNK, k=k) > 2 * features + lists
    assert tile_bytes(rows, CHUNK + 1, k=k) > 3 * features + 4 * rows**2 + lists  # a chunk is read ahead
    assert tile_bytes(rows, CHUNK + 1, 8, k=k) > 6 * features + 8 * rows**2 + lists


def test_too_little_memory_is_refused_with_what_is_needed():
    needed = tile_bytes(512, 50_000) / 2**20
    with pytest.raises(ResourceError) as error:
        choose_rows(10_000, 50_000, memory=50 * 2**20, multiple=512)
    assert f"a tile of 512 x 512 samples with 50000 features needs {needed:,.1f} MiB, a task may use 50.0 MiB" in str(
        error.value
    )
    assert choose_rows(10_000, 50_000, memory=tile_bytes(512, 50_000), multiple=512) == 512


@given(st.integers(1, 1000), st.integers(1, 100_000))
def test_lists_hold_more_than_the_neighbors_that_are_sought(k, columns):
    assert min(columns, 3 * k) <= list_capacity(k, columns) <= columns


@given(st.integers(1, 120), st.integers(1, 60))
def test_blocks_cover_every_pair_of_rows_once(n, rows):
    blocks = Blocks(n, rows)
    pairs = list(blocks.pairs())
    assert len(pairs) == len(set(pairs)) == blocks.tiles
    assert sorted(blocks.position(i, j) for i, j in pairs) == list(range(blocks.tiles))
    spans = [blocks.span(b) for b in range(blocks.count)]
    assert [r for s in spans for r in range(s.start, s.stop)] == list(range(n))
    assert set(pairs) == {(i, j) for i in range(blocks.count) for j in range(i, blocks.count)}


@given(st.integers(2, 60))
def test_each_round_of_tiles_works_on_different_rows(count):
    """So tiles that run at a time are told what all rounds before have found; the first needs the first diagonals."""
    pairs = list(Blocks(count, 1).pairs())
    assert pairs[:count] == [(b, b) for b in range(count)]
    assert pairs[count : count + count // 2] == [(2 * r, 2 * r + 1) for r in range(count // 2)]
    rounds = [pairs[first : first + count // 2] for first in range(count, len(pairs), count // 2)]
    assert all(len({block for pair in r for block in pair}) == 2 * len(r) for r in rounds)


@given(st.integers(0, 100), st.integers(0, 1000), st.integers(1, 300))
def test_panels_follow_one_another(start, length, width):
    parts = list(panels(start, start + length, width))
    assert [f for p in parts for f in range(p.start, p.stop)] == list(range(start, start + length))
    assert all(p.stop - p.start == width for p in parts[:-1])
