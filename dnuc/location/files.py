"""What a directory and an object store do differently: writing whole files, deleting trees, filling a directory."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dnuc.location.objects import Location, ObjectPath

LAST = "index.html"  # what leads to the other files is put in place after them


def replace_file(path: Location, text: str) -> None:
    """Write a file that others may be reading, whole or not at all. Only one process may do so at a time."""
    if isinstance(path, ObjectPath):
        path.write_text(text)
        return
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def remove_tree(path: Location, *, strict: bool = True) -> None:
    """Delete everything below; if not `strict`, it need not be there. Of an object store: what describes it first."""
    if not isinstance(path, ObjectPath):
        shutil.rmtree(path, ignore_errors=not strict)
        return
    objects = path.below()
    described = [o for o in objects if o.name == "zarr.json"]
    # Without its description a group or array is none, whatever an interrupted deletion leaves of it.
    path.remove([o for o in described if o.parent == path])
    path.remove([o for o in described if o.parent != path])
    path.remove([o for o in objects if o.name != "zarr.json"])


def subdirectories(path: Location) -> list[Location]:
    """The directories in a directory."""
    if not isinstance(path, ObjectPath):
        return [entry for entry in path.iterdir() if entry.is_dir()]
    inside = len(path.key) + 1 if path.key else 0
    below = [o.key[inside:].split("/") for o in path.below()]
    return [path / name for name in dict.fromkeys(parts[0] for parts in below if len(parts) > 1)]


def free_bytes(path: Location) -> int | None:
    """Room on the disk where a directory is, or will be; None for an object store, which is never full."""
    if isinstance(path, ObjectPath):
        return None
    there = next(p for p in (path, *path.parents) if p.exists())
    return shutil.disk_usage(there).free


@contextmanager
def filled(path: Location) -> Iterator[Path]:
    """A directory to write files into: `path` itself, or one whose files replace at the end what is in the store."""
    if not isinstance(path, ObjectPath):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="dnuc-") as temporary:
        yield Path(temporary)
        _upload(Path(temporary), path)


def _upload(directory: Path, path: ObjectPath) -> None:
    before = path.below()
    files = sorted((f for f in directory.rglob("*") if f.is_file()), key=lambda f: (f.name == LAST, f))
    written = []
    for file in files:
        written.append(path / file.relative_to(directory).as_posix())
        written[-1].write_bytes(file.read_bytes())
    kept = set(written)
    path.remove([o for o in before if o not in kept])
