"""One run a place in an object store, where no lock ends with its process.

run.lock is written only if there is none, so of many that want it one gets it; then its holder writes it again and
again, each time over its own version alone. A holder that falls silent may be gone, or cut off the network: that is
told, and the run is taken over only when somebody says so. A holder that finds its lock taken over ends.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from dnuc.errors import StoreError
from dnuc.location import ObjectPath

BEAT = 10.0  # seconds between signs of life
SILENT = 60.0  # seconds without one after which a holder may be said to be gone
TRIES = 20  # of taking a lock that others take and leave at the same time


@contextmanager
def leased(lock: ObjectPath, take_over: bool = False) -> Iterator[Callable[[], str | None]]:
    """Hold a lock object for the life of the block; gives what tells why it is not held any more, None while it is.

    Raises
    ------
    StoreError
        If another process holds it, or may hold it on another host.
    """
    lease = _Lease(lock)
    lease.take(take_over)
    beating = threading.Thread(target=lease.beat, name="dnuc-lease", daemon=True)
    beating.start()
    try:
        yield lambda: lease.lost
    finally:
        lease.ended.set()
        beating.join()
        lease.release()


def lease_holder(lock: ObjectPath) -> dict[str, Any] | None:
    """Who holds a lock object, or may hold it on another host: {"host", "pid", "began"}; None if nobody does."""
    try:
        owner = _read(lock)
    except FileNotFoundError:
        return None
    return {key: owner[key] for key in ("host", "pid", "began")} if owner and not _is_gone(owner) else None


def is_own_process(owner: dict[str, Any]) -> bool:
    """Whether a holder is a process of this user on this machine, so that it may be sent a signal."""
    try:
        return not _is_gone(owner | {"machine": _machine()}) and psutil.Process(owner["pid"]).uids().real == os.getuid()
    except psutil.Error:
        return False


class _Lease:
    """What this process does to hold a lock object."""

    def __init__(self, lock: ObjectPath) -> None:
        self.lock, self.ended = lock.briskly(), threading.Event()
        self.lost: str | None = None
        self._me: dict[str, Any] = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "began": _began(os.getpid()),
            "machine": _machine(),
            "token": uuid.uuid4().hex,
            "beats": 0,
        }
        self._version = ""

    def _sign(self) -> bytes:
        self._me["beats"] += 1  # the version of an object is a hash of its content
        return json.dumps(self._me).encode()

    def take(self, take_over: bool) -> None:
        """Become the holder."""
        owner: dict[str, Any] = {}
        for _ in range(TRIES):
            version = self.lock.create(self._sign())
            if version is None:
                try:
                    (before, _), owner = self.lock.version(), _read(self.lock)
                except FileNotFoundError:
                    continue
                if owner.get("token") == self._me["token"]:
                    version = before  # written, but the answer was lost, and the client's next try met its first
                else:
                    self._refuse(owner, take_over)
                    version = self.lock.exchange(self._sign(), before)
            if version is not None:
                self._version = version
                return
        raise StoreError(_in_use(self.lock, owner))

    def _refuse(self, owner: dict[str, Any], take_over: bool) -> None:
        if not owner or _is_gone(owner):
            return
        silent = self._silence()
        if not (take_over and silent > SILENT):
            raise StoreError(_in_use(self.lock, owner, silent))

    def _silence(self) -> float:
        """Seconds since the lock was last written, by the store's own clock."""
        try:
            then = self.lock.version()[1]
            probe = self.lock.parent / f".clock-{uuid.uuid4().hex}"
            probe.write_bytes(b"")
            now = probe.version()[1]
            probe.unlink()
        except FileNotFoundError:
            return 0.0
        return float((now - then).total_seconds())

    def beat(self) -> None:
        """Sign again and again, until the block ends or somebody else has signed."""
        while not self.ended.wait(BEAT):
            with suppress(StoreError):  # a network that fails for a while costs nothing if nobody takes over meanwhile
                if not self._renew():
                    self.lost = f"its lock was taken over{self._by_whom()}"
                    return

    def _renew(self) -> bool:
        try:
            version = self.lock.exchange(self._sign(), self._version)
            if version is None and _read(self.lock).get("token") == self._me["token"]:
                version = self.lock.version()[0]  # as when it was taken: the answer was lost
        except FileNotFoundError:  # deleted by hand
            version = self.lock.create(self._sign())
        self._version = version or self._version
        return version is not None

    def _is_mine(self) -> bool:
        try:
            return _read(self.lock).get("token") == self._me["token"]
        except FileNotFoundError:
            return False

    def _by_whom(self) -> str:
        with suppress(FileNotFoundError, StoreError):
            owner = _read(self.lock)
            if owner:
                return f" by process {owner['pid']} on {owner['host']}"
        return ""

    def release(self) -> None:
        """Leave the lock to others. If it cannot be reached, the next run on this machine sees that nobody holds it."""
        with suppress(FileNotFoundError, StoreError):
            if self.lost is None and self._is_mine():
                self.lock.unlink()


def _read(lock: ObjectPath) -> dict[str, Any]:
    """Who a lock names; nobody if dnuc did not write it."""
    try:
        found = dict(json.loads(lock.read_text()))
    except (ValueError, TypeError):
        return {}
    whole = {"host", "began", "machine", "token"} <= found.keys() and isinstance(found.get("pid"), int)
    return found if whole else {}


def _is_gone(owner: dict[str, Any]) -> bool:
    """Whether a holder was a process of this machine that has ended; of another machine that cannot be known."""
    return bool(owner["machine"] == _machine() and _began(owner["pid"]) != owner["began"])


def _began(pid: int) -> float | None:
    """When a process of this machine began, by a clock that nobody sets; None if it has ended.

    Its number alone may by now be another's.
    """
    try:
        state = Path(f"/proc/{int(pid)}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None if Path("/proc/self/stat").exists() else _created(pid)
    return None if state[0] in "ZX" else float(state[19])


def _created(pid: int) -> float | None:
    """The same where there is no /proc."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def _machine() -> str:
    """What numbers of processes belong to: the machine since its start, and the container on it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _in_use(lock: ObjectPath, owner: dict[str, Any], silent: float = 0.0) -> str:
    who = f"process {owner['pid']} on {owner['host']}" if owner else "another process, which has just started"
    text = f"{lock.parent} is in use by {who}"
    if silent > SILENT:
        return (
            f"{text}, which has shown no sign of life for {silent:.0f} s. If it is gone, say --take-over; if it lives, "
            "it ends as soon as it notices"
        )
    return f"{text}: wait for it, or end it with `dnuc cancel {lock.parent}`"
