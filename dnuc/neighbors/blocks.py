"""Integers only: how the samples are cut into row blocks, the features into panels, and in which order tiles run.

The N x N matrix of distances is cut into tiles of block pairs (i, j). It is symmetric, so only i <= j is computed::

        j ->  0   1   2
      i   0   D   1   2        D: the diagonal tiles come first: they give every row a first radius,
      |   1       D   1           with which the others discard most of their pairs;
      v   2           D        then one off-diagonal after the other, so that neighboring tiles in time
                                  work on different rows.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from dnuc.errors import ResourceError

PIECE = 2048  # rows of a square of products at most, so that it stays in the cache
CHUNK = 8192  # features read and multiplied at once; the length of a product enters the error bound
PAIRS_AT_ONCE = 2**18  # pairs of rows without a filter that are refined together: bounds the memory of a tile of ties
REFINED = 48  # bytes of a pair while it is refined
SMALLEST_BLOCK = 1024  # rows, where memory allows
LARGEST_BLOCK = 32768
MOST_BLOCKS = 90  # about 4,000 tiles: what the scheduler handles without being felt
LARGEST_TILE = 5e13  # multiplications and additions: half a minute to some minutes of one thread
TILES_A_TASK = 8  # tiles for each task that runs at a time: enough that none is idle for long at the end


@dataclass(frozen=True)
class Blocks:
    """N rows cut into blocks of `rows` (the last may be shorter)."""

    n: int
    rows: int

    @property
    def count(self) -> int:
        """Number of blocks."""
        return -(-self.n // self.rows)

    def span(self, block: int) -> slice:
        """The rows of a block.

        >>> Blocks(10, 4).span(2)
        slice(8, 10, None)
        """
        return slice(block * self.rows, min(self.n, (block + 1) * self.rows))

    @property
    def tiles(self) -> int:
        """Number of block pairs i <= j."""
        return self.count * (self.count + 1) // 2

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Block pairs i <= j, the diagonal first.

        >>> list(Blocks(6, 2).pairs())
        [(0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (0, 2)]
        """
        for offset in range(self.count):
            for i in range(self.count - offset):
                yield i, i + offset

    def position(self, i: int, j: int) -> int:
        """Where the pair (i, j) stands in `pairs`: the sum of the off-diagonals before its own, plus i.

        >>> blocks = Blocks(60, 4)
        >>> [blocks.position(i, j) for i, j in blocks.pairs()] == list(range(blocks.tiles))
        True
        """
        offset = j - i
        return offset * self.count - offset * (offset - 1) // 2 + i


def list_capacity(k: int, columns: int) -> int:
    """Places in a row's list of candidates: three times k and some, never more than there are columns.

    >>> list_capacity(100, 20_000), list_capacity(100, 150)
    (356, 150)
    """
    return min(columns, 3 * k + 56)


def panels(start: int, stop: int, width: int) -> Iterator[slice]:
    """Consecutive slices of at most `width`, aligned to multiples of `width` from `start`."""
    for first in range(start, stop, width):
        yield slice(first, min(first + width, stop))


def tile_bytes(rows: int, features: int, itemsize: int = 4, k: int = 30, *, sides: int = 2, threads: int = 1) -> int:
    """Largest memory of one tile task in bytes, in any tier that suits the values' type.

    Both blocks' features as read and as rounded (with more than CHUNK features a chunk of them, the next one being
    read ahead); products of one piece a thread, or with several chunks of the whole tile; candidate lists; pairs as
    they are refined; the best neighbors of each row, and the same as a result. `sides` = 1: a block with itself.
    """
    values = 8 if itemsize > 4 else 4  # float32 holds smaller types exactly
    several = features > CHUNK
    reading = (values + (itemsize if itemsize != values else 0)) * (2 if several else 1)
    filtering = sides * rows * min(features, CHUNK) * (reading + values) + threads * values * min(rows, PIECE) ** 2
    filtering += rows * rows * values * several
    refining = sides * rows * (min(features, CHUNK) * reading + REFINED * min(rows, 2 * k))
    lists = sides * rows * (12 * list_capacity(k, rows) + 2 * 16 * min(k, rows) + 100)
    return max(filtering, refining) + lists


def choose_rows(
    n: int, features: int, memory: int, multiple: int = 1, itemsize: int = 4, k: int = 30, tasks: int = 1
) -> int:
    """Rows of a block: as many as memory allows, but enough tiles for `tasks` at a time to share the work evenly.

    A multiple of `multiple` (the rows stored together). Few large tiles read and round the least; more and smaller
    ones spread better, and less is repeated after a crash.

    Raises
    ------
    ResourceError
        If not even one stored block fits.
    """
    wanted = math.ceil(n / _blocks_for(n, tasks))
    wanted = min(wanted, max(math.isqrt(int(LARGEST_TILE / (2 * features))), math.ceil(n / MOST_BLOCKS)), LARGEST_BLOCK)

    def needed(rows: int) -> int:
        return tile_bytes(rows, features, itemsize, k, sides=1 if rows >= n else 2)

    most = max(1, math.ceil(wanted / multiple))
    fitting = bisect_right(range(1, most + 1), memory, key=lambda m: needed(m * multiple))
    if fitting == 0:
        raise ResourceError(
            f"a tile of {multiple} x {multiple} samples with {features} features needs "
            f"{needed(multiple) / 2**20:,.1f} MiB, a task may use {memory / 2**20:,.1f} MiB: give workers more memory "
            "(memory_limit), or store fewer samples together (activations.block)"
        )
    return fitting * multiple


def _blocks_for(n: int, tasks: int) -> int:
    """Blocks that make TILES_A_TASK tiles for each of `tasks`, unless they would be too small to be worth it."""
    if tasks == 1:
        return 1
    return max(1, min(math.ceil(math.sqrt(2 * TILES_A_TASK * tasks)), n // SMALLEST_BLOCK))
