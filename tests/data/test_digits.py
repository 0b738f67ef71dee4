"""The digits that ship with scikit-learn."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from dnuc.data import open_source
from dnuc.errors import DataError
from dnuc.job import Data


def digits(**settings):
    return open_source(Data(source="digits", **settings))


def test_all_digits_by_class_then_id():
    samples = digits().list(seed=0)
    assert len(samples) == 1797
    assert samples.label_names == tuple("0123456789")
    order = list(zip(samples.label.tolist(), samples.id.tolist(), strict=True))
    assert order == sorted(order)
    rows = [int(sample_id.removeprefix("digits-")) for sample_id in samples.id]
    assert samples.label.tolist() == load_digits().target[rows].tolist()
    assert set(samples.macro.tolist()) == {-1}


def test_images_are_scaled_to_bytes():
    image = digits().image("digits-0003")
    assert image.shape == (8, 8, 1)
    assert image.dtype == np.uint8
    expected = [[round(value * 255 / 16) for value in row] for row in load_digits().images[3]]
    assert image[:, :, 0].tolist() == expected
    image[:] = 0  # the caller's own copy
    assert digits().image("digits-0003").any()
    with pytest.raises(DataError, match=r"has no image 'digits-1797': its ids are digits-0000 .. digits-1796"):
        digits().image("digits-1797")


def test_drawn_subset():
    samples = digits(classes=3, images_per_class=20).list(seed=5)
    assert np.bincount(samples.label).tolist() == [20, 20, 20]
    assert samples.id.tolist() == digits(classes=3, images_per_class=20).list(seed=5).id.tolist()
    assert samples.id.tolist() != digits(classes=3, images_per_class=20).list(seed=6).id.tolist()
    with pytest.raises(DataError, match=r"'8' has 174"):
        digits(images_per_class=175).list(seed=0)


def test_listed_ids_keep_their_order(tmp_path):
    path = tmp_path / "ids.txt"
    path.write_text("digits-0012\ndigits-0001\ndigits-0002\n")
    samples = digits(ids=path).list(seed=0)
    assert samples.id.tolist() == ["digits-0012", "digits-0001", "digits-0002"]
    assert samples.label_names == ("1", "2")
    assert samples.label.tolist() == [1, 0, 1]
    with pytest.raises(DataError, match=r"data.classes and data.images_per_class must not be given"):
        digits(ids=path, images_per_class=2).list(seed=0)
    path.write_text("digits-0012\ndigits-9999\n12\n")
    with pytest.raises(
        DataError, match=r"lists 3 samples; the digits data set does not have 2 of them: 'digits-9999', '12'"
    ):
        digits(ids=path).list(seed=0)


def test_split_divides_the_images_of_the_jobs_classes():
    source = digits(classes=("3", "8"))
    samples = source.list(seed=0)
    split = source.split(samples, seed=4)
    n = len(samples)
    assert len(split.train_images) == int(0.8 * n)
    assert len(split.test_images) == n - int(0.8 * n)
    images = np.concatenate([split.train_images, split.test_images])
    labels = np.concatenate([split.train_labels, split.test_labels])
    of_split = sorted((image.tobytes(), label) for image, label in zip(images, labels, strict=True))
    of_samples = [(source.image(s).tobytes(), label) for s, label in zip(samples.id, samples.label, strict=True)]
    assert of_split == sorted(of_samples)
    assert all(np.array_equal(source.image(i), x) for i, x in zip(split.train_ids, split.train_images, strict=True))
    assert sorted([*split.train_ids, *split.test_ids]) == sorted(samples.id)
    assert np.array_equal(source.split(samples, seed=4).train_images, split.train_images)
    assert not np.array_equal(source.split(samples, seed=5).train_images, split.train_images)
