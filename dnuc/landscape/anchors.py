"""Samples between two peaks: candidates for the anchors of a triplet loss."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dnuc.errors import DnucError
from dnuc.landscape.density import Density
from dnuc.landscape.peaks import Landscape


def anchors(landscape: Landscape, density: Density) -> pd.DataFrame:
    """Samples on the borders of peaks: as near to another peak as to their own, so hard to tell apart.

    The paper suggests them as anchors for training with a triplet loss (Doimo et al. 2020, Broader impact): with a
    sample of peak_a as the positive and one of peak_b as the negative.

    Parameters
    ----------
    landscape : Landscape
        From `density_peaks`.
    density : Density
        The one that the landscape was made from.

    Returns
    -------
    DataFrame
        A row a border sample: sample; kind, "saddle" for the saddle points of the landscape and "border" for the
        others; peak_a, the peak that the sample belongs to; peak_b, the peak that it faces; log_density. Saddles come
        first, then the denser. Empty if no peaks touch.

    Raises
    ------
    DnucError
        If the two are of different samples.
    """
    if density.n_samples != len(landscape.labels):
        raise DnucError(
            f"anchors: a landscape of {len(landscape.labels)} samples and a density of {density.n_samples}; give the "
            "density that the landscape was made from"
        )
    sample = np.flatnonzero(landscape.border >= 0)
    is_saddle = np.isin(sample, landscape.saddles["sample"])
    order = np.lexsort((sample, -density.log_density[sample], ~is_saddle))
    sample, is_saddle = sample[order], is_saddle[order]
    return pd.DataFrame(
        {
            "sample": sample,
            "kind": np.where(is_saddle, "saddle", "border"),
            "peak_a": landscape.labels[sample],
            "peak_b": landscape.border[sample],
            "log_density": density.log_density[sample],
        }
    )
