"""Which blocks a worker keeps: of one search, as many as there is room for, those used last."""

import threading

import numpy as np
import pytest

from dnuc.neighbors import keeping
from dnuc.neighbors.blocks import CHUNK
from dnuc.neighbors.keeping import forget, resident
from dnuc.neighbors.rows import Rows

N, ROWS, FEATURES = 60, 10, 8
BYTES = 2 * ROWS * FEATURES * 4  # of a block that is kept


class Source:
    """An array that counts how often each of its blocks is read."""

    def __init__(self, features=FEATURES):
        self.values = np.arange(N * features, dtype=np.float32).reshape(N, features)
        self.shape, self.dtype, self.reads = self.values.shape, self.values.dtype, []

    def __getitem__(self, key):
        self.reads.append(key[0].start // ROWS)
        return self.values[key]


def blocks(source, *numbers):
    return [Rows(source, n * ROWS, (n + 1) * ROWS) for n in numbers]


@pytest.fixture(autouse=True)
def _nothing_kept():
    forget()
    yield
    forget()


def test_the_blocks_of_the_last_tile_are_not_read_again():
    source = Source()
    for pair in ((0, 1), (1, 2), (2, 2), (0, 2)):
        for number, block in zip(pair, resident("a", blocks(source, *pair)), strict=True):
            np.testing.assert_array_equal(block.read(slice(None)), source.values[ROWS * number : ROWS * (number + 1)])
    assert source.reads == [0, 1, 2, 0]


@pytest.mark.parametrize(("room", "reads"), [(0, 6), (1, 5), (2, 4), (10, 4)])
def test_as_many_more_as_there_is_room_for(room, reads):
    source = Source()
    for pair in ((0, 1), (2, 3), (1, 0)):
        resident("a", blocks(source, *pair), spare=room * BYTES)
        assert len(keeping._kept[threading.get_ident()].blocks) <= 2 + room
    assert len(source.reads) == reads


def test_the_block_unused_for_longest_goes_first():
    source = Source()
    for pair in ((0, 1), (2, 2), (0, 0), (3, 3)):
        resident("a", blocks(source, *pair), spare=2 * BYTES)
    assert sorted(keeping._kept[threading.get_ident()].blocks) == [0, 2 * ROWS, 3 * ROWS]


def test_another_search_reads_anew():
    source = Source()
    resident("a", blocks(source, 0, 1), spare=10 * BYTES)
    resident("b", blocks(source, 0, 1), spare=10 * BYTES)
    assert source.reads == [0, 1, 0, 1]


def test_a_block_with_itself_is_one_block():
    left, right = resident("a", blocks(Source(), 3, 3))
    assert left is right


def test_wide_blocks_are_never_kept():
    source = Source(CHUNK + 1)
    wanted = blocks(source, 0, 1)
    assert resident("a", wanted, spare=2**40) == wanted
    assert source.reads == []


def test_another_layer_gives_the_memory_of_the_last_one_back_even_if_its_blocks_are_not_kept():
    resident("a", blocks(Source(), 0, 1), spare=10 * BYTES)
    resident("wide", blocks(Source(CHUNK + 1), 0, 1), spare=10 * BYTES)
    assert keeping._kept[threading.get_ident()].blocks == {}


def test_blocks_that_are_in_memory_already_are_not_kept_too():
    block = blocks(Source(), 0)[0].resident()
    assert resident("a", [block], spare=10 * BYTES) == [block]
    assert keeping._kept[threading.get_ident()].blocks == {}


def test_threads_keep_blocks_of_their_own():
    source = Source()
    for _ in range(2):
        thread = threading.Thread(target=resident, args=("a", blocks(source, 0, 1)))
        thread.start()
        thread.join()
        forget()
    assert source.reads == [0, 1, 0, 1]


def test_nothing_is_kept_when_it_is_forgotten():
    resident("a", blocks(Source(), 0, 1))
    forget()
    assert keeping._kept == {}
