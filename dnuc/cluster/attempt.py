"""An attempt at a task, on the worker: it says that it begins, and returns what it cost beside its result."""

from __future__ import annotations

import errno
import os
import re
import resource
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from distributed import get_worker

from dnuc.cluster.compiling import announce_compiling
from dnuc.errors import DnucError
from dnuc.traffic import Traffic, total_traffic

FINAL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # of a disk that is full or read-only, also a moment later
STATUS, PEAK_RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")  # Linux


class Outcome(NamedTuple):
    """What a task returned, and what its process has used since the first task with the same `measure`."""

    result: Any
    worker: str
    process: str
    peak_memory: int  # bytes
    traffic: Traffic
    measure: str = ""


def plain(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function on a worker. A refusal is returned, not raised: to try again would only refuse again."""
    try:
        return function(*args)
    except DnucError as error:
        return error
    except OSError as error:
        if error.errno in FINAL:
            return error
        raise


def attempt(topic: str, measure: str, function: Callable[..., Any], *args: Any) -> Outcome:
    """The same for a client that listens to `topic` and wants to know what it costs."""
    worker = get_worker()
    about = {"key": worker.get_current_task(), "worker": str(worker.name)}
    worker.log_event(topic, {"dnuc": "begun", **about})
    announce_compiling(lambda text: worker.log_event(topic, {"dnuc": "note", "text": text, **about}))
    before = _before(measure)
    try:
        result = plain(function, *args)
    except Exception as error:
        worker.log_event(topic, {"dnuc": "failed", "error": f"{type(error).__name__}: {error}"[:500], **about})
        raise
    passed = total_traffic().since(before)
    return Outcome(result, str(worker.name), this_process(), peak_memory(), passed, measure)


_measure, _start = "", Traffic()
_changing = threading.Lock()


def _before(measure: str) -> Traffic:
    """The bytes that passed before the first task with this `measure`, at which the peak of memory starts anew."""
    global _measure, _start
    with _changing:
        if measure != _measure:
            _measure, _start = measure, total_traffic()
            with suppress(OSError):  # where it cannot be, peaks are those since the worker began
                PEAK_RESET.write_text("5", encoding="ascii")
        return _start


def peak_memory() -> int:
    """Most bytes of memory that this process had at any moment."""
    with suppress(OSError):
        if found := re.search(r"^VmHWM:\s*(\d+) kB$", STATUS.read_text(encoding="ascii"), re.MULTILINE):
            return 1024 * int(found[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def this_process() -> str:
    """A name of this process that no other has, on any machine."""
    return f"{socket.gethostname()}:{os.getpid()}"
