"""How large blocks are chosen: few tasks, within memory, whole stored blocks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnuc.errors import ResourceError
from dnuc.neighbors.blocks import MOST_BLOCKS, Blocks, choose_rows, tile_bytes

GIB = 2**30


@pytest.mark.parametrize(
    ("n", "features", "memory", "multiple", "rows", "tiles"),
    [
        (1797, 64, 2 * GIB, 1, 1797, 1),  # the digits: one tile
        (60_000, 12_544, 2 * GIB, 1024, 4096, 120),  # Fashion-MNIST
        (90_000, 802_816, 2 * GIB, 1024, 4096, 253),  # the widest layer of ResNet152
        (90_000, 802_816, GIB, 1024, 2048, 990),  # in little memory
        (1_281_167, 2048, 16 * GIB, 1024, 16384, 3160),  # all of ImageNet
    ],
)
def test_blocks_of_real_layers(n, features, memory, multiple, rows, tiles):
    assert choose_rows(n, features, memory, multiple) == rows
    assert Blocks(n, rows).tiles == tiles


@given(st.integers(2, 3_000_000), st.integers(1, 900_000))
def test_tasks_stay_few_where_memory_allows(n, features):
    rows = choose_rows(n, features, 2**50)
    assert Blocks(n, rows).count <= max(MOST_BLOCKS, -(-n // 32768))
    assert rows <= 32768


@given(st.integers(1, 4096), st.integers(1, 900_000), st.sampled_from([2, 4, 8]))
def test_memory_grows_with_everything_and_not_with_many_features(rows, features, itemsize):
    needed = tile_bytes(rows, features, itemsize)
    assert needed <= tile_bytes(2 * rows, features, itemsize)
    assert needed <= tile_bytes(rows, 2 * features, itemsize)
    assert needed <= tile_bytes(rows, features, 8)
    assert tile_bytes(rows, 10**5, itemsize) == tile_bytes(rows, 10**6, itemsize)


def test_too_little_memory_is_refused_with_what_is_needed():
    needed = tile_bytes(512, 50_000) / 2**20
    with pytest.raises(ResourceError) as error:
        choose_rows(10_000, 50_000, memory=50 * 2**20, multiple=512)
    assert f"a tile of 512 x 512 samples with 50000 features needs {needed:,.1f} MiB, a task may use 50.0 MiB" in str(
        error.value
    )
    assert choose_rows(10_000, 50_000, memory=tile_bytes(512, 50_000), multiple=512) == 512
