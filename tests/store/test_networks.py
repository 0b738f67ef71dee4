"""The table of networks: what is recorded of a network and of its training, and its profile of dimensions."""

import math

import pytest

from dnuc.store import Results, RunStore, stage_group

EPOCHS = [{"epoch": e, "train_accuracy": 0.1 * e, "test_accuracy": 0.2 + 0.1 * e} for e in (1, 2, 3)]
LAYERS = (("input", 0.0, 13.0), ("conv", 0.5, 20.0), ("pool", 0.5, None), ("hidden", 0.75, 8.0), ("fc", 1.0, 5.0))


def make(path, networks, training=None):
    """A store with networks of LAYERS; `training` is the summary of the training of "net"."""
    store = RunStore.create(path)
    store.describe("", models=list(networks))
    for model, network in networks.items():
        entries = [
            {"name": name, "module": name, "depth": i, "relative_depth": depth, "features": 10}
            for i, (name, depth, _) in enumerate(LAYERS)
        ]
        store.describe(f"models/{model}", layers=entries, network=network)
        for name, _, dimension in LAYERS:
            group = stage_group(model, name, "measures")
            store.begin(group, "d")
            error = None if dimension is None else dimension / 10
            store.finish(group, intrinsic_dimension=dimension, intrinsic_dimension_error=error)
    if training:
        store.describe("models/net", training=training)
    return Results(path).models_table.set_index("model")


def network(**changes):
    return {
        "origin": "training",
        "architecture": "residual",
        "weights": "trained",
        "of": "net",
        "epoch": None,
    } | changes


def test_the_profile_of_a_network(tmp_path):
    row = make(tmp_path, {"net": network()}).loc["net"]
    assert (row["input_dimension"], row["peak_layer"], row["peak_dimension"], row["peak_relative_depth"]) == (
        13, "conv", 20, 0.5,
    )  # fmt: skip
    assert (row["last_hidden_layer"], row["last_hidden_dimension"], row["last_hidden_dimension_error"]) == (
        "hidden", 8, 0.8,
    )  # fmt: skip
    assert (row["output_layer"], row["output_dimension"]) == ("fc", 5)


def test_accuracy_belongs_to_the_epoch(tmp_path):
    networks = {"net@0": network(epoch=0), "net@2": network(epoch=2), "net": network(shuffled=True)}
    table = make(tmp_path, networks, {"epochs": EPOCHS, "images": 50, "untrained_accuracy": 0.1})
    assert table["epoch"].tolist() == [0, 2, 3]
    assert table["test_accuracy"].tolist() == pytest.approx([0.1, 0.4, 0.5])
    assert table["test_error"].tolist() == pytest.approx([0.9, 0.6, 0.5])
    assert table["train_accuracy"].tolist()[1:] == pytest.approx([0.2, 0.3])
    assert math.isnan(table["train_accuracy"].iloc[0])
    assert table["images"].tolist() == [50] * 3
    assert table["shuffled"].tolist() == [False, False, True]


def test_what_is_not_known_is_nan(tmp_path):
    """Published and random networks have no training; a summary of former times does not count."""
    published = {"top1_error": 0.25, "top5_error": 0.07}
    networks = {
        "net": network(origin="network", weights="random", published=None),
        "resnet": network(origin="network", weights="DEFAULT", of="resnet", published=published),
        "old": {},
    }
    table = make(tmp_path, networks, {"epochs": EPOCHS})
    assert table["test_error"].isna().all()
    assert table["top5_error"].fillna(-1).tolist() == [-1, 0.07, -1]
    assert table.loc["resnet", "top1_error"] == 0.25
    assert table.loc["old", "of"] == "old"
    assert table["images"].isna().all()


def test_a_run_that_has_just_begun(tmp_path):
    store = RunStore.create(tmp_path)
    assert Results(tmp_path).models_table.empty
    store.describe("", models=["net"])
    store.describe("models/net", layers=[])
    row = Results(tmp_path).models_table.iloc[0]
    assert row["last_hidden_layer"] is None
    assert math.isnan(row["peak_dimension"])
