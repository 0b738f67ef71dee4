"""Which rows Parquet files of images have: their ids, their classes, and in which row group each is."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dnuc.errors import DataError

IMAGE, LABEL = "image", "label"  # columns
WRONG = (pa.ArrowException, OSError)  # what pyarrow raises for files that are missing, damaged, or no Parquet


def find_files(path: Path) -> tuple[Path, ...]:
    """The files that a path names, sorted.

    Raises
    ------
    DataError
        If there are none, or those of a directory are of several splits ("train-...", "validation-...").
    """
    if path.is_dir():
        found = sorted(p for p in path.glob("*.parquet") if not p.name.startswith("."))
        splits = sorted({p.name.split("-")[0] for p in found}) if len(found) > 1 else []
        if len(splits) > 1:
            shown = ", ".join(f"'{path}/{split}-*.parquet'" for split in splits[:5])
            raise DataError(
                f"data.path = '{path}' holds files of several splits; give one of them as a pattern: {shown}"
            )
    else:
        found = [path] if path.is_file() else sorted(path.parent.glob(path.name))
    if not found:
        raise DataError(f"data.path = '{path}': no .parquet file there, nor files of this pattern")
    return tuple(found)


@dataclass(frozen=True)
class Part:
    """A file and what its row groups are."""

    path: Path
    changed: int
    first: int  # row, over all files
    starts: tuple[int, ...]  # row of the file at which each row group starts, and their end


@dataclass(frozen=True, eq=False)
class Rows:
    """Every row of the files, a `drawing.Catalog`.

    Attributes
    ----------
    id : (n,) bytes
        Ids in UTF-8, sorted: a dictionary of a million ids would take four times the memory.
    row : (n,) int64
        The row of each, over all files.
    code : (n,) int64
        Its class, a position in `keys`.
    """

    parts: tuple[Part, ...]
    keys: tuple[str, ...]
    id: np.ndarray
    row: np.ndarray
    code: np.ndarray
    where: str

    def ids_of(self, key: str) -> Sequence[str]:
        """The ids of a class, sorted."""
        return [sample_id.decode() for sample_id in self.id[self.code == self.keys.index(key)].tolist()]

    def locate(self, given: str) -> tuple[str, str] | None:
        """The class key and the id of a line of `data.ids`, which must be a whole id."""
        position = self._position(given)
        return None if position is None else (self.keys[self.code[position]], given)

    def find(self, sample_id: str) -> int | None:
        """The row of an id; None if there is no such id."""
        position = self._position(sample_id)
        return None if position is None else int(self.row[position])

    def _position(self, sample_id: str) -> int | None:
        wanted = sample_id.encode("utf-8", "surrogateescape")
        if len(wanted) > self.id.itemsize:  # a search would widen all ids
            return None
        position = int(np.searchsorted(self.id, wanted))
        return position if position < len(self.id) and self.id[position] == wanted else None

    def place(self, row: int) -> tuple[Part, int, int]:
        """The file, the row group and the row in it."""
        part = self.parts[int(np.searchsorted([p.first for p in self.parts], row, side="right")) - 1]
        group = int(np.searchsorted(part.starts, row - part.first, side="right")) - 1
        return part, group, row - part.first - part.starts[group]


def rows_of(files: tuple[Path, ...], named: tuple[str, ...] | None = None) -> Rows:
    """Labels and paths of all rows, read once a process; no image.

    `named` is what the classes 0, 1, ... are called, in place of what the files say.

    Raises
    ------
    DataError
        If a file is damaged, has not the columns, or names other classes than the first; or two rows have one id.
    """
    with _reading:  # several threads may ask at once
        return _read_rows(files, tuple(path.stat().st_mtime_ns for path in files), named)


_reading = threading.Lock()


@lru_cache(maxsize=2)
def _read_rows(files: tuple[Path, ...], changed: tuple[int, ...], named: tuple[str, ...] | None) -> Rows:
    parts, labels, names, first = [], [], [], 0
    classes: list[str] | None = None
    for number, (path, mtime) in enumerate(zip(files, changed, strict=True)):
        try:
            with pq.ParquetFile(path) as file:
                _check_columns(path, file.schema_arrow)
                told = _class_names(path, file.schema_arrow)
                sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
                has_path = "path" in [field.name for field in file.schema_arrow.field(IMAGE).type]
                table = file.read(columns=[LABEL, *([f"{IMAGE}.path"] if has_path else [])])
        except WRONG as error:
            raise DataError(f"'{path}' is damaged or no Parquet file: {error}; get it again") from error
        if number and told != classes:
            raise DataError(f"'{path}' names other classes than '{files[0]}': they are not of one data set")
        classes = told
        parts.append(Part(path, mtime, first, tuple(np.cumsum([0, *sizes]).tolist())))
        labels.append(_labels(path, table[LABEL]))
        given = table[IMAGE].flatten()[0].to_pylist() if has_path else [None] * len(table)
        names += [_name(p, path.stem, row) for row, p in enumerate(given)]
        first += len(table)
    return _with_ids(tuple(parts), np.concatenate(labels), names, classes if named is None else named, files)


def _check_columns(path: Path, schema: pa.Schema) -> None:
    """Refuse files of another form, before any row is read."""
    told = ", ".join(f"{field.name}: {field.type}" for field in schema)
    image = schema.field(IMAGE).type if IMAGE in schema.names else None
    fields = {field.name: field.type for field in image} if image is not None and pa.types.is_struct(image) else {}
    binary = "bytes" in fields and (pa.types.is_binary(fields["bytes"]) or pa.types.is_large_binary(fields["bytes"]))
    if not binary:
        raise DataError(
            f"'{path}' has no column {IMAGE!r} of struct<bytes: binary, path: string>; its columns are {told}"
        )
    if LABEL not in schema.names or not pa.types.is_integer(schema.field(LABEL).type):
        raise DataError(f"'{path}' has no column {LABEL!r} of integers; its columns are {told}")


def _class_names(path: Path, schema: pa.Schema) -> list[str] | None:
    """What Hugging Face's metadata calls the labels 0, 1, ...; None without it."""
    text = (schema.metadata or {}).get(b"huggingface")
    if text is None:
        return None
    try:
        feature = json.loads(text)["info"]["features"][LABEL]
    except (ValueError, KeyError, TypeError):
        return None
    names = feature.get("names") if isinstance(feature, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    return names if len(set(names)) == len(names) else [f"{number} {name}" for number, name in enumerate(names)]


def _labels(path: Path, column: Any) -> np.ndarray:
    if column.null_count:
        raise DataError(f"'{path}': {column.null_count} rows have no label; leave them out")
    return np.asarray(column).astype(np.int64)


def _name(path: str | None, stem: str, row: int) -> str:
    """The last part of an image's path; nothing is opened by it."""
    name = PurePosixPath(path).name if path else ""
    return name if name not in ("", "..") else f"{stem}-{row:07d}"


def _with_ids(
    parts: tuple[Part, ...],
    labels: np.ndarray,
    names: list[str],
    classes: Sequence[str] | None,
    files: tuple[Path, ...],
) -> Rows:
    """Ids from class keys and names, and where each is."""
    present, code = np.unique(labels, return_inverse=True)
    if not len(present):
        raise DataError(f"'{files[0]}' has no rows")
    if classes is not None and not 0 <= present[0] <= present[-1] < len(classes):
        wrong = present[0] if present[0] < 0 else present[-1]
        raise DataError(
            f"'{files[0]}': {len(classes)} classes have a name, 0 .. {len(classes) - 1}, but there is a label {wrong}"
        )
    keys = tuple(str(label) if classes is None else classes[label] for label in present.tolist())
    ids = np.array([f"{keys[c]}/{name}".encode() for c, name in zip(code.tolist(), names, strict=True)])
    row = np.argsort(ids, kind="stable")
    ids = ids[row]
    twice = np.flatnonzero(ids[1:] == ids[:-1])
    if len(twice):
        raise DataError(
            f"{len(twice)} rows have the id of another one, which is its class and the last part of its path, e.g. "
            f"{ids[twice[0]].decode()!r} is in rows {row[twice[0]]} and {row[twice[0] + 1]} of the files; give the "
            "images of a class different file names, or none"
        )
    where = f"'{files[0]}'" + (f" and {len(files) - 1} more files" if len(files) > 1 else "")
    return Rows(parts, keys, ids, row, code[row], where)
