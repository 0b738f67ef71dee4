"""Where in a tar archive each image is, so that one is read by a single seek: an index that is built once and kept."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

import numpy as np

from dnuc.errors import DataError, StoreError
from dnuc.location import Location, ObjectPath

BLOCK = 512  # bytes: a tar archive is made of such


@dataclass(frozen=True)
class Span:
    """A tar archive: a file, or a piece of one (an archive within an archive). It is what it was while stat says so."""

    path: Path
    start: int
    size: int
    changed: int  # of the file, in nanoseconds

    @classmethod
    def of(cls, path: Path) -> Span:
        """A whole file."""
        try:
            stat = path.stat()
        except OSError as error:
            raise DataError(f"archive '{path}' cannot be read: {error}") from error
        return cls(path, 0, stat.st_size, stat.st_mtime_ns)

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"'{self.path}'" + (f" (the archive at byte {self.start:,})" if self.start else "")

    def read(self, offset: int, size: int) -> bytes:
        """Some bytes; fewer where the file ends."""
        with open(self.path, "rb") as file:
            file.seek(self.start + offset)
            return file.read(size)


@dataclass(frozen=True, eq=False)
class Members:
    """The files in an archive, sorted by name.

    Attributes
    ----------
    name : (n,) bytes
        UTF-8, without directories.
    offset, size : (n,) int64
        Where the content starts in the archive, and its length.
    """

    name: np.ndarray
    offset: np.ndarray
    size: np.ndarray

    @property
    def names(self) -> list[str]:
        """The names as text."""
        return [name.decode() for name in self.name.tolist()]

    def find(self, name: str) -> tuple[int, int] | None:
        """Offset and size of a file; None if there is none of that name."""
        wanted = name.encode("utf-8", "surrogateescape")
        if len(wanted) > self.name.itemsize:  # a search would widen all names
            return None
        row = int(np.searchsorted(self.name, wanted))
        if row == len(self.name) or self.name[row] != wanted:
            return None
        return int(self.offset[row]), int(self.size[row])


@lru_cache(maxsize=4096)
def members_of(span: Span, directory: str, cache: Location | None = None) -> Members:
    """The files of an archive, from the index that is kept in `cache`, or else by reading all headers once.

    Parameters
    ----------
    span : the archive.
    directory : the one directory that files in it may be in ("n01443537/x.JPEG"); its name in the cache too.
    cache : where indices are kept; only in memory, some 50 bytes an image, when absent.

    Raises
    ------
    DataError
        If it is no plain tar archive, is truncated or damaged, or holds a file whose name leads elsewhere, a link, or
        a name twice.
    """
    if cache is None:
        return _scan(span, directory)
    path = cache / f"{directory or 'all'}.npz"
    found = _load(path, span)
    if found is None:
        found = members_of(span, directory)
        _save(path, span, found)
    return found


def _load(path: Location, span: Span) -> Members | None:
    """What was kept of just this archive; None if it has changed, or nothing readable was kept."""
    try:
        source = io.BytesIO(path.read_bytes()) if isinstance(path, ObjectPath) else path
        with np.load(source, allow_pickle=False) as file:
            if file["archive"].tolist() == [span.start, span.size, span.changed]:
                return Members(file["name"], file["offset"], file["size"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass
    return None


def _save(path: Location, span: Span, members: Members) -> None:
    """Keep an index, whole or not at all; where nothing can be kept it is read from the archive again."""
    archive = np.array([span.start, span.size, span.changed], dtype=np.int64)
    arrays: Any = {"archive": archive, "name": members.name, "offset": members.offset, "size": members.size}
    with suppress(OSError, StoreError):
        if isinstance(path, ObjectPath):
            buffer = io.BytesIO()
            np.savez(buffer, **arrays)
            path.write_bytes(buffer.getvalue())
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".partial", delete=False) as file:
            np.savez(file, **arrays)
        os.replace(file.name, path)


def _scan(span: Span, directory: str) -> Members:
    """Read every header of an archive; its contents are skipped."""
    found: dict[str, tuple[int, int]] = {}
    try:
        with io.BufferedReader(_Piece(span)) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                if member.isdir():
                    continue
                name = _checked_name(member, directory, span)
                if name in found:
                    raise DataError(f"archive {span.name} holds {member.name!r} twice; pack it again with one of them")
                found[name] = (member.offset_data, member.size)
            _check_end(cast(BinaryIO, file), archive.offset, span)
    except (tarfile.TarError, OSError) as error:
        raise DataError(
            f"archive {span.name} is truncated, damaged, or no plain tar archive: {error}; get it again, or unpack it "
            "first if it is compressed"
        ) from error
    names = sorted(name.encode() for name in found)
    places = np.array([found[name.decode()] for name in names], dtype=np.int64).reshape(-1, 2)
    return Members(np.array(names, dtype=np.bytes_), places[:, 0], places[:, 1])


def _checked_name(member: tarfile.TarInfo, directory: str, span: Span) -> str:
    """The name of a file without its directory. Nothing is unpacked, but names become ids, so they must be plain."""
    parts = [part for part in PurePosixPath(member.name).parts if part != "."]
    if member.name.startswith("/") or ".." in parts or not parts:
        raise DataError(f"archive {span.name} holds {member.name!r}, a name that leads out of it; it is not read")
    if len(parts) > 2 or (len(parts) == 2 and parts[0] != directory):
        raise DataError(
            f"archive {span.name} holds {member.name!r}; files must lie at its top or in one directory {directory!r}"
        )
    if not member.isreg() or member.sparse is not None:
        raise DataError(f"archive {span.name} holds {member.name!r}, a link or special file; pack the file itself")
    try:
        parts[-1].encode()
    except UnicodeEncodeError:
        raise DataError(
            f"archive {span.name} holds {member.name!r}, a name that is not UTF-8; rename the file"
        ) from None
    return parts[-1]


def _check_end(file: BinaryIO, offset: int, span: Span) -> None:
    """After the last file comes a block of zeros. tarfile stops without a word where it cannot read a header."""
    file.seek(offset)
    block = file.read(BLOCK)
    if block != bytes(BLOCK):
        what = "ends without the mark that ends an archive" if len(block) < BLOCK else f"is damaged at byte {offset:,}"
        raise DataError(f"archive {span.name} {what}: files may be missing; get it again")


class _Piece(io.RawIOBase):
    """A piece of a file as a file."""

    def __init__(self, span: Span) -> None:
        self._file = open(span.path, "rb", buffering=0)  # noqa: SIM115 - closed by close
        self._start, self._size, self._at = span.start, span.size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = max(0, min(len(buffer), self._size - self._at))
        self._file.seek(self._start + self._at)
        read = self._file.readinto(memoryview(buffer)[:count]) or 0
        self._at += read
        return read

    def close(self) -> None:
        self._file.close()
        super().close()
