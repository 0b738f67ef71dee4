"""A folder of images as ImageNet comes: one directory a class, one JPEG or PNG file a sample."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np

from dnuc.data.decoding import SUFFIXES, decode, is_image
from dnuc.data.drawing import select
from dnuc.data.samples import Samples, TrainTest
from dnuc.errors import DataError
from dnuc.job import Data


@dataclass(frozen=True)
class ImageFolder:
    """Images under `data.path`/CLASS/FILE; a sample's id is "CLASS/FILE", e.g. n01443537/n01443537_10014.JPEG.

    The id is the path below `data.path`, so an image is found without listing its directory. The class keys are
    the directories' names. In `data.ids` a line may be the id, the id without the ending, or the file name alone
    (n01443537_10014) where the class is what comes before the last underscore, as in ImageNet's training images.
    """

    data: Data
    has_images: ClassVar[bool] = True

    def list(self, seed: int) -> Samples:
        """The samples by class, then by id (both by code point); or as `data.ids` lists them.

        Raises
        ------
        DataError
            If the folder is missing or has no class directories, a drawn class has no images, an id or a link
            leads out of the folder, an id without ending means several files; or as `drawing.select`.
        """
        return select(FolderCatalog(self._root), self.data, seed)

    def image(self, sample_id: str) -> np.ndarray:
        """One image as stored (no rotation by EXIF), converted to RGB: (height, width, 3) uint8.

        Raises
        ------
        DataError
            If the id leads out of the folder, or the file is missing, damaged, no JPEG or PNG, or has more than
            8 bits a channel (which a conversion would clip, silently).
        """
        path = path_of(self._root, sample_id)
        return decode(path, sample_id, f"'{path}'")

    def split(self, samples: Samples, seed: int) -> TrainTest:
        """Refused: training on a folder of images is not offered."""
        raise DataError(
            "data.source = 'image_folder': training on an image folder is not offered; remove [model.train] and give "
            "the model weights, an enum name such as 'DEFAULT', 'random', or a checkpoint file"
        )

    @property
    def _root(self) -> Path:
        if self.data.path is None:
            raise DataError(
                "data.source = 'image_folder' needs data.path: the directory that holds one directory a class"
            )
        return self.data.path


class ClassCatalog(ABC):
    """What has one place a class, a directory or an archive: a `drawing.Catalog` but for its keys and ids."""

    root: Path
    _by_name: dict[str, dict[str, list[str]]]  # class key -> file name -> ids

    @property
    def where(self) -> str:
        """The place, for messages."""
        return f"'{self.root}'"

    @property
    @abstractmethod
    def keys(self) -> tuple[str, ...]:
        """Every class, sorted."""

    @abstractmethod
    def ids_of(self, key: str) -> Sequence[str]:
        """The ids of a class, sorted."""

    def locate(self, given: str) -> tuple[str, str] | None:
        """The class key and the id of a line of `data.ids`; None if there is no such file."""
        key, name = _class_and_name(self.root, given)
        if key not in self.keys:
            return None
        if key not in self._by_name:
            self._by_name[key] = _ids_by_name(self.ids_of(key))
        ids = self._by_name[key].get(name, [])
        if len(ids) > 1:
            raise DataError(f"data.ids: {given!r} may be {' or '.join(map(repr, ids))}; write which, with the ending")
        return (key, ids[0]) if ids else None


@dataclass(frozen=True)
class FolderCatalog(ClassCatalog):
    """The classes and files of an image folder, a `drawing.Catalog`; each directory is listed at most once."""

    root: Path
    _ids: dict[str, list[str]] = field(default_factory=dict, repr=False)  # class key -> ids
    _by_name: dict[str, dict[str, list[str]]] = field(default_factory=dict, repr=False)  # class key -> file name -> ids

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The class directories, sorted; hidden ones and plain files beside them are no classes."""
        if not self.root.is_dir():
            raise DataError(f"data.path = '{self.root}': no such directory; it must hold one directory a class")
        with os.scandir(self.root) as entries:
            found = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
        if not found:
            raise DataError(
                f"data.path = '{self.root}' holds no directories; it must hold one a class, with images in it"
            )
        for key in found:
            inside(self.root, self.root / key, key)
        return tuple(found)

    def ids_of(self, key: str) -> list[str]:
        """The ids of a class, sorted; DataError if the directory has no image."""
        if key not in self._ids:
            self._ids[key] = _list_images(self.root, key)
        return self._ids[key]


def path_of(root: Path, sample_id: str) -> Path:
    """The file of a sample id "CLASS/FILE" below `root`.

    Raises
    ------
    DataError
        If the id is not of this form, or leads out of `root`: by "..", as an absolute path, or over a link.
    """
    return inside(root, root.joinpath(*parts_of(root, sample_id)), sample_id)


def parts_of(root: Path, sample_id: str) -> tuple[str, str]:
    """Class key and file name of a sample id."""
    parts = PurePosixPath(sample_id).parts
    if len(parts) != 2 or not {"..", "/"}.isdisjoint(parts) or "\0" in sample_id:
        raise DataError(f"sample id {sample_id!r} is not of the form CLASS/FILE, a file in a directory of '{root}'")
    return parts[0], parts[1]


def inside(root: Path, path: Path, given: str) -> Path:
    """`path`, if it is below `root` after following links."""
    if not path.resolve().is_relative_to(root.resolve()):
        raise DataError(
            f"{given!r} leads out of data.path = '{root}', to '{path.resolve()}'; copy the files into the folder, or "
            "set data.path to where they are"
        )
    return path


def _class_and_name(root: Path, given: str) -> tuple[str, str]:
    """Class key and file name (with or without ending) of a line of `data.ids`."""
    if "/" in given:
        return parts_of(root, given)
    key, underscore, _ = given.rpartition("_")
    if not underscore:
        raise DataError(
            f"data.ids: {given!r} does not say its class; write CLASS/FILE, or CLASS_NUMBER as in n01443537_10014"
        )
    return key, given


def _list_images(root: Path, key: str) -> list[str]:
    """The ids of the images in a class directory, sorted."""
    with os.scandir(root / key) as entries:
        images = [entry for entry in entries if is_image(entry.name)]
    if not images:
        raise DataError(f"class directory '{root / key}' holds no image ({', '.join(SUFFIXES)}); remove or fill it")
    for entry in images:
        if entry.is_symlink():
            path_of(root, f"{key}/{entry.name}")
    return sorted(f"{key}/{entry.name}" for entry in images)


def _ids_by_name(ids: Sequence[str]) -> dict[str, list[str]]:
    """File name, with or without the ending -> the ids it may mean; the whole name always means one."""
    found: dict[str, list[str]] = {}
    for sample_id in ids:
        found.setdefault(PurePosixPath(sample_id).stem, []).append(sample_id)
    return found | {PurePosixPath(sample_id).name: [sample_id] for sample_id in ids}
