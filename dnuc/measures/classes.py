"""Intrinsic dimension of object manifolds: of the samples of each class alone (Ansuini et al. 2019, Fig. 3)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from dnuc.errors import DnucError
from dnuc.measures.decimation import check_samples
from dnuc.measures.dimension import Method, estimator
from dnuc.measures.parts import MeanDimension, Setting, mean_dimension, part_dimensions
from dnuc.neighbors.lists import Neighbors
from dnuc.neighbors.search import checked_array, memory_bytes


def class_dimension(
    x: Any,
    labels: np.ndarray,
    neighbors: Neighbors | None = None,
    *,
    fraction: float = 0.9,
    method: Method = "fit",
    memory_limit: int | str | None = None,
    client: Any = None,
) -> MeanDimension:
    """The dimension of object manifolds: TwoNN among the samples of each class alone, mean and spread over classes.

    Neighbors of other classes do not count, so early layers, where classes are mixed, and late ones, where they are
    apart, are compared on the same footing (Ansuini et al. 2019, Sec. 3.1 and Fig. 3).

    Parameters
    ----------
    x : (N, D) array
        NumPy array, Zarr array, Dask array or stored array. Rows are read as far as they are needed.
    labels : (N,) integers
        The class of each sample, 0, 1, ...; negative for none.
    neighbors : Neighbors, optional
        The neighbors of all samples: where they tell the two nearest of the same class, nothing is searched.
    fraction, method
        As in `two_nn`.
    memory_limit, client
        As in `decimation`.

    Returns
    -------
    MeanDimension
        value, the mean over the classes; error, their standard deviation; scale, the mean second distance; values, one
        a class, NaN for those with fewer than 3 distinct samples (counted in left_out).

    Raises
    ------
    DnucError
        If labels are not (N,) integers, no class has a dimension, x has NaN or infinite values (the samples are
        named), or neighbors are of another number of samples.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x = np.concatenate([rng.normal(size=(500, d)) @ rng.normal(size=(d, 30)) for d in (1, 2, 6)])
    >>> class_dimension(x, np.repeat([0, 1, 2], 500)).values.round(1)
    array([1. , 2. , 6.1])
    """
    x = checked_array(x, 2)
    n = int(x.shape[0])
    labels = np.asarray(labels)
    if labels.shape != (n,) or labels.dtype.kind not in "iub":
        raise DnucError(
            f"labels have shape {labels.shape} and type {labels.dtype} for {n} samples: one integer a sample, in their "
            "order (np.unique(labels, return_inverse=True)[1] makes integers of names)"
        )
    check_samples(neighbors, n)
    labels = labels.astype(np.int64)
    if not (labels >= 0).any():
        raise DnucError(f"labels of all {n} samples are negative: no sample has a class")
    order = np.argsort(labels, kind="stable")[np.count_nonzero(labels < 0) :]
    cuts = np.concatenate([[0], np.cumsum(np.bincount(labels[order]))]).tolist()
    parts = list(pairwise(cuts))
    setting = Setting(x, order, estimator(fraction, method), memory_bytes(memory_limit), client)
    return mean_dimension(part_dimensions(setting, parts, neighbors), "dimension of the classes")
