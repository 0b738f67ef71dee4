"""The working precisions of the filter: how each multiplies, how wrong a product may be, and which is fastest here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from threading import Lock, Thread, local
from typing import Any

import torch

from dnuc.errors import DnucError

INT8_LEVELS = 127  # the largest magnitude of a rounded value


@dataclass(frozen=True)
class Tier:
    """A working precision.

    Attributes
    ----------
    dtype, output : torch types of the rounded values and of their product
    roundoff : u of the arithmetic in which products are summed; 0 where it is exact
    output_roundoff : u of the type that a finished product is rounded to, where that is a narrower one
    smallest : smallest normal number of that arithmetic; a product may underflow by as much
    """

    name: str
    dtype: torch.dtype
    output: torch.dtype
    roundoff: float
    output_roundoff: float
    smallest: float

    def gamma(self, length: int) -> float:
        """|computed - exact| <= gamma |x| |y| for the product of two vectors of `length` rounded values.

        Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., Sec. 3.1, in whatever order it is summed;
        then one more rounding where the product is returned in a narrower type.
        """
        n_u = length * self.roundoff
        summed = n_u / (1 - n_u)
        return summed + self.output_roundoff * (1 + summed)


# Values are integers and sums stay below 2^31 for up to 133,000 features: products are exact. But those of several
# chunks are scaled and added up in float32, where they may underflow.
INT8 = Tier("int8", torch.int8, torch.int32, 0.0, 0.0, 2.0**-126)
# torch's product of bfloat16 sums in float32 and returns bfloat16: 8 significant bits, u = 2^-8.
BFLOAT16 = Tier("bfloat16", torch.bfloat16, torch.bfloat16, 2.0**-24, 2.0**-8, 2.0**-126)
FLOAT32 = Tier("float32", torch.float32, torch.float32, 2.0**-24, 0.0, 2.0**-126)
FLOAT64 = Tier("float64", torch.float64, torch.float64, 2.0**-53, 0.0, 2.0**-1022)

LADDER = (INT8, BFLOAT16, FLOAT32, FLOAT64)  # from the coarsest to the finest
TIERS = {tier.name: tier for tier in LADDER}


def product(left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> None:
    """out (R, C) = left (R, F) @ right (C, F).T, in the type of `out`."""
    if left.dtype == torch.int8:
        torch._int_mm(left, right.T, out=out)
    else:
        torch.mm(left, right.T, out=out)


class _Mine(local):
    depth = 0  # of this thread alone


_mine = _Mine()
_depth = 0
_before: tuple[int, Callable[[], None]] = (1, lambda: None)
_changing = Lock()


def _full_precision() -> Callable[[], None]:
    """Have products of float32 computed in float32; returns what restores the present setting.

    torch has two ways to set this, and refuses the older one while the newer one says something else.
    """
    try:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        return lambda: torch.set_float32_matmul_precision(before)
    except RuntimeError:
        backends: Any = torch.backends
        places = [backends.cuda.matmul, backends.mkldnn.matmul]
        settings = [place.fp32_precision for place in places]
        for place in places:
            place.fp32_precision = "ieee"

        def restore() -> None:
            for place, setting in zip(places, settings, strict=True):
                place.fp32_precision = setting

        return restore


@contextmanager
def plain_products() -> Iterator[None]:
    """Products of one thread each and of the stated precision.

    The threads of a tile multiply side by side, which is faster than one product on all of them; and a process may
    allow TF32 or bfloat16 in products of float32, for which no bound here would hold. The precision belongs to the
    process: the first tile that begins sets it, the last one that ends restores it. The number of threads belongs to
    each thread, and to those that are still to come.
    """
    global _depth, _before
    with _changing:
        threads = torch.get_num_threads()  # a thread that never asked would forget what is set now
        if _depth == 0:
            _before = (threads, _full_precision())
        _depth += 1
        _mine.depth += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _changing:
            _depth -= 1
            _mine.depth -= 1
            if _mine.depth == 0:
                torch.set_num_threads(_before[0])
            if _depth == 0:
                _before[1]()
            elif _mine.depth == 0:  # threads that other tiles have still to begin
                new = Thread(target=torch.set_num_threads, args=(1,))
                new.start()
                new.join()


# What a rate is worth: coarser values leave more pairs to refine.
WORTH = {INT8: 1 / 1.3, BFLOAT16: 1 / 1.15, FLOAT32: 1.0}
SMALL = 2.0**30  # multiplications and additions: a tile with fewer is done before it is worth to measure
SIDE, DEPTH = 512, 1024  # of the products that are timed


def choose_tier(precision: str, pairs: int, features: int, device: str = "cpu") -> Tier:
    """The tier that a job or a user names; for "auto" the one that is fastest on this machine.

    Raises
    ------
    DnucError
        If there is no such tier, or this machine multiplies it wrongly.
    """
    if precision == "auto":
        return FLOAT32 if 2.0 * pairs * features < SMALL else fastest_tier(device)
    if precision not in TIERS:
        raise DnucError(f"precision = {precision!r}: must be one of 'auto', {', '.join(map(repr, TIERS))}")
    tier = TIERS[precision]
    if tier is INT8 and not multiplies_integers(device):
        raise DnucError(
            f"precision = 'int8': the products of 8-bit integers that torch {torch.__version__} computes on this "
            f"{device} are not exact; take 'auto', which never chooses what is not"
        )
    return tier


def finer(tier: Tier) -> list[Tier]:
    """The tiers after this one in which it is worth to redo what it could not decide."""
    after = list(LADDER[LADDER.index(tier) + 1 :])
    rates = measured_rates("cpu")
    if BFLOAT16 in after and rates.get(BFLOAT16, 0.0) < 2 * rates[FLOAT32]:
        after.remove(BFLOAT16)
    return after


@cache
def fastest_tier(device: str = "cpu") -> Tier:
    """The tier with the most multiplications a second, weighed by what it leaves to refine. Measured once a process."""
    return max(measured_rates(device), key=lambda tier: WORTH[tier] * measured_rates(device)[tier])


@cache
def measured_rates(device: str = "cpu") -> dict[Tier, float]:
    """Multiplications and additions a second of one thread (or one GPU) in every tier that works here."""
    usable = [tier for tier in WORTH if tier is not INT8 or multiplies_integers(device)]
    return {tier: measured_rate(tier, device) for tier in usable}


@cache
def measured_rate(tier: Tier, device: str = "cpu") -> float:
    """Multiplications and additions a second of one thread (or one GPU) in one tier."""
    with plain_products():
        return _rate(tier, device)


def _rate(tier: Tier, device: str, rounds: int = 3) -> float:
    left, right = (torch.ones(SIDE, DEPTH, device=device).to(tier.dtype) for _ in range(2))
    out = torch.empty(SIDE, SIDE, dtype=tier.output, device=device)
    seconds = []
    for _ in range(rounds + 1):  # the first one warms up
        start = time.perf_counter()
        product(left, right, out)
        if device != "cpu":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return 2.0 * SIDE * SIDE * DEPTH / min(seconds[1:])


@cache
def multiplies_integers(device: str = "cpu") -> bool:
    """Whether 8-bit products are exact: processors without the instructions for it may saturate the sums."""
    if device != "cpu":
        return False  # GPUs multiply bfloat16 as fast as it takes
    left = torch.full((64, 256), INT8_LEVELS, dtype=torch.int8)
    left[1::2, ::2] = -INT8_LEVELS
    left[::3, ::5] = -INT8_LEVELS + 1
    out = torch.empty(64, 64, dtype=torch.int32)
    try:
        product(left, left, out)
    except RuntimeError:
        return False
    return bool((out.double() == left.double() @ left.double().T).all())
