"""Integers only: how the samples are cut into row blocks, the features into panels, and in which order tiles run.

The N x N matrix of distances is cut into tiles of block pairs (i, j). It is symmetric, so only i <= j is computed::

        j ->  0   1   2   3
      i   0   0   4   8   7     the diagonal tiles come first: they give every row a first radius, with which the
      |   1       1   6   9     others discard most of their pairs; then rounds as of a tournament, in each of which
      v   2           2   5     every block takes part once: tiles that run at a time work on different rows, so that
          3               3     each is told what the rounds before have found.
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
REFINED = 48  # bytes of a pair while it is refined; about 1.5 k pairs a row are
ROUNDED = {"int8": 1, "bfloat16": 2, "float32": 4, "float64": 8}  # bytes of a value as the filter multiplies it
SMALLEST_BLOCK = 1024  # rows, where memory allows
LARGEST_BLOCK = 32768
MOST_BLOCKS = 90  # about 4,000 tiles: what the scheduler handles without being felt
LARGEST_TILE = 5e13  # multiplications and additions: half a minute to some minutes of one thread
TILES_A_TASK = 5  # tiles for each task that runs at a time: enough that none is idle for long at the end


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
        """Block pairs i <= j in the order of the picture above.

        >>> list(Blocks(6, 2).pairs())
        [(0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (0, 2)]
        """
        yield from ((i, i) for i in range(self.count))
        others = self.count - 1 + self.count % 2  # all but one, which stays in its place while they move around
        # The first round is (0, 1), (2, 3), ...: blocks whose diagonal tiles are done by then.
        names = {0: others - 1, others: others}
        names |= {s if first else others - s: 2 * s - 1 - first for s in range(1, others // 2 + 1) for first in (1, 0)}
        for turn in range(others):
            for step in [*range(1, others // 2 + 1), 0]:
                one, other = (turn + step) % others, (turn - step) % others if step else others
                i, j = sorted((names[one], names[other]))
                if j < self.count:
                    yield i, j

    def position(self, i: int, j: int) -> int:
        """The place of the pair (i, j) among all pairs: row by row of the upper triangle.

        >>> blocks = Blocks(60, 4)
        >>> sorted(blocks.position(i, j) for i, j in blocks.pairs()) == list(range(blocks.tiles))
        True
        """
        return i * self.count - i * (i - 1) // 2 + j - i


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


def tile_bytes(
    rows: int, features: int, itemsize: int = 4, k: int = 30, *, tier: str = "auto", sides: int = 2, threads: int = 1
) -> int:
    """Largest memory of one tile task in bytes.

    Both blocks' features as read and as rounded (with more than CHUNK features a chunk of them, while the next one is
    read ahead and decoded); products of one piece a thread, or with several chunks of the whole tile; candidate lists;
    pairs as they are refined; the best neighbors of each row, and the same as a result.

    itemsize: of the stored values. tier: of the filter; whatever a search begins with, "auto" is what to plan with
    unless that is float64, because rows may be redone in a finer one (in float64 in parts).
    sides: 1 for a block with itself, else 2.
    """
    values = 8 if itemsize > 4 else 4  # float32 holds smaller types exactly
    rounded = ROUNDED.get(tier, values)
    several = features > CHUNK
    width = min(features, CHUNK)
    read = values + (itemsize if itemsize != values else 0)
    chunks = sides * rows * width * read * (2 if several else 1) + 2 * rows * width * itemsize * several
    summed = 8 if tier == "float64" else 4
    pieces = threads * max(4, rounded) * min(rows, PIECE) ** 2 + rows * rows * summed * several
    filtering = chunks + sides * rows * width * rounded + pieces
    refining = chunks + sides * rows * (0 if several else width * rounded) + sides * rows * REFINED * (3 * k // 2 + 8)
    lists = sides * rows * (12 * list_capacity(k, rows) + 2 * 16 * min(k, rows) + 100)
    return max(filtering, refining) + lists


def bytes_of_tile(
    blocks: Blocks, features: int, itemsize: int, k: int, precision: str = "auto", threads: int = 1
) -> int:
    """Largest memory of a task of a search in bytes: of a tile of two blocks, unless all rows are one."""
    tier = "float64" if precision == "float64" else "auto"
    return tile_bytes(blocks.rows, features, itemsize, k, tier=tier, sides=min(2, blocks.count), threads=threads)


def device_bytes(rows: int, features: int, itemsize: int = 4) -> int:
    """Memory of an accelerator that one tile needs: products of the whole tile, and a chunk of both blocks' features.

    A chunk as it came, shifted and rounded, for both blocks, and in float64 while norms are computed; bounds of some
    products, or values of some pairs, in float64.
    """
    values = rows * min(features, CHUNK)
    return rows * rows * max(4, itemsize) * 9 // 8 + values * (2 * (2 * itemsize + 2) + 3 * 8) + 2**31


def choose_rows(
    n: int,
    features: int,
    memory: int,
    multiple: int = 1,
    itemsize: int = 4,
    k: int = 30,
    tasks: int = 1,
    device_memory: int | None = None,
    precision: str = "auto",
    threads: int = 1,
) -> int:
    """Rows of a block: as many as memory allows, but enough tiles for `tasks` at a time to share the work evenly.

    device_memory: bytes of the accelerator, where tiles run on one. threads: of one tile.

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
        return bytes_of_tile(Blocks(n, rows), features, itemsize, k, precision, threads)

    most = max(1, math.ceil(wanted / multiple))
    if device_memory is not None:
        rows = range(multiple, most * multiple + 1, multiple)
        most = max(1, bisect_right(rows, device_memory, key=lambda r: device_bytes(r, features, itemsize)))
    if needed(most * multiple) <= memory:  # a block with itself needs less than two smaller ones
        return most * multiple
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
