"""Training learns, stops and goes on to the same bits, and refuses what it cannot train on."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from dnuc.activations import LabeledImages, accuracy, build_network, train
from dnuc.activations.preprocess import Standardize, augment, channel_statistics
from dnuc.activations.train import shuffled
from dnuc.errors import DataError, JobError, StoreError
from dnuc.job import Model, Train


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    images = (data.images * 15.9375).astype(np.uint8)[..., None]
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order], data.target[order]
    return LabeledImages(images[:1400], labels[:1400]), LabeledImages(images[1400:], labels[1400:])


def model(architecture="residual", options=None, **settings):
    return Model(name="m", architecture=architecture, options=options or {}, train=Train(**settings))


SMALL = {"options": {"width": 4, "blocks": 1}, "epochs": 3}


def fit(model, data, directory, **settings):
    return train(model, *data, **({"seed": 1, "n_classes": 10, "directory": directory} | settings))


def weights(path):
    return torch.load(path, weights_only=True)["model"]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize(("architecture", "options"), [("residual", {"width": 8, "blocks": 2}), ("convolutional", {})])
def test_learns_the_digits(digits, tmp_path, architecture, options):
    summary = fit(model(architecture, options, epochs=10), digits, tmp_path)
    last = summary["epochs"][-1]
    assert last["test_accuracy"] > 0.95
    assert last["train_accuracy"] > 0.9
    assert last["loss"] < summary["epochs"][0]["loss"] / 3
    loaded = Model(name="m", architecture=architecture, options=options, weights=summary["weights"])
    network = build_network(loaded, seed=9, n_classes=10, image_shape=(8, 8, 1))
    assert accuracy(network, *digits[1]) == last["test_accuracy"]


def test_a_stopped_training_ends_with_the_same_bits(digits, tmp_path):
    settings = model(**SMALL, keep=(0, 2, 3))
    entries = []
    whole = fit(settings, digits, tmp_path / "whole", progress=entries.append)
    assert [e["epoch"] for e in entries] == [1, 2, 3]
    assert entries == whole["epochs"]

    def stop(entry):
        if entry["epoch"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(settings, digits, tmp_path / "parts", progress=stop)
    torch.rand(3)  # the state of the process must not matter
    resumed = []
    parts = fit(settings, digits, tmp_path / "parts", progress=resumed.append)
    assert [e["epoch"] for e in resumed] == [2, 3]
    for key in ("loss", "train_accuracy", "test_accuracy"):
        assert [e[key] for e in parts["epochs"]] == [e[key] for e in whole["epochs"]]
    assert same(weights(parts["weights"]), weights(whole["weights"]))
    for epoch in (0, 2, 3):
        assert same(weights(parts["kept"][epoch]), weights(whole["kept"][epoch]))


def test_kept_epochs_and_a_finished_training(digits, tmp_path):
    settings = model(**SMALL, keep=(0, 3))
    summary = fit(settings, digits, tmp_path)
    untrained = build_network(settings, seed=1, n_classes=10, image_shape=(8, 8, 1)).module.state_dict()
    assert same(weights(summary["kept"][0]), untrained)
    assert same(weights(summary["kept"][3]), weights(summary["weights"]))
    assert not same(weights(summary["kept"][0]), weights(summary["weights"]))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["epoch-000.pt", "epoch-003.pt", "final.pt", "resume.pt"]
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    again = fit(settings, digits, tmp_path, progress=lambda entry: pytest.fail("trained again"))
    assert again == summary
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_the_seed_decides(digits, tmp_path):
    one = model(options={"width": 2, "blocks": 1}, epochs=1)
    a, b = (weights(fit(one, digits, tmp_path / str(s), seed=s)["weights"]) for s in (1, 2))
    assert not same(a, b)


def test_a_directory_with_another_training(digits, tmp_path):
    fit(model(**SMALL), digits, tmp_path)
    for other in (model(**(SMALL | {"epochs": 4})), model(**SMALL, learning_rate=0.2)):
        with pytest.raises(StoreError, match=r"resume.pt is of another training"):
            fit(other, digits, tmp_path)
    with pytest.raises(StoreError):
        fit(model(**SMALL), digits, tmp_path, seed=2)
    (tmp_path / "resume.pt").write_bytes(b"cut")
    with pytest.raises(StoreError, match="is damaged"):
        fit(model(**SMALL), digits, tmp_path)


def test_training_leaves_the_state_of_torch_alone(digits, tmp_path):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    fit(model(**SMALL), digits, tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.is_grad_enabled()


def test_any_network_can_be_trained(digits, tmp_path):
    """torchvision's, with its own preprocessing, dropout and more channels than the images have."""
    settings = Model(name="m", architecture="squeezenet1_1", image_size=32, train=Train(epochs=1, learning_rate=0.01))
    few = LabeledImages(digits[0].images[:8], digits[0].labels[:8])
    none = LabeledImages(digits[0].images[:0], digits[0].labels[:0])
    summary = fit(settings, (few, none), tmp_path)
    assert summary["epochs"][0]["test_accuracy"] is None
    assert np.isfinite(summary["epochs"][0]["loss"])


def test_refusals(digits, tmp_path):
    (images, labels), test = digits
    settings = model(**SMALL)
    with pytest.raises(DataError, match=r"training images are float64 \(1400, 8, 8, 1\); needed: uint8 \(or float32"):
        fit(settings, (LabeledImages(images / 255, labels), test), tmp_path)
    with pytest.raises(DataError, match=r"1400 training images and labels of shape \(1399,\)"):
        fit(settings, (LabeledImages(images, labels[1:]), test), tmp_path)
    with pytest.raises(DataError, match=r"test labels are int64 from 0 to 9; needed: integers from 0 to 8"):
        fit(settings, (LabeledImages(images[labels < 9], labels[labels < 9]), test), tmp_path, n_classes=9)
    with pytest.raises(DataError, match=r"loss is (nan|inf) when \d+\.\d% .*; lower train.learning_rate"):
        fit(model("convolutional", learning_rate=1e9), digits, tmp_path)
    with pytest.raises(JobError, match=r"no \[model.train\] table"):
        fit(Model(name="m", architecture="residual", weights="random"), digits, tmp_path)


def test_shifts_and_mirrors():
    random = np.random.default_rng(0)
    image = np.zeros((16, 16, 1), dtype=np.uint8)
    image[8, 4] = 255
    found = augment(np.repeat(image[None], 400, axis=0), False, random)
    rows, columns = (
        np.nonzero(found[..., 0].reshape(400, -1))[1] // 16,
        np.nonzero(found[..., 0].reshape(400, -1))[1] % 16,
    )
    assert {*rows} == {6, 7, 8, 9, 10}
    assert {*columns} == {2, 3, 4, 5, 6}
    mirrored = augment(np.repeat(image[None], 400, axis=0), True, random)
    columns = np.nonzero(mirrored[..., 0].reshape(400, -1))[1] % 16
    assert {*columns} == {2, 3, 4, 5, 6, 9, 10, 11, 12, 13}
    assert augment(np.repeat(image[None], 3, axis=0), False, random).dtype == np.uint8


def test_what_comes_in_from_outside_of_a_perturbed_image_is_as_dark_as_the_image():
    bright = np.full((2, 16, 16, 1), 1000, dtype=np.float32)
    bright[1] = 2000
    found = augment(bright, False, np.random.default_rng(0))
    assert found.dtype == np.float32
    assert [np.unique(image).tolist() for image in found] == [[1000], [2000]]
    image = np.random.default_rng(1).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    image[:, 0, 0] = 0
    pair = [augment(i, True, np.random.default_rng(2)) for i in (image, image.astype(np.float32) + 500)]
    assert np.array_equal(pair[0] + np.float32(500), pair[1])


def test_images_of_floats_are_standardized_as_bytes_are():
    images = np.random.default_rng(0).integers(0, 256, (9, 5, 4, 3), dtype=np.uint8)
    (mean, std), found = channel_statistics(images), channel_statistics(images.astype(np.float32))
    assert np.allclose(found, (mean, std), rtol=1e-12)
    assert channel_statistics(np.full((2, 1, 1, 1), 510, np.float32)) == ((2.0,), (1.0,))
    standardize = Standardize(mean, std)
    assert torch.equal(standardize.batch(images), standardize.batch(images.astype(np.float32)))


# --- labels that say nothing ------------------------------------------------------------------------------------


def test_shuffled_labels_keep_the_classes_and_depend_on_the_seed():
    labels = np.repeat(np.arange(5), 40)
    found = shuffled(labels, 3)
    assert np.bincount(found).tolist() == [40] * 5
    assert (found == labels).mean() < 0.4
    assert np.array_equal(found, shuffled(labels, 3))
    assert not np.array_equal(found, shuffled(labels, 4))


def test_shuffled_labels_are_learned_by_heart_and_tell_nothing_about_other_images(digits, tmp_path):
    few = LabeledImages(digits[0].images[:60], digits[0].labels[:60])
    settings = {"epochs": 60, "learning_rate": 0.05, "augment": False, "batch_size": 20, "weight_decay": 0}
    learned = fit(model("convolutional", **settings, shuffle_labels=True), (few, digits[1]), tmp_path / "shuffled")
    last = learned["epochs"][-1]
    assert last["train_accuracy"] == 1
    assert last["test_accuracy"] < 0.3
    assert (
        fit(model("convolutional", **settings), (few, digits[1]), tmp_path / "true")["epochs"][-1]["test_accuracy"]
        > 2 * last["test_accuracy"]
    )


def test_only_the_labels_of_training_are_shuffled(digits, tmp_path):
    """As if the labels had come so: the same bits."""
    by_hand = LabeledImages(digits[0].images, shuffled(digits[0].labels, 1))
    a = fit(model(**SMALL, shuffle_labels=True), digits, tmp_path / "a")
    b = fit(model(**SMALL), (by_hand, digits[1]), tmp_path / "b")
    assert same(weights(a["weights"]), weights(b["weights"]))
    assert [e["test_accuracy"] for e in a["epochs"]] == [e["test_accuracy"] for e in b["epochs"]]


def test_the_accuracy_before_training_is_told_where_its_weights_are_kept(digits, tmp_path):
    kept = fit(model(**SMALL, keep=(0,)), digits, tmp_path / "kept")
    untrained = Model(name="m", architecture="residual", options=SMALL["options"], weights=kept["kept"][0])
    network = build_network(untrained, seed=9, n_classes=10, image_shape=(8, 8, 1))
    assert kept["untrained_accuracy"] == accuracy(network, *digits[1])
    assert kept["images"] == 1400
    assert fit(model(**SMALL), digits, tmp_path / "not")["untrained_accuracy"] is None


def test_held_out_images_are_looked_at_as_often_as_wanted(digits, tmp_path):
    often = fit(model(**SMALL | {"epochs": 5}), digits, tmp_path / "often")["epochs"]
    seldom = fit(model(**SMALL | {"epochs": 5}, test_every=2, keep=(3,)), digits, tmp_path / "seldom")["epochs"]
    found = [entry["test_accuracy"] for entry in seldom]
    assert found == [None, *(entry["test_accuracy"] for entry in often[1:])]
    assert [e["loss"] for e in seldom] == [e["loss"] for e in often]
