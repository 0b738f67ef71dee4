"""The filter and the refinement of a tile on an accelerator: the same bound, lists and certificate, other arithmetic.

Products of the whole tile stay on the device. They are accumulated over the feature chunks in float32 (on tensor cores
for bfloat16), while the next chunk is read. A row's radius is the k-th smallest of its upper bounds;
what leaves the device are the pairs whose lower bound is within. Distances are summed there in float64, in another
order than on a CPU: indices are the same, distances may differ in the last bits (relative 1e-12).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from dnuc.errors import ResourceError
from dnuc.neighbors.blocks import CHUNK, panels
from dnuc.neighbors.candidates import ROUND_UP, UNKNOWN, Bound, Side
from dnuc.neighbors.crew import Crew
from dnuc.neighbors.filtering import Hunt
from dnuc.neighbors.nearest import NeighborFilter
from dnuc.neighbors.products import LARGEST_NARROW, LARGEST_NORM_SQ, Stand, TierOverflowError
from dnuc.neighbors.rounding import CENTER_ROWS
from dnuc.neighbors.rows import Picked, Rows, read_ahead
from dnuc.neighbors.tiers import BFLOAT16, FLOAT32, FLOAT64, Tier

# Tensor cores add in float32 but do not round to nearest: a unit roundoff of 2^-22 allows for that. Float32 likewise
# allows for the fused operations of a GPU.
ROUNDOFF = {BFLOAT16: 2.0**-22, FLOAT32: 2.0**-23, FLOAT64: 2.0**-52}
AT_ONCE = 2**24  # products whose bounds are computed together, in float64
GATHERED = 2**26  # values that are refined together
STRIPS = 8  # in which the products of a block with itself are computed: half of them and a sixteenth


def on_device(tier: Tier) -> Tier:
    """How a tier multiplies on an accelerator: the product of bfloat16 is returned in float32."""
    output = torch.float32 if tier is BFLOAT16 else tier.output
    return Tier(tier.name, tier.dtype, output, ROUNDOFF[tier], 0.0, tier.smallest)


def device_memory(device: str | None) -> int | None:
    """Bytes that tiles may use on an accelerator of this process: most of what is free. None for the CPU.

    Raises
    ------
    ResourceError
        If there is no such device.
    """
    if device in (None, "cpu"):
        return None
    if not torch.cuda.is_available():
        raise ResourceError(
            f"device = {device!r}: torch {torch.__version__} finds no GPU here; leave it out for the CPU"
        )
    return int(0.8 * torch.cuda.mem_get_info(device)[0])


class DeviceNeighbors(NeighborFilter):
    """The k nearest, filtered and refined on `device`."""

    def __init__(
        self, left: Rows, right: Rows, known: tuple[np.ndarray, np.ndarray], k: int, workers: Crew, device: str
    ) -> None:
        super().__init__(left, right, known, k, workers)
        self.device = device

    def filter(
        self, tier: Tier, block: int = 0, picked: np.ndarray | None = None, capacity: int | None = None
    ) -> list[Hunt]:
        sought = self.blocks[1 - block]
        seeking = self.blocks[block] if picked is None else Picked(self.blocks[block], picked)
        sides = (seeking,) if seeking is sought else (seeking, sought)
        products, stands, bound = self._products(sides, on_device(tier))
        places = capacity or self.capacity(max(products.shape))
        rows, cols = self.hunts(stands, bound, block, picked, places)
        own = torch.from_numpy(self.own(picked)).to(self.device)
        self._search(products, rows, own)
        if picked is not None or rows is cols:
            return [rows]
        self._search(products.T, cols, torch.full((products.shape[1],), -1, device=self.device))
        return [rows, cols]

    def _products(self, blocks: tuple[Rows | Picked, ...], tier: Tier) -> tuple[torch.Tensor, list[Stand], Bound]:
        """Products (R, C) of all rows on the device, and what the rows stand for."""
        features, n, m = blocks[0].features, blocks[0].count, blocks[-1].count
        chunks = list(panels(0, features, CHUNK))
        total = torch.zeros(n, m, dtype=torch.float64 if tier.name == "float64" else torch.float32, device=self.device)
        norms = [torch.zeros(b.count, dtype=torch.float64, device=self.device) for b in blocks]
        residuals = [torch.zeros_like(norm) for norm in norms]
        for chunk, values in self._chunks(blocks, chunks):
            center = torch.stack([v[:: max(1, len(v) // CENTER_ROWS)].double().mean(0) for v in values]).mean(0)
            center = center.nan_to_num(0.0, 0.0, 0.0)
            rounded = []
            for block, v, norm, residual in zip(blocks, values, norms, residuals, strict=True):
                wide = torch.float64 if v.dtype == torch.float64 or tier.name == "float64" else torch.float32
                shifted = v.to(wide) - center.to(wide)
                near = shifted.to(tier.dtype)
                part = near.double().square().sum(1)
                subtracted = 2.0**-52 if wide == torch.float64 else 2.0**-23
                lost = (shifted.double() - near.double()).square().sum(1).sqrt() + subtracted * part.sqrt()
                if not torch.isfinite(part + lost).all():
                    block.check(v.cpu().numpy(), chunk)
                    raise TierOverflowError
                norm += part
                residual += (lost * (1 + 2.0**-20) + v.shape[1] ** 0.5 * 2.0**-126).square()
                rounded.append(near)
            self._add_products(total, rounded)
        if len(blocks) == 1:
            _mirror(total)
        if not max(float(n.max()) for n in norms) < LARGEST_NORM_SQ.get(tier.name, LARGEST_NARROW):
            raise TierOverflowError
        adding = 2.0**-53 if total.dtype == torch.float64 else 2.0**-24
        bound = Bound.of(tier, min(features, CHUNK), features, len(chunks), adding)
        stands = [
            Stand(np.ones(len(n)), n.cpu().numpy(), r.sqrt().cpu().numpy() * (1 + 2.0**-40))
            for n, r in zip(norms, residuals, strict=True)
        ]
        return total, stands, bound

    def _add_products(self, total: torch.Tensor, rounded: list[torch.Tensor]) -> None:
        """total += the products of a chunk; of a block with itself those above the diagonal, in broad strips."""
        for part in _strips(len(total)):
            first = part.start if len(rounded) == 1 else 0
            total[part, first:] += _multiply(rounded[0][part], rounded[-1][first:], total.dtype)

    def _chunks(
        self, blocks: tuple[Rows | Picked, ...], chunks: list[slice]
    ) -> Iterator[tuple[slice, list[torch.Tensor]]]:
        """Feature chunks on the device, the next one being read meanwhile."""
        for chunk, values in read_ahead(blocks, chunks):
            yield chunk, [self._send(v) for v in values]

    def _send(self, values: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(values if values.flags.writeable else values.copy())
        if self.device == "cpu":
            return tensor
        return tensor.pin_memory().to(self.device, non_blocking=True)

    def _search(self, products: torch.Tensor, hunt: Hunt, own: torch.Tensor) -> None:
        """Fill the lists of the rows with the columns that their bounds cannot exclude."""
        side, other = _Constants(hunt.side, self.device), _Constants(hunt.other, self.device)
        for part in panels(0, len(side.norm_sq), max(1, AT_ONCE // products.shape[1])):
            piece = _Piece(products[part], side, other, part, hunt.constants)
            mine = torch.arange(products.shape[1], device=self.device)[None, :] == own[part][:, None]
            radius = side.radius[part]
            if products.shape[1] > self.k:
                upper = piece.upper().masked_fill_(mine, torch.inf)
                kth = torch.topk(upper, self.k, dim=1, largest=False, sorted=False).values.amax(1)
                radius = torch.minimum(radius, kth * ROUND_UP)
            mask = piece.may_be_within(radius).logical_and_(~mine)
            counts = mask.sum(1)
            full = counts > hunt.side.candidate.shape[1]
            mask &= ~full[:, None]
            rows, cols = mask.nonzero(as_tuple=True)
            _fill(hunt.side, part, radius, full, rows, cols, piece.estimate[mask])

    def distances(self, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        """Euclidean distances (P,), summed in float64 on the device."""
        total = torch.zeros(len(rows), dtype=torch.float64, device=self.device)
        if len(rows) == 0:
            return total.cpu().numpy()
        left, right = (torch.from_numpy(a).to(self.device) for a in (rows, cols))
        blocks = self.blocks[:1] if self.same else self.blocks
        for _, values in self._chunks(blocks, list(panels(0, self.blocks[0].features, CHUNK))):
            x, y = values[0], values[-1]
            for part in panels(0, len(rows), max(1, GATHERED // x.shape[1])):
                total[part] += (x[left[part]].double() - y[right[part]].double()).square_().sum(1)
        return total.sqrt_().cpu().numpy()


class _Constants:
    """What the bound needs of one side, on the device: (R,) each."""

    def __init__(self, side: Side, device: str) -> None:
        self.norm_sq, self.root, self.residual, self.radius = (
            torch.from_numpy(a).to(device) for a in (side.norm_sq, side.root, side.residual, side.radius)
        )


class _Piece:
    """Bounds of the distances of some rows to all columns; see `filtering` for the formulas."""

    def __init__(
        self,
        products: torch.Tensor,
        side: _Constants,
        other: _Constants,
        part: slice,
        constants: tuple[float, float, float],
    ) -> None:
        gamma2, epsilon, eta = constants
        norms = side.norm_sq[part, None] + other.norm_sq[None, :]
        self.estimate = norms - 2.0 * products.double()
        self._slack = norms.mul_(epsilon).add_(gamma2 * torch.outer(side.root[part], other.root)).add_(eta)
        self._residuals = side.residual[part, None] + other.residual[None, :]

    def upper(self) -> torch.Tensor:
        return (self.estimate + self._slack).clamp_(min=0).sqrt_().add_(self._residuals)

    def may_be_within(self, radius: torch.Tensor) -> torch.Tensor:
        reach = radius.clamp(max=UNKNOWN)[:, None] + self._residuals
        return self.estimate - self._slack <= reach.square_().mul_(ROUND_UP)


def _strips(n: int) -> list[slice]:
    return list(panels(0, n, max(1, -(-n // STRIPS))))


def _mirror(total: torch.Tensor) -> None:
    """Copy what is above the diagonal to below it."""
    for part in _strips(len(total)):
        total[part.stop :, part] = total[part, part.stop :].T


def _multiply(left: torch.Tensor, right: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """left @ right.T, summed and returned in `dtype`."""
    if left.dtype == dtype:
        return left @ right.T
    if left.is_cuda:
        return torch.mm(left, right.T, out_dtype=dtype)
    return left.to(dtype) @ right.to(dtype).T


def _fill(
    side: Side,
    part: slice,
    radius: torch.Tensor,
    full: torch.Tensor,
    rows: torch.Tensor,
    cols: torch.Tensor,
    estimate: torch.Tensor,
) -> None:
    """Write what was found for some rows (sorted by row) to their lists."""
    n = part.stop - part.start
    side.radius[part] = radius.cpu().numpy()
    side.overflow[part] = full.cpu().numpy()
    row = rows.cpu().numpy()
    counts = np.bincount(row, minlength=n)
    place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    side.candidate[row + part.start, place] = cols.cpu().numpy()
    side.estimate[row + part.start, place] = estimate.cpu().numpy()
    side.filled[part] = counts
