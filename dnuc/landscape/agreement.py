"""Do the density peaks match a partition that is known: classes, or macro classes?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

from dnuc.errors import DataError, DnucError


@dataclass(frozen=True)
class Agreement:
    """How well two partitions of the same samples agree; 1 for equal partitions, about 0 for unrelated ones.

    Attributes
    ----------
    ari : float
        Adjusted Rand index: over pairs of samples.
    ami : float
        Adjusted mutual information: over the information that one partition gives on the other.
    n_samples : int
        Samples that were compared.
    """

    ari: float
    ami: float
    n_samples: int


def agreement(labels: ArrayLike, reference: ArrayLike) -> Agreement:
    """How well the density peaks match known classes (Doimo et al. 2020, Fig. 4b; Rand 1971).

    Parameters
    ----------
    labels : (N,) integers
        The peak of every sample; any integer is a group.
    reference : (N,) integers
        The class of every sample. A negative number means that the sample has none, such as an image whose
        class belongs to neither of the macro classes; these samples are left out.

    Returns
    -------
    Agreement
        ari, ami, and the number of samples compared.

    Raises
    ------
    DnucError
        If the two are not (N,) integers of one length.
    DataError
        If fewer than 2 samples have a class.

    Examples
    --------
    >>> agreement([0, 0, 1, 1, 1], [5, 5, 7, 7, -1])
    Agreement(ari=1.0, ami=1.0, n_samples=4)
    """
    found, known = np.asarray(labels), np.asarray(reference)
    if found.ndim != 1 or found.shape != known.shape:
        raise DnucError(f"agreement: labels {found.shape} and reference {known.shape}; both must be (N,)")
    if found.dtype.kind not in "iu" or known.dtype.kind not in "iu":
        raise DnucError(
            f"agreement: labels are {found.dtype} and reference {known.dtype}; both must be integers, "
            "e.g. np.unique(names, return_inverse=True)[1]"
        )
    has_class = known >= 0
    n = int(np.count_nonzero(has_class))
    if n < 2:
        raise DataError(
            f"agreement: {n} of {len(known)} samples have a class (reference 0 or larger); at least 2 are needed"
        )
    found, known = found[has_class], known[has_class]
    ari, ami = adjusted_rand_score(known, found), adjusted_mutual_info_score(known, found)
    return Agreement(float(ari), float(ami), n)
