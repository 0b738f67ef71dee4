"""The probability density at every sample, from the distance to its k-th neighbor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, SupportsFloat, get_args

import numpy as np
from scipy.special import gammaln

from dnuc.errors import DataError, DnucError, closest
from dnuc.neighbors.lists import Neighbors

ErrorModel = Literal["code", "paper"]


@dataclass(frozen=True, repr=False)
class Density:
    """How densely the representation is populated around every sample.

    Attributes
    ----------
    log_density : (N,) float64
        Natural logarithm of the probability density. Its unit is one over the unit of distance to the power
        of the intrinsic dimension, so values are comparable within one layer, not between layers.
    error : (N,) float64
        Standard error of `log_density`.
    k : (N,) int64
        Neighbors that make up the sample's neighborhood; the same for all in `knn_density`, k* in `kstar_density`
        and `pak_density`.
    capped : int
        Samples whose k* grew as far as neighbors are stored: their density may be constant still farther out.
    replaced : int
        Samples whose density is that of `kstar_density`, because the likelihood of `pak_density` has no maximum.

    Raises
    ------
    DnucError
        If the three arrays are not one-dimensional and equally long, or a k is less than 1.
    DataError
        If a log density is not finite or an error is not positive and finite.
    """

    log_density: np.ndarray  # (N,)
    error: np.ndarray  # (N,)
    k: np.ndarray  # (N,)
    capped: int = 0
    replaced: int = 0

    def __post_init__(self) -> None:
        shapes = {name: np.shape(getattr(self, name)) for name in ("log_density", "error", "k")}
        if len(np.shape(self.log_density)) != 1 or len(set(shapes.values())) != 1:
            raise DnucError(f"density: shapes {shapes}; all three must be (N,), a value a sample")
        refuse(~np.isfinite(self.log_density), "log_density is not finite", "give finite logarithms of densities")
        refuse(
            ~((np.asarray(self.error) > 0) & np.isfinite(self.error)),
            "error is not a positive, finite number",
            "give standard errors of the log density, e.g. 1/sqrt(k)",
        )
        if np.any(np.asarray(self.k) < 1):
            raise DnucError(f"density: k has the value {np.min(self.k)}; a neighborhood has at least 1 neighbor")

    def __repr__(self) -> str:
        if self.n_samples == 0:
            return "Density(N=0)"
        lowest, highest = np.min(self.log_density), np.max(self.log_density)
        k = f"{np.min(self.k)}" if np.min(self.k) == np.max(self.k) else f"{np.min(self.k)}..{np.max(self.k)}"
        return f"Density(N={self.n_samples}, k={k}, log_density={lowest:.4g}..{highest:.4g})"

    @property
    def n_samples(self) -> int:
        """N, the number of samples."""
        return len(self.log_density)

    @property
    def note(self) -> str:
        """What to know before trusting it, where the method's assumptions fail; empty where they hold."""
        if 2 * self.capped > self.n_samples:
            return (
                f"k* reached the number of stored neighbors for {self.capped} of {self.n_samples} samples, so it is "
                "mostly a constant k: store more neighbors"
            )
        if 2 * self.replaced > self.n_samples:
            return (
                f"the PAk likelihood has no maximum for {self.replaced} of {self.n_samples} samples (their distances "
                "are tied), which have the k*NN density instead: mostly it is that density"
            )
        return ""


def knn_density(neighbors: Neighbors, dimension: SupportsFloat, k: int, *, error_model: ErrorModel = "code") -> Density:
    """How densely samples lie, from the ball that holds a sample's k nearest neighbors.

    log rho_i = log k - log V_d - d log r_k(i) - log N, with V_d the volume of the d-dimensional unit ball and
    r_k the distance to the k-th neighbor (Doimo et al. 2020, Sec. 2.2; Rodriguez et al. 2018). Everything stays in
    log space: d = 140 and r = 700 are normal values and r^d would overflow. DADApy: compute_density_kNN.

    Parameters
    ----------
    neighbors : Neighbors
        N samples with at least k neighbors each.
    dimension : Dimension or float
        Intrinsic dimension d of the representation, as `two_nn` gives it or as a number; not the number of
        features. The paper rounds it to an integer; this function takes it as given.
    k : int
        Neighbors in the ball.
    error_model : {"code", "paper"}
        Standard error of the log density. "code": 1/sqrt(k), that of the code behind all published numbers. "paper":
        sqrt((4k+2)/(k(k+1))), with which z (error of the peak + error of the saddle) is the threshold in the text of
        Doimo et al. 2020, Sec. 2.2; about twice as large.

    Returns
    -------
    Density
        log_density (N,), error (N,), k (N,).

    Raises
    ------
    DnucError
        If k is not within 1 .. neighbors.k, the dimension is not positive and finite, or the error model is unknown.
    DataError
        If a sample has k duplicates (its k-th distance is 0: infinite density), or a distance is not finite.

    Examples
    --------
    Three points on a line, the outer ones at distance 2 from the middle: k / (N * 2 r) = 1 / (3 * 2 * 2).

    >>> points = Neighbors(np.array([[1], [0], [1]]), np.array([[2.0], [2.0], [2.0]]))
    >>> np.exp(knn_density(points, dimension=1, k=1).log_density) * 12
    array([1., 1., 1.])
    """
    radius = neighbors.nearest(k).distance[:, k - 1]  # (N,)
    d = checked_dimension(dimension, "knn_density")
    check_error_model(error_model, "knn_density")
    refuse(~np.isfinite(radius), f"the distance to neighbor {k} is not finite", "check the activations of this layer")
    refuse(
        radius == 0,
        f"{k} neighbors lie at distance 0 (duplicates), so the density is infinite",
        _larger_k(neighbors) + "remove the duplicates from the data",
    )
    n = neighbors.n_samples
    log_density = math.log(k) - log_unit_ball(d) - d * np.log(radius) - math.log(n)
    everywhere = np.full(n, k, dtype=np.int64)
    return Density(log_density, knn_error(everywhere, error_model), everywhere)


def knn_error(k: np.ndarray, model: ErrorModel) -> np.ndarray:
    """(N,) standard errors of a log density that rests on the ball of k neighbors, see `knn_density`."""
    return 1 / np.sqrt(k) if model == "code" else paper_error(k)


def paper_error(k: np.ndarray) -> np.ndarray:
    """(N,) half of the threshold in the paper's text per unit of z (Doimo et al. 2020, Sec. 2.2)."""
    return np.sqrt((4 * k + 2) / (k * (k + 1)))


def log_unit_ball(d: float) -> float:
    """log V_d, the volume of the ball of radius 1 in d dimensions.

    >>> round(math.exp(log_unit_ball(1)), 12), round(math.exp(log_unit_ball(2)), 12)
    (2.0, 3.14159265359)
    """
    return 0.5 * d * math.log(math.pi) - float(gammaln(0.5 * d + 1))


def checked_dimension(dimension: SupportsFloat, caller: str) -> float:
    """The intrinsic dimension as a number that a density can have."""
    d = float(dimension)
    if not (d > 0 and math.isfinite(d)):
        raise DnucError(f"{caller}: dimension = {d}; it must be a positive, finite number, see two_nn")
    return d


def check_positions(neighbors: Neighbors, caller: str) -> None:
    """Refuse neighbors that are no samples, which compiled loops would look up all the same."""
    n = neighbors.n_samples
    if neighbors.index.size == 0:
        return
    lowest, highest = int(neighbors.index.min()), int(neighbors.index.max())
    if lowest < 0 or highest >= n:
        raise DnucError(f"{caller}: neighbor positions run from {lowest} to {highest}; samples from 0 to {n - 1}")


def check_error_model(model: str, caller: str) -> None:
    """Refuse an error model that nobody has named."""
    if model not in get_args(ErrorModel):
        raise DnucError(f"{caller}: error_model {model!r}; {closest(model, get_args(ErrorModel))}")


def _larger_k(neighbors: Neighbors) -> str:
    """The smallest stored k that leaves no sample with only duplicates, as part of an error message."""
    enough = int(np.max(np.count_nonzero(neighbors.distance == 0, axis=1))) + 1
    if enough <= neighbors.k:
        return f"use k = {enough} or more, or "
    return f"store more than the {neighbors.k} neighbors of now and use a k of at least {enough}, or "


def refuse(wrong: np.ndarray, what: str, way_out: str) -> None:
    """Raise a DataError that names the samples where `wrong` (N,) is true."""
    positions = np.flatnonzero(wrong)
    if len(positions):
        shown = ", ".join(map(str, positions[:10])) + (", ..." if len(positions) > 10 else "")
        raise DataError(f"density: {what} for {len(positions)} of {len(wrong)} samples (positions {shown}); {way_out}")
