"""Images in Parquet files as Hugging Face's data sets have them: a column of encoded images, and one of labels."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow.parquet as pq

from dnuc.data.decoding import decode
from dnuc.data.drawing import select
from dnuc.data.parquet_rows import IMAGE, WRONG, Part, Rows, find_files, rows_of
from dnuc.data.samples import Samples, TrainTest
from dnuc.data.text import read_ids
from dnuc.errors import DataError, ResourceError
from dnuc.job import Data

GROUPS_KEPT = 2  # row groups in memory: the one that is read from, and the one that is read ahead
LARGEST_GROUP = 2**30  # bytes


@dataclass(frozen=True)
class ParquetImages:
    """Images of the column `image`, a struct of bytes and path, with integers in the column `label`.

    `data.path` is a file, a directory of .parquet files, or a pattern of files ("imagenet/train-*.parquet"). The class
    keys are the lines of `data.labels` for label 0, 1, ..., else the names that Hugging Face's `datasets` writes into
    the files' metadata, else the labels as text. Ids are "CLASS/FILE" with the last part of the image's path, or
    CLASS/PART-ROW where it has none.

    A file is read by row groups, whole ones, so samples come in the order of the rows, which for files that were made
    from an image folder is that of the folder: by class, then by id. Another order, by `data.ids`, is read as often as
    it jumps between row groups.
    """

    data: Data
    has_images: ClassVar[bool] = True

    def __reduce__(self) -> tuple[Any, ...]:
        return ParquetImages, (self.data,)  # what was found out of the files stays here

    def list(self, seed: int) -> Samples:
        """The samples in the order of the rows; or as `data.ids` lists them. No image is read.

        Raises
        ------
        DataError
            If a file is missing or damaged, or has not these columns, a label has no name; or as `drawing.select`.
        """
        samples = select(self._rows, self.data, seed)
        if self.data.ids is not None:
            return samples
        return samples.take(np.argsort([self._rows.find(sample_id) or 0 for sample_id in samples.id.tolist()]))

    def image(self, sample_id: str) -> np.ndarray:
        """One image as stored, converted to RGB: (height, width, 3) uint8.

        Raises
        ------
        DataError
            If there is no such image, it has no bytes, or it is damaged, no JPEG or PNG, or has more than 8 bits a
            channel.
        ResourceError
            If its row group has more than 1 GiB.
        """
        row = self._rows.find(sample_id)
        if row is None:
            raise DataError(f"image {sample_id!r} is not in {self._rows.where}; correct data.path")
        part, group, offset = self._rows.place(row)
        where = f"row {offset} of row group {group} in '{part.path}'"
        try:
            content = _groups.column(part, group)[offset]
        except WRONG as error:
            raise DataError(f"image {sample_id!r} ({where}) cannot be read: {error}; get the file again") from error
        if not content.is_valid:
            raise DataError(
                f"image {sample_id!r} ({where}) has no bytes, only a path; write the data set with its images"
            )
        return decode(io.BytesIO(content.as_buffer()), sample_id, where)

    def split(self, samples: Samples, seed: int) -> TrainTest:
        """Refused: training on Parquet files is not offered."""
        raise DataError(
            "data.source = 'parquet': training on Parquet files is not offered; remove [model.train] and give the "
            "model weights, an enum name such as 'DEFAULT', 'random', or a checkpoint file"
        )

    @cached_property
    def _rows(self) -> Rows:
        if self.data.path is None:
            raise DataError(
                "data.source = 'parquet' needs data.path: a .parquet file, a directory of such, or a pattern of files"
            )
        named = tuple(read_ids(self.data.labels, "data.labels")) if self.data.labels is not None else None
        return rows_of(find_files(self.data.path), named)


class _Groups:
    """The last row groups that were read, for all threads of a process; each is read by one of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[Path, int, int], _Group] = OrderedDict()

    def column(self, part: Part, group: int) -> Any:
        """The encoded images of a row group."""
        key = (part.path, part.changed, group)
        with self._lock:
            found = self._kept.setdefault(key, _Group())
            self._kept.move_to_end(key)
            while len(self._kept) > GROUPS_KEPT:
                self._kept.popitem(last=False)
        return found.read(part.path, group)


class _Group:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._column: Any = None

    def read(self, path: Path, group: int) -> Any:
        with self._lock:
            if self._column is None:
                self._column = _read_group(path, group)
            return self._column


_groups = _Groups()


def _read_group(path: Path, group: int) -> Any:
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        about = file.metadata.row_group(group)
        size = about.total_byte_size
        if size > LARGEST_GROUP:
            raise ResourceError(
                f"row group {group} of '{path}' has {size:,} bytes, read at once; at most {LARGEST_GROUP:,} are "
                f"allowed: write the file with at most {max(1, about.num_rows * LARGEST_GROUP // size)} rows a group"
            )
        return file.read_row_group(group, columns=[f"{IMAGE}.bytes"])[IMAGE].flatten()[0]
