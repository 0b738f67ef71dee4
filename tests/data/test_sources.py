"""Tar archives and Parquet files give what the folder of the same images gives: ids, order, pixels, results."""

import pickle

import numpy as np
import pytest
from PIL import Image

from dnuc.data import INDEX, open_source
from dnuc.errors import DataError
from dnuc.job import Data
from dnuc.pipeline import run_job
from dnuc.store import RunStore
from tests.conftest import assert_same_results, folder_job
from tests.data.packing import class_tars, parquet_files, tar_of_tars

COUNTS = {"n01440764": 6, "n01443537": 5, "n02012849": 4, "n03126707": 6}
KINDS = ("class_tars", "tar_of_tars", "parquet")


@pytest.fixture
def tree(tmp_path):
    """Four classes of noisy JPEGs, of several sizes, and a PNG among them."""
    rng = np.random.default_rng(0)
    root = tmp_path / "train"
    for key, count in COUNTS.items():
        (root / key).mkdir(parents=True)
        for i in range(count):
            picture = Image.fromarray(rng.integers(0, 256, (6 + i, 9, 3), dtype=np.uint8))
            picture.save(root / key / (f"{key}_{i}.JPEG" if i else f"{key}_{i}.png"))
    return root


def packed(kind, tree, out, **settings):
    """The images of a folder in another form, as [data] of a job."""
    make = {"class_tars": class_tars, "tar_of_tars": tar_of_tars, "parquet": parquet_files}[kind]
    source = "parquet" if kind == "parquet" else "image_tar"
    return Data(source=source, path=make(tree, out / kind), **settings)


@pytest.mark.parametrize("kind", KINDS)
def test_ids_order_and_pixels_are_those_of_the_folder(tree, tmp_path, kind):
    folder = open_source(Data(source="image_folder", path=tree))
    source = pickle.loads(pickle.dumps(open_source(packed(kind, tree, tmp_path))))
    expected, found = folder.list(seed=0), source.list(seed=0)
    assert found.id.tolist() == expected.id.tolist()
    assert found.label.tolist() == expected.label.tolist()
    assert found.class_keys == expected.class_keys == tuple(COUNTS)
    for sample_id in found.id.tolist():
        image = source.image(sample_id)
        np.testing.assert_array_equal(image, folder.image(sample_id))
        assert image.flags.writeable
    assert len(pickle.dumps(source)) < 1000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("settings", [{"classes": 3, "images_per_class": 2}, {"classes": ("n02012849", "n01440764")}])
def test_the_same_draw(tree, tmp_path, kind, settings):
    folder = open_source(Data(source="image_folder", path=tree, **settings))
    source = open_source(packed(kind, tree, tmp_path, **settings))
    for seed in (0, 1):
        assert source.list(seed).id.tolist() == folder.list(seed).id.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_listed_ids_keep_their_order(tree, tmp_path, kind):
    lines = ["n03126707/n03126707_1.JPEG", "n01440764/n01440764_0.png", "n01440764/n01440764_3.JPEG"]
    (tmp_path / "ids.txt").write_text("\n".join(lines))
    source = open_source(packed(kind, tree, tmp_path, ids=tmp_path / "ids.txt"))
    assert source.list(0).id.tolist() == lines
    (tmp_path / "ids.txt").write_text("n03126707/n03126707_99.JPEG\n")
    with pytest.raises(DataError, match=r"does not have 1 of them: 'n03126707/n03126707_99.JPEG'"):
        source.list(0)


@pytest.mark.parametrize("kind", KINDS)
def test_images_that_are_not_there(tree, tmp_path, kind):
    source = open_source(packed(kind, tree, tmp_path))
    for sample_id in ("n01440764/n01440764_77.JPEG", "n09999999/n01440764_0.png", "n01440764/" + "x" * 300):
        with pytest.raises(DataError, match=r"is not in .*; correct data.path"):
            source.image(sample_id)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_image_is_named_and_the_others_are_there(tree, tmp_path, kind):
    damaged = tree / "n01443537" / "n01443537_2.JPEG"
    damaged.write_bytes(damaged.read_bytes()[:200])
    source = open_source(packed(kind, tree, tmp_path))
    with pytest.raises(DataError, match=r"image 'n01443537/n01443537_2.JPEG' \(.*\) cannot be read: .*max_unreadable"):
        source.image("n01443537/n01443537_2.JPEG")
    assert source.image("n01443537/n01443537_3.JPEG").shape == (9, 9, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_training_and_missing_paths_are_refused(tree, tmp_path, kind):
    source = open_source(packed(kind, tree, tmp_path))
    with pytest.raises(DataError, match=r"is not offered; remove .model.train. and give"):
        source.split(source.list(0), seed=0)
    for path, message in ((None, "needs data.path"), (tmp_path / "none", "none': no ")):
        with pytest.raises(DataError, match=message):
            open_source(Data(source=source.data.source, path=path)).list(0)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_gives_the_same_bits(tmp_path, kind):
    job = folder_job(tmp_path)
    expected = run_job(job, out=tmp_path / "folder", quiet=True)
    damaged = tmp_path / "images" / "cat" / "cat_9.png"
    damaged.write_bytes(b"not an image")
    data = packed(kind, tmp_path / "images", tmp_path / "packed", max_unreadable=1)
    found = run_job(job.model_copy(update={"data": data}), out=tmp_path / "run", quiet=True)
    store = RunStore.open(found)
    assert len(store.attributes("samples")["skipped"]) == 1
    store.describe("samples", skipped=[])
    assert_same_results(found, expected)
    kept = sorted(path.name for path in (found / INDEX).rglob("*.npz")) if (found / INDEX).is_dir() else []
    of_classes = ["cat.npz", "dog.npz"]
    assert kept == {"class_tars": of_classes, "tar_of_tars": ["all.npz", *of_classes], "parquet": []}[kind]
    strict = job.model_copy(update={"data": data.model_copy(update={"max_unreadable": 0})})
    with pytest.raises(DataError, match="1 images cannot be read, 0 may be skipped"):
        run_job(strict, out=tmp_path / "strict", quiet=True)
