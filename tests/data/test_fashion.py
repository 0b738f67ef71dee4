"""Fashion-MNIST: IDX files made here, and the real ones."""

import gzip
import os
import struct
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from dnuc.data import open_source
from dnuc.data.fashion import CLASSES, FILE_STEM, SYSTEM_PATH, read_idx
from dnuc.errors import DataError
from dnuc.job import Data


def idx(array):
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_split(folder, stem, count, seed, zipped=False):
    """Images and labels of one split; class i % 10, every image different."""
    folder.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(seed).integers(0, 256, (count, 28, 28), dtype=np.uint8)
    labels = (np.arange(count) % 10).astype(np.uint8)
    for name, array in ((f"{stem}-images-idx3-ubyte", images), (f"{stem}-labels-idx1-ubyte", labels)):
        content = idx(array)
        (folder / (name + ".gz" * zipped)).write_bytes(gzip.compress(content, mtime=0) if zipped else content)
    return images, labels


def write_all(folder, zipped=False):
    return write_split(folder, "train", 60, 0, zipped), write_split(folder, "t10k", 30, 1, zipped)


def fashion(path, **settings):
    return open_source(Data(source="fashion_mnist", path=path, **settings))


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("below", [".", "FashionMNIST/raw"])
@pytest.mark.parametrize(("split", "part"), [("train", 0), ("test", 1)])
def test_both_layouts_plain_and_gzipped(tmp_path, zipped, below, split, part):
    images, labels = write_all(tmp_path / below, zipped)[part]
    source = fashion(tmp_path, split=split)
    samples = source.list(seed=0)
    assert samples.label_names == CLASSES
    assert len(samples) == len(images)
    order = list(zip(samples.label.tolist(), samples.id.tolist(), strict=True))
    assert order == sorted(order)
    assert samples.id[0] == f"{split}-00000"
    for sample_id, label in zip(samples.id, samples.label, strict=True):
        row = int(sample_id.removeprefix(f"{split}-"))
        assert labels[row] == label
        assert np.array_equal(source.image(sample_id)[:, :, 0], images[row])


def test_subset_and_split(tmp_path):
    (train, train_labels), (test, _) = write_all(tmp_path)
    source = fashion(tmp_path, classes=("Bag", "Coat"), images_per_class=2)
    samples = source.list(seed=0)
    assert samples.label_names == ("Coat", "Bag")
    assert samples.label.tolist() == [0, 0, 1, 1]
    split = source.split(samples, seed=0)
    wanted = np.isin(train_labels, [4, 8])
    assert np.array_equal(split.train_images[..., 0], train[wanted])
    assert split.train_labels.tolist() == [0, 1] * 6
    assert split.test_images.shape == (6, 28, 28, 1)
    assert split.train_images.flags.writeable
    assert len(test) == 30


def test_another_seed_another_draw(tmp_path):
    write_all(tmp_path)
    draws = [fashion(tmp_path, classes=4, images_per_class=3).list(seed).id.tolist() for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_unknown_ids_and_classes(tmp_path):
    write_all(tmp_path)
    with pytest.raises(DataError, match=r"has no image 'test-00000': its ids are train-00000 .. train-00059"):
        fashion(tmp_path).image("test-00000")
    with pytest.raises(DataError, match=r"no class is called 'Ankle boots'; closest: 'Ankle boot'"):
        fashion(tmp_path, classes=("Ankle boots", "Bag")).list(seed=0)


def test_missing_files_name_every_way_out(tmp_path):
    message = "no train-images-idx3-ubyte or .*gz in .*dataset-fashion-mnist, or set data.path .* data.download = true"
    with pytest.raises(DataError, match=message):
        fashion(tmp_path).list(seed=0)


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
SMALL = idx(np.zeros((4, 28, 28), np.uint8))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            IMAGES,
            idx(np.zeros(5, np.uint8)),
            "not an IDX file of 3 dimensions: it starts with 00 00 08 01, expected 00 00 08 03",
        ),
        (IMAGES, b"", "it starts with nothing"),
        (IMAGES, b"\x00\x00\x0d\x03" + SMALL[4:], "starts with 00 00 0d 03"),
        (IMAGES, SMALL[:9], "ends within its header: 9 of 16 bytes"),
        (IMAGES, SMALL[:-1], "should hold 4x28x28 elements .* 3152 bytes in all, and has 3151: damaged"),
        (IMAGES, SMALL + b"x", "3152 bytes in all, and has 3153"),
        (IMAGES, SMALL, "has 4 images and .* 60 labels: not a pair"),
        (IMAGES, idx(np.zeros((60, 32, 32), np.uint8)), "has images of 32 x 32, Fashion-MNIST 28 x 28"),
        (LABELS, idx(np.full(60, 10, np.uint8)), "has the label 10; Fashion-MNIST has 0 .. 9"),
    ],
)
def test_damaged_files(tmp_path, name, content, message):
    write_all(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        fashion(tmp_path).list(seed=0)


@pytest.mark.parametrize("damage", ["cut", "flipped", "no gzip"])
def test_damaged_compression(tmp_path, damage):
    content = bytearray(gzip.compress(SMALL + bytes(range(256)), mtime=0))
    if damage == "flipped":
        content[len(content) // 2] ^= 0xFF
    path = tmp_path / "x.gz"
    path.write_bytes({"cut": content[:-9], "flipped": content, "no gzip": SMALL}[damage])
    with pytest.raises(DataError, match=r"x.gz' cannot be read: .*; get the file again"):
        read_idx(path, 3)


@pytest.fixture
def torchvision(monkeypatch):
    """A stand-in that "downloads" by writing generated files, so that the test needs no network."""
    calls = []

    def fashion_mnist(root, download):
        calls.append(root)
        if "unreachable" in root:
            raise RuntimeError("Error downloading train-images-idx3-ubyte.gz")
        for seed, stem in enumerate(FILE_STEM.values()):
            write_split(Path(root) / "FashionMNIST" / "raw", stem, 20, seed)

    datasets = types.ModuleType("torchvision.datasets")
    datasets.FashionMNIST = fashion_mnist
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", datasets)
    return calls


def test_download_only_what_is_missing_and_only_when_asked(tmp_path, torchvision):
    with pytest.raises(DataError, match=r"no train-images"):
        fashion(tmp_path).list(seed=0)
    assert len(fashion(tmp_path, download=True).list(seed=0)) == 20
    assert len(fashion(tmp_path, download=True).list(seed=0)) == 20
    assert torchvision == [str(tmp_path)]


def test_downloads_that_cannot_be(tmp_path, torchvision):
    with pytest.raises(DataError, match=r"data.download needs data.path"):
        fashion(None, download=True).list(seed=0)
    with pytest.raises(DataError, match=r"could not be downloaded to '.*unreachable': Error downloading"):
        fashion(tmp_path / "unreachable", download=True).list(seed=0)


@pytest.fixture
def real_files():
    """The real data set where it is installed; where a build server lacks it, that is a failure."""
    missing = [
        name
        for stem in FILE_STEM.values()
        for name in (f"{stem}-images-idx3-ubyte.gz", f"{stem}-labels-idx1-ubyte.gz")
        if not (SYSTEM_PATH / name).is_file()
    ]
    if missing:
        reason = f"{missing} not in {SYSTEM_PATH}: install the Debian package dataset-fashion-mnist"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


@pytest.mark.fashion
@pytest.mark.usefixtures("real_files")
def test_the_real_training_images():
    source = open_source(Data(source="fashion_mnist"))
    samples = source.list(seed=0)
    assert np.bincount(samples.label).tolist() == [6000] * 10
    by_id = dict(zip(samples.id.tolist(), samples.label.tolist(), strict=True))
    first = [CLASSES[by_id[f"train-{row:05d}"]] for row in range(4)]
    assert first == ["Ankle boot", "T-shirt/top", "T-shirt/top", "Dress"]
    assert source.image("train-00000").shape == (28, 28, 1)


@pytest.mark.fashion
@pytest.mark.usefixtures("real_files")
def test_the_real_split():
    source = open_source(Data(source="fashion_mnist", images_per_class=5, split="test"))
    samples = source.list(seed=0)
    split = source.split(samples, seed=0)
    assert (len(samples), len(split.train_images), len(split.test_images)) == (50, 60_000, 10_000)
    # The mean and spread that everybody normalizes with: 0.2860 and 0.3530 of 255.
    assert split.train_images.mean() / 255 == pytest.approx(0.2860, abs=5e-5)
    assert split.train_images.std() / 255 == pytest.approx(0.3530, abs=5e-5)
