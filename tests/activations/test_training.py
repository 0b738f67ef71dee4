"""Training as a stage of a run: what is recorded of it, and that it is of this training."""

from functools import partial

import numpy as np
import pytest

from dnuc.activations import training as stage
from dnuc.activations.stage import Extractions
from dnuc.data import open_source
from dnuc.data.stage import manifest_digests, run_samples, training_data
from dnuc.store import Results, RunStore
from tests.conftest import digits_job, quiet_cluster

NET = {
    "name": "net",
    "architecture": "convolutional",
    "options": {"width": 2, "hidden": 8},
    "layers": ["relu3", "output"],
}


def job(base, **train):
    """A job that trains a tiny network on 40 digits; another one has random weights."""
    train = {"epochs": 2, "images": 40, "batch_size": 20, "augment": False, **train}
    models = [NET | {"train": train}, NET | {"name": "random", "weights": "random"}]
    return digits_job(base, model=models)


def extracted(job, path):
    """The run of a job up to its activations."""
    store, cluster = RunStore.create(path), quiet_cluster(path)
    run_samples(store, job, cluster)
    data = partial(training_data, store, job.data, job.seed)
    extractions = Extractions(store, job, cluster, open_source(job.data), data, manifest_digests(store, job))
    extractions.prepare(extractions.digests)
    extractions.extract(extractions.digests)
    return Results(path)


@pytest.fixture
def table(tmp_path):
    """Extract the job with such settings of the training; the table of its networks."""
    return lambda **train: extracted(job(tmp_path, **train), tmp_path / "run").models_table.set_index("model")


def test_what_each_network_can_do_is_recorded(table):
    found = table(keep=[0, 1])
    assert list(found.index) == ["net@0", "net@1", "net", "random"]
    assert found["weights"].tolist() == ["trained"] * 3 + ["random"]
    assert found["epoch"].tolist()[:3] == [0, 1, 2]
    assert found["images"].tolist()[:3] == [40] * 3
    assert found["test_accuracy"].notna().tolist() == [True, True, True, False]
    assert (found["last_hidden_layer"] == "relu3").all()
    assert not found["shuffled"].any()


def test_another_training_is_not_taken_for_this_one(table, tmp_path, monkeypatch):
    """Back to settings that were trained before: the weights are there, what was recorded is of another one."""
    first = table(epochs=1)
    other = table(epochs=3, shuffle_labels=True)
    assert (other.loc["net", "epoch"], bool(other.loc["net", "shuffled"])) == (3, True)
    monkeypatch.setitem(stage.train.__globals__, "_epoch", lambda *a: pytest.fail("trained again"))
    again = table(epochs=1)
    assert (again.loc["net", "epoch"], bool(again.loc["net", "shuffled"])) == (1, False)
    assert again.loc["net", "test_accuracy"] == first.loc["net", "test_accuracy"]


def test_a_training_whose_end_was_not_recorded_is_recorded_later(table, tmp_path, monkeypatch):
    """The run was killed after the last weights were written and before the summary was."""
    first = table(epochs=1)
    store = RunStore.open(tmp_path / "run")
    store.describe("models/net", training=None)
    for layer in ("relu3", "fc2"):
        store.drop(f"models/net/{layer}/activations")
    monkeypatch.setitem(stage.train.__globals__, "_epoch", lambda *a: pytest.fail("trained again"))
    assert table(epochs=1).loc["net", "test_accuracy"] == first.loc["net", "test_accuracy"]


def test_a_network_is_trained_on_the_images_that_its_job_wants(tmp_path, monkeypatch):
    seen = {}
    real = stage.train
    monkeypatch.setattr(
        stage, "train", lambda *a, **k: seen.update(images=a[1].images, labels=a[1].labels) or real(*a, **k)
    )
    wanted = job(tmp_path, images="samples", epochs=1, shuffle_labels=True)
    samples = extracted(wanted, tmp_path / "run").samples
    split = training_data(RunStore.open(tmp_path / "run"), wanted.data, 0, "samples")
    assert np.array_equal(seen["images"], split.train_images)
    assert np.array_equal(seen["labels"], split.train_labels)  # shuffled inside of `train` alone
    source = open_source(wanted.data)
    assert {x.tobytes() for x in seen["images"]} <= {source.image(i).tobytes() for i in samples["id"]}
    label = dict(zip(samples["id"], samples["label"], strict=True))  # the manifest's, as they always were
    assert [label[i] for i in split.train_ids.tolist()] == split.train_labels.tolist()
