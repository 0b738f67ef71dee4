"""A log that grows line by line, also where nothing can be appended to."""

from __future__ import annotations

import threading
from typing import Protocol

from dnuc.location.objects import Location, ObjectPath


class Journal(Protocol):
    """Lines are added from any thread."""

    def add(self, line: str) -> None:
        """Note a line."""

    def flush(self) -> None:
        """What is noted can be read by others then."""


def journal(path: Location) -> Journal:
    """The log at a path, which goes on where it ends."""
    return _Whole(path) if isinstance(path, ObjectPath) else _Appended(path)


class _Appended:
    """Each line is in the file at once."""

    def __init__(self, path: Location) -> None:
        self._path = path

    def add(self, line: str) -> None:
        with open(str(self._path), "a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def flush(self) -> None:
        pass


class _Whole:
    """The object is written anew with all its lines, when it is flushed: as often as progress.json, not oftener."""

    def __init__(self, path: ObjectPath) -> None:
        self._path, self._lock = path, threading.Lock()
        self._text: str | None = None
        self._new: list[str] = []

    def add(self, line: str) -> None:
        with self._lock:
            self._new.append(f"{line}\n")

    def flush(self) -> None:
        with self._lock:
            if not self._new:
                return
            if self._text is None:
                try:
                    self._text = self._path.read_text()
                except FileNotFoundError:
                    self._text = ""
            self._text += "".join(self._new)
            self._new.clear()
            self._path.write_text(self._text)
