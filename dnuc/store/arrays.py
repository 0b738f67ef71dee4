"""Reading and writing one stored array; damage is told by array and chunk."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

from dnuc.errors import StoreError
from dnuc.location import locate
from dnuc.store.opening import reached, zarr_store
from dnuc.store.schema import STAGES, Variable
from dnuc.traffic import count_traffic

CHUNK_BYTES = 128 * 2**20
DESCRIPTION = "zarr.json"  # of a group or an array
TEXTS = 16384  # strings of a chunk: every task of an extraction reads the ids of its own samples


class DamagedError(StoreError):
    """Stored bytes do not match their checksum, or a file is lost. `first` is () where nothing can be read."""

    def __init__(self, run: str, group: str, name: str, first: tuple[int, ...], reason: str) -> None:
        self.run, self.group, self.name, self.first = run, group, name, first
        where = f" at or after element ({', '.join(str(i) for i in first)})" if first else ""
        what = f"array {group}/{name}" if name != DESCRIPTION else f"{group}/{name}".lstrip("/")
        super().__init__(
            f"{what} in {run} is damaged{where}: {reason.rstrip('.')}. "
            "Run the job again with --repair: only what is damaged is computed anew"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # exceptions cross process boundaries; the default would pass the message as `run`
        return (_damaged, (self.run, self.group, self.name, self.first, str(self)))


def _damaged(run: str, group: str, name: str, first: tuple[int, ...], message: str) -> DamagedError:
    error = DamagedError(run, group, name, first, "")
    error.args = (message,)
    return error


@dataclass(frozen=True)
class StoredArray:
    """A stored array by its address: small to send to a worker, opened where it is read.

    Indexing returns NumPy arrays; a checksum that fails is a `DamagedError` that names the array and place.
    """

    run: str  # the run directory, or its URL
    group: str
    name: str

    @cached_property
    def _array(self) -> Any:
        path = locate(self.run)
        try:
            with reached(path):
                return zarr.open_array(zarr_store(path), path=f"{self.group}/{self.name}", mode="r", zarr_format=3)
        except (ValueError, OSError) as error:
            reason = f"its description zarr.json cannot be read ({error})"
            raise DamagedError(self.run, self.group, self.name, (), reason) from None

    def __getstate__(self) -> dict[str, str]:
        return {"run": self.run, "group": self.group, "name": self.name}

    def __setstate__(self, state: dict[str, str]) -> None:
        self.__dict__.update(state)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole array."""
        return tuple(self._array.shape)

    @property
    def dtype(self) -> np.dtype:
        """Type of an element as stored."""
        return self._array.dtype

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of the smallest piece that is read from disk at once."""
        return tuple(self._array.chunks)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def lost(self) -> int:
        """Chunks without a file. A finished array has none, for chunks of fill values are written too."""
        array = self._array
        with reached(locate(self.run)):
            return array.nchunks - array.nchunks_initialized

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        array = self._array
        try:
            with reached(locate(self.run)):
                values = array[key]
        except (ValueError, OSError) as error:
            keys = key if isinstance(key, tuple) else (key,)
            first = tuple(k.start or 0 if isinstance(k, slice) else k if isinstance(k, int) else 0 for k in keys)
            raise DamagedError(self.run, self.group, self.name, first, str(error)) from None
        count_traffic(read=values.nbytes)
        return values


def create(
    group: zarr.Group, variable: Variable, shape: tuple[int, ...], chunks: tuple[int, ...] | None, dtype: str | None
) -> zarr.Array:
    """A new array as the schema declares it; chunks by default about 128 MiB along the first dimension."""
    stored_type: Any = str if variable.dtype == "str" else np.dtype(dtype or variable.dtype)
    if stored_type is str and chunks is None:
        chunks = (TEXTS, *shape[1:])
    chunk, shard = _layout(shape, chunks, 16 if stored_type is str else stored_type.itemsize)
    attributes: dict[str, Any] = {"long_name": variable.meaning}
    if variable.units:
        attributes["units"] = variable.units
    return group.create_array(
        variable.name,
        shape=shape,
        dtype=stored_type,
        chunks=chunk,
        shards=shard,
        compressors=[*_compression(variable), Crc32cCodec()],
        fill_value=variable.fill_value,
        dimension_names=variable.dims,
        attributes=attributes,
    )


def in_memory(stage: str, name: str, values: np.ndarray, chunks: tuple[int, ...]) -> zarr.Array:
    """Values as they would be stored, but kept in memory: what reading costs without a disk."""
    group = zarr.create_group(zarr.storage.MemoryStore())
    array = create(group, STAGES[stage][name], values.shape, chunks, str(values.dtype))
    array[:] = values
    return array


def _compression(variable: Variable) -> list[Any]:
    """Numbers by the bytes of equal rank: smaller than zstd makes them, and several times as fast.

    The client of a search writes lists after every tile; what that takes is time in which no tile is made.
    """
    if not variable.compress:
        return []
    return [ZstdCodec(level=3)] if variable.dtype == "str" else [BloscCodec(cname="lz4", shuffle="shuffle")]


def _layout(
    shape: tuple[int, ...], chunks: tuple[int, ...] | None, itemsize: int
) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """Chunk and shard shape. Many small chunks of one row block share a shard, or files would be countless."""
    whole = tuple(max(1, n) for n in shape)
    if chunks is None:
        row_bytes = itemsize * int(np.prod(whole[1:], dtype=np.int64))
        return (min(whole[0], max(1, CHUNK_BYTES // row_bytes)), *whole[1:]), None
    chunk = tuple(min(c, n) for c, n in zip(chunks, whole, strict=True))
    if len(chunk) < 2 or chunk[-1] == whole[-1]:
        return chunk, None
    chunk_bytes = itemsize * int(np.prod(chunk, dtype=np.int64))
    per_shard = min(-(-whole[-1] // chunk[-1]), max(1, CHUNK_BYTES // chunk_bytes))
    return chunk, (*chunk[:-1], chunk[-1] * per_shard) if per_shard > 1 else None
