"""numba compiles what it has not yet in its cache: half a minute on a fresh installation, of which a task says so."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache

NOTE = "compiling, once on this installation"

_listeners: list[Callable[[str], None]] = []  # one: the task that began last


def announce_compiling(announce: Callable[[str], None]) -> None:
    """From now on, `announce` is called when a function is compiled in this process; nothing, if numba is not used."""
    _listeners[:] = [announce]
    if "numba" in sys.modules:
        _listen()


@cache
def _listen() -> None:
    """Once a process."""
    from numba.core import event

    class Compiling(event.Listener):
        def on_start(self, event: event.Event) -> None:
            for announce in _listeners:
                announce(NOTE)

        def on_end(self, event: event.Event) -> None:
            pass

    event.register("numba:compile", Compiling())
