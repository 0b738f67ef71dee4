"""ImageNet's archives as they come, not unpacked: a tar of images for each class, in a directory or in one tar."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from dnuc.data.decoding import SUFFIXES, decode, is_image
from dnuc.data.drawing import select
from dnuc.data.images import ClassCatalog, inside, parts_of
from dnuc.data.samples import Samples, TrainTest
from dnuc.data.tars import Span, members_of
from dnuc.errors import DataError
from dnuc.job import Data
from dnuc.location import Location

ENDING = ".tar"


@dataclass(frozen=True)
class ImageTar:
    """Images in CLASS.tar, one archive a class, below the directory `data.path` or in the archive `data.path`.

    The second is ILSVRC2012_img_train.tar, which holds n01440764.tar and 999 more. Ids, order and results are those of
    the same images in an image folder: "CLASS/FILE". Archives are not unpacked: an index, kept in the run's directory,
    says where in them each image is.
    """

    data: Data
    cache: Location | None = None  # directory for the index of each archive
    has_images: ClassVar[bool] = True

    def list(self, seed: int) -> Samples:
        """The samples by class, then by id (both by code point); or as `data.ids` lists them.

        Raises
        ------
        DataError
            If there are no archives, one is damaged or holds names that lead out of it, a drawn class has no images;
            or as `drawing.select`.
        """
        return select(self._catalog, self.data, seed)

    def image(self, sample_id: str) -> np.ndarray:
        """One image as stored, converted to RGB: (height, width, 3) uint8.

        Raises
        ------
        DataError
            If there is no such image, or it is damaged, no JPEG or PNG, or has more than 8 bits a channel.
        """
        key, name = parts_of(self._catalog.root, sample_id)
        span = self._catalog.archive(key)
        place = members_of(span, key, self.cache).find(name) if span is not None else None
        if span is None or place is None:
            raise DataError(f"image {sample_id!r} is not in the archives of {self._catalog.where}; correct data.path")
        return decode(io.BytesIO(span.read(*place)), sample_id, f"in {span.name}")

    def split(self, samples: Samples, seed: int) -> TrainTest:
        """Refused: training on archives of images is not offered."""
        raise DataError(
            "data.source = 'image_tar': training on archives is not offered; remove [model.train] and give the model "
            "weights, an enum name such as 'DEFAULT', 'random', or a checkpoint file"
        )

    @property
    def _catalog(self) -> TarCatalog:
        if self.data.path is None:
            raise DataError(
                "data.source = 'image_tar' needs data.path: a directory that holds one CLASS.tar a class, or an "
                "archive that does, such as ILSVRC2012_img_train.tar"
            )
        return TarCatalog(self.data.path, self.cache)


@dataclass(frozen=True)
class TarCatalog(ClassCatalog):
    """The classes and images of ImageNet's archives, a `drawing.Catalog`."""

    root: Path
    cache: Location | None = None
    _by_name: dict[str, dict[str, list[str]]] = field(default_factory=dict, repr=False)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The names of the archives without their ending, sorted."""
        if self.root.is_dir():
            with os.scandir(self.root) as entries:
                names = [entry.name for entry in entries if entry.is_file()]
        elif self.root.is_file():
            names = members_of(Span.of(self.root), "", self.cache and self.cache / "outer").names
        else:
            raise DataError(f"data.path = '{self.root}': no such directory or archive")
        found = sorted(n.removesuffix(ENDING) for n in names if n.endswith(ENDING) and not n.startswith("."))
        if not found:
            raise DataError(
                f"data.path = '{self.root}' holds no archives; it must hold one CLASS.tar a class, with images in it"
            )
        return tuple(found)

    def archive(self, key: str) -> Span | None:
        """The archive of a class; None if there is none."""
        if self.root.is_dir():
            path = self.root / f"{key}{ENDING}"
            return Span.of(inside(self.root, path, path.name)) if path.is_file() else None
        outer = Span.of(self.root)
        place = members_of(outer, "", self.cache and self.cache / "outer").find(f"{key}{ENDING}")
        return None if place is None else Span(outer.path, *place, outer.changed)

    def ids_of(self, key: str) -> list[str]:
        """The ids of a class, sorted; DataError if its archive holds no image."""
        span = self.archive(key)
        names = [] if span is None else [n for n in members_of(span, key, self.cache).names if is_image(n)]
        if not names:
            raise DataError(
                f"archive {key + ENDING!r} of {self.where} holds no image ({', '.join(SUFFIXES)}); remove or replace it"
            )
        return [f"{key}/{name}" for name in names]
