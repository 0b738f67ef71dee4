"""Parts of arrays of any kind (NumPy, Zarr, Dask, a stored array), and values in them that nothing can be made of."""

from __future__ import annotations

from typing import Any

import numpy as np

from dnuc.errors import DataError
from dnuc.store.arrays import DamagedError, StoredArray

NO_DISTANCE = "Distances to them do not exist"  # why a search has no use for them


def read_part(source: Any, rows: slice | np.ndarray, features: slice) -> np.ndarray:
    """Some rows and features of anything that is indexed like a 2-D array."""
    part = source[rows, features]
    return np.asarray(part.compute(scheduler="threads") if hasattr(part, "compute") else part)


def check_finite(
    source: Any,
    values: np.ndarray,
    rows: slice | np.ndarray,
    features: slice,
    label: str = "x",
    reason: str = "",
) -> None:
    """Refuse values (R, F), read from `rows` and `features` of a source, that are not finite.

    label: how messages call the source. reason: why such values are of no use, a sentence without its end.

    Raises
    ------
    DataError
        Which samples they are; a DamagedError where they come from the store, which holds none.
    """
    if np.isfinite(values).all():
        return
    positions = np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows
    bad = positions[~np.isfinite(values).all(axis=1)]
    if isinstance(source, StoredArray):
        place = (int(bad[0]), features.start)
        raise DamagedError(source.run, source.group, source.name, place, "values are missing: a file is lost")
    shown = ", ".join(map(str, bad[:10].tolist())) + (", ..." if len(bad) > 10 else "")
    raise DataError(
        f"{label}: NaN or infinite values in {len(bad)} samples (positions {shown}; features {features.start} .. "
        f"{features.stop - 1}){reason and '. ' + reason}: remove these samples, or find out which layer overflows"
    )
