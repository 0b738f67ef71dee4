"""A run directory: what counts as complete, what survives an interruption, and what a changed job makes obsolete."""

import json

import numpy as np
import pytest
import xarray as xr

from dnuc.errors import StoreError
from dnuc.store import RunStore, digest, run, stage_group

GROUP = stage_group("net", "fc", "measures")


@pytest.fixture
def store(tmp_path):
    return RunStore.create(tmp_path / "run")


# --- the directory ----------------------------------------------------------------------------------------------


def test_a_run_is_made_once_and_opened_again(tmp_path):
    store = RunStore.create(tmp_path / "a/b")
    store.describe("", models=["net"])
    assert RunStore.create(tmp_path / "a/b").models() == ["net"]
    assert RunStore.open(tmp_path / "a/b").path == (tmp_path / "a/b").resolve()


def test_an_empty_directory_is_used_and_another_content_refused(tmp_path):
    RunStore.create(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/thesis.tex").touch()
    with pytest.raises(StoreError, match=r"exists, is not empty and is not a dnuc run: give another directory"):
        RunStore.create(tmp_path / "other")
    assert [p.name for p in (tmp_path / "other").iterdir()] == ["thesis.tex"]


def test_what_is_no_run(tmp_path):
    with pytest.raises(StoreError, match=r"is not a dnuc run directory \(it has no zarr\.json\): run a job first"):
        RunStore.open(tmp_path)


def test_a_run_of_another_format(tmp_path, monkeypatch):
    RunStore.create(tmp_path)
    monkeypatch.setattr(run, "FORMAT", run.FORMAT + 1)
    with pytest.raises(StoreError, match=r"has store format 1, this dnuc .* reads format 2: use the dnuc version that"):
        RunStore.open(tmp_path)


# --- markers ----------------------------------------------------------------------------------------------------


def test_a_stage_is_complete_only_after_its_marker(store):
    assert not store.is_complete(GROUP)
    assert not store.begin(GROUP, "d1")
    store.save(GROUP, {"occurrence": np.arange(3)})
    assert not store.is_complete(GROUP)
    store.finish(GROUP, intrinsic_dimension=12.5)
    assert store.is_complete(GROUP)
    assert store.is_complete(GROUP, "d1")
    assert not store.is_complete(GROUP, "d2")
    assert store.attributes(GROUP)["intrinsic_dimension"] == 12.5


def test_interrupted_work_of_the_same_digest_is_kept(store):
    store.begin(GROUP, "d1")
    store.save(GROUP, {"occurrence": np.arange(3)})
    assert store.begin(GROUP, "d1")
    assert store.has(GROUP, "occurrence")
    assert not store.is_complete(GROUP)


def test_a_finished_stage_that_begins_again_is_unfinished(store):
    store.begin(GROUP, "d1")
    store.finish(GROUP)
    assert store.begin(GROUP, "d1")
    assert not store.is_complete(GROUP, "d1")


def test_a_stage_awaits_what_it_was_begun_for_until_it_is_finished(store):
    group = "models/net/fc/measures"
    assert not store.awaits(group, "a")
    store.begin(group, "a")
    assert store.awaits(group, "a")
    assert not store.awaits(group, "b")
    store.finish(group)
    assert not store.awaits(group, "a")


def test_another_digest_drops_the_stage_and_nothing_else(store):
    for layer in ("fc", "conv"):
        for stage in ("measures", "landscape"):
            group = stage_group("net", layer, stage)
            store.begin(group, "d1")
            store.finish(group, old=True)
    store.save(GROUP, {"occurrence": np.arange(3)})
    assert not store.begin(GROUP, "d2")
    assert not store.has(GROUP, "occurrence")
    assert "old" not in store.attributes(GROUP)
    assert store.is_complete(stage_group("net", "fc", "landscape"), "d1")
    assert store.is_complete(stage_group("net", "conv", "measures"), "d1")


def test_dropping_what_is_not_there_is_harmless(store):
    store.drop(GROUP)
    assert not store.exists(GROUP)


def test_a_digest_depends_on_values_not_on_the_order_of_keys():
    assert digest({"a": 1, "b": (1, 2)}) == digest({"b": [1, 2], "a": 1})
    different = [{"k": 30}, {"k": 31}, {"k": "30"}, {"K": 30}, {"k": 30, "z": None}, [30], None]
    assert len({digest(value) for value in different}) == len(different)
    assert digest("a", "b") != digest("ab")
    assert len(digest()) == 16


def test_an_attempt_that_left_other_shapes_is_overwritten(store):
    store.begin(GROUP, "d")
    store.save(GROUP, {"label_overlap": np.zeros((2, 5)), "occurrence": np.zeros(0, np.int64)})
    store.save(GROUP, {"label_overlap": np.ones((3, 4)), "occurrence": np.arange(2)})
    np.testing.assert_array_equal(store.read(GROUP, "label_overlap"), np.ones((3, 4)))
    np.testing.assert_array_equal(store.read(GROUP, "occurrence"), [0, 1])


def test_arrays_without_elements(store):
    """A landscape of one peak has no saddle."""
    group = stage_group("net", "fc", "landscape")
    store.begin(group, "d")
    store.save(group, {"saddle_sample": np.zeros(0, np.int64), "saddle_error": np.zeros(0)})
    store.finish(group)
    assert store.read(group, "saddle_sample").shape == (0,)
    assert store.read(group, "saddle_error").dtype == np.float64


def test_declaring_twice_keeps_what_is_written(store):
    store.declare("samples", "label", (4,), (2,))
    store.write("samples", "label", slice(0, 2), [7, 8])
    store.declare("samples", "label", (4,), (2,))
    np.testing.assert_array_equal(store.read("samples", "label"), [7, 8, -1, -1])


def test_names_that_the_schema_does_not_know(store):
    store.begin(GROUP, "d")
    with pytest.raises(KeyError, match="activation"):
        store.declare(GROUP, "activation", (4, 2))


def test_attributes_of_what_was_not_computed(store):
    with pytest.raises(StoreError, match=r"has no models/net/fc/measures: has the stage run\?"):
        store.attributes(GROUP)


def test_layers_of_all_models_in_order(store):
    store.describe("", models=["b", "a"])
    for model, names in (("a", ["y", "x"]), ("b", ["z"])):
        store.describe(f"models/{model}", layers=[{"name": name} for name in names])
    assert [(model, layer["name"]) for model, layer in store.each_layer()] == [("b", "z"), ("a", "y"), ("a", "x")]


# --- other readers ----------------------------------------------------------------------------------------------


def neighbors_and_measures(store):
    groups = [stage_group("net", "fc", "neighbors"), GROUP]
    store.begin(groups[0], "d")
    values = {"neighbor_index": np.arange(8).reshape(4, 2), "neighbor_distance": np.ones((4, 2))}
    store.save(groups[0], {**values, "tile_redone": np.zeros(3, np.int64)})
    store.finish(groups[0], k=2)
    store.begin(groups[1], "d")
    store.save(groups[1], {"label_overlap": np.ones((1, 4)), "occurrence": np.arange(4)})
    store.finish(groups[1], intrinsic_dimension=3.5)
    store.consolidate()
    return groups


def test_xarray_opens_a_stage_with_named_dimensions(store):
    """Warnings are errors here: nothing may be complained about."""
    group, _ = neighbors_and_measures(store)
    found = xr.open_zarr(str(store.path), group=group)
    assert dict(found.sizes) == {"sample": 4, "neighbor": 2, "tile": 3}
    assert found["neighbor_distance"].dims == ("sample", "neighbor")
    assert found["neighbor_distance"].attrs["long_name"] == "their Euclidean distances"
    np.testing.assert_array_equal(found["neighbor_index"].values, np.arange(8).reshape(4, 2))
    assert found.attrs["k"] == 2


def test_a_dataset_joins_the_stages_of_a_layer(store):
    found = store.dataset(*neighbors_and_measures(store))
    assert set(found) == {"neighbor_index", "neighbor_distance", "label_overlap", "occurrence"}
    assert found["label_overlap"].dims == ("overlap_k", "sample")
    assert found.attrs["intrinsic_dimension"] == 3.5
    np.testing.assert_array_equal(found["occurrence"].values, np.arange(4))


def test_markers_are_plain_json(store):
    """What is recorded can be read without dnuc or Zarr."""
    store.begin(GROUP, "d")
    store.finish(GROUP, n_peaks=3)
    content = json.loads((store.path / GROUP / "zarr.json").read_text())
    assert content["attributes"] == {"digest": "d", "complete": True, "n_peaks": 3}
