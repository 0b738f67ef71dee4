"""One tile: the exact neighbors that two row blocks find in each other.

The tile accumulates products of shifted rows over feature chunks (output-stationary), discards every pair that a
rigorous error bound excludes, and computes the distances of what is left by direct differences in float64. The
filter decides only how much work is left to do, never what comes out.

**The bound.** Both blocks are shifted by one vector c, which changes no distance. Let x' be a shifted row rounded to
the working precision with unit roundoff u, m = |x'| its norm, G the computed product of two rows.

1. Rounding the input moves a row by at most u' m, u' = u (1 + 2^-10), so with e = u' (m_x + m_y) the distance d of
   the rows and d' of the rounded rows differ by at most e.
2. A product over n features has |G - x'.y'| <= gamma_n m_x m_y with gamma_n = n u / (1 - n u), in whatever order it
   is summed (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., Sec. 3.1, and Cauchy-Schwarz). Here n is
   the panel length, for panels are accumulated in float64; the float64 sums add at most (D + 16) 2^-51 relative, which
   also pays for evaluating the test and for the rounding of the exact distance.
3. A product that underflows is wrong by at most the smallest normal number, D times.

Hence d >= sqrt(max(0, m_x^2 + m_y^2 - 2 G - s)) - e with s = 2 gamma m_x m_y + epsilon (m_x^2 + m_y^2) + eta, and a
pair is discarded only if this exceeds the radius within which its row still looks for neighbors.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from numba import njit

from dnuc.errors import DataError
from dnuc.neighbors.blocks import CHUNK, PAIRS_AT_ONCE, PANEL, ROWS_AT_ONCE, panels
from dnuc.neighbors.refine import add_squared_differences, merge_candidates
from dnuc.neighbors.rows import Rows, read_ahead

LARGEST_NORM_SQ = 2.0**1021  # squared distances are at most 4 times this


@dataclass(frozen=True)
class Tier:
    """A working precision of the filter."""

    name: str
    dtype: torch.dtype
    roundoff: float  # u
    smallest: float  # smallest normal number


FLOAT32 = Tier("float32", torch.float32, 2.0**-24, 2.0**-126)
FLOAT64 = Tier("float64", torch.float64, 2.0**-53, 2.0**-1022)


@dataclass(frozen=True)
class Found:
    """Candidates for the rows of one block: row (within the block), neighbor (global position), exact distance."""

    row: np.ndarray  # (P,) int64
    index: np.ndarray  # (P,) int64
    distance: np.ndarray  # (P,) float64


@dataclass(frozen=True)
class TileResult:
    """What a tile found for the rows of both its blocks, and how many rows a higher tier had to redo."""

    left: Found
    right: Found
    redone: int = 0


def tile(
    left: Rows,
    right: Rows,
    radius_left: np.ndarray,
    radius_right: np.ndarray,
    k: int,
    tier: Tier = FLOAT32,
    device: str = "cpu",
) -> TileResult:
    """The candidates among the k nearest that blocks `left` and `right` find in each other.

    Parameters
    ----------
    left, right : Rows
        Two blocks of one array; the same block for a diagonal tile.
    radius_left, radius_right : (R,), (C,) float64
        Each row's distance of its k-th best neighbor so far (infinity if it has fewer): farther pairs are useless.
    k : int
        Neighbors wanted.
    tier, device : Tier, str
        Where and how precisely the filter multiplies; the result does not depend on it.

    Raises
    ------
    DataError
        NaN or infinite values, or values whose squared distances overflow float64.
    """
    same = left.start == right.start
    product, norm_left, norm_right = _products(left, right, tier, device)
    if _overflow(product, norm_left, norm_right):
        if tier is FLOAT64:
            raise DataError(f"{left.label}: values so large that squared distances overflow float64; rescale the layer")
        again = tile(left, right, radius_left, radius_right, k, FLOAT64, device)
        return replace(again, redone=left.count + (0 if same else right.count))
    bound = _Bound(tier, min(PANEL, left.features), left.features)
    if same:
        np.fill_diagonal(product, -np.inf)  # no sample is its own neighbor
    radius_left = _shrink(radius_left, product, norm_left, norm_right, k, bound)
    radius_right = radius_left if same else _shrink(radius_right, product.T, norm_right, norm_left, k, bound)
    best_left = _Best(left.count, k)
    best_right = best_left if same else _Best(right.count, k)
    for rows, cols in _selected(product, norm_left, norm_right, radius_left, radius_right, bound, same):
        distance = exact_distances(left, right, rows, cols)
        near = distance <= radius_left[rows]
        best_left.add(rows[near], cols[near] + right.start, distance[near])
        near = distance <= radius_right[cols]
        best_right.add(cols[near], rows[near] + left.start, distance[near])
    return TileResult(best_left.found(), _Best(0, k).found() if same else best_right.found())


class _Best:
    """The k best candidates of each row of a block so far: no more than these travel to the merge."""

    def __init__(self, rows: int, k: int) -> None:
        self._index = np.full((rows, k), -1, dtype=np.int64)
        self._distance = np.full((rows, k), np.inf)

    def add(self, rows: np.ndarray, index: np.ndarray, distance: np.ndarray) -> None:
        merge_candidates(self._index, self._distance, rows, index, distance)

    def found(self) -> Found:
        row, rank = np.nonzero(self._index >= 0)
        return Found(row, self._index[row, rank], self._distance[row, rank])


def _products(left: Rows, right: Rows, tier: Tier, device: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Products (R, C) of the shifted rows, and their squared norms in float64, streamed over the features."""
    several = left.features > PANEL
    product = torch.zeros(left.count, right.count, dtype=torch.float64 if several else tier.dtype, device=device)
    norms = [np.zeros(left.count), np.zeros(right.count)]
    same = left.start == right.start
    blocks = (left,) if same else (left, right)
    with _full_precision(), torch.autocast(product.device.type, enabled=False):
        for _, values in read_ahead(blocks, panels(0, left.features, CHUNK)):
            _accumulate(product, norms, _shifted(values, tier, device))
    return product.cpu().numpy(), norms[0], norms[0] if same else norms[1]


@contextmanager
def _full_precision() -> Iterator[None]:
    """A process may allow TF32 or bfloat16 in products of float32: the bound would not hold."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _shifted(values: list[np.ndarray], tier: Tier, device: str) -> list[torch.Tensor]:
    """The blocks minus one vector, subtracted in the wider of their type and the tier's, and rounded to the tier's."""
    wide = np.result_type(values[0], np.float64 if tier is FLOAT64 else np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is seen in the products
        center = np.mean([v.mean(axis=0, dtype=np.float64) for v in values], axis=0).astype(wide)
        return [torch.from_numpy(np.subtract(v, center, dtype=wide)).to(device, tier.dtype) for v in values]


def _accumulate(product: torch.Tensor, norms: list[np.ndarray], shifted: list[torch.Tensor]) -> None:
    """Add the products and the squared norms over some features to those over the features before."""
    for norm, rows in zip(norms, shifted, strict=False):
        for part in panels(0, rows.shape[0], ROWS_AT_ONCE):
            norm[part] += torch.linalg.vector_norm(rows[part], dim=1, dtype=torch.float64).square().cpu().numpy()
    for panel in panels(0, shifted[0].shape[1], PANEL):
        left, right = shifted[0][:, panel], shifted[-1][:, panel].T
        if product.dtype == left.dtype:
            product.addmm_(left, right)
        else:
            product.add_(left @ right)


def _overflow(product: np.ndarray, *norms_sq: np.ndarray) -> bool:
    """Whether a product or a squared distance is too large for its type."""
    largest = max(norm_sq.max() for norm_sq in norms_sq)
    return not (np.isfinite(product.min()) and np.isfinite(product.max()) and largest < LARGEST_NORM_SQ)


@dataclass(frozen=True)
class _Bound:
    """The constants of the error bound (see the module's text)."""

    tier: Tier
    length: int  # features summed in the working precision
    features: int  # D

    @property
    def rounding(self) -> float:  # u'
        return self.tier.roundoff * (1 + 2.0**-10)

    @property
    def gamma(self) -> float:
        n_u = self.length * self.tier.roundoff
        return n_u / (1 - n_u)

    @property
    def epsilon(self) -> float:
        return (self.features + 16) * 2.0**-51

    @property
    def eta(self) -> float:
        return 4 * self.features * self.tier.smallest


def _shrink(
    radius: np.ndarray, product: np.ndarray, norm: np.ndarray, other: np.ndarray, k: int, bound: _Bound
) -> np.ndarray:
    """The radii; where fewer than k neighbors are known, the k-th smallest upper bound of a distance in the tile."""
    unknown = np.flatnonzero(np.isinf(radius))
    if len(unknown) == 0 or k >= product.shape[1]:
        return radius
    radius = radius.copy()
    root, root_other = np.sqrt(norm), np.sqrt(other)
    for part in panels(0, len(unknown), ROWS_AT_ONCE):
        r = unknown[part]
        upper = norm[r, None] + other[None, :]
        upper *= 1 + bound.epsilon
        upper += 2 * bound.gamma * np.multiply.outer(root[r], root_other)
        upper -= 2.0 * product[r].astype(np.float64)
        upper += bound.eta
        np.sqrt(upper, out=upper)
        upper += bound.rounding * (root[r, None] + root_other[None, :])
        radius[r] = np.partition(upper, k - 1, axis=1)[:, k - 1] * (1 + 2.0**-50)
    return radius


def _selected(
    product: np.ndarray,
    norm_left: np.ndarray,
    norm_right: np.ndarray,
    radius_left: np.ndarray,
    radius_right: np.ndarray,
    bound: _Bound,
    same: bool,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The pairs that the bound cannot discard, for the sake of either row, sorted by row, a batch at a time."""
    left = _thresholds(norm_left, radius_left, bound)
    right = _thresholds(norm_right, radius_right, bound)
    counts = np.zeros(len(norm_left), dtype=np.int64)
    _count_pairs(product, *left, *right, same, counts)
    for part in _batches(counts):
        rows = np.empty(counts[part].sum(), dtype=np.int64)
        cols = np.empty_like(rows)
        _list_pairs(product, *left, *right, same, part.start, part.stop, rows, cols)
        yield rows, cols


def _batches(counts: np.ndarray) -> Iterator[slice]:
    """Consecutive rows with at most PAIRS_AT_ONCE pairs together (a single row may have more)."""
    ends = np.cumsum(counts)
    start = 0
    while start < len(counts):
        before = ends[start] - counts[start]
        stop = max(start + 1, int(np.searchsorted(ends, before + PAIRS_AT_ONCE, side="right")))
        if ends[stop - 1] > before:
            yield slice(start, stop)
        start = stop


def _thresholds(norm: np.ndarray, radius: np.ndarray, bound: _Bound) -> tuple[np.ndarray, ...]:
    """The test d_lower <= radius of row x and column y as q_y - 2 G - a_x m_y <= t_x.

    From (1 - eps)(m_x^2 + m_y^2) - 2 G - 2 gamma m_x m_y - eta <= (p_x + u' m_y)^2 with p_x = radius + u' m_x.
    """
    root = np.sqrt(norm)
    u = bound.rounding
    reach = np.where(np.isinf(radius), 0.0, radius) + u * root
    slope = 2 * bound.gamma * root + 2 * u * reach
    limit = reach**2 * (1 + bound.epsilon) - norm * (1 - bound.epsilon) + bound.eta
    limit[np.isinf(radius)] = np.inf
    weight = norm * (1 - bound.epsilon - u**2)
    return root, slope, limit, weight


@njit(cache=True, nogil=True)
def _wanted(g, a, b, root_l, slope_l, limit_l, weight_l, root_r, slope_r, limit_r, weight_r):
    for_left = weight_r[b] - g - slope_l[a] * root_r[b] <= limit_l[a]
    for_right = weight_l[a] - g - slope_r[b] * root_l[a] <= limit_r[b]
    return for_left | for_right


@njit(cache=True, nogil=True)
def _count_pairs(product, root_l, slope_l, limit_l, weight_l, root_r, slope_r, limit_r, weight_r, same, counts):
    for a in range(product.shape[0]):
        count = 0
        for b in range(a + 1 if same else 0, product.shape[1]):
            g = 2.0 * np.float64(product[a, b])
            count += _wanted(g, a, b, root_l, slope_l, limit_l, weight_l, root_r, slope_r, limit_r, weight_r)
        counts[a] = count


@njit(cache=True, nogil=True)
def _list_pairs(
    product, root_l, slope_l, limit_l, weight_l, root_r, slope_r, limit_r, weight_r, same, first, last, rows, cols
):
    place = 0
    for a in range(first, last):
        for b in range(a + 1 if same else 0, product.shape[1]):
            g = 2.0 * np.float64(product[a, b])
            if _wanted(g, a, b, root_l, slope_l, limit_l, weight_l, root_r, slope_r, limit_r, weight_r):
                rows[place] = a
                cols[place] = b
                place += 1


def exact_distances(left: Rows, right: Rows, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Euclidean distances (P,) of the pairs (rows[p] of left, cols[p] of right), float64 direct sums."""
    total = np.zeros(len(rows))
    blocks = (left,) if left.start == right.start else (left, right)
    for _, values in read_ahead(blocks, panels(0, left.features, CHUNK)):
        add_squared_differences(values[0], values[-1], rows, cols, total)
    return np.sqrt(total)
