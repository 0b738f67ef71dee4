"""Labels and ids of representations that something else computed; there are no images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from dnuc.data.labels import label_samples
from dnuc.data.samples import Samples, TrainTest
from dnuc.data.taxonomy import class_names
from dnuc.data.text import read_ids, read_lines
from dnuc.errors import DataError
from dnuc.job import Data


@dataclass(frozen=True)
class Arrays:
    """Samples known by their rows: row i of the given arrays is sample i, in the order of the arrays.

    `data.labels` names the class of each row: a .npy file of integers or strings, (N,), or a text file, one label
    a line. The class keys are the distinct labels as text, sorted; by value where all are integers. `data.ids`,
    optional, is a text file of N ids; without it they are row-000000, row-000001, ...
    """

    data: Data
    has_images: ClassVar[bool] = False

    def list(self, seed: int) -> Samples:
        """The samples in the order of the rows; nothing is drawn, so `seed` changes nothing.

        Raises
        ------
        DataError
            If there are no labels, the file is unreadable or of another form, or ids and labels differ in number.
        """
        labels = read_labels(self._labels_path)
        ids = _ids(self.data.ids, len(labels))
        if len(ids) != len(labels):
            raise DataError(
                f"data.ids = '{self.data.ids}' lists {len(ids)} ids and data.labels = '{self._labels_path}' "
                f"{len(labels)} labels; both need one for each row of the arrays"
            )
        return label_samples(ids, labels, class_names(_sorted_keys(labels), self.data), self.data)

    def image(self, sample_id: str) -> np.ndarray:
        """Refused: there are no images."""
        raise DataError(
            f"data.source = 'arrays' has no images, so none for {sample_id!r}: only representations are given"
        )

    def split(self, samples: Samples, seed: int) -> TrainTest:
        """Refused: there are no images to train on."""
        raise DataError(
            "data.source = 'arrays' has no images to train a network on; remove [model.train] and give the model's "
            "representations in [model.arrays], or choose another data.source"
        )

    @property
    def _labels_path(self) -> Path:
        if self.data.labels is None:
            raise DataError(
                "data.source = 'arrays' needs data.labels: a .npy file of (N,) integers or strings, or a text file "
                "with one label a line, in the order of the rows; without classes, give every row the same label"
            )
        return self.data.labels


def read_labels(path: Path) -> list[str]:
    """The class of each row, as text; see `Arrays` for the two forms of the file.

    Raises
    ------
    DataError
        If the file is missing, is not (N,) integers or strings, has no entry, or has an empty one (its row is named).
    """
    labels = _labels_of_array(path) if path.suffix.lower() == ".npy" else read_lines(path, "data.labels")
    if not labels:
        raise DataError(f"data.labels = '{path}' has no labels; it needs one for each row of the arrays")
    if "" in labels:
        raise DataError(
            f"data.labels = '{path}': label {labels.index('') + 1} of {len(labels)} is empty; give it a class"
        )
    return labels


def _labels_of_array(path: Path) -> list[str]:
    if not path.is_file():
        raise DataError(f"data.labels = '{path}': no such file; paths in a job are relative to the job file")
    try:
        # Unpickling could run code that the file brings along.
        labels = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"data.labels = '{path}' is not a .npy file of integers or strings: {error}") from error
    if labels.ndim != 1 or labels.dtype.kind not in "iuU":
        raise DataError(
            f"data.labels = '{path}' has shape {labels.shape} and dtype {labels.dtype}; "
            "it must be (N,) integers or strings, e.g. labels.astype(int)"
        )
    return [str(label) for label in labels]


def _ids(path: Path | None, count: int) -> list[str]:
    return read_ids(path) if path is not None else [f"row-{row:06d}" for row in range(count)]


def _sorted_keys(labels: Sequence[str]) -> list[str]:
    """The distinct labels, by value where all of them are integers, so that 10 comes after 9."""
    distinct = sorted(set(labels))
    try:
        return sorted(distinct, key=int)
    except ValueError:
        return distinct
