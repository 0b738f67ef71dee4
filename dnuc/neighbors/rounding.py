"""Rows as the filter sees them: shifted, for 8 bits also rotated, and rounded; with a bound of what that lost.

A shift by one vector changes no distance, and takes away most of what cancels. A rotation changes none either: random
signs and a Hadamard transform spread what is in few features over many, so that a row looks like normal noise and 8
bits lose little of it (the residual is about 0.9 % of the norm). Only strides of at least 16 are transformed, which
vectorizes well and mixes enough.

Whatever these steps lose is in the *residual* of a row: a bound of the distance between the row and what stands for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numba import njit, uint64

from dnuc.neighbors.crew import Crew
from dnuc.neighbors.tiers import BFLOAT16, FLOAT64, INT8, INT8_LEVELS, Tier

GROUP = 16  # features that a rotation does not mix with one another
CENTER_ROWS = 512  # of each block, evenly spaced: their mean is what is subtracted
_FAST = {"reassoc", "contract", "nsz"}  # sums in any order: what they lose is in the bound


@dataclass(frozen=True)
class Rounded:
    """Some features of a block of R rows in a tier's type: row r stands for scale[r] * values[r].

    Attributes
    ----------
    values : (R, W) tensor
    scale : (R,) float64
    norm_sq : (R,) float64
        Squared norms of the rows that are stood for.
    residual : (R,) float64
        Bound of the distance between a shifted (and rotated) row and what stands for it.
    """

    values: torch.Tensor
    scale: np.ndarray
    norm_sq: np.ndarray
    residual: np.ndarray

    @property
    def finite(self) -> bool:
        """Whether no row overflowed, or was not finite to begin with."""
        return bool(np.isfinite(self.norm_sq).all() and np.isfinite(self.residual).all())


def center_of(blocks: Sequence[np.ndarray], tier: Tier) -> np.ndarray:
    """(F,) the mean of some rows of each block, in the type in which it is subtracted; any finite vector would do."""
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is seen in the norms
        means = [b[:: max(1, len(b) // CENTER_ROWS)].mean(axis=0, dtype=np.float64) for b in blocks]
        mean = np.mean(means, axis=0).astype(np.float64 if tier is FLOAT64 else blocks[0].dtype)
    return np.nan_to_num(mean, posinf=0.0, neginf=0.0)  # else one bad row would look like all rows being bad


def round_rows(x: np.ndarray, center: np.ndarray, tier: Tier, crew: Crew) -> Rounded:
    """The rows x (R, F) minus `center`, in the tier's type."""
    n, features = x.shape
    center = center.astype(np.float64 if tier is FLOAT64 else x.dtype, copy=False)
    scale, norm_sq, residual = np.ones(n), np.empty(n), np.empty(n)
    if tier is INT8:
        width = -(-features // GROUP) * GROUP
        values = np.empty((n, width), np.int8)

        def work(first: int, last: int) -> None:
            _to_int8(x, center, _signs(width), _span(width), values, scale, norm_sq, residual, first, last)
    elif tier is BFLOAT16:
        values = np.empty((n, features), np.uint16)

        def work(first: int, last: int) -> None:
            _to_bfloat16(x, center, values, norm_sq, residual, first, last)
    else:
        values = np.empty((n, features), np.float64 if tier is FLOAT64 else np.float32)

        def work(first: int, last: int) -> None:
            _to_float(x, center, values, tier.roundoff, norm_sq, residual, first, last)

    crew.share(work, n)
    tensor = torch.from_numpy(values)
    return Rounded(tensor.view(torch.bfloat16) if tier is BFLOAT16 else tensor, scale, norm_sq, residual)


@cache
def _signs(width: int) -> np.ndarray:
    """Random signs, the same in every process: which ones they are changes no result."""
    return np.random.default_rng(width).choice(np.array([-1, 1], np.float32), width)


def _span(width: int) -> int:
    """Features that one transform covers: GROUP times the largest power of two that fits."""
    return GROUP << ((width // GROUP).bit_length() - 1)


@njit(cache=True, nogil=True)
def _to_int8(x, center, signs, span, values, scale, norm_sq, residual, first, last):
    """Rows first .. last - 1 as integers of at most INT8_LEVELS.

    Errors: the subtraction and the conversion to float32 lose u of each value; each stage of a transform u of the norm;
    the products with `growth` and with 1 / step u each: at most (4 stages + 8) u of the norm in all. The squares of
    the integers' errors are summed in float32, off by at most W u relative.
    """
    features, width = x.shape[1], values.shape[1]
    twice = span < width  # the features beyond the first transform take part in a second one that overlaps it
    growth = np.sqrt(span / GROUP)
    lost = (4 * np.log2(span / GROUP) + 8) * 2.0**-24
    row = np.zeros(width, np.float32)
    for r in range(first, last):
        _shift(x[r], center, signs, row[:features])
        row[features:] = 0
        _transform(row[:span])
        if twice:
            row[span:] *= np.float32(growth)
            _transform(row[width - span :])
            row[: width - span] *= np.float32(growth)
        largest = _largest(row)
        if not largest < np.float32(np.inf):
            residual[r] = np.inf
            continue
        inverse = np.float32(INT8_LEVELS) / max(largest, np.float32(2.0**-100))
        squares, errors = _to_whole(row, inverse)
        step = 1 / (np.float64(inverse) * (growth * growth if twice else growth))
        inexact = 1 + width * 2.0**-23
        scale[r] = step
        norm_sq[r] = step * step * _store(row, values[r])
        # the last term: numbers below the smallest normal one are rounded to multiples of 2^-149
        residual[r] = inexact * step * (np.sqrt(np.float64(errors)) + lost * np.sqrt(np.float64(squares)))
        residual[r] += np.sqrt(np.float64(width)) * 2.0**-126


# Each of these is one loop over a row that stays in the cache: short loops of one kind are what vectorizes.


@njit(cache=True, nogil=True, fastmath=_FAST)
def _shift(x, center, signs, row):
    for f in range(uint64(len(x))):
        row[f] = np.float32(x[f] - center[f]) * signs[f]


@njit(cache=True, nogil=True, fastmath=_FAST)
def _transform(row):
    """Hadamard transform over strides of at least GROUP; grows by sqrt(len(row) / GROUP)."""
    stride = GROUP
    while stride < len(row):
        for start in range(uint64(0), uint64(len(row)), uint64(2 * stride)):
            low, high = row[start : start + stride], row[start + stride : start + 2 * stride]
            for f in range(uint64(stride)):
                a, b = low[f], high[f]
                low[f] = a + b
                high[f] = a - b
        stride *= 2


@njit(cache=True, nogil=True, fastmath={"nnan", "nsz"})
def _largest(row):
    """The largest magnitude; what it is for a row with NaN does not matter, for its squares show it."""
    largest = np.float32(0)
    for f in range(uint64(len(row))):
        magnitude = abs(row[f])
        largest = magnitude if magnitude > largest else largest
    return largest


@njit(cache=True, nogil=True, fastmath=_FAST)
def _to_whole(row, inverse):
    """Replace row * inverse by whole numbers; the sums of its squares and of the squared differences."""
    squares, errors = np.float32(0), np.float32(0)
    for f in range(uint64(len(row))):
        exact = row[f] * inverse
        whole = np.rint(exact)
        lost = exact - whole
        squares += exact * exact
        errors += lost * lost
        row[f] = whole
    return squares, errors


@njit(cache=True, nogil=True)
def _store(row, values):
    """Write whole numbers as int8; the sum of their squares, exact for up to 133,000 of them."""
    total = np.int32(0)
    for f in range(uint64(len(row))):
        whole = np.int32(row[f])
        values[f] = np.int8(whole)
        total += whole * whole
    return total


@njit(cache=True, nogil=True, fastmath=_FAST)
def _to_bfloat16(x, center, values, norm_sq, residual, first, last):
    """Rows first .. last - 1 rounded to the nearest 16-bit number; what is below the smallest normal one becomes 0."""
    features = x.shape[1]
    row = np.empty(features, np.float32)
    bits = row.view(np.uint32)
    near = np.empty(features, np.float32)
    near_bits = near.view(np.uint32)
    for r in range(first, last):
        for f in range(features):
            row[f] = np.float32(x[r, f] - center[f])
        for f in range(features):
            up = bits[f] + np.uint32(0x7FFF) + ((bits[f] >> np.uint32(16)) & np.uint32(1))
            near_bits[f] = up & np.uint32(0xFFFF0000)
        norm, errors = 0.0, 0.0
        for f in range(features):
            if abs(near[f]) < np.float32(2.0**-126):
                near[f] = np.float32(0)
            norm += np.float64(near[f]) * np.float64(near[f])
            e = np.float64(row[f]) - np.float64(near[f])
            errors += e * e
        for f in range(features):
            values[r, f] = np.uint16(near_bits[f] >> np.uint32(16))
        norm_sq[r] = norm
        # the subtraction and the conversion to float32: 2 u of the norm, and multiples of 2^-149
        residual[r] = (1 + 2.0**-20) * (np.sqrt(errors) + 2.0**-23 * np.sqrt(norm + errors))
        residual[r] += np.sqrt(np.float64(features)) * 2.0**-149


@njit(cache=True, nogil=True, fastmath=_FAST)
def _to_float(x, center, values, roundoff, norm_sq, residual, first, last):
    """Rows first .. last - 1 as float32 or float64: the subtraction and the conversion lose u of each value each."""
    features = x.shape[1]
    for r in range(first, last):
        norm = 0.0
        for f in range(features):
            values[r, f] = x[r, f] - center[f]
            norm += np.float64(values[r, f]) * np.float64(values[r, f])
        norm_sq[r] = norm
        # float32 is rounded to multiples of 2^-149; below 2^-511 the square of a float64 is lost from the norm
        tiny = 2.0**-149 if roundoff > 2.0**-50 else 2.0**-564
        residual[r] = 2 * roundoff * (1 + 2.0**-10) * np.sqrt(norm) + np.sqrt(np.float64(features)) * tiny
