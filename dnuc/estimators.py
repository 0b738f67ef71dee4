"""The same in scikit-learn's way: density peaks as a clustering, the intrinsic dimension as an estimator."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils.validation import validate_data

from dnuc.errors import DnucError, closest
from dnuc.landscape import density_peaks
from dnuc.landscape.adaptive import METHODS, density_by
from dnuc.landscape.density import ErrorModel
from dnuc.landscape.merging import Convention
from dnuc.measures.dimension import two_nn
from dnuc.neighbors.search import nearest_neighbors


class DensityPeaks(ClusterMixin, BaseEstimator):
    """Clusters as the peaks of the probability density; their number is a result, not a parameter.

    Exact neighbors, the intrinsic dimension by TwoNN, a density at every sample, and its peaks that are significant at
    confidence z (Rodriguez and Laio 2014; d'Errico et al. 2021; Doimo et al. 2020). The functions behind it, with all
    that they can do: `nearest_neighbors`, `two_nn`, `knn_density`, `kstar_density`, `pak_density`, `density_peaks`.

    Parameters
    ----------
    n_neighbors : int
        Exact neighbors of each sample: the k of the density, or the limit of an adaptive k*. Less than the number of
        samples.
    z : float
        How significant a peak must be, in units of errors; more gives fewer clusters.
    density : {"knn", "kstar", "pak"}
        From a constant k, from the k* of each sample, or from k* with a correction for slopes. For the adaptive ones
        `n_neighbors` should be large, such as 100.
    dimension : float, optional
        Intrinsic dimension of the data; estimated by TwoNN when absent.
    alpha : float
        Significance of the test that ends k*.
    error_model : {"code", "paper"}
        Of the log density, see `knn_density`.
    convention : {"dadapy", "paper"}
        See `density_peaks`.
    halo : bool
        Give samples below the highest saddle of their peak the label -1, noise.

    Attributes
    ----------
    labels_ : (N,) int64
        The cluster of every sample; cluster 0 has the densest center.
    core_ : (N,) bool
        Samples that are not halo.
    center_indices_ : (n_clusters_,) int64
        The sample at the top of each peak.
    n_clusters_ : int
    landscape_ : Landscape
        With the saddles between peaks, for `dendrogram`, `peak_tree` and `anchors`.
    density_ : Density
        Log density, error and k of every sample.
    dimension_ : float
        Intrinsic dimension that the density was computed with.
    neighbors_ : Neighbors
    n_features_in_ : int

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> X, y = make_blobs(300, centers=[[0, 0], [5, 5], [9, -3]], random_state=0)
    >>> DensityPeaks(n_neighbors=20).fit(X).n_clusters_
    3
    """

    def __init__(
        self,
        n_neighbors: int = 30,
        *,
        z: float = 1.65,
        density: Literal["knn", "kstar", "pak"] = "knn",
        dimension: float | None = None,
        alpha: float = 1e-6,
        error_model: ErrorModel = "code",
        convention: Convention = "dadapy",
        halo: bool = False,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.z = z
        self.density = density
        self.dimension = dimension
        self.alpha = alpha
        self.error_model = error_model
        self.convention = convention
        self.halo = halo

    def fit(self, X: Any, y: Any = None) -> DensityPeaks:
        """Find the peaks of the density of X: (N, D), an array, a table, or a Zarr or Dask array. `y` is not used."""
        if self.density not in ("knn", *METHODS):
            raise DnucError(f"DensityPeaks: density {self.density!r}; {closest(str(self.density), ('knn', *METHODS))}")
        self.neighbors_ = nearest_neighbors(_validated(self, X), self.n_neighbors)
        self.dimension_ = float(two_nn(self.neighbors_) if self.dimension is None else self.dimension)
        self.density_ = density_by(
            self.density, self.neighbors_, self.dimension_, self.neighbors_.k, self.alpha, self.error_model
        )
        self.landscape_ = density_peaks(self.neighbors_, self.density_, self.z, convention=self.convention)
        self.core_, self.center_indices_ = self.landscape_.core, self.landscape_.centers
        self.n_clusters_ = self.landscape_.n_peaks
        self.labels_ = np.where(self.core_, self.landscape_.labels, -1) if self.halo else self.landscape_.labels
        return self


class TwoNN(BaseEstimator):
    """The intrinsic dimension: how many coordinates the data really have, from each sample's two nearest neighbors.

    `two_nn` on the exact neighbors of X (Facco et al. 2017).

    Parameters
    ----------
    fraction : float
        Share of the smallest distance ratios that is fitted.
    method : {"fit", "mle"}

    Attributes
    ----------
    dimension_ : float
        The intrinsic dimension. Above about 20 it is a lower bound.
    error_ : float
        Its standard error.
    scale_ : float
        Distance at which it was measured: the mean to the second neighbor.
    n_dropped_ : int
        Samples that were left out because their nearest neighbor is a duplicate.
    n_features_in_ : int

    Examples
    --------
    >>> plane = np.random.default_rng(0).normal(size=(500, 2)) @ np.ones((2, 1)) * np.ones((1, 10))
    >>> 0.8 < TwoNN().fit(plane).dimension_ < 1.2
    True
    """

    def __init__(self, fraction: float = 0.9, *, method: Literal["fit", "mle"] = "fit") -> None:
        self.fraction = fraction
        self.method = method

    def fit(self, X: Any, y: Any = None) -> TwoNN:
        """Estimate the dimension of X: (N, D), an array, a table, or a Zarr or Dask array. `y` is not used."""
        found = two_nn(nearest_neighbors(_validated(self, X), 2), self.fraction, self.method)
        self.dimension_, self.error_, self.scale_ = float(found.value), float(found.error), float(found.scale)
        self.n_dropped_ = found.dropped
        return self


def _validated(estimator: BaseEstimator, X: Any) -> Any:
    """X as scikit-learn wants it checked; arrays of chunks, which may be larger than memory, as they are."""
    if hasattr(X, "chunks") and not isinstance(X, np.ndarray):
        if len(X.shape) != 2:
            raise DnucError(f"{type(estimator).__name__}: X has shape {X.shape}; it must be (samples, features)")
        estimator.n_features_in_ = X.shape[1]
        return X
    return validate_data(estimator, X, dtype=(np.float64, np.float32), ensure_min_samples=3)
