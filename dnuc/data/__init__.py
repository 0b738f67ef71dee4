"""Samples in one fixed order: which they are, how they look, and which class each belongs to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dnuc.data.arrays import Arrays
from dnuc.data.digits import Digits
from dnuc.data.entropy import image_entropy
from dnuc.data.fashion import Fashion
from dnuc.data.image_tar import ImageTar
from dnuc.data.images import ImageFolder
from dnuc.data.parquet import ParquetImages
from dnuc.data.perturb import Perturbed
from dnuc.data.samples import Samples, Source, TrainTest, image_hash
from dnuc.errors import DataError
from dnuc.job import Data
from dnuc.location import Location

__all__ = ["Samples", "Source", "TrainTest", "image_entropy", "image_hash", "open_source"]

INDEX = "index"  # directory of a run that holds where in archives its images are

_SOURCES: dict[str, Callable[[Data], Source]] = {
    "digits": Digits,
    "fashion_mnist": Fashion,
    "image_folder": ImageFolder,
    "image_tar": ImageTar,
    "parquet": ParquetImages,
    "arrays": Arrays,
}
_ANY = {"source", "ids", "class_names", "macro", "taxonomy", "macro_roots", "macro_depth", "samples"}
_FILES = {"path", "classes", "images_per_class", "max_unreadable", "perturb"}
_USES = {
    "digits": _ANY | {"classes", "images_per_class", "perturb"},
    "fashion_mnist": _ANY | {"path", "split", "download", "classes", "images_per_class", "perturb"},
    "image_folder": _ANY | _FILES,
    "image_tar": _ANY | _FILES,
    "parquet": _ANY | _FILES | {"labels"},
    "arrays": _ANY | {"labels"},
}


def open_source(data: Data, seed: int | None = None, run: Location | None = None) -> Source:
    """Where a job's samples come from. Reads no file yet: the source does, when asked.

    `seed`, the job's, is what the images are perturbed by, if they are (`data.perturb`); `run` is the run's directory,
    in which a source keeps what it learned of large archives.

    Raises
    ------
    DataError
        If a setting has no meaning for this `data.source`: ignoring it would answer another question than asked; or
        if images are to be perturbed and no seed is given.

    >>> source = open_source(Data(source="digits"))
    >>> len(source.list(seed=0)), source.image("digits-0000").shape
    (1797, (8, 8, 1))
    """
    uses = _USES[data.source]
    for name, field in Data.model_fields.items():
        given = getattr(data, name)
        if name not in uses and given != field.default:
            raise DataError(
                f"data.{name} = {str(given)!r} has no meaning for data.source = {data.source!r}, which knows "
                f"{', '.join(sorted(uses))}; remove it"
            )
    source = _SOURCES[data.source](data)
    if isinstance(source, ImageTar) and run is not None:
        source = replace(source, cache=run / INDEX)
    if data.perturb is None:
        return source
    if seed is None:
        raise DataError("data.perturb: the images depend on the job's seed, and none was given to open_source")
    return Perturbed(source, data.perturb.luminance, seed)
