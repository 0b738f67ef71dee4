"""From an image of the data set to what a network takes: published preprocessing, or plain normalization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import center_crop, normalize, resize

from dnuc.activations.weights import Normalization
from dnuc.errors import DataError


@dataclass(frozen=True)
class Preset:
    """The preprocessing of published weights: resize, center crop, normalize, exactly as torchvision states it.

    Images go through Pillow, as they did when the weights were trained; gray ones get three equal channels. Perturbed
    ones, float32, may be brighter than what Pillow knows, and are resized as tensors.
    """

    published: Any  # what `WeightsEnum.transforms()` makes; its class is private to torchvision

    @property
    def crop_size(self) -> int:
        """Side of the square that the network sees, in pixels."""
        return self.published.crop_size[0]

    def __call__(self, image: np.ndarray) -> Tensor:
        """One image, uint8 or float32 of 0..255 (h, w, 1 or 3), to float32 (3, H, W)."""
        if image.ndim != 3 or image.shape[2] not in (1, 3):
            raise DataError(f"image of shape {image.shape}: needs (h, w, 1) or (h, w, 3)")
        pixels = image if image.shape[2] == 3 else image.repeat(3, axis=2)
        if image.dtype == np.float32:
            return self.published(torch.from_numpy(pixels.transpose(2, 0, 1).copy()) / 255)
        return self.published(Image.fromarray(np.ascontiguousarray(pixels)))


@dataclass(frozen=True)
class Standardize:
    """Values of 0..255 to 0..1, minus the mean, over the standard deviation, each channel by itself.

    Attributes
    ----------
    mean, std : of each channel, of values in 0..1; empty: values stay in 0..1.
    size : side of the square that an image is resized (shorter side) and cropped (center) to, in pixels;
        None: as it is.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    size: int | None = None

    @classmethod
    def of(cls, normalization: Normalization | None, size: int | None) -> Standardize:
        """From mean and standard deviation, as `channel_statistics` gives them."""
        mean, std = normalization or ((), ())
        return cls(tuple(mean), tuple(std), size)

    def __call__(self, image: np.ndarray) -> Tensor:
        """One image, uint8 or float32 (h, w, c), to float32 (c, H, W)."""
        return self.batch(image[None])[0]

    def batch(self, images: np.ndarray) -> Tensor:
        """Many images of one size at once, uint8 or float32 (n, h, w, c), to float32 (n, c, H, W): the same values."""
        if self.mean and len(self.mean) != images.shape[-1]:
            raise DataError(f"images have {images.shape[-1]} channels, the normalization {len(self.mean)}")
        x = torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32, order="C")) / 255
        if self.size is not None:
            x = center_crop(resize(x, [self.size], antialias=True), [self.size])
        return normalize(x, list(self.mean), list(self.std)) if self.mean else x


def channel_statistics(images: np.ndarray) -> Normalization:
    """Mean and standard deviation of each channel over all images and pixels, of values in 0..1.

    A constant channel gets a standard deviation of 1, so that it becomes 0, not infinite.

    Parameters
    ----------
    images : (n, h, w, c) uint8, or float32 of 0..255 where they are perturbed

    >>> channel_statistics(np.array([0, 255], dtype=np.uint8).reshape(1, 1, 2, 1))
    ((0.5,), (0.5,))
    """
    if images.dtype != np.uint8:
        return _statistics_of_floats(images)
    counts = [np.bincount(images[..., c].ravel(), minlength=256) for c in range(images.shape[-1])]
    values = np.arange(256) / 255
    mean = [float(n @ values / n.sum()) for n in counts]
    std = [float(np.sqrt(n @ (values - m) ** 2 / n.sum())) or 1.0 for n, m in zip(counts, mean, strict=True)]
    return tuple(mean), tuple(std)


def _statistics_of_floats(images: np.ndarray) -> Normalization:
    """As `channel_statistics`, image by image: a whole data set in float64 would take much memory."""
    mean = images.mean(axis=(0, 1, 2), dtype=np.float64)  # (c,)
    squares = sum(((image - mean) ** 2).sum(axis=(0, 1)) for image in images)
    std = np.sqrt(squares / images[..., 0].size) / 255
    return tuple((mean / 255).tolist()), tuple(float(s) or 1.0 for s in std)


def augment(images: np.ndarray, flip: bool, random: np.random.Generator) -> np.ndarray:
    """Images as they may also have been taken: shifted by up to an eighth of their size, and mirrored if `flip`.

    Parameters
    ----------
    images : (n, h, w, c) uint8, or float32 if they are perturbed; the shift is at most 4 pixels, and what comes in
        from outside is black, or as dark as the darkest pixel of a perturbed image.
    flip : mirror half of the images, left to right.
    """
    n, height, width, _ = images.shape
    reach = max(1, min(4, min(height, width) // 8))
    framed = np.pad(images, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    if images.dtype != np.uint8:
        framed[:] = images.min(axis=(1, 2, 3), keepdims=True)
        framed[:, reach:-reach, reach:-reach] = images
    top, left = random.integers(0, 2 * reach + 1, size=(2, n))
    rows = top[:, None, None] + np.arange(height)[None, :, None]
    columns = left[:, None, None] + np.arange(width)[None, None, :]
    shifted = framed[np.arange(n)[:, None, None], rows, columns]
    if flip:
        mirrored = random.random(n) < 0.5
        shifted[mirrored] = shifted[mirrored, :, ::-1]
    return shifted
