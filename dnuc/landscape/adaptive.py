"""Densities from neighborhoods that are as large as the density is constant: k*, k*NN and PAk."""

from __future__ import annotations

import math
from typing import SupportsFloat

import numpy as np
from scipy.special import chdtri

from dnuc.errors import DnucError
from dnuc.landscape.adaptive_kernels import largest_constant, likelihood_maximum
from dnuc.landscape.density import (
    Density,
    ErrorModel,
    check_error_model,
    check_positions,
    checked_dimension,
    knn_density,
    knn_error,
    log_unit_ball,
    paper_error,
    refuse,
)
from dnuc.neighbors.lists import Neighbors

SMALLEST = 3  # neighbors of any k*


def kstar(neighbors: Neighbors, dimension: SupportsFloat, alpha: float = 1e-6) -> np.ndarray:
    """How many neighbors of each sample the density is constant over, as far as a test can tell: k*.

    From k = 3 on, the sample's density in the ball of its k nearest neighbors is compared with that of its neighbor
    k + 1, in a ball of as many; k* is where a likelihood-ratio test first finds that they differ (Rodriguez, d'Errico,
    Facco, Laio 2018; d'Errico et al. 2021). DADApy: compute_kstar.

    Parameters
    ----------
    neighbors : Neighbors
        N samples with K neighbors each, at least 4. Where k* is K - 1, it was never found to end.
    dimension : Dimension or float
        Intrinsic dimension, as in `knn_density`.
    alpha : float
        Significance of the test: the smaller, the larger k*.

    Returns
    -------
    (N,) int64
        3 .. K - 1. A sample with duplicates has at least one neighbor more than duplicates.

    Raises
    ------
    DnucError
        If fewer than 4 neighbors are stored, one of them is no sample, the dimension is not positive and finite, or
        alpha is not in (0, 1).
    DataError
        If a sample has K - 1 duplicates or more, or a distance is not finite.
    """
    d = checked_dimension(dimension, "kstar")
    if neighbors.k <= SMALLEST:
        raise DnucError(
            f"kstar: {neighbors.k} neighbors stored; k* lies between {SMALLEST} and one less than the stored number, "
            f"so at least {SMALLEST + 1} are needed: compute the neighbors again with a larger k, e.g. 100"
        )
    if not 0 < alpha < 1:
        raise DnucError(f"kstar: alpha = {alpha}; it must be between 0 and 1, e.g. 1e-6")
    check_positions(neighbors, "kstar")
    threshold = float(chdtri(1, alpha))  # of chi-squared with one degree of freedom
    k = largest_constant(neighbors.index, neighbors.distance, d, threshold, SMALLEST)
    radius = _radius(neighbors, k)
    refuse(~np.isfinite(radius), "the distance to neighbor k* is not finite", "check the activations of this layer")
    refuse(
        radius == 0,
        f"{neighbors.k - 1} of the {neighbors.k} stored neighbors lie at distance 0 (duplicates), so the density is "
        "infinite",
        "store more neighbors, or remove the duplicates from the data",
    )
    return k


def kstar_density(
    neighbors: Neighbors, dimension: SupportsFloat, alpha: float = 1e-6, *, error_model: ErrorModel = "code"
) -> Density:
    """How densely samples lie, from the largest ball around each in which the density is constant: k*NN.

    The density of `knn_density` with k = k* of each sample, see `kstar`: many neighbors, and a small error, where the
    density is flat, few where it changes (Rodriguez et al. 2018). DADApy: compute_density_kstarNN.

    Parameters
    ----------
    neighbors : Neighbors
        N samples with at least 4 neighbors each, better 100: k* cannot exceed the stored number minus one.
    dimension : Dimension or float
        Intrinsic dimension, as in `knn_density`.
    alpha : float
        Significance of the test that ends the growth of k*.
    error_model : {"code", "paper"}
        As in `knn_density`, with k*.

    Returns
    -------
    Density
        log_density, error and k = k*, each (N,); `capped` counts the samples with as large a k* as is stored, and
        `note` tells where these are most.

    Raises
    ------
    DnucError, DataError
        As `kstar`, or if the error model is unknown.

    Examples
    --------
    Along an evenly filled line the density is constant farther out than 8 neighbors are stored:

    >>> x = np.linspace(0, 1, 50)
    >>> distance = np.abs(x[:, None] - x)
    >>> index = np.argsort(distance, kind="stable")[:, 1:9]
    >>> density = kstar_density(Neighbors(index, np.take_along_axis(distance, index, axis=1)), dimension=1)
    >>> density.k.max(), density.capped
    (np.int64(7), 50)
    """
    check_error_model(error_model, "kstar_density")
    k = kstar(neighbors, dimension, alpha)
    return Density(_in_ball(neighbors, float(dimension), k), knn_error(k, error_model), k, _capped(neighbors, k))


def pak_density(
    neighbors: Neighbors, dimension: SupportsFloat, alpha: float = 1e-6, *, error_model: ErrorModel = "code"
) -> Density:
    """How densely samples lie, from neighbors up to k* with a correction for how the density changes on the way: PAk.

    The log density is taken to be linear in the rank of the neighbor: log rho = b + a j in shell j, and its value b
    at the sample itself maximizes the likelihood sum_j (b + a j - v_j exp(b + a j)) of the shell volumes v_j up to k*
    (Rodriguez, d'Errico, Facco, Laio 2018). DADApy: compute_density_PAk, whose iteration stops earlier: by 1e-4 and
    more where k* is small.

    Parameters
    ----------
    neighbors, dimension, alpha
        As in `kstar_density`.
    error_model : {"code", "paper"}
        "code": sqrt((4k+2)/(k(k-1))), from the Fisher information of b, as in DADApy. "paper": as in `knn_density`.

    Returns
    -------
    Density
        As from `kstar_density`. Where the likelihood has no maximum, because ties leave only near or only far shells
        a volume, the sample has the density of `kstar_density`; `replaced` counts these.

    Raises
    ------
    DnucError, DataError
        As `kstar`, or if the error model is unknown.
    """
    check_error_model(error_model, "pak_density")
    k = kstar(neighbors, dimension, alpha)
    d, n = float(dimension), neighbors.n_samples
    b, _ = likelihood_maximum(neighbors.distance, k, d)
    log_density = b - log_unit_ball(d) - d * np.log(_radius(neighbors, k)) - math.log(n)
    missing = np.isnan(b)
    log_density[missing] = _in_ball(neighbors, d, k)[missing]
    error = paper_error(k) if error_model == "paper" else np.sqrt((4 * k + 2) / (k * (k - 1)))
    return Density(log_density, error, k, _capped(neighbors, k), int(np.count_nonzero(missing)))


METHODS = {"kstar": kstar_density, "pak": pak_density}  # beside "knn"


def density_by(
    method: str, neighbors: Neighbors, dimension: SupportsFloat, k: int, alpha: float, error_model: ErrorModel
) -> Density:
    """The density by the name of its method, "knn", "kstar" or "pak", from the k nearest neighbors."""
    if method == "knn":
        return knn_density(neighbors, dimension, k, error_model=error_model)
    return METHODS[method](neighbors.nearest(k), dimension, alpha, error_model=error_model)


def _radius(neighbors: Neighbors, k: np.ndarray) -> np.ndarray:
    """(N,) the distance to each sample's own k-th neighbor."""
    return np.take_along_axis(neighbors.distance, k[:, None] - 1, axis=1)[:, 0]


def _in_ball(neighbors: Neighbors, d: float, k: np.ndarray) -> np.ndarray:
    """(N,) the log density in the ball of each sample's own k neighbors."""
    return np.log(k) - log_unit_ball(d) - d * np.log(_radius(neighbors, k)) - math.log(neighbors.n_samples)


def _capped(neighbors: Neighbors, k: np.ndarray) -> int:
    return int(np.count_nonzero(k == neighbors.k - 1))
