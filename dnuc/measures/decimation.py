"""Intrinsic dimension at growing scales from fewer samples (Facco et al. 2017; Ansuini et al. 2019, Fig. 2B)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from dnuc.errors import DnucError
from dnuc.measures.dimension import Method, estimator
from dnuc.measures.gride import powers_of_two
from dnuc.measures.parts import MeanDimension, Part, Setting, mean_dimension, part_dimensions
from dnuc.neighbors.lists import Neighbors
from dnuc.neighbors.search import checked_array, memory_bytes

SMALLEST = 50  # samples of a block, unless asked for fewer: the error of one is then 14 %
MOST = 64  # blocks, unless asked for more: scales hardly grow further, while to gather ever smaller blocks takes longer


def decimation(
    x: Any,
    blocks: Sequence[int] | None = None,
    seed: int = 0,
    neighbors: Neighbors | None = None,
    *,
    fraction: float = 0.9,
    method: Method = "fit",
    memory_limit: int | str | None = None,
    client: Any = None,
) -> list[MeanDimension]:
    """TwoNN on disjoint random blocks of the samples: the fewer samples, the larger the distances that it looks at.

    Where the dimension is well defined it depends little on the number of samples; where it grows with it (noise, or
    hubs, which smaller samples do not have), a single value means little. For each number of blocks b the samples are
    cut at random into b blocks of N/b, in which neighbors are found anew, exactly.

    Parameters
    ----------
    x : (N, D) array
        NumPy array, Zarr array, Dask array or stored array. Rows are read as far as they are needed.
    blocks : sequence of int, optional
        Every b; 1, 2, 4, ... up to 64 while blocks have at least 50 samples when absent.
    seed : int
        Of the random order. The same blocks, whatever else is asked for: those of b are halves where 2 b are wanted.
    neighbors : Neighbors, optional
        The neighbors of all samples: with many of them few blocks need a search, those of b = 1 none.
    fraction, method
        As in `two_nn`.
    memory_limit : int or str, optional
        Bytes that a task may use, e.g. "4GB" (default 2 GiB). Of an array on disk whose rows do not fit, blocks lie
        among all rows: to read one takes as long as to read the array.
    client : distributed.Client, optional
        Search on this Dask cluster; in this process when absent.

    Returns
    -------
    list of MeanDimension
        One a number of blocks: value, the mean over its blocks; error, their standard deviation (for b = 1, the error
        of TwoNN); scale, the mean second distance; values, those of the blocks, NaN where one has fewer than 3
        distinct samples (counted in left_out).

    Raises
    ------
    DnucError
        If blocks would have fewer than 3 samples, no block has a dimension, x has NaN or infinite values (the samples
        are named), or neighbors are of another number of samples.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(1000, 3)) @ np.eye(3, 40)
    >>> for found in decimation(x, blocks=(1, 4, 16)):
    ...     print(f"{1000 // len(found.values)} samples: {found.value:.1f} +- {found.error:.1f}")
    1000 samples: 2.9 +- 0.1
    250 samples: 2.8 +- 0.2
    62 samples: 2.9 +- 0.4
    """
    x = checked_array(x, 2)
    n = int(x.shape[0])
    counts = levels(n, blocks)
    check_samples(neighbors, n)
    order = np.random.default_rng(seed).permutation(n)
    parts = [part for b in counts for part in _blocks(n, b)]
    setting = Setting(x, order, estimator(fraction, method), memory_bytes(memory_limit), client)
    found = iter(part_dimensions(setting, parts, neighbors))
    return [mean_dimension([next(found) for _ in range(b)], f"decimation into {b} blocks") for b in counts]


def levels(n: int, blocks: Sequence[int] | None = None) -> list[int]:
    """Every number of blocks that n samples are cut into: those that are wanted, or 1, 2, 4, ...

    >>> levels(1000)
    [1, 2, 4, 8, 16]
    """
    if blocks is None:
        return powers_of_two(max(1, min(MOST, n // SMALLEST)))
    for b in blocks:
        if b < 1 or n // b < 3:
            raise DnucError(
                f"blocks = {list(blocks)}: {b} blocks of {n} samples; there must be at least 1, each of at least 3 "
                f"samples: 1 .. {n // 3}"
            )
    return list(blocks)


def _blocks(n: int, count: int) -> list[Part]:
    """Cuts of n into blocks whose sizes differ by at most 1; those of a multiple of `count` lie within them."""
    cuts = [i * n // count for i in range(count + 1)]
    return list(pairwise(cuts))


def check_samples(neighbors: Neighbors | None, n: int) -> None:
    """Refuse neighbors that are not those of the array."""
    if neighbors is not None and neighbors.n_samples != n:
        raise DnucError(
            f"neighbors are of {neighbors.n_samples} samples, x has {n}: give the neighbors of x, or none at all"
        )
