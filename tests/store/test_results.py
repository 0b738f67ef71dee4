"""Reading a run: the table of layers, names that are looked up, and what is not computed yet."""

import numpy as np
import pytest

from dnuc.errors import LayerError, StoreError
from dnuc.store import Results, RunStore, stage_group

N = 6


@pytest.fixture
def store(tmp_path):
    """Two models; every stage of a/conv, no landscape of a/fc, nothing of b/fc."""
    store = RunStore.create(tmp_path)
    store.begin("samples", "s")
    store.save(
        "samples",
        {
            "id": np.array([f"s{i}" for i in range(N)], dtype=np.dtypes.StringDType()),
            "label": np.array([0, 0, 1, 1, 2, 2]),
            "macro": np.array([0, 0, 0, 0, -1, -1]),
            "entropy": np.linspace(0, 1, N),
            "hash": np.array(["h"] * N, dtype=np.dtypes.StringDType()),
        },
    )
    store.finish("samples", label_names=["cat", "dog", "oak"], macro_names=["animal"])
    store.describe("", models=["a", "b"])
    for model, layers in (("a", ("conv", "fc")), ("b", ("fc",))):
        entries = [
            {"name": name, "module": f"m.{name}", "depth": i, "relative_depth": float(i), "features": 10 - i}
            for i, name in enumerate(layers)
        ]
        store.describe(f"models/{model}", layers=entries)
    finish(store, "conv", "activations", seconds=1.5)
    finish(store, "conv", "neighbors", seconds=2.5, redone=7)
    for layer, dimension in (("conv", 3.5), ("fc", None)):
        finish(
            store, layer, "measures", intrinsic_dimension=dimension, duplicates=2, hub_coverage=0.5, overlap_k=[3, 1],
            label_overlap_mean=[0.25, 0.75], input_overlap_mean=[1.0, 1.0],
        )  # fmt: skip
    finish(store, "conv", "landscape", n_peaks=3, core_share=0.5, ari_class=0.9)
    store.begin(stage_group("b", "fc", "measures"), "d")
    store.describe(stage_group("b", "fc", "measures"), intrinsic_dimension=99.0)  # unfinished: not to be shown
    return store


def finish(store, layer, stage, **attributes):
    store.begin(stage_group("a", layer, stage), "d")
    store.finish(stage_group("a", layer, stage), **attributes)


def test_a_row_a_model_and_layer(store):
    layers = Results(store.path).layers
    assert list(zip(layers["model"], layers["layer"], strict=True)) == [("a", "conv"), ("a", "fc"), ("b", "fc")]
    first = layers.iloc[0]
    assert (first["module"], first["depth"], first["features"]) == ("m.conv", 0, 10)
    assert (first["seconds_activations"], first["seconds_neighbors"], first["redone"]) == (1.5, 2.5, 7)
    assert (first["intrinsic_dimension"], first["n_peaks"], first["ari_class"]) == (3.5, 3, 0.9)


def test_the_columns_of_several_k(store):
    """The first k of the job has the plain name."""
    layers = Results(store.path).layers
    assert layers["label_overlap"].tolist()[:2] == [0.25, 0.25]
    assert layers["label_overlap_k1"].tolist()[:2] == [0.75, 0.75]
    assert "label_overlap_k3" not in layers
    assert layers["macro_overlap"].isna().all()


def test_what_is_not_computed_is_nan(store):
    layers = Results(store.path).layers
    assert np.isnan(layers["intrinsic_dimension"]).tolist() == [False, True, True]
    assert np.isnan(layers["n_peaks"]).tolist() == [False, True, True]
    numbers = layers.drop(columns=["model", "layer", "module"])
    assert all(kind.kind in "fi" for kind in numbers.dtypes)


def test_a_run_without_layers(tmp_path):
    results = Results(RunStore.create(tmp_path).path)
    assert len(results.layers) == 0
    assert "0 models, 0 layers" in repr(results)


def test_samples_have_readable_names(store):
    samples = Results(store.path).samples
    assert samples["class_name"].tolist() == ["cat", "cat", "dog", "dog", "oak", "oak"]
    assert samples["macro_name"].tolist() == ["animal"] * 4 + [""] * 2
    assert list(samples) == ["id", "label", "class_name", "macro", "macro_name", "entropy", "hash"]


def test_a_layer_is_found_by_name(store):
    results = Results(store.path)
    assert results.find("conv") == ("a", "conv")
    assert results.find("fc", "b") == results.find("b/fc") == ("b", "fc")


def test_a_layer_that_is_not_found(store):
    results = Results(store.path)
    with pytest.raises(LayerError, match=r"several models have a layer 'fc': a, b; name the model too"):
        results.find("fc")
    with pytest.raises(LayerError, match=r"has no layer 'con'.*; closest: 'conv'"):
        results.find("con")
    with pytest.raises(LayerError, match=r"has no layer 'conv' of model 'b'; allowed: 'fc'"):
        results.find("conv", "b")
    with pytest.raises(LayerError, match=r"has no layer 'fc' of model 'c'; .*'b/fc'"):
        results.find("fc", "c")


def test_an_unknown_layer_without_a_model_is_told_without_one(store):
    with pytest.raises(LayerError) as error:
        Results(store.path).find("con")
    assert "None" not in str(error.value)


def test_stages_are_asked_for_by_name(store):
    results = Results(store.path)
    assert results.has("landscape", "conv")
    assert not results.has("landscape", "fc", "a")
    assert results.attributes("landscape", "conv")["n_peaks"] == 3
    with pytest.raises(StoreError, match=r"layer 'fc' of run .* has no landscape: it is not computed yet: run"):
        results.attributes("landscape", "fc", "a")
    with pytest.raises(StoreError, match=r"layer 'conv' of run .* has no measures/occurrence: it is not computed"):
        results.array("measures", "occurrence", "conv")


def test_everything_about_a_layer_in_one_dataset(store):
    store.save(stage_group("a", "conv", "neighbors"), {"neighbor_index": np.zeros((N, 2), np.int64)})
    store.save(stage_group("a", "conv", "landscape"), {"peak": np.zeros(N, np.int64)})
    found = Results(store.path).dataset("conv")
    assert dict(found.sizes) == {"sample": N, "neighbor": 2}
    assert found.attrs["n_peaks"] == 3
