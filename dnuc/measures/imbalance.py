"""Information imbalance: does one representation tell who is near in another? (Glielmo et al. 2022)"""

from __future__ import annotations

from typing import Any

import numpy as np

from dnuc.errors import DnucError
from dnuc.neighbors.lists import Neighbors
from dnuc.neighbors.search import Precision, nearest_neighbors
from dnuc.neighbors.within import count_within, pair_distances

ROWS_AT_ONCE = 16384  # bounds the memory of the comparison with stored lists


def information_imbalance(
    x: Any,
    y: Any,
    k: int = 1,
    *,
    y_neighbors: Neighbors | None = None,
    precision: Precision = "auto",
    memory_limit: int | str | None = None,
    client: Any = None,
) -> float:
    """How badly distances in x tell who is near in y: 0 if x says all about y, 1 if it says nothing.

    2/N times the mean rank in y of the k nearest neighbors in x (Glielmo, Zeni, Cheng, Csanyi, Laio 2022, Eq. 4, there
    with k = 1; with k > 1, the mean over all k). It is not symmetric: the imbalance from x to y is small and that from
    y to x large where x holds the information of y and more. With equal distances it is (k + 1)/N, the smallest value,
    and 1 on average for unrelated ones.

    Ranks run from 1 (the nearest other sample) to N - 1 and are exact: they count how many samples are nearer in the
    total order (distance, index), however many these are, and whatever is tied. DADApy's `return_inf_imb_*` has the
    same ranks and the same 2/N; beyond its `maxk` neighbors it draws ranks at random, so it equals this for
    `maxk = N - 1` where no distances are tied.

    Parameters
    ----------
    x : (N, D) array or Neighbors
        The representation that predicts: coordinates, or the neighbors in it, of which k are used.
    y : (N, E) array
        The one that is predicted: NumPy, Zarr or Dask array, with the same samples in the same order.
    k : int
        Neighbors in x.
    y_neighbors : Neighbors, optional
        Neighbors in y that are known already: ranks in these lists need not be counted. They must be those of y.
    precision, memory_limit, client
        As in `nearest_neighbors`.

    Raises
    ------
    DnucError
        If x and y do not have the same number of samples, k is not 1 .. N - 1 (or not stored), or see
        `nearest_neighbors`.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[-5.0], [-4.0], [-2.0], [2.2], [4.3], [5.5]])
    >>> without_sign = abs(x)  # less is known
    >>> print(f"{information_imbalance(x, without_sign):.2f} {information_imbalance(without_sign, x):.2f}")
    0.83 1.33
    """
    ranks = conditional_ranks(
        x, y, k, y_neighbors=y_neighbors, precision=precision, memory_limit=memory_limit, client=client
    )
    return imbalance_of(ranks)


def imbalance_of(ranks: np.ndarray) -> float:
    """The information imbalance from conditional ranks (N, k)."""
    return 2 * int(ranks.sum()) / (ranks.size * len(ranks))


def conditional_ranks(
    x: Any,
    y: Any,
    k: int = 1,
    *,
    y_neighbors: Neighbors | None = None,
    precision: Precision = "auto",
    memory_limit: int | str | None = None,
    client: Any = None,
) -> np.ndarray:
    """The rank in y of each sample's k nearest neighbors in x: what `information_imbalance` averages.

    Parameters are those of `information_imbalance`.

    Returns
    -------
    (N, k) int64
        1 .. N - 1, in the order of the neighbors in x.
    """
    y = y if hasattr(y, "shape") else np.asarray(y)
    if not isinstance(x, Neighbors):
        x = x if hasattr(x, "shape") else np.asarray(x)
        _same_samples(x.shape[0] if x.ndim else 0, y, "x")
        x = nearest_neighbors(x, k, precision=precision, memory_limit=memory_limit, client=client)
    near = x.nearest(k).index
    _same_samples(len(near), y, "x")
    ranks = np.zeros(near.shape, np.int64)
    if y_neighbors is not None:
        _same_samples(y_neighbors.n_samples, y, "y_neighbors")
        ranks = listed_ranks(near, y_neighbors.index)
    return complete_ranks(near, ranks, y, precision=precision, memory_limit=memory_limit, client=client)


def complete_ranks(
    near: np.ndarray,
    ranks: np.ndarray,
    y: Any,
    *,
    precision: Precision = "auto",
    memory_limit: int | str | None = None,
    client: Any = None,
) -> np.ndarray:
    """The ranks in y (N, k) of samples `near` (N, k): those that are known, and for each 0 the one that is counted."""
    found = ranks.copy()
    columns = (ranks == 0).any(axis=0)
    if columns.any():
        wanted = ranks[:, columns] == 0
        radius, before = rank_balls(near[:, columns], wanted, y, memory_limit=memory_limit, client=client)
        counts = count_within(y, radius, before=before, precision=precision, memory_limit=memory_limit, client=client)
        found[:, columns] = np.where(wanted, counts + 1, ranks[:, columns])
    return found


def listed_ranks(near: np.ndarray, lists: np.ndarray) -> np.ndarray:
    """The places, from 1, of samples `near` (N, k) in the lists (N, m) of their rows; 0 where they are not."""
    ranks = np.zeros(near.shape, np.int64)
    for start in range(0, len(near), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        for column in range(near.shape[1]):
            same = lists[rows] == near[rows, column, None]
            ranks[rows, column] = np.where(same.any(axis=1), same.argmax(axis=1) + 1, 0)
    return ranks


def rank_balls(near: np.ndarray, wanted: np.ndarray, y: Any, **settings: Any) -> tuple[np.ndarray, np.ndarray]:
    """The radius and `before` (N, k) of `count_within` that give the ranks in y of the wanted (N, k) of `near` (N, k).

    The others have radius 0, which costs a search next to nothing.
    """
    rows, columns = np.nonzero(wanted)
    radius, before = np.zeros(near.shape), np.zeros(near.shape, np.int64)
    before[rows, columns] = near[rows, columns]
    radius[rows, columns] = pair_distances(y, rows, near[rows, columns], **settings)
    return radius, before


def _same_samples(n: int, y: Any, name: str) -> None:
    if y.ndim != 2 or y.shape[0] != n:
        raise DnucError(
            f"{name} holds {n} samples and y has shape {tuple(y.shape)}: both must be the same samples in the same "
            "order, y as (samples, features)"
        )
