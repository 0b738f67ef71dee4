"""Image entropy against a plain loop."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dnuc.data import image_entropy
from dnuc.errors import DataError

shapes = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 4))
images = shapes.flatmap(lambda shape: arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, 128, 255])))


def plain_entropy(image):
    """S = -sum over channels and values of p log2 p / channels (Doimo et al. 2020, Sec. 3.2)."""
    height, width, channels = image.shape
    total = 0.0
    for c in range(channels):
        for v in range(256):
            count = sum(int(image[y, x, c]) == v for y in range(height) for x in range(width))
            p = count / (height * width)
            total -= p * math.log2(p) if count else 0.0
    return total / channels


@given(images)
def test_equals_the_plain_loop(image):
    assert image_entropy(image) == pytest.approx(plain_entropy(image), abs=1e-12)


@given(images, st.randoms(use_true_random=False))
def test_depends_only_on_the_frequencies(image, random):
    height, width, channels = image.shape
    pixels = image.reshape(-1, channels)
    moved = pixels[random.sample(range(len(pixels)), len(pixels))].reshape(width, height, channels)
    assert image_entropy(255 - moved) == pytest.approx(image_entropy(image), abs=1e-12)


def test_extremes():
    blank = image_entropy(np.full((5, 4, 3), 7, dtype=np.uint8))
    assert blank == 0
    assert math.copysign(1, blank) == 1
    assert image_entropy(np.arange(256, dtype=np.uint8).reshape(16, 16, 1)) == 8
    # A channel counts on its own: equal values in different channels are not the same event.
    two_channels = np.stack([np.zeros((2, 2)), [[0, 0], [1, 1]]], axis=-1).astype(np.uint8)
    assert image_entropy(two_channels) == 0.5


@pytest.mark.parametrize(
    "image",
    [np.zeros((3, 3), np.uint8), np.zeros((3, 3, 1)), np.zeros((0, 3, 1), np.uint8)],
    ids=["2d", "float", "empty"],
)
def test_what_is_no_image_is_refused(image):
    with pytest.raises(DataError, match=r"must be .height, width, channels. uint8"):
        image_entropy(image)
