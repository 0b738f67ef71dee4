"""Perturbed images against a plain loop, and that every consumer sees the same ones."""

import pickle

import numpy as np
import pytest

from dnuc.activations.preprocess import Preset
from dnuc.activations.published import preset
from dnuc.data import image_entropy, image_hash, open_source
from dnuc.data.perturb import luminances
from dnuc.data.stage import run_samples, stored_samples, training_data
from dnuc.errors import DataError
from dnuc.job import Data, Model
from dnuc.pipeline import run_job
from dnuc.store import Results, RunStore
from tests.conftest import digits_job, folder_job, quiet_cluster

PLAIN, BRIGHT = Data(source="digits"), Data(source="digits", perturb={"luminance": 100.0})


def plain_perturbation(image, xi, luminance):
    """x + L xi, pixel by pixel; in float32 and in units in which white is 255."""
    height, width, channels = image.shape
    found = np.empty(image.shape, dtype=np.float32)
    for y in range(height):
        for x in range(width):
            for c in range(channels):
                found[y, x, c] = np.float32(image[y, x, c]) + np.float32(255 * (luminance * xi))
    return found


def test_an_image_equals_the_plain_loop():
    plain, bright = open_source(PLAIN), open_source(BRIGHT, seed=3)
    for sample_id in ("digits-0000", "digits-0001", "digits-1796"):
        xi = luminances([sample_id], 1.0, 3)[0]
        assert 0 <= xi < 1
        image = bright.image(sample_id)
        assert image.dtype == np.float32
        assert np.array_equal(image, plain_perturbation(plain.image(sample_id), xi, 100.0))
        assert np.allclose(
            np.ptp(image - plain.image(sample_id)), 0, atol=255 * 100 * 2**-23
        )  # the same for all pixels


def test_the_random_numbers_are_uniform_and_belong_to_the_samples():
    ids = [f"train-{i:05d}" for i in range(2000)]
    xi = luminances(ids, 1.0, seed=0)
    assert np.allclose(np.histogram(xi, 4, (0, 1))[0], 500, atol=80)
    assert np.array_equal(luminances(ids[7:3:-1], 1.0, seed=0), xi[7:3:-1])  # whatever else is asked for
    assert np.array_equal(luminances(ids, 50.0, seed=0), 50 * xi)
    assert not np.isclose(luminances(ids, 1.0, seed=1), xi).any()


def test_training_sees_the_same_images():
    bright = open_source(BRIGHT, seed=3)
    samples = bright.list(seed=0)
    split = bright.split(samples, seed=0)
    plain = open_source(PLAIN).split(samples, seed=0)
    assert np.array_equal(split.train_labels, plain.train_labels)
    for part in ("train", "test"):
        images, ids = getattr(split, f"{part}_images"), getattr(split, f"{part}_ids")
        assert images.dtype == np.float32
        assert all(np.array_equal(bright.image(i), x) for i, x in zip(ids[:20], images, strict=False))


def test_the_seed_of_the_job_is_needed_and_decides():
    with pytest.raises(DataError, match="depend on the job's seed, and none was given"):
        open_source(BRIGHT)
    a, b = (open_source(BRIGHT, seed).image("digits-0000") for seed in (1, 2))
    assert not np.array_equal(a, b)
    assert len(pickle.dumps(open_source(BRIGHT, 1))) < 1000


def test_entropy_stays_and_the_fingerprint_changes():
    image, bright = open_source(PLAIN).image("digits-0003"), open_source(BRIGHT, seed=3).image("digits-0003")
    assert image_entropy(bright) == pytest.approx(image_entropy(image), abs=1e-12)
    assert image_hash(bright) != image_hash(image)
    assert image_hash(image.astype(np.float32)) != image_hash(image)


def test_published_networks_see_them_brighter_too():
    """torchvision resizes floats as tensors: nearly the same, and a constant stays one."""
    prepare = preset(Model(name="m", architecture="resnet18", weights="random", image_size=32))
    assert isinstance(prepare, Preset)
    image = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    plain, floats, bright = (prepare(x) for x in (image, image.astype(np.float32), image.astype(np.float32) + 2550))
    assert np.abs((plain - floats).numpy()).max() < 2 / 255 / 0.22
    step = (bright - floats).numpy()
    assert np.allclose(step, 10 / np.array([0.229, 0.224, 0.225])[:, None, None], rtol=1e-4)


# --- in a run ---------------------------------------------------------------------------------------------------


def test_every_consumer_of_a_run_sees_perturbed_images(here, tmp_path):
    data = {"source": "digits", "classes": 3, "images_per_class": 40, "perturb": {"luminance": 5.0}}
    path = run_job(digits_job(tmp_path, data=data, seed=4), out=tmp_path / "run", quiet=True)
    results, plain = Results(path), open_source(PLAIN)
    samples = results.samples
    assert samples["luminance"].between(0, 5).all()
    expected = np.stack(
        [plain.image(row["id"]).ravel() / 255 + row["luminance"] for _, row in samples.iterrows()]
    )  # random weights come without a normalization
    assert np.allclose(results.array("activations", "activation", "input"), expected, rtol=1e-6)
    assert [image_hash(open_source(results.job.data, 4).image(i)) for i in samples["id"]] == list(samples["hash"])
    split = training_data(RunStore.open(path), results.job.data, 4)
    known = dict(zip(samples["id"], samples["luminance"], strict=True))
    for sample_id, image in zip(split.train_ids, split.train_images, strict=True):
        if sample_id in known:
            assert np.allclose(image / 255, plain.image(sample_id) / 255 + known[sample_id], rtol=1e-6)


def test_runs_without_perturbation_have_no_luminance(here, tmp_path):
    path = run_job(digits_job(tmp_path), out=tmp_path / "run", quiet=True)
    assert "luminance" not in Results(path).samples
    assert not RunStore.open(path).has("samples", "luminance")


def test_folders_of_images_are_perturbed_too(here, tmp_path):
    path = run_job(folder_job(tmp_path, perturb={"luminance": 2.0}), out=tmp_path / "run", quiet=True)
    results = Results(path)
    brightness = results.array("activations", "activation", "input").mean(axis=1)
    assert np.corrcoef(brightness, results.samples["luminance"])[0, 1] > 0.99


# --- which images are trained on --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """The manifest of 40 images of three classes."""
    path = tmp_path_factory.mktemp("manifest")
    store = RunStore.create(path)
    run_samples(store, digits_job(path), quiet_cluster(path))
    return store


def test_the_training_images_that_are_samples(store):
    data, ids = digits_job(store.path).data, set(store.read("samples", "id").tolist())
    whole, found = training_data(store, data, 0), training_data(store, data, 0, "samples")
    assert 0 < len(found.train_ids) < len(ids) < len(whole.train_ids)
    assert set(found.train_ids.tolist()) == ids & set(whole.train_ids.tolist())
    assert np.array_equal(found.test_images, whole.test_images)
    assert all(open_source(PLAIN).image(i).ravel().tolist() == x.ravel().tolist()
               for i, x in zip(found.train_ids, found.train_images, strict=True))  # fmt: skip


def test_a_number_of_training_images(store):
    data = digits_job(store.path).data
    few, more = (training_data(store, data, 0, count) for count in (20, 50))
    assert (len(few.train_images), len(few.train_labels), len(more.train_ids)) == (20, 20, 50)
    assert set(few.train_ids.tolist()) < set(more.train_ids.tolist())
    assert training_data(store, data, 0, 20).train_ids.tolist() == few.train_ids.tolist()
    assert training_data(store, data, 1, 20).train_ids.tolist() != few.train_ids.tolist()
    with pytest.raises(DataError, match=r"train.images = 5000, but there are \d+ training images"):
        training_data(store, data, 0, 5000)


def test_samples_that_are_no_training_images(store, monkeypatch):
    data = digits_job(store.path).data
    held_out = set(training_data(store, data, 0).test_ids.tolist())
    samples = stored_samples(store)
    samples = samples.take(np.array([sample_id in held_out for sample_id in samples.id.tolist()]))
    monkeypatch.setattr("dnuc.data.stage.stored_samples", lambda store: samples)
    with pytest.raises(DataError, match="none of the job's samples is a training image"):
        training_data(store, data, 0, "samples")
