"""What a search costs, counted: the amounts that progress shows and that a prediction of time is made of."""

from __future__ import annotations

from dataclasses import dataclass

from dnuc.neighbors.blocks import CHUNK, Blocks


@dataclass(frozen=True)
class Work:
    """Amounts of one tile, or of many: they add up."""

    flop: float = 0.0  # multiplications and additions of the products
    pairs: float = 0.0  # of samples, that are selected from
    rows: int = 0  # that look for neighbors, counted once a tile
    values: int = 0  # read from the store

    def __add__(self, other: Work) -> Work:
        return Work(
            self.flop + other.flop, self.pairs + other.pairs, self.rows + other.rows, self.values + other.values
        )


def tile_work(blocks: Blocks, i: int, j: int, features: int) -> Work:
    """One tile. On the diagonal only half of the products are needed.

    Both blocks are read, unless a worker has kept them: values are what is read at most. Blocks of many features are
    read twice, to filter and to refine.

    >>> tile_work(Blocks(100, 10), 0, 1, 8)
    Work(flop=1600.0, pairs=100.0, rows=20, values=160)
    """
    left, right = (span.stop - span.start for span in (blocks.span(i), blocks.span(j)))
    pairs, rows = (left * right / 2, left) if i == j else (float(left * right), left + right)
    return Work(2 * pairs * features, pairs, rows, features * rows * (1 if features <= CHUNK else 2))


def search_work(blocks: Blocks, features: int) -> Work:
    """All tiles: half of N x N pairs; every block takes part in as many tiles as there are blocks."""
    pairs, rows = blocks.n**2 / 2, blocks.n * blocks.count
    return Work(2 * pairs * features, pairs, rows, features * rows * (1 if features <= CHUNK else 2))
