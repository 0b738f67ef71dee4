"""Bytes that this process reads and writes, counted at the doors they pass: for whoever watches a run."""

from __future__ import annotations

import threading
from typing import NamedTuple


class Traffic(NamedTuple):
    """Bytes of arrays as they are in memory (stored ones may be compressed), and of image files as they are."""

    read: int = 0
    written: int = 0

    def since(self, before: Traffic) -> Traffic:
        """What came after an earlier count.

        >>> Traffic(30, 5).since(Traffic(10, 5))
        Traffic(read=20, written=0)
        """
        return Traffic(self.read - before.read, self.written - before.written)


_total = Traffic()
_changing = threading.Lock()


def count_traffic(*, read: int = 0, written: int = 0) -> None:
    """Some bytes passed."""
    global _total
    with _changing:
        _total = Traffic(_total.read + read, _total.written + written)


def total_traffic() -> Traffic:
    """All that passed since this process began."""
    return _total
