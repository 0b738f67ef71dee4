"""Some rows of a large array as an array of its own, read only as far as they are asked for."""

from __future__ import annotations

from typing import Any

import numpy as np

from dnuc.store.reading import NO_DISTANCE, check_finite, read_part


class Subset:
    """Rows of a 2-D array (NumPy, Zarr, Dask, a stored array) by their positions, which increase.

    It is indexed by slices like the array itself, so a search takes it in its place. Of the array's chunks those are
    read that hold wanted rows, one row of chunks at a time: memory follows what is asked for, not what it lies among.

    Parameters
    ----------
    source : (N, D) array
    rows : (R,) int
        Positions in it, strictly increasing.
    """

    def __init__(self, source: Any, rows: np.ndarray) -> None:
        if len(rows) and (rows[0] < 0 or rows[-1] >= source.shape[0] or (np.diff(rows) <= 0).any()):
            raise ValueError(f"rows of a subset must increase strictly and lie in 0 .. {source.shape[0] - 1}")
        self.source, self.rows = source, rows
        self.shape, self.dtype, self.ndim = (len(rows), int(source.shape[1])), source.dtype, 2
        self.chunks = (1, self.shape[1])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: slice | tuple[slice, slice]) -> np.ndarray:
        span, features = key if isinstance(key, tuple) else (key, slice(None))
        rows = self.rows[span]
        values = self._read(rows, features)
        # here, where it is known which rows of the array they are
        first, last, _ = features.indices(self.shape[1])
        check_finite(self.source, values, rows, slice(first, last), reason=NO_DISTANCE)
        return values

    def _read(self, rows: np.ndarray, features: slice) -> np.ndarray:
        step = self._rows_of_a_chunk
        if step is None or not len(rows):
            return read_part(self.source, rows, features)
        parts = np.split(rows, np.flatnonzero(np.diff(rows // step)) + 1)
        return np.concatenate([self.source[int(p[0]) : int(p[-1]) + 1, features][p - p[0]] for p in parts])

    @property
    def _rows_of_a_chunk(self) -> int | None:
        """None where the array picks rows itself."""
        chunks = getattr(self.source, "chunks", None)
        return chunks[0] if chunks is not None and isinstance(chunks[0], int) else None
