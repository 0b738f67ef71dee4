"""One block of samples, read a feature chunk at a time, ahead of the computation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from dnuc.errors import DataError
from dnuc.store import DamagedError, StoredArray


def working_type(dtype: np.dtype) -> type[np.float32] | type[np.float64]:
    """float32 for types that it holds exactly (float16, small integers, bool), float64 for all others."""
    return np.float32 if np.result_type(dtype, np.float32) == np.float32 else np.float64


@dataclass(frozen=True)
class Rows:
    """Rows start .. stop of anything that is indexed like a 2-D array (NumPy, Zarr, Dask, a stored array)."""

    source: Any  # (N, D)
    start: int
    stop: int
    label: str = "x"  # how error messages call the source

    @property
    def count(self) -> int:
        """Number of rows."""
        return self.stop - self.start

    @property
    def features(self) -> int:
        """D."""
        return int(self.source.shape[1])

    def read(self, features: slice) -> np.ndarray:
        """The rows' values of some features, in float32 where that loses nothing, else in float64."""
        part = self.source[self.start : self.stop, features]
        if hasattr(part, "compute"):  # a Dask array given without a client
            part = part.compute(scheduler="threads")
        values = np.asarray(part)
        values = np.ascontiguousarray(values, dtype=working_type(values.dtype))
        self._check(values, features)
        return values

    def _check(self, values: np.ndarray, features: slice) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            quick = np.isfinite(values.sum(dtype=np.float64))
        if quick or np.isfinite(values).all():
            return
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if isinstance(self.source, StoredArray):
            place = (self.start + int(bad[0]), features.start)
            source = self.source  # what is not finite is never stored
            raise DamagedError(source.run, source.group, source.name, place, "values are missing: a file is lost")
        rows = ", ".join(str(self.start + int(r)) for r in bad[:10])
        raise DataError(
            f"{self.label}: NaN or infinite values in {len(bad)} samples (positions {rows}"
            f"{', ...' if len(bad) > 10 else ''}; features {features.start} .. {features.stop - 1}). Distances to them "
            "do not exist: remove these samples, or find out which layer overflows"
        )


def read_ahead(blocks: tuple[Rows, ...], chunks: Iterable[slice]) -> Iterator[tuple[slice, list[np.ndarray]]]:
    """For each feature chunk the values of every block, the next chunk being read while this one is used."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        pending = None
        for chunk in chunks:
            following = (chunk, reader.submit(lambda c: [b.read(c) for b in blocks], chunk))
            if pending is not None:
                yield pending[0], pending[1].result()
            pending = following
        if pending is not None:
            yield pending[0], pending[1].result()
