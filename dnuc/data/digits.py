"""The 1,797 handwritten digits that ship with scikit-learn: a job that runs in seconds and needs no files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np

from dnuc.data.drawing import select
from dnuc.data.samples import Samples, TrainTest
from dnuc.data.table import ImageTable
from dnuc.job import Data

TRAIN_SHARE = 0.8


@dataclass(frozen=True)
class Digits:
    """The 8 x 8 gray-scale digits of scikit-learn's `load_digits` (UCI "Optical Recognition of Handwritten Digits").

    Ids are digits-0000 .. digits-1796, in scikit-learn's order; the class keys are "0" .. "9". Pixels, 0 .. 16 in
    the data set, are scaled to 0 .. 255: round(x 255 / 16), so the 17 values stay distinct and evenly spaced.
    """

    data: Data
    has_images: ClassVar[bool] = True

    def list(self, seed: int) -> Samples:
        """The samples by class, then by id; see `drawing.select` for what is drawn and what is refused."""
        return select(_table(), self.data, seed)

    def image(self, sample_id: str) -> np.ndarray:
        """One digit, (8, 8, 1) uint8; DataError if the id is unknown."""
        return _table().image(sample_id)

    def split(self, samples: Samples, seed: int) -> TrainTest:
        """Four fifths of the images of the job's classes to train on, drawn by seed, and one fifth held out.

        The data set has no official test set. The job's samples are normally all 1,797 images and so hold both
        parts: representations are then looked at for images that the network has and has not seen.
        """
        images, labels, ids = _table().of_classes(samples.class_keys)
        order = np.random.default_rng(seed).permutation(len(images))
        train, test = np.split(order, [int(TRAIN_SHARE * len(images))])
        return TrainTest(images[train], labels[train], ids[train], images[test], labels[test], ids[test])


@cache
def _table() -> ImageTable:
    # scikit-learn takes a second to import: only processes that look at digits pay for it.
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]  # (1797, 8, 8, 1)
    keys = tuple(str(name) for name in digits.target_names)
    return ImageTable("the digits data set", images, digits.target, "digits-", 4, keys)
