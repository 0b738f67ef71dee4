"""Paths in object stores, which answer as `pathlib.Path` does."""

from __future__ import annotations

import mimetypes
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dnuc.errors import StoreError, closest
from dnuc.location.bucket import SCHEMES, explained, opened

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://([^/]*)/?(.*)", re.DOTALL)
_COLLAPSED = re.compile(rf"({'|'.join(SCHEMES)}):/(?=[^/])")  # what pathlib makes of s3://


@dataclass(frozen=True)
class ObjectPath:
    """An object, or what lies below a prefix: "s3://bucket/runs/digits". Small to pickle: only the address travels.

    An object is written whole or not at all, and whoever reads it afterwards sees it: S3 and Google Cloud Storage
    both promise that. There are no directories: one is there as long as an object is below it.
    """

    scheme: str
    bucket: str
    key: str
    brisk: bool = field(default=False, compare=False)  # gives up within seconds: for what is asked again and again

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}" + (f"/{self.key}" if self.key else "")

    def __truediv__(self, part: str) -> ObjectPath:
        steps = [step for step in f"{self.key}/{part}".split("/") if step]
        return ObjectPath(self.scheme, self.bucket, "/".join(steps))

    @property
    def name(self) -> str:
        """The last part."""
        return self.key.rpartition("/")[2] or self.bucket

    @property
    def parent(self) -> ObjectPath:
        """What this lies in."""
        return ObjectPath(self.scheme, self.bucket, self.key.rpartition("/")[0])

    def resolve(self) -> ObjectPath:
        """Itself: it is absolute, and has no links."""
        return self

    def briskly(self) -> ObjectPath:
        """The same place, for requests that do not wait for minutes where the network fails."""
        return replace(self, brisk=True)

    def absolute(self) -> ObjectPath:
        """Itself."""
        return self

    # --- reading and writing ------------------------------------------------------------------------------------

    def is_file(self) -> bool:
        """Whether there is such an object."""
        try:
            self.version()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Whether any object is below."""
        import obstore

        with self._explained():
            return any(len(batch) for batch in obstore.list(self._store(), self.key or None, chunk_size=1))

    def exists(self) -> bool:
        """Whether there is such an object, or any below."""
        return self.is_dir() or self.is_file()

    def read_bytes(self) -> bytes:
        """The object's content; FileNotFoundError if there is none."""
        import obstore

        with self._explained():
            return bytes(obstore.get(self._store(), self.key).bytes())

    def read_text(self, encoding: str = "utf-8") -> str:
        """The object's content as text."""
        return self.read_bytes().decode(encoding)

    def write_bytes(self, content: bytes) -> int:
        """Write the object."""
        self._put(content, "overwrite")
        return len(content)

    def create(self, content: bytes) -> str | None:
        """Write the object if there is none, and return the mark of its version; None if there is one."""
        from obstore.exceptions import AlreadyExistsError

        try:
            return self._put(content, "create")
        except AlreadyExistsError:
            return None

    def exchange(self, content: bytes, version: str) -> str | None:
        """Write the object over just this version, and return the mark of the new one; None if it is another by now.

        FileNotFoundError if there is none.
        """
        from obstore.exceptions import PreconditionError

        try:
            return self._put(content, {"e_tag": version})
        except PreconditionError:
            return None

    def _put(self, content: bytes, mode: Any) -> str:
        import obstore

        kind = mimetypes.guess_type(self.name)[0]
        attributes: Any = {"Content-Type": kind} if kind else {}
        with self._explained():
            return str(obstore.put(self._store(), self.key, content, mode=mode, attributes=attributes)["e_tag"])

    def write_text(self, text: str, encoding: str = "utf-8") -> int:
        """Write the object."""
        return self.write_bytes(text.encode(encoding))

    def version(self) -> tuple[str, Any]:
        """The mark of the object's version, and when it was written by the store's own clock."""
        import obstore

        with self._explained():
            found = obstore.head(self._store(), self.key)
            return str(found["e_tag"]), found["last_modified"]

    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the object. Stores do not tell whether there was one: `missing_ok` is for pathlib's callers."""
        import obstore

        try:
            with self._explained():
                obstore.delete(self._store(), self.key)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def below(self) -> list[ObjectPath]:
        """Every object below, in the order of their keys."""
        import obstore

        with self._explained():
            found = obstore.list(self._store(), self.key or None).collect()
        return [ObjectPath(self.scheme, self.bucket, key) for key in sorted(str(entry["path"]) for entry in found)]

    def remove(self, paths: list[ObjectPath]) -> None:
        """Delete objects of this bucket, many in one request."""
        import obstore

        if paths:
            with self._explained():
                obstore.delete(self._store(), [path.key for path in paths])

    def check(self) -> None:
        """Look whether the bucket is there and may be listed, without long patience.

        Raises
        ------
        StoreError
            If not: no such bucket, no permission, no credentials, no network.
        """
        import obstore

        with self._explained():
            next(iter(obstore.list(self.briskly()._store(), self.key or None, chunk_size=1)), None)

    def store(self) -> Any:
        """The obstore store of what lies below: what Zarr is given."""
        return opened(self.scheme, self.bucket, self.key)

    def _store(self) -> Any:
        return opened(self.scheme, self.bucket, brisk=self.brisk)

    def _explained(self) -> Any:
        return explained(self.scheme, self.bucket, self.key)


Location = Path | ObjectPath


def locate(given: str | Path | ObjectPath) -> Location:
    """A directory by its path, an object store's by its URL.

    Raises
    ------
    StoreError
        If it is the URL of something else.

    >>> locate("s3://bucket/runs/digits").name, locate("runs/digits").name
    ('digits', 'digits')
    """
    if isinstance(given, ObjectPath):
        return given
    match = _URL.fullmatch(_COLLAPSED.sub(r"\1://", str(given), count=1))
    if match is None:
        return Path(given)
    scheme, bucket, key = match.groups()
    if scheme.lower() not in SCHEMES:
        raise StoreError(f"{str(given)!r}: a run directory is a path, s3://... or gs://...; {closest(scheme, SCHEMES)}")
    steps = key.split("/") if key else []
    if steps and not steps[-1]:
        steps.pop()
    if not bucket or any(step in ("", ".", "..") for step in steps):
        raise StoreError(
            f"{str(given)!r}: give {scheme}://BUCKET/PLACE/OF/THE/RUN, e.g. {scheme}://results/runs/digits"
        )
    return ObjectPath(scheme.lower(), bucket, "/".join(steps))
