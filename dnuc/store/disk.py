"""Disks that are full, read-only or broken: told as what they are, not as a traceback."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from dnuc.errors import ResourceError
from dnuc.location import Location, free_bytes

WAYS_OUT = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "make room there, or ask for a larger quota",
    errno.EROFS: "see why its file system is read-only (a disk with errors becomes so by itself), make it writable",
    errno.EACCES: "see that you may write there, on every machine of the cluster",
    errno.EPERM: "see that you may write there, on every machine of the cluster",
    errno.EIO: "see what the system's log says about the disk",
    errno.ESTALE: "see that the network file system is there, on every machine of the cluster",
}


@contextmanager
def disk_errors_told(directory: Location) -> Iterator[None]:
    """Refuse, with the way out, what the disk of a run directory refuses while the block runs.

    Raises
    ------
    ResourceError
        Which file, why, and how much space is free; other errors of the system stay what they are.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in WAYS_OUT:
            raise
        raise ResourceError(_told(error, directory)) from error


def _told(error: OSError, directory: Location) -> str:
    name = f" ({error.filename})" if error.filename else ""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    free = free_bytes(directory) if full else None
    room = "" if free is None else f"; {free:,} bytes are free on its disk"
    return (
        f"the run {directory}: a file{name} could not be written or read: {os.strerror(error.errno or 0)}{room}. What "
        f"is finished is stored: {WAYS_OUT[error.errno or 0]}, and start the same command again to go on"
    )
