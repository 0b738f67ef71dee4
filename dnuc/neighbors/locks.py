"""Locks of the candidate lists of a tile: two threads never add to the lists of one row at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Lock

Piece = tuple[slice, slice]


class RowLocks:
    """A lock for the rows and one for the columns of every piece; the same ones if both sides are the same block."""

    def __init__(self, pieces: Iterable[Piece], same: bool) -> None:
        self._shared = same
        self._locks: dict[tuple[str, int], Lock] = {}
        for piece in pieces:
            for key in self._keys(piece):
                self._locks.setdefault(key, Lock())

    def _keys(self, piece: Piece) -> list[tuple[str, int]]:
        rows, cols = piece
        return sorted({("rows", rows.start), ("rows" if self._shared else "cols", cols.start)})

    @contextmanager
    def hold(self, piece: Piece) -> Iterator[None]:
        """Whoever holds a piece's locks may add to the lists of its rows and columns. One order prevents deadlock."""
        keys = self._keys(piece)
        for key in keys:
            self._locks[key].acquire()
        try:
            yield
        finally:
            for key in keys:
                self._locks[key].release()
