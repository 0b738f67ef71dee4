"""How simple an image is: the entropy of its pixel values."""

from __future__ import annotations

import numpy as np

from dnuc.data.samples import check_image


def image_entropy(image: np.ndarray) -> float:
    """Shannon entropy of the pixel values, averaged over channels, in bits.

    A blank image has 0, an even gray ramp of 256 values 8. In intermediate layers of a trained network the
    neighborhoods fill with low-entropy images: dots and blobs on almost uniform backgrounds, the hubs.

    S = -sum_c sum_v p_cv log2 p_cv / n_c, where p_cv is the share of pixels of channel c with value v and n_c the
    number of channels (Doimo et al. 2020, Sec. 3.2).

    Parameters
    ----------
    image : (height, width, channels) uint8, or float32 if it is perturbed

    Returns
    -------
    float
        0 .. 8 bits.

    Raises
    ------
    DataError
        If `image` has another shape or dtype, or no pixels.

    >>> image_entropy(np.array([[[0], [0], [255], [255]]], dtype=np.uint8))
    1.0
    """
    check_image(image)
    height, width, channels = image.shape
    p = _counts(image.reshape(-1, channels)) / (height * width)
    # max: a blank image would have -0.0.
    return max(0.0, float(-np.sum(p * np.log2(p)) / channels))


def _counts(pixels: np.ndarray) -> np.ndarray:
    """How often each value occurs in each channel of (n, channels), without those that do not occur."""
    channels = pixels.shape[1]
    if pixels.dtype != np.uint8:
        return np.concatenate([np.unique(pixels[:, c], return_counts=True)[1] for c in range(channels)])
    counts = np.bincount((pixels + np.arange(channels) * 256).ravel(), minlength=256 * channels)
    return counts[counts > 0]
