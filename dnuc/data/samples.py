"""What the samples of a job are: ids, classes and macro classes, in one order that every layer and model shares."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

import numpy as np

from dnuc.errors import DataError
from dnuc.taxonomy import Taxonomy


@dataclass(frozen=True, eq=False)
class Samples:
    """The samples of a job in their fixed order: row i of every stored array is sample i.

    Attributes
    ----------
    id : (N,) str (NumPy's StringDType)
        What identifies a sample in its source; distinct.
    label : (N,) int64
        Class of each sample, a position in `label_names`.
    label_names : tuple of str
        Readable class names. Two classes may share one (ImageNet has two cranes).
    macro : (N,) int64
        Macro class of each sample (animal, artifact, ...), a position in `macro_names`; -1 = it has none.
    macro_names : tuple of str
        May be empty.
    class_keys : tuple of str
        What the source calls each class (an image folder: its directory, e.g. n01440764), distinct; `label_names`
        when not given.
    taxonomy : Taxonomy, optional
        What the classes are kinds of, in the order of the class codes.

    Raises
    ------
    DataError
        If there are no samples, lengths differ, a code is out of range, or an id or a class key appears twice.
    """

    id: np.ndarray  # (N,)
    label: np.ndarray  # (N,)
    label_names: tuple[str, ...]
    macro: np.ndarray  # (N,)
    macro_names: tuple[str, ...] = ()
    class_keys: tuple[str, ...] = ()
    taxonomy: Taxonomy | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", np.asarray(self.id, dtype=np.dtypes.StringDType()))
        object.__setattr__(self, "label", _codes("label", self.label, 0, self.label_names))
        object.__setattr__(self, "macro", _codes("macro", self.macro, -1, self.macro_names))
        object.__setattr__(self, "class_keys", tuple(self.class_keys) or tuple(self.label_names))
        self._check_lengths()
        _refuse_repeats("sample id", self.id.tolist())
        _refuse_repeats("class key", list(self.class_keys))

    def __len__(self) -> int:
        return len(self.id)

    def _check_lengths(self) -> None:
        if len(self) == 0:
            raise DataError("no samples: the data selects none; check [data] in the job")
        lengths = {name: len(getattr(self, name)) for name in ("id", "label", "macro")}
        if len(set(lengths.values())) > 1:
            raise DataError(f"samples: id, label and macro must have one entry a sample, but have lengths {lengths}")
        if len(self.class_keys) != len(self.label_names):
            raise DataError(f"samples: {len(self.class_keys)} class keys for {len(self.label_names)} class names")
        if self.taxonomy is not None and self.taxonomy.n_classes != len(self.label_names):
            raise DataError(f"samples: a taxonomy of {self.taxonomy.n_classes} classes for {len(self.label_names)}")

    def take(self, rows: np.ndarray) -> Samples:
        """The samples at `rows` (positions, or one bool a sample), e.g. without those whose image is unreadable.

        Class and macro codes keep their meaning.
        """
        return replace(self, id=self.id[rows], label=self.label[rows], macro=self.macro[rows])


@dataclass(frozen=True, eq=False)
class TrainTest:
    """Images a network is trained on, and images it never sees, with classes coded as in the job's samples.

    Attributes
    ----------
    train_images, test_images : (n, height, width, channels) uint8, or float32 where they are perturbed
    train_labels, test_labels : (n,) int64
    train_ids, test_ids : (n,) str (NumPy's StringDType), as in `Samples.id`
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    train_ids: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    test_ids: np.ndarray

    def __post_init__(self) -> None:
        for name, images, labels, ids in (
            ("training", self.train_images, self.train_labels, self.train_ids),
            ("held-out", self.test_images, self.test_labels, self.test_ids),
        ):
            if len(images) == 0 or not len(images) == len(labels) == len(ids):
                raise DataError(
                    f"{name} set: {len(images)} images, {len(labels)} labels and {len(ids)} ids; one of each an image, "
                    "not 0"
                )

    def train_on(self, rows: np.ndarray) -> TrainTest:
        """With fewer training images, those at `rows`, in this order; the held-out ones stay."""
        return replace(
            self,
            train_images=self.train_images[rows],
            train_labels=self.train_labels[rows],
            train_ids=self.train_ids[rows],
        )


class Source(Protocol):
    """Where samples come from. Small and picklable: it holds settings and paths, and opens files when asked."""

    has_images: ClassVar[bool]  # False: representations only; `image` and `split` refuse

    def list(self, seed: int) -> Samples:
        """The job's samples in their fixed order: by class, then by id; or as `data.ids` or the arrays have them.

        What is drawn depends on `seed` and on which classes and samples exist, not on the order in which a file
        system lists them.
        """

    def image(self, sample_id: str) -> np.ndarray:
        """One image, (height, width, channels) uint8; DataError naming the id when it cannot be read.

        Perturbed images are float32 of the same scale, in which 255 is white.
        """

    def split(self, samples: Samples, seed: int) -> TrainTest:
        """Images to train a network on the classes of `samples`, and held-out ones; DataError where not offered."""


def image_hash(image: np.ndarray) -> str:
    """A fingerprint of an image's content: it tells whether a sample still is what a run was computed from.

    The first 16 hexadecimal digits of the SHA-256 of the shape and the pixels in row-major order. Two samples
    with one fingerprint are duplicates.

    Raises
    ------
    DataError
        If `image` is not (height, width, channels) uint8 or float32.

    >>> image_hash(np.zeros((2, 2, 1), dtype=np.uint8)) == image_hash(np.zeros((1, 4, 1), dtype=np.uint8))
    False
    """
    check_image(image)
    shape = "x".join(str(length) for length in image.shape)
    kind = "" if image.dtype == np.uint8 else f"{image.dtype}:"
    return hashlib.sha256(f"{kind}{shape}:".encode() + image.tobytes()).hexdigest()[:16]


def check_image(image: np.ndarray) -> None:
    """Refuse (DataError) what is not an image: (height, width, channels) with at least one pixel.

    uint8, or float32 in units of the same size: a perturbed image may be brighter than white.
    """
    if image.dtype not in (np.uint8, np.float32) or image.ndim != 3 or image.size == 0:
        raise DataError(
            f"image has shape {image.shape} and dtype {image.dtype}; it must be (height, width, channels) uint8 (or "
            "float32, if it is perturbed), not empty"
        )


def _codes(what: str, given: np.ndarray, lowest: int, names: tuple[str, ...]) -> np.ndarray:
    """Class codes as (N,) int64, or a refusal."""
    codes = np.asarray(given)
    if codes.ndim != 1 or (codes.size and codes.dtype.kind not in "iu"):
        raise DataError(f"samples: {what} has shape {codes.shape} and dtype {codes.dtype}; it must be (N,) integers")
    wrong = np.flatnonzero((codes < lowest) | (codes >= len(names)))
    if wrong.size:
        raise DataError(
            f"samples: {what}[{wrong[0]}] = {codes[wrong[0]]} ({wrong.size} such values); "
            f"with {len(names)} names a code is {lowest} .. {len(names) - 1}"
        )
    return codes.astype(np.int64)


def _refuse_repeats(what: str, values: list[str]) -> None:
    first: dict[str, int] = {}
    for position, value in enumerate(values):
        if value in first:
            raise DataError(f"{what} {value!r} appears twice, at positions {first[value]} and {position}; give it once")
        first[value] = position
