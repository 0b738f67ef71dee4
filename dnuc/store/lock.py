"""One run a directory: two writers would spoil each other's work."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import psutil

from dnuc.errors import StoreError
from dnuc.location import Location, ObjectPath
from dnuc.store.lease import lease_holder, leased

LOCK = "run.lock"


@contextmanager
def alone(directory: Location, *, take_over: bool = False) -> Iterator[Callable[[], str | None]]:
    """Hold a run directory for the life of the block, and refuse a second holder.

    Gives what tells why it is not held any more: None while it is. On an object store a lease decides, see
    `dnuc.store.lease`; in a directory what follows.

    run.lock says who holds it. On this host the operating system's lock on that file decides, which ends with its
    process, however that ends; the name in it is for the reader. Another host's lock may not be seen from here: what
    the file says about one is believed, until somebody deletes it, or says `take_over`.

    Raises
    ------
    StoreError
        If another process holds the directory, or may hold it on another host.
    """
    if isinstance(directory, ObjectPath):
        with leased(directory / LOCK, take_over) as lost:
            yield lost
        return
    path = directory / LOCK
    with _opened(path, take_over) as file:
        file.truncate(0)
        json.dump({"host": socket.gethostname(), "pid": os.getpid()}, file)
        file.flush()
        try:
            yield lambda: None
        finally:
            if _is_same(file, path):  # somebody may have deleted it by hand, and another run made its own
                with suppress(OSError):  # of a disk that is read-only by now: the lock ends with this process
                    path.unlink()  # while it is locked: unlocked first, it could be the next holder's by now


def holder(directory: Location) -> dict[str, Any] | None:
    """Who holds a run directory, or may hold it on another host: {"host", "pid"}; None if nobody does."""
    if isinstance(directory, ObjectPath):
        return lease_holder(directory / LOCK)
    path = directory / LOCK
    try:
        with path.open("r", encoding="utf-8") as file:
            owner, locked = _owner(path), _lock(file)
    except FileNotFoundError:
        return None
    return owner if owner and (locked is False or _may_live(owner, locked)) else None


def _opened(path: Path, take_over: bool = False) -> TextIO:
    """The lock file, opened and locked."""
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            locked = _lock(file)
            owner = _owner(path)
            if locked is False or (_may_live(owner, locked) and not (take_over and _is_elsewhere(owner))):
                raise StoreError(_in_use(path, owner))
            if _is_same(file, path):
                return file
        except BaseException:
            file.close()
            raise
        file.close()  # its holder removed it between opening and locking: what is locked is no longer run.lock


def _lock(file: TextIO) -> bool | None:
    """True once this process holds the file, False if another does, None where the file system has no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_same(file: TextIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _owner(path: Path) -> dict[str, Any]:
    """Who the file names; nobody if it is empty or was cut off."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _may_live(owner: dict[str, Any], locked: bool | None) -> bool:
    """Whether the process that is named may hold the directory although the file could be opened here."""
    if not owner:
        return False
    if _is_elsewhere(owner):
        return True
    if locked:
        return False  # it would hold the lock; a process of this number now is another one
    return psutil.pid_exists(int(owner["pid"]))


def _is_elsewhere(owner: dict[str, Any]) -> bool:
    return owner.get("host") != socket.gethostname()


def _in_use(path: Path, owner: dict[str, Any]) -> str:
    who = f"process {owner['pid']} on {owner['host']}" if owner else "another process, which has just started"
    return f"{path.parent} is in use by {who}: wait for it or stop it. If that process is gone, delete {path}"
