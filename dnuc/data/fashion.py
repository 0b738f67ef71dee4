"""Fashion-MNIST: 70,000 gray-scale images of clothes in ten classes, read from its four IDX files."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np

from dnuc.data.drawing import select
from dnuc.data.samples import Samples, TrainTest
from dnuc.data.table import ImageTable
from dnuc.errors import DataError
from dnuc.job import Data

SYSTEM_PATH = Path("/usr/share/datasets/fashion-mnist")  # where Debian's dataset-fashion-mnist puts the files
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
FILE_STEM = {"train": "train", "test": "t10k"}
SIDE = 28  # pixels
UNSIGNED_BYTE = 0x08  # the IDX code of the element type


@dataclass(frozen=True)
class Fashion:
    """Fashion-MNIST (Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747), the training or the test images.

    `data.path` is a directory with the IDX files, gzipped or not, or one in which torchvision keeps them
    (FashionMNIST/raw); when absent, the system's copy (Debian: dataset-fashion-mnist). Ids are train-00000 ..
    train-59999 and test-00000 .. test-09999, the position in the file; the class keys are the names in `CLASSES`.
    """

    data: Data
    has_images: ClassVar[bool] = True

    def list(self, seed: int) -> Samples:
        """The samples of `data.split`, by class, then by id; downloads the files first if the job says so.

        Raises
        ------
        DataError
            If a file is missing, damaged or not Fashion-MNIST's; or as `drawing.select`.
        """
        self._download()
        return select(self._table(self.data.split), self.data, seed)

    def image(self, sample_id: str) -> np.ndarray:
        """One image, (28, 28, 1) uint8; DataError if the id is unknown or the files are gone."""
        return self._table(self.data.split).image(sample_id)

    def split(self, samples: Samples, seed: int) -> TrainTest:
        """The official training and test images of the job's classes, all of them whatever `data.images_per_class`.

        `seed` changes nothing: the data set comes divided.
        """
        self._download()
        train, test = (self._table(split).of_classes(samples.class_keys) for split in FILE_STEM)
        return TrainTest(*train, *test)

    @property
    def _root(self) -> Path:
        return self.data.path or SYSTEM_PATH

    def _table(self, split: str) -> ImageTable:
        images, labels = (find_file(self._root, name) for name in _file_names(FILE_STEM[split]))
        return _read_table(images, labels, split)

    def _download(self) -> None:
        """Let torchvision fetch the files, if the job asks for it and one is missing."""
        if not self.data.download:
            return
        if self.data.path is None:
            raise DataError("data.download needs data.path: the directory that the Fashion-MNIST files go to")
        if all(_find(self._root, name) for stem in FILE_STEM.values() for name in _file_names(stem)):
            return
        # torchvision brings torch along, which nothing else here needs.
        from torchvision.datasets import FashionMNIST

        try:
            FashionMNIST(str(self.data.path), download=True)
        except (OSError, RuntimeError) as error:
            raise DataError(f"Fashion-MNIST could not be downloaded to '{self.data.path}': {error}") from error


def find_file(root: Path, name: str) -> Path:
    """The IDX file `name` under `root`: directly or in torchvision's FashionMNIST/raw, plain or gzipped.

    Raises
    ------
    DataError
        If there is none; the message lists the three ways to get it.
    """
    path = _find(root, name)
    if path is not None:
        return path
    raise DataError(
        f"Fashion-MNIST: no {name} or {name}.gz in '{root}' or its FashionMNIST/raw; install the Debian package "
        "dataset-fashion-mnist, or set data.path to the directory that holds the four files, or set "
        "data.download = true (with data.path) to fetch them"
    )


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """An array of unsigned bytes from an IDX file, plain or gzipped.

    The format: two zero bytes, the element type (8), the number of dimensions; each length as a big-endian
    32-bit integer; the elements in row-major order (Y. LeCun, C. Cortes, C. Burges, The MNIST Database).

    Raises
    ------
    DataError
        If the magic number is another, the length does not fit the header, or the compression is damaged.
    """
    content = _content(path)
    header = 4 + 4 * dimensions
    magic = content[:4]
    if magic != bytes([0, 0, UNSIGNED_BYTE, dimensions]):
        raise DataError(
            f"'{path}' is not an IDX file of {dimensions} dimensions: it starts with {magic.hex(' ') or 'nothing'}, "
            f"expected 00 00 {UNSIGNED_BYTE:02x} {dimensions:02x}; get the file again"
        )
    if len(content) < header:
        raise DataError(f"'{path}' ends within its header: {len(content)} of {header} bytes; get the file again")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    if len(content) != header + math.prod(shape):
        raise DataError(
            f"'{path}' should hold {'x'.join(map(str, shape))} elements after {header} bytes of header, "
            f"{header + math.prod(shape)} bytes in all, and has {len(content)}: damaged; get the file again"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


def _file_names(stem: str) -> tuple[str, str]:
    return f"{stem}-images-idx3-ubyte", f"{stem}-labels-idx1-ubyte"


def _find(root: Path, name: str) -> Path | None:
    folders = (root, root / "FashionMNIST" / "raw")
    paths = (folder / file for folder in folders for file in (name, f"{name}.gz"))
    return next((path for path in paths if path.is_file()), None)


def _content(path: Path) -> bytes:
    """The bytes of a file, unpacked."""
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"'{path}' cannot be read: {error}; get the file again") from error


@lru_cache(maxsize=4)
def _read_table(images_path: Path, labels_path: Path, split: str) -> ImageTable:
    """One split in memory, 47 MB for the training images, read once a process."""
    images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
    if len(images) != len(labels) or len(images) == 0:
        raise DataError(
            f"'{images_path}' has {len(images)} images and '{labels_path}' {len(labels)} labels: not a pair"
        )
    if images.shape[1:] != (SIDE, SIDE):
        raise DataError(
            f"'{images_path}' has images of {images.shape[1]} x {images.shape[2]}, Fashion-MNIST {SIDE} x {SIDE}"
        )
    if labels.max() >= len(CLASSES):
        raise DataError(f"'{labels_path}' has the label {labels.max()}; Fashion-MNIST has 0 .. {len(CLASSES) - 1}")
    return ImageTable(f"Fashion-MNIST ({split})", images[..., np.newaxis], labels, f"{split}-", 5, CLASSES)
