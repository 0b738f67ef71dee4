"""Measures of stored layers: the same numbers as the functions give, stored with their names."""

import json

import numpy as np
import pytest

from dnuc.measures import overlap as overlaps
from dnuc.measures.dimension import two_nn
from dnuc.measures.entropy import neighborhood_entropy
from dnuc.measures.hubs import hubness, top_hubs
from dnuc.measures.overlap import data_overlap, label_overlap
from dnuc.measures.stage import measure_layer, overlap_row
from dnuc.neighbors.search import nearest_neighbors
from dnuc.store import Results, RunStore, StoredArray, stage_group
from tests import synthetic

N, K = 80, 8
LAYERS = ("input", "middle", "output")
SETTINGS = {"overlap_k": (6, 3), "fraction": 0.9, "top_hubs": 4, "seed": 5}
LABEL, MACRO = np.arange(N) % 4, np.arange(N) % 4 // 2 - (np.arange(N) % 4 == 3)
ENTROPY = np.linspace(1, 7, N)


@pytest.fixture(scope="module")
def neighbors():
    x = synthetic.clustered(N, 10, clusters=4, spread=0.9)
    return [nearest_neighbors(x + depth * synthetic.normal(N, 10, seed=9), K) for depth in (0, 0.2, 0.8)]


def make_store(path, neighbors, macro=MACRO, entropy=ENTROPY):
    store = RunStore.create(path)
    store.begin("samples", "s")
    store.save("samples", {"label": LABEL, "macro": macro, "entropy": entropy})
    store.finish("samples")
    store.describe("", models=["net"])
    entries = [
        {"name": name, "module": name, "depth": i, "relative_depth": i / 2, "features": 10}
        for i, name in enumerate(LAYERS)
    ]
    store.describe("models/net", layers=entries)
    for name, found in zip(LAYERS, neighbors, strict=True):
        group = stage_group("net", name, "neighbors")
        store.begin(group, "d")
        store.save(group, {"neighbor_index": found.index, "neighbor_distance": found.distance})
        store.finish(group)
    return store


def measured(store, position, **settings):
    group = stage_group("net", LAYERS[position], "measures")
    store.begin(group, "d")
    measure_layer(store, "net", position, {**SETTINGS, **settings}, "d")
    return group


@pytest.fixture
def store(tmp_path, neighbors):
    return make_store(tmp_path, neighbors)


@pytest.mark.parametrize("rows", [1, 13, N])
def test_lists_of_other_layers_are_read_a_block_of_rows_at_a_time(store, neighbors, rows, monkeypatch):
    monkeypatch.setattr(overlaps, "ROWS_AT_ONCE", rows)
    read, whole = [], StoredArray.__getitem__

    def watched(self, key):
        read.append((self.group, key))
        return whole(self, key)

    monkeypatch.setattr(StoredArray, "__getitem__", watched)
    group = measured(store, 0)
    of_output = [key.stop - key.start for of, key in read if of == stage_group("net", "output", "neighbors")]
    assert of_output == [rows] * -(-N // rows)
    for name, other in (("input", 0), ("output", 2), ("next", 1)):
        expected = [data_overlap(neighbors[0], neighbors[other], k) for k in SETTINGS["overlap_k"]]
        np.testing.assert_array_equal(store.read(group, f"{name}_overlap"), [o.per_sample for o in expected])
        assert store.attributes(group)[f"{name}_overlap_mean"] == [o.mean for o in expected]


def test_stored_numbers_are_those_of_the_functions(store, neighbors):
    group = measured(store, 1)
    attributes, own = store.attributes(group), neighbors[1]
    dimension, hubs = two_nn(own, 0.9), top_hubs(own, 6, 4)
    entropy = neighborhood_entropy(own, ENTROPY, 6, seed=5)
    assert attributes["intrinsic_dimension"] == dimension.value
    assert attributes["intrinsic_dimension_error"] == dimension.error
    assert (attributes["dimension_scale"], attributes["dimension_fraction"]) == (dimension.scale, 0.9)
    assert (attributes["hub_sample"], attributes["hub_coverage"]) == (hubs.sample.tolist(), hubs.coverage)
    assert (attributes["neighborhood_entropy"], attributes["shuffled_entropy"]) == (entropy.mean, entropy.shuffled)
    assert store.is_complete(group, "d")
    np.testing.assert_array_equal(store.read(group, "occurrence"), hubness(own, 6))
    np.testing.assert_array_equal(store.read(group, "neighborhood_entropy"), entropy.per_sample)
    expected = {
        "label_overlap": lambda k: label_overlap(own, LABEL, k),
        "macro_overlap": lambda k: label_overlap(own, MACRO, k),
        "input_overlap": lambda k: data_overlap(own, neighbors[0], k),
        "output_overlap": lambda k: data_overlap(own, neighbors[2], k),
        "next_overlap": lambda k: data_overlap(own, neighbors[2], k),
    }
    for name, overlap in expected.items():
        np.testing.assert_array_equal(store.read(group, name), [overlap(k).per_sample for k in (6, 3)])
        assert attributes[f"{name}_mean"] == [overlap(k).mean for k in (6, 3)]


def test_weighted_means_are_stored_where_the_job_asks_for_them(tmp_path, neighbors):
    store = make_store(tmp_path, neighbors, macro=np.where(np.arange(N) % 4 == 3, -1, np.arange(N) % 4 // 2))
    attributes = store.attributes(measured(store, 1, weights="class_size"))
    own, macro = neighbors[1], store.read("samples", "macro")
    assert attributes["macro_overlap_mean"][0] == label_overlap(own, macro, 6, weights="class_size").mean
    assert attributes["macro_overlap_mean"][0] != label_overlap(own, macro, 6).mean
    expected = data_overlap(own, neighbors[0], 3, weights="class_size", labels=LABEL).mean
    assert attributes["input_overlap_mean"][1] == expected == overlap_row(store, "net", 0, [3], "class_size")[0, 1]


def test_first_and_last_layer(store):
    first, last = measured(store, 0), measured(store, 2)
    assert store.attributes(first)["input_overlap_mean"] == [1, 1]
    assert store.attributes(last)["output_overlap_mean"] == [1, 1]
    assert not store.has(last, "next_overlap")
    assert store.attributes(first)["next_overlap_mean"] == store.attributes(measured(store, 1))["input_overlap_mean"]


def test_samples_without_macro_classes_or_images(tmp_path, neighbors):
    store = make_store(tmp_path, neighbors, macro=np.full(N, -1), entropy=np.full(N, np.nan))
    group = measured(store, 0)
    assert not store.has(group, "macro_overlap")
    assert not store.has(group, "neighborhood_entropy")
    assert "neighborhood_entropy" not in store.attributes(group)


def test_a_layer_of_duplicates_does_not_stop_the_run(tmp_path, neighbors):
    dead = nearest_neighbors(np.ones((N, 3)), K)
    store = make_store(tmp_path, [neighbors[0], dead, neighbors[2]])
    attributes = store.attributes(measured(store, 1))
    assert attributes["intrinsic_dimension"] is None
    assert "0 of 80 samples" in attributes["dimension_note"]
    assert attributes["duplicates"] == N
    assert np.isnan(Results(store.path).layers["intrinsic_dimension"]).all()


def test_attributes_are_plain_json(store):
    group = measured(store, 0)
    attributes = json.loads((store.path / group / "zarr.json").read_text())["attributes"]
    assert attributes["overlap_k"] == [6, 3]
    json.dumps(attributes, allow_nan=False)  # NaN is not JSON: other readers would refuse it


def test_the_table_of_layers_shows_them(store):
    for position in range(3):
        measured(store, position)
    layers = Results(store.path).layers
    assert layers["input_overlap"].iloc[0] == 1
    assert layers["label_overlap_k3"].notna().all()
    assert np.isnan(layers["next_overlap"].iloc[2])
    assert layers["intrinsic_dimension"].between(3, 15).all()


def test_rows_of_the_overlap_matrix(store, neighbors):
    """Each row holds the layer itself and the later ones, so that no pair is computed twice."""
    matrix = np.stack([overlap_row(store, "net", i, [6, 3]) for i in range(3)], axis=1)
    assert matrix.shape == (2, 3, 3)
    for i in range(3):
        for j in range(3):
            expected = [data_overlap(neighbors[i], neighbors[j], k).mean if j >= i else 0 for k in (6, 3)]
            np.testing.assert_array_equal(matrix[:, i, j], expected)


def test_measuring_twice_is_harmless(store):
    before = store.attributes(measured(store, 1, overlap_k=(6, 3, 1)))
    group = measured(store, 1)
    assert before["label_overlap_mean"][:2] == store.attributes(group)["label_overlap_mean"]
    assert store.read(group, "label_overlap").shape == (2, N)
