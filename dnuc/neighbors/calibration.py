"""How long a search will take on this machine, from a second or two of measuring.

A tile takes time for its products, whose rate `tiers` measures, and for what its amounts (see `work`) count::

    seconds of one thread = flop / rate(tier)      the products
                          + a pairs                 selecting candidates from them
                          + b rows                  each row's lists, estimates of radii and merges
                          + c values                reading, rounding, and direct differences of what is left

a, b and c are fitted to a few small searches, of few and of many features, through the codecs of the store but without
a disk. Their data are like activations: clustered by a few hidden variables, not negative. Data that make the filter
coarse take longer, and so do disks and networks that are slower than the tiles.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from dask.system import CPU_COUNT
from scipy.optimize import nnls

from dnuc.neighbors.blocks import CHUNK, Blocks
from dnuc.neighbors.graph import Precision, run_searches
from dnuc.neighbors.keeping import forget
from dnuc.neighbors.ledger import MemoryLedger
from dnuc.neighbors.search import Search
from dnuc.neighbors.tiers import TIERS, choose_tier, measured_rate
from dnuc.neighbors.work import Work, search_work
from dnuc.store import in_memory

# Few features show what pairs and rows cost, many what values cost; the last are read in two chunks, twice.
SEARCHES = ((2048, 64), (5120, 64), (3072, 4096), (512, 2 * CHUNK))
MANY = 1024  # features, from which threads wait for memory: searches are then measured side by side,
AT_ONCE = 2  # so many, where more than one thread will compute; of few features alone, for they share only Python
ROUNDS = 2  # the faster one counts: the first also warms up
HIDDEN = 12  # variables that the data depend on
STORED_ROWS = 512  # together in a chunk


@dataclass(frozen=True)
class Timed:
    """A search that was measured."""

    work: Work
    tier: str
    seconds: float


@dataclass(frozen=True)
class Calibration:
    """Rates of one thread of this machine."""

    flop_per_second: Mapping[str, float]  # by tier
    pair_seconds: float
    row_seconds: float
    value_seconds: float

    def seconds(self, work: Work, tier: str) -> float:
        """What one thread takes for so much."""
        rest = self.pair_seconds * work.pairs + self.row_seconds * work.rows + self.value_seconds * work.values
        return work.flop / self.flop_per_second[tier] + rest

    def search_seconds(self, blocks: Blocks, features: int, precision: Precision = "auto", threads: int = 1) -> float:
        """A whole search, its tiles shared evenly by so many threads."""
        tier = choose_tier(precision, min(blocks.rows, blocks.n) ** 2, features)
        return self.seconds(search_work(blocks, features), tier.name) / threads


def calibrate(k: int, precision: Precision = "auto", threads: int = 1) -> Calibration:
    """Measure this machine, as it is when so many threads compute."""
    at_once = min(threads, CPU_COUNT, AT_ONCE)
    measured = [_measure(n, d, k, precision, at_once if d >= MANY else 1) for n, d in SEARCHES]
    rates = {name: measured_rate(TIERS[name]) for name in {m.tier for m in measured}}
    return fit(measured, rates)


def fit(measured: Sequence[Timed], flop_per_second: Mapping[str, float]) -> Calibration:
    """The seconds a pair, a row and a value that explain best, relative to each, what products do not."""
    seconds = np.array([m.seconds for m in measured])
    rest = seconds - [m.work.flop / flop_per_second[m.tier] for m in measured]
    amounts = np.array([[m.work.pairs, m.work.rows, m.work.values] for m in measured], dtype=float)
    scale = amounts.max(axis=0)  # seconds a pair and seconds a row differ by orders of magnitude
    found, _ = nnls(amounts / scale / seconds[:, None], np.maximum(rest, 0) / seconds)
    return Calibration(dict(flop_per_second), *(float(x) for x in found / scale))


def _measure(n: int, features: int, k: int, precision: Precision, at_once: int = 1) -> Timed:
    """A small search, in two blocks: its first tiles know no radius, the last one does, as in a large one."""
    blocks = Blocks(n, n // 2)
    source = in_memory("activations", "activation", _like_activations(n, features), (STORED_ROWS, CHUNK))
    k = min(k, n // 4)

    def search(_: int) -> None:
        for _tile in run_searches([Search([source], k, blocks, MemoryLedger(blocks, k), precision=precision)]):
            pass

    tier = choose_tier(precision, blocks.rows**2, features)  # measures its rates now, not in a search
    seconds = []
    with ThreadPoolExecutor(at_once) as threads:
        for _ in range(ROUNDS):
            start = time.perf_counter()
            list(threads.map(search, range(at_once)))
            seconds.append(time.perf_counter() - start)
    forget()  # the blocks that these threads kept
    return Timed(search_work(blocks, features), tier.name, min(seconds))


def _like_activations(n: int, features: int, seed: int = 0) -> np.ndarray:
    """(n, features) float32: a few hidden variables, noise, and a ReLU."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, HIDDEN), np.float32) @ rng.standard_normal((HIDDEN, features), np.float32)
    return np.maximum(x + 0.1 * rng.standard_normal((n, features), np.float32), 0)
