"""Samples in one fixed order: which they are, how they look, and which class each belongs to."""

from __future__ import annotations

from dnuc.data.arrays import Arrays
from dnuc.data.digits import Digits
from dnuc.data.entropy import image_entropy
from dnuc.data.fashion import Fashion
from dnuc.data.images import ImageFolder
from dnuc.data.samples import Samples, Source, TrainTest, image_hash
from dnuc.errors import DataError
from dnuc.job import Data

__all__ = ["Samples", "Source", "TrainTest", "image_entropy", "image_hash", "open_source"]

_SOURCES: dict[str, type[Digits] | type[Fashion] | type[ImageFolder] | type[Arrays]] = {
    "digits": Digits,
    "fashion_mnist": Fashion,
    "image_folder": ImageFolder,
    "arrays": Arrays,
}
_ANY = {"source", "ids", "class_names", "macro", "samples"}
_USES = {
    "digits": _ANY | {"classes", "images_per_class"},
    "fashion_mnist": _ANY | {"path", "split", "download", "classes", "images_per_class"},
    "image_folder": _ANY | {"path", "classes", "images_per_class", "max_unreadable"},
    "arrays": _ANY | {"labels"},
}


def open_source(data: Data) -> Source:
    """Where a job's samples come from. Reads no file yet: the source does, when asked.

    Raises
    ------
    DataError
        If a setting has no meaning for this `data.source`: ignoring it would answer another question than asked.

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
    return _SOURCES[data.source](data)
