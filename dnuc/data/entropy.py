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
    image : (height, width, channels) uint8

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
    channel = np.arange(channels) * 256
    counts = np.bincount((image.reshape(-1, channels) + channel).ravel(), minlength=256 * channels)  # (channels * 256,)
    p = counts[counts > 0] / (height * width)
    # max: a blank image would have -0.0.
    return max(0.0, float(-np.sum(p * np.log2(p)) / channels))
