"""The products of the rows of two blocks, a square piece at a time.

If a block's features come in one chunk, pieces are multiplied when they are asked for, and a piece is selected from
while it is still in the cache. If there are more, the products of the whole tile are accumulated chunk by chunk
(output-stationary), so memory depends on the rows of a block and the features of a chunk, never on D.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from threading import local
from typing import Any

import numpy as np
import torch
from numba import njit

from dnuc.neighbors.blocks import CHUNK, PIECE, panels
from dnuc.neighbors.candidates import Bound
from dnuc.neighbors.crew import Crew
from dnuc.neighbors.rounding import Rounded, center_of, round_rows
from dnuc.neighbors.rows import Picked, Rows, read_ahead
from dnuc.neighbors.tiers import BFLOAT16, FLOAT64, INT8, Tier, product

LARGEST_NORM_SQ = {"float64": 2.0**1021}  # squared distances are at most 4 times this
LARGEST_NARROW = 2.0**126  # the same for tiers whose products are float32


class TierOverflowError(Exception):
    """Values are too large for the tier."""


@dataclass(frozen=True)
class Stand:
    """What a block's rows are replaced by, over all features: see `Rounded`."""

    scale: np.ndarray  # (R,); ones where products are scaled already
    norm_sq: np.ndarray  # (R,)
    residual: np.ndarray  # (R,)


class Products:
    """Products of all rows of `left` and `right` (or of `left` with itself) in one tier."""

    def __init__(self, left: Rows | Picked, right: Rows | Picked, tier: Tier, crew: Crew) -> None:
        self.tier, self._crew = tier, crew
        self.same = left is right
        self._blocks: Sequence[Rows | Picked] = (left,) if self.same else (left, right)
        self.shape = (left.count, right.count)
        self.pieces = list(_pieces(self.shape, self.same, crew.threads))
        self._buffers = local()
        self._rounded: list[Rounded] = []
        self._totals: dict[tuple[int, int], np.ndarray] = {}
        features = left.features
        # rounded to float64, half as many features at a time take the memory that is planned for a narrower tier
        width = CHUNK // 2 if tier is FLOAT64 and features > CHUNK else CHUNK
        chunks = list(panels(0, features, width))
        self.bound = Bound.of(tier, min(features, width), features, len(chunks))
        if len(chunks) == 1:
            self._rounded = self._round_once(chunks[0])
            self.stands = [Stand(r.scale, r.norm_sq, r.residual) for r in self._rounded]
        else:
            self.stands = self._accumulate(chunks)
        largest = max(s.norm_sq.max(initial=0.0) for s in self.stands)
        if not largest < LARGEST_NORM_SQ.get(tier.name, LARGEST_NARROW):
            raise TierOverflowError

    def piece(self, rows: slice, cols: slice) -> np.ndarray:
        """The products of some rows and columns; overwritten by the next piece that this thread asks for."""
        if self._totals:
            return self._totals[rows.start, cols.start]
        return self._multiply(self._rounded[0].values[rows], self._rounded[-1].values[cols])

    def _round_once(self, features: slice) -> list[Rounded]:
        """All features of both blocks; a block that is kept, and has a center of its own, keeps its rounded rows."""
        if not all(isinstance(b, Rows) and b.center is not None for b in self._blocks):
            return self._round([b.read(features) for b in self._blocks], features)
        return [self._kept(block, features) for block in self._blocks]

    def _kept(self, block: Any, features: slice) -> Rounded:
        key = self.tier.name
        if key not in block.memo:
            block.memo.clear()  # one tier's rounded rows are what memory is planned for
            block.memo[key] = self._round_block(block, block.read(features), block.center, features)
        return block.memo[key]

    def _round_block(self, block: Rows | Picked, values: np.ndarray, center: np.ndarray, features: slice) -> Rounded:
        rounded = round_rows(values, center, self.tier, self._crew)
        if not rounded.finite:
            block.check(values, features)
            raise TierOverflowError
        return rounded

    def _round(self, values: list[np.ndarray], features: slice) -> list[Rounded]:
        center = center_of(values, self.tier)
        return [self._round_block(b, v, center, features) for b, v in zip(self._blocks, values, strict=True)]

    def _multiply(self, left: torch.Tensor, right: torch.Tensor) -> np.ndarray:
        out = self._buffer(self.tier.output, len(left), len(right))
        product(left, right, out)
        if self.tier is BFLOAT16:
            narrow, out = out, self._buffer(torch.float32, len(left), len(right))
            out.copy_(narrow)
        return out.numpy()

    def _buffer(self, dtype: torch.dtype, rows: int, cols: int) -> torch.Tensor:
        """This thread's memory for a piece: fresh memory would cost more than the product of a few features."""
        mine: dict[Any, torch.Tensor] = self._buffers.__dict__
        if dtype not in mine or mine[dtype].numel() < rows * cols:
            mine[dtype] = torch.empty(rows * cols, dtype=dtype)
        return mine[dtype][: rows * cols].view(rows, cols)

    def _accumulate(self, chunks: list[slice]) -> list[Stand]:
        """Products over all chunks, each being read while the one before is multiplied."""
        dtype = np.float64 if self.tier is FLOAT64 else np.float32
        totals = {(r.start, c.start): np.zeros((r.stop - r.start, c.stop - c.start), dtype) for r, c in self.pieces}
        sums = [np.zeros((2, b.count)) for b in self._blocks]
        for features, values in read_ahead(self._blocks, chunks):
            rounded = self._round(values, features)
            for rows, (norm_sq, residual_sq) in zip(rounded, sums, strict=True):
                norm_sq += rows.norm_sq
                residual_sq += rows.residual**2

            def add(piece: tuple[slice, slice], rounded: list[Rounded] = rounded) -> None:
                rows, cols = piece
                part = self._multiply(rounded[0].values[rows], rounded[-1].values[cols])
                scale_left, scale_right = rounded[0].scale[rows], rounded[-1].scale[cols]
                _add_scaled(totals[rows.start, cols.start], part, scale_left, scale_right, self.tier is INT8)

            self._crew.each(add, self.pieces)
            del values, rounded, add  # before the next chunk arrives
        self._totals = totals
        inexact = 1 + 2.0**-40
        return [Stand(np.ones(len(n)), n, np.sqrt(r) * inexact) for n, r in sums]


def _pieces(shape: tuple[int, int], same: bool, threads: int) -> list[tuple[slice, slice]]:
    """Pieces (of the upper triangle if both sides are the same), neighboring ones in different rows and columns."""
    width = PIECE if threads == 1 else max(256, min(PIECE, -(-max(shape) // (4 * threads))))
    rows, cols = (list(panels(0, n, width)) for n in shape)
    if same:
        return [(rows[i], cols[i + offset]) for offset in range(len(cols)) for i in range(len(cols) - offset)]
    turns = max(len(rows), len(cols))
    return [
        (rows[i], cols[(i + turn) % turns])
        for turn in range(turns)
        for i in range(len(rows))
        if (i + turn) % turns < len(cols)
    ]


@njit(cache=True, nogil=True)
def _add_scaled(total, part, scale_left, scale_right, scaled):
    """total += part, each product times the scales of its row and column."""
    if scaled:
        for a in range(total.shape[0]):
            for b in range(total.shape[1]):
                total[a, b] += part[a, b] * (scale_left[a] * scale_right[b])
    else:
        total += part
