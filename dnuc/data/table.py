"""Images that fit in memory together, as digits and Fashion-MNIST do: an array of images with ids and classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dnuc.errors import DataError, closest


@dataclass(frozen=True, eq=False)
class ImageTable:
    """A whole data set in memory, a `drawing.Catalog`.

    Attributes
    ----------
    where : str
        What the data set is called in messages.
    images : (N, height, width, channels) uint8
    labels : (N,) integers
        Class of each image, a position in `keys`.
    prefix : str
        The id of image i is the prefix and i, with leading zeros to `digits` digits: ids sort as the images do.
    keys : tuple of str
        Every class.
    """

    where: str
    images: np.ndarray  # (N, height, width, channels)
    labels: np.ndarray  # (N,)
    prefix: str
    digits: int
    keys: tuple[str, ...]

    @cached_property
    def ids(self) -> list[str]:
        """The id of each image, in the order of the images."""
        return [f"{self.prefix}{number:0{self.digits}d}" for number in range(len(self.images))]

    @cached_property
    def _position(self) -> dict[str, int]:
        return {sample_id: position for position, sample_id in enumerate(self.ids)}

    def ids_of(self, key: str) -> Sequence[str]:
        """The ids of a class, sorted."""
        return [self.ids[position] for position in np.flatnonzero(self.labels == self.keys.index(key))]

    def locate(self, given: str) -> tuple[str, str] | None:
        """The class key and the id of an image; None if there is no such id."""
        position = self._position.get(given)
        return None if position is None else (self.keys[self.labels[position]], given)

    def image(self, sample_id: str) -> np.ndarray:
        """One image as the caller's own array, (height, width, channels) uint8; DataError if the id is unknown."""
        position = self._position.get(sample_id)
        if position is None:
            raise DataError(f"{self.where} has no image {sample_id!r}: its ids are {self.ids[0]} .. {self.ids[-1]}")
        return self.images[position].copy()

    def of_classes(self, keys: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The images of some classes, in the table's order, their classes as positions in `keys`, and their ids.

        (n, height, width, channels) uint8, (n,) int64, (n,) StringDType; DataError if a key is not one of the table's.
        """
        code = np.full(len(self.keys), -1, dtype=np.int64)
        for number, key in enumerate(keys):
            if key not in self.keys:
                raise DataError(f"{self.where} has no class {key!r}; {closest(key, self.keys)}")
            code[self.keys.index(key)] = number
        labels = code[self.labels]
        rows = np.flatnonzero(labels >= 0)
        ids = np.array([self.ids[row] for row in rows], dtype=np.dtypes.StringDType())
        return self.images[rows], labels[rows], ids
