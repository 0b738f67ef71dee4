"""The sample list, image fingerprints, and which source takes which settings."""

import hashlib
import pickle

import numpy as np
import pytest

from dnuc.data import Samples, TrainTest, image_hash, open_source
from dnuc.errors import DataError
from dnuc.job import Data


def make(**changes):
    values = {
        "id": np.array(["a", "b", "c"]),
        "label": np.array([0, 1, 1]),
        "label_names": ("crane", "crane"),
        "macro": np.array([-1, 0, 0]),
        "macro_names": ("animal",),
        "class_keys": ("n1", "n2"),
    }
    return Samples(**values | changes)


def test_a_complete_list_has_fixed_types():
    samples = make()
    assert len(samples) == 3
    assert samples.id.dtype == np.dtypes.StringDType()
    assert samples.label.dtype == samples.macro.dtype == np.int64
    assert make(class_keys=(), label_names=("x", "y")).class_keys == ("x", "y")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": np.array([0, 1])}, r"lengths \{'id': 3, 'label': 2, 'macro': 3\}"),
        ({"label": np.array([0, 2, 1])}, r"label\[1\] = 2 .* a code is 0 \.\. 1"),
        ({"label": np.array([0, -1, 1])}, r"label\[1\] = -1"),
        ({"label": np.array([0.0, 1.0, 1.0])}, "dtype float64; it must be .* integers"),
        ({"macro": np.array([-2, 0, 0])}, r"macro\[0\] = -2 .* a code is -1 \.\. 0"),
        ({"macro": np.array([-1, 1, 0])}, r"macro\[1\] = 1"),
        ({"id": np.array(["a", "b", "a"])}, "sample id 'a' appears twice, at positions 0 and 2"),
        ({"class_keys": ("n1", "n1")}, "class key 'n1' appears twice"),
        ({"class_keys": ("n1",)}, "1 class keys for 2 class names"),
        ({"class_keys": ()}, "class key 'crane' appears twice"),
        ({"id": [], "label": [], "macro": []}, "no samples"),
    ],
)
def test_inconsistent_lists_are_refused(changes, message):
    with pytest.raises(DataError, match=message):
        make(**changes)


@pytest.mark.parametrize("rows", [np.array([0, 2]), np.array([True, False, True])])
def test_take_keeps_the_meaning_of_codes(rows):
    kept = make().take(rows)
    assert kept.id.tolist() == ["a", "c"]
    assert kept.label.tolist() == [0, 1]
    assert kept.macro.tolist() == [-1, 0]
    assert kept.class_keys == ("n1", "n2")


def test_train_test_sets_need_a_label_an_image():
    image, label, ids = np.zeros((2, 1, 1, 1), np.uint8), np.zeros(2, np.int64), np.array(["a", "b"])
    with pytest.raises(DataError, match=r"held-out set: 2 images, 1 labels and 2 ids"):
        TrainTest(image, label, ids, image, label[:1], ids)
    with pytest.raises(DataError, match=r"training set: 2 images, 2 labels and 1 ids"):
        TrainTest(image, label, ids[:1], image, label, ids)
    with pytest.raises(DataError, match=r"training set: 0 images"):
        TrainTest(image[:0], label[:0], ids[:0], image, label, ids)


def test_image_hash_is_of_shape_and_content():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert image_hash(image) == hashlib.sha256(b"2x4x3:" + bytes(range(24))).hexdigest()[:16]
    assert image_hash(np.asfortranarray(image)) == image_hash(image)
    assert image_hash(image.reshape(4, 2, 3)) != image_hash(image)
    with pytest.raises(DataError, match=r"shape \(2, 12\) and dtype uint8"):
        image_hash(image.reshape(2, 12))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "digits", "path": "x"}, "data.path = 'x' has no meaning for data.source = 'digits'"),
        ({"source": "digits", "split": "test"}, "data.split = 'test' has no meaning"),
        ({"source": "image_folder", "download": True}, "data.download = 'True' has no meaning"),
        ({"source": "fashion_mnist", "labels": "y.npy"}, "knows class_names, classes, download, ids"),
        ({"source": "arrays", "images_per_class": 3}, "data.images_per_class = '3' has no meaning"),
        ({"source": "arrays", "max_unreadable": 1}, "data.max_unreadable = '1' has no meaning"),
        ({"source": "arrays", "perturb": {"luminance": 1.0}}, "data.perturb = 'luminance=1.0' has no meaning"),
    ],
)
def test_settings_without_meaning_are_refused(settings, message):
    with pytest.raises(DataError, match=message):
        open_source(Data(**settings))


def test_sources_travel_without_their_images():
    source = open_source(Data(source="digits"))
    source.image("digits-0000")
    assert len(pickle.dumps(source)) < 1000
    assert np.array_equal(pickle.loads(pickle.dumps(source)).image("digits-0007"), source.image("digits-0007"))
