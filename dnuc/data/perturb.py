"""Images made brighter or darker by chance: what is irrelevant for the classes, and stretches the data along a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from dnuc.data.samples import Samples, Source, TrainTest

WHITE = 255


@dataclass(frozen=True)
class Perturbed:
    """Images of another source, each plus a random luminance of its own, the same for all its pixels.

    x + L xi, with xi uniform in 0..1 and one a sample (Ansuini et al. 2019, Sec. 3.4: L = 100 on MNIST). The unit is
    white: pixels are 0..1 before, as the authors' program scales them, so that with L = 100 the luminance is nearly
    all that the pixels show. It says nothing about the class, and the data become a thin thread along (1, 1, ..., 1):
    their intrinsic dimension falls, the more so the fewer samples lie along the thread.

    A sample's xi depends on `seed` and its id alone, so that it is the same in training, in every layer and for any
    choice of other samples. Training and held-out images are perturbed in the same way.
    """

    source: Source
    luminance: float  # L
    seed: int
    has_images: ClassVar[bool] = True

    def list(self, seed: int) -> Samples:
        """The samples of the source."""
        return self.source.list(seed)

    def image(self, sample_id: str) -> np.ndarray:
        """One perturbed image, (height, width, channels) float32 in which 255 is white."""
        return self._perturb(self.source.image(sample_id)[np.newaxis], [sample_id])[0]

    def split(self, samples: Samples, seed: int) -> TrainTest:
        """The source's training and held-out images, perturbed."""
        split = self.source.split(samples, seed)
        return replace(
            split,
            train_images=self._perturb(split.train_images, split.train_ids.tolist()),
            test_images=self._perturb(split.test_images, split.test_ids.tolist()),
        )

    def _perturb(self, images: np.ndarray, ids: Sequence[str]) -> np.ndarray:
        added = (WHITE * luminances(ids, self.luminance, self.seed)).astype(np.float32)  # (n,)
        return np.add(images, added[:, np.newaxis, np.newaxis, np.newaxis], dtype=np.float32)


def luminances(ids: Sequence[str], luminance: float, seed: int) -> np.ndarray:
    """L xi of some samples, (n,) float64 in 0..L; white is 1.

    >>> luminances(["digits-0001", "digits-0002"], 100.0, seed=0).round(2).tolist()
    [28.1, 59.92]
    """
    return np.array([luminance * np.random.default_rng([seed, *sample_id.encode()]).random() for sample_id in ids])
