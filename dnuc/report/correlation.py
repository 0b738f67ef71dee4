"""How well two columns of a table agree, where a figure states it."""

from __future__ import annotations

import numpy as np

FEWEST = 3  # pairs of values from which on a correlation is stated


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's r over the pairs of which both are known; NaN where they are few, or nothing varies."""
    known = ~np.isnan(x) & ~np.isnan(y)
    if known.sum() < FEWEST or np.ptp(x[known]) == 0 or np.ptp(y[known]) == 0:
        return float("nan")
    return float(np.corrcoef(x[known], y[known])[0, 1])
