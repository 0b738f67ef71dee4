"""How Zarr gets at a run: by its path, or through a client of the object store."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from dnuc.location import Location, ObjectPath
from dnuc.location.bucket import explained


def zarr_store(path: Location) -> Any:
    """What Zarr opens for what is at a path."""
    if not isinstance(path, ObjectPath):
        return str(path)
    from zarr.storage import ObjectStore

    return ObjectStore(path.store())


def reached(path: Location) -> AbstractContextManager[None]:
    """Errors in the block that are of an object store say what they mean; see `dnuc.location.bucket.explained`."""
    return explained(path.scheme, path.bucket, path.key) if isinstance(path, ObjectPath) else nullcontext()
