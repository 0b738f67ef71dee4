"""What neighborhoods look like: the mean image entropy in them (Doimo et al. 2020, Fig. 3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dnuc.errors import DnucError
from dnuc.neighbors.lists import Neighbors


@dataclass(frozen=True, repr=False)
class NeighborhoodEntropy:
    """Mean entropy of the neighbors, over all samples; low where simple images are hubs. In bits."""

    mean: float
    error: float  # standard error of the mean over samples
    shuffled: float  # the same with neighbors assigned at random
    shuffled_error: float
    per_sample: np.ndarray  # (N,) S_i^l

    def __repr__(self) -> str:
        return (
            f"NeighborhoodEntropy(mean={self.mean:.4f} +- {self.error:.2g} bit, shuffled={self.shuffled:.4f} +- "
            f"{self.shuffled_error:.2g} bit, N={len(self.per_sample)})"
        )


def neighborhood_entropy(neighbors: Neighbors, entropy: np.ndarray, k: int, *, seed: int = 0) -> NeighborhoodEntropy:
    """S^l: the image entropy averaged over each sample's k neighbors, then over the samples.

    The reference shuffles the assignment of neighbors: every sample gets k others at random, so its expectation is
    the mean entropy of the data set.

    Parameters
    ----------
    neighbors : Neighbors
    entropy : (N,) float
        Image entropy of each sample, in bits.
    k : int
        Neighbors averaged; at most the number stored.
    seed : int
        Of the shuffled reference.
    """
    entropy = np.asarray(entropy, dtype=np.float64)
    n = neighbors.n_samples
    if entropy.shape != (n,):
        raise DnucError(f"entropy has shape {entropy.shape} for {n} samples: one value a sample, in their order")
    own = entropy[neighbors.nearest(k).index].mean(axis=1)
    others = np.random.default_rng(seed).integers(0, n - 1, size=(n, k))
    others += others >= np.arange(n)[:, None]  # never the sample itself
    shuffled = entropy[others].mean(axis=1)
    return NeighborhoodEntropy(
        float(own.mean()), _standard_error(own), float(shuffled.mean()), _standard_error(shuffled), own
    )


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
