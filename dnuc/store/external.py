"""Arrays that something else wrote: .npy files and Zarr arrays, opened without reading them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr

from dnuc.errors import DataError


def open_external(path: str | Path) -> Any:
    """An (N, D) array on disk that is indexed like a NumPy array; nothing is read yet.

    Raises
    ------
    DataError
        If the file is missing, is neither .npy nor a Zarr array, holds objects, or is not 2-D numbers.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"array {str(path)!r}: no such file or directory")
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False) if path.suffix == ".npy" else _zarr(path)
    except (ValueError, EOFError, OSError, zarr.errors.BaseZarrError) as error:
        raise DataError(
            f"array {str(path)!r} cannot be opened: {error}. Give a .npy file of numbers (no objects: they can run "
            "code when they are opened) or the directory of a Zarr array"
        ) from None
    if found.ndim < 2 or found.dtype.kind not in "fiub":
        raise DataError(
            f"array {str(path)!r} has shape {found.shape} and type {found.dtype}; it must be numbers of shape "
            "(samples, features), or (samples, ...), which is flattened"
        )
    return found


def _zarr(path: Path) -> Any:
    found = zarr.open(str(path), mode="r")
    if not isinstance(found, zarr.Array):
        raise ValueError("it is a Zarr group, not an array; give the path of the array inside it")
    if any(getattr(codec, "codec_id", "") == "pickle" for codec in (*found.filters, *found.compressors)):
        raise ValueError("its chunks are pickled, and would run code when they are read; write them anew as numbers")
    return found
