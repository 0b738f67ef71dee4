"""Integers only: how the samples are cut into row blocks, the features into panels, and in which order tiles run.

The N x N matrix of distances is cut into tiles of block pairs (i, j). It is symmetric, so only i <= j is computed::

        j ->  0   1   2
      i   0   D   1   2        D: the diagonal tiles come first: they give every row a first radius,
      |   1       D   1           with which the others discard most of their pairs;
      v   2           D        then one off-diagonal after the other, so that neighboring tiles in time
                                  work on different rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dnuc.errors import ResourceError

PANEL = 2048  # features multiplied in one product; its length enters the error bound
CHUNK = 8192  # features read at once; a multiple of PANEL
PAIRS_AT_ONCE = 2**18  # pairs refined together: bounds the memory of a tile full of ties
ROWS_AT_ONCE = 256  # rows whose norms and upper bounds are computed together
LARGEST_BLOCK = 32768
MOST_BLOCKS = 90  # about 4,000 tiles: what the scheduler handles without being felt


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


def panels(start: int, stop: int, width: int) -> Iterator[slice]:
    """Consecutive slices of at most `width`, aligned to multiples of `width` from `start`."""
    for first in range(start, stop, width):
        yield slice(first, min(first + width, stop))


def tile_bytes(rows: int, features: int, itemsize: int = 4) -> int:
    """Largest memory of one tile task in bytes.

    The accumulated products (float64 if the features come in several panels) and the two blocks' features, as used
    and, if there are more, as being read ahead; with them first a float32 product and the shifted features, then upper
    bounds of some rows, then pairs with their distances.
    """
    several = features > PANEL
    values = 8 if itemsize > 4 else 4  # float32 holds smaller types exactly
    ahead = values + itemsize if features > CHUNK else itemsize
    chunk = 2 * rows * min(features, CHUNK)
    multiplying = chunk * (values + ahead + 4) + 4 * rows * rows * several
    bounding = 5 * 8 * rows * min(rows, ROWS_AT_ONCE)
    refining = chunk * (values + ahead) + 64 * min(rows * rows, PAIRS_AT_ONCE)
    return rows * rows * (8 if several else 4) + max(multiplying, bounding, refining)


def choose_rows(n: int, features: int, memory: int, multiple: int = 1, itemsize: int = 4) -> int:
    """Rows of a block: as many as memory allows, no more than keeps the tasks few.

    A multiple of `multiple` (the rows stored together), 4096 where N and memory allow it, more only if N would
    otherwise need over MOST_BLOCKS blocks.

    Raises
    ------
    ResourceError
        If not even one stored block fits.
    """
    wanted = 4096
    while wanted < LARGEST_BLOCK and -(-n // wanted) > MOST_BLOCKS:
        wanted *= 2
    rows = -(-min(wanted, n) // multiple) * multiple
    while rows > multiple and tile_bytes(rows, features, itemsize) > memory:
        rows = max(multiple, -(-(rows // 2) // multiple) * multiple)
    needed = tile_bytes(rows, features, itemsize)
    if needed > memory:
        raise ResourceError(
            f"a tile of {rows} x {rows} samples with {features} features needs {needed / 2**20:,.1f} MiB, "
            f"a task may use {memory / 2**20:,.1f} MiB: give workers more memory (memory_limit), "
            "or store fewer samples together (activations.block)"
        )
    return rows
