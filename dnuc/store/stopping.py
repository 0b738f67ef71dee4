"""Ending a run from outside: by a signal on its own host, by a request in the run directory from any other.

A run ends as with Ctrl-C: what is finished is stored, the lock is released, and the same command goes on later.
"""

from __future__ import annotations

import getpass
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from dnuc.errors import StoreError
from dnuc.location import Location, ObjectPath
from dnuc.store.lease import is_own_process
from dnuc.store.lock import LOCK, holder

REQUEST = "cancel"  # in the run directory, while a run is active; who wants it to end writes into it
LOOK_EVERY = 1.0  # seconds between looks at it
LOOK_AT_OBJECTS = 3.0  # the same on an object store, where each is a request
LOOK_OFTEN = 0.1  # seconds between looks at whether a run has ended


class Stopped(KeyboardInterrupt):
    """The run was asked to end. As with Ctrl-C, nothing between here and the command line may take it for an error."""


@contextmanager
def stoppable(directory: Location, lost: Callable[[], str | None] = lambda: None) -> Iterator[None]:
    """While the block runs, SIGTERM and a request in the run directory end it by `Stopped`.

    So does the loss of the directory to another run, which `lost` tells; see `alone`.

    Batch systems, containers and service managers send SIGTERM before they kill. The request is written into a file
    that is there all the time: a network file system looks at an open file's content, while it may believe for a minute
    that a file which was not there is still not there. Python delivers signals to its main thread, so a run in another
    thread does not notice either.
    """
    request, ended = directory / REQUEST, threading.Event()
    pause = LOOK_EVERY
    if isinstance(request, ObjectPath):
        request, pause = request.briskly(), LOOK_AT_OBJECTS
    request.write_text("", encoding="utf-8")
    asked: list[str] = []

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(asked[0] if asked else "SIGTERM")

    def look() -> None:
        while not ended.wait(pause):
            with suppress(OSError, StoreError):
                asked.extend(request.read_text(encoding="utf-8").splitlines()[:1])
            asked.extend(reason for reason in [lost()] if reason is not None)
            if asked:
                os.kill(os.getpid(), signal.SIGTERM)
                return

    before, watcher = None, threading.Thread(target=look, name="dnuc-cancel", daemon=True)
    if threading.current_thread() is threading.main_thread():
        before = signal.signal(signal.SIGTERM, stop)
        watcher.start()
    try:
        yield
    finally:
        ended.set()
        if before is not None:
            watcher.join()
            signal.signal(signal.SIGTERM, before)
        with suppress(OSError):  # not there, or on a disk that is read-only by now
            request.unlink()


@contextmanager
def leaving_at_once(directory: Location) -> Iterator[None]:
    """While the block runs, a second Ctrl-C ends the process on the spot.

    The first one has what is finished stored, tasks cancelled and workers ended, which takes seconds, or for ever where
    a scheduler hangs. The second is for who does not want to wait: what is stored is whole at any moment. For command
    lines alone, as it ends the whole process; nothing is changed where Ctrl-C is ignored or handled by somebody else.
    """
    pressed: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        if pressed:
            with suppress(OSError):
                # of an object store it stays: the next run on this machine sees that its holder is gone
                if not isinstance(directory, ObjectPath) and (holder(directory) or {}).get("pid") == os.getpid():
                    (directory / LOCK).unlink()
            os.write(2, b"\nStopped at once. What is finished is stored: the same command goes on from here.\n")
            os._exit(130)
        pressed.append(number)
        os.write(2, b"\nStopping ... (Ctrl-C once more ends it at once)\n")
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        if not pressed:  # else the process ends, and may be told to hurry until it is gone
            signal.signal(signal.SIGINT, signal.default_int_handler)


def cancel(directory: Location, *, wait: float = 60.0, force: bool = False) -> str | None:
    """End the run that is active in a directory, and say how it ended; None if none is active.

    On this host its process gets SIGINT, as from Ctrl-C (unless it ignores that, as what a script starts in the
    background does), then SIGTERM, and with `force` SIGKILL, after which nothing is lost either. On another host, or as
    another user, it is asked in the run directory.

    wait : seconds that it has to end.

    Raises
    ------
    StoreError
        If it does not end in time, or cannot be asked.
    """
    owner = holder(directory)
    if owner is None:
        return None
    who = f"process {owner['pid']} on {owner['host']}"
    if owner["host"] == socket.gethostname() and _holds(owner, directory):
        pid = int(owner["pid"])
        first = () if _ignores_sigint(pid) else (signal.SIGINT,)
        signals = [*first, signal.SIGTERM, *((signal.SIGKILL,) if force else ())]
        for number in signals:
            os.kill(pid, number)
            if _gone(directory, owner, wait / len(signals)):
                return f"{who} ended by {number.name}"
        raise StoreError(
            f"{who} did not end within {wait:.0f} s: it may be storing a large result. Wait, or say --force to "
            "kill it; what is finished is stored either way"
        )
    _ask(directory, who)
    if _gone(directory, owner, wait):
        return f"{who} ended when asked"
    raise StoreError(
        f"{who} was asked to end, and did not within {wait:.0f} s: see whether it is alive. If it is gone, "
        + ("go on with --take-over" if isinstance(directory, ObjectPath) else f"delete {directory / LOCK}")
    )


def _ask(directory: Location, who: str) -> None:
    request, text = directory / REQUEST, f"cancelled by {_user()} on {socket.gethostname()}\n"
    try:
        if isinstance(request, ObjectPath):
            request.version()  # a run that does not look for it is not asked
            request.write_text(text)
            return
        with request.open("r+", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise StoreError(f"{who} cannot be asked to end: {error}") from None


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container knows no names
        return f"user {os.getuid()}"


def _holds(owner: dict[str, Any], directory: Location) -> bool:
    """Whether a process of this user has the lock file open: its number alone may by now be another's."""
    if isinstance(directory, ObjectPath):
        return is_own_process(owner)
    pid, lock = int(owner["pid"]), directory / LOCK
    try:
        return any(os.path.samefile(file.path, lock) for file in psutil.Process(pid).open_files())
    except (psutil.Error, OSError):
        return False


def _ignores_sigint(pid: int) -> bool:
    """As Linux tells it; elsewhere the signal is tried."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return False
    ignored = next((line.split()[1] for line in status.splitlines() if line.startswith("SigIgn:")), "0")
    return bool(int(ignored, 16) >> (signal.SIGINT - 1) & 1)


def _gone(directory: Location, owner: dict[str, Any], wait: float) -> bool:
    """Whether it lets go of the directory within so many seconds."""
    end = time.monotonic() + wait
    while holder(directory) == owner:
        if time.monotonic() > end:
            return False
        time.sleep(LOOK_EVERY if isinstance(directory, ObjectPath) else LOOK_OFTEN)
    return True
