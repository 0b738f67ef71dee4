"""The notebook's way in: `dnuc.run`, `dnuc.open_run`, and what a run gives."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import dnuc
from dnuc.errors import DataError, DnucError, LayerError, StoreError
from dnuc.pipeline import run_job
from dnuc.report import write_report
from dnuc.store import RunStore, stored_tree, survey_run
from tests.conftest import CLASSES, N, arrays_job, assert_same_results, digits_job, write_page, written_job


@pytest.fixture
def run(finished):
    return dnuc.open_run(finished[1])


def test_the_table_of_layers(run):
    layers = run.layers
    assert layers["layer"].tolist() == ["early", "middle", "late"]
    assert layers["model"].tolist() == ["net"] * 3
    assert layers["depth"].tolist() == [0, 1, 2]
    assert layers["features"].tolist() == [12, 6, 3]
    assert layers["relative_depth"].tolist() == [0, 0.5, 1]
    unasked = ("macro", "entropy", "class_dimension", "pca", "taxonomy")
    asked = layers.drop(columns=[c for c in layers if any(name in c for name in unasked)])
    assert not asked.isna()[:2].any(axis=None)
    assert np.isnan(layers["next_overlap"].iloc[2])  # nothing follows the last
    assert {"label_overlap_k5", "intrinsic_dimension", "n_peaks", "seconds_neighbors"} <= set(layers)


def test_samples_and_names(run):
    assert list(run.samples) == ["id", "label", "class_name", "macro", "macro_name", "entropy", "hash"]
    assert len(run.samples) == N
    assert run.samples["class_name"].tolist()[:4] == ["0", "1", "2", "0"]
    assert run.models == ["net"]
    assert run.label_names == ["0", "1", "2"]
    assert run.macro_names == []
    assert "1 models, 3 layers" in repr(run)
    assert run.job.neighbors.k == 10


@pytest.mark.parametrize("layer", ["early", "middle", "late"])
def test_what_is_stored_is_what_the_public_functions_give(run, finished, layer):
    x = np.load(finished[0] / f"{layer}.npy")
    stored, found = run.neighbors(layer), dnuc.nearest_neighbors(x, k=10)
    np.testing.assert_array_equal(stored.index, found.index)
    np.testing.assert_array_equal(stored.distance, found.distance)

    row = run.layers.set_index("layer").loc[layer]
    dimension = dnuc.two_nn(found, fraction=0.9)
    assert row["intrinsic_dimension"] == dimension.value
    assert row["label_overlap"] == dnuc.label_overlap(found, run.samples["label"].to_numpy(), 10).mean

    stored = run.landscape(layer)
    landscape = dnuc.density_peaks(found, dnuc.knn_density(found, dimension.value, 10), z=1.65)
    for name in ("labels", "centers", "peak_log_density", "core", "border"):
        np.testing.assert_array_equal(getattr(stored, name), getattr(landscape, name), err_msg=name)
    pd.testing.assert_frame_equal(stored.saddles, landscape.saddles, check_dtype=False)
    assert row["n_peaks"] == landscape.n_peaks
    assert row["ari_class"] == dnuc.agreement(landscape.labels, run.samples["label"].to_numpy()).ari


@pytest.mark.parametrize("layer", ["early", "late"])
def test_density_tree_and_anchors_of_a_layer(run, layer):
    density, landscape = run.density(layer), run.landscape(layer)
    again = dnuc.density_peaks(run.neighbors(layer), density)
    np.testing.assert_array_equal(again.labels, landscape.labels)
    np.testing.assert_array_equal(run.tree(layer).linkage, dnuc.dendrogram(landscape))
    table, expected = run.anchors(layer), dnuc.anchors(landscape, density)
    assert (table.pop("id") == run.samples["id"].to_numpy()[table["sample"]]).all()
    pd.testing.assert_frame_equal(table, expected)
    stored = stored_tree(run.store, *run.find(layer))
    leaves = [f"{peak} {run.label_names[label]}" for peak, label in enumerate(majority(run, landscape))]
    np.testing.assert_array_equal(stored.linkage, run.tree(layer).linkage)
    np.testing.assert_array_equal(stored.assumed, run.tree(layer).assumed)
    assert stored.newick == dnuc.to_newick(run.tree(layer), leaves)


def test_one_peak_is_a_tree_of_one_leaf_everywhere(finished, tmp_path, here):
    job = arrays_job(finished[0], layers=("early",), landscape={"z": 50.0})
    run = dnuc.Run(run_job(job, out=tmp_path / "run", quiet=True))
    landscape, tree = run.landscape("early"), run.tree("early")
    assert landscape.n_peaks == tree.n_peaks == len(dnuc.branches(tree)) == 1
    assert dnuc.dendrogram(landscape).shape == (0, 4)
    assert dnuc.cut_tree(tree, n=1).tolist() == [0]
    assert run.anchors("early").empty
    assert landscape.core.all()
    stored = stored_tree(run.store, *run.find("early"))
    assert (stored.linkage.shape, stored.n_peaks, stored.newick) == ((0, 4), 1, "'0 0';")
    write_report(run)
    assert (run.path / "report/tables/net/early/tree.nwk").read_text() == "'0 0';\n"
    with pytest.raises(DnucError, match="needs a layer with at least two peaks"):
        run.figure("fig4c")


def majority(run, landscape):
    """The most frequent class of each peak."""
    labels = run.samples["label"].to_numpy()
    return [np.bincount(labels[landscape.labels == peak]).argmax() for peak in range(landscape.n_peaks)]


@pytest.mark.parametrize(
    ("density", "estimate"), [("kstar", dnuc.kstar_density), ("pak", dnuc.pak_density), ("knn", None)]
)
@pytest.mark.parametrize("error_model", ["code", "paper"])
def test_a_job_chooses_the_density_and_its_error(finished, tmp_path, here, density, estimate, error_model):
    settings = {"density": density, "error_model": error_model, "k": 8, "alpha": 1e-3, "tree_method": "average"}
    job = arrays_job(finished[0], layers=("late",), landscape=settings)
    run = dnuc.Run(run_job(job, out=tmp_path / "run", quiet=True))
    neighbors, dimension = run.neighbors("late"), run.layers["intrinsic_dimension"][0]
    if density == "knn":
        expected = dnuc.knn_density(neighbors, dimension, 8, error_model=error_model)
    else:
        expected = estimate(neighbors.nearest(8), dimension, 1e-3, error_model=error_model)
    found = run.density("late")
    for name in ("log_density", "error", "k"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert (found.capped, found.replaced, found.note) == (expected.capped, expected.replaced, expected.note)
    recorded = run.attributes("landscape", "late")
    assert (recorded["density"], recorded["error_model"], recorded["k"]) == (density, error_model, 8)
    assert recorded["tree"]["method"] == "average"
    if density == "knn":
        assert "kstar_capped" not in recorded
    else:
        assert recorded["density_note"] == expected.note
        assert recorded["kstar_median"] == np.median(expected.k)
    np.testing.assert_array_equal(run.landscape("late").labels, dnuc.density_peaks(neighbors, expected).labels)
    np.testing.assert_array_equal(run.tree("late").linkage, dnuc.dendrogram(run.landscape("late"), "average"))


def test_a_layer_as_a_dataset_with_named_dimensions(run, finished):
    dataset = run.dataset("late")
    expected = {"sample": N, "feature": 3, "neighbor": 10, "overlap_k": 2, "peaks": CLASSES}
    assert expected.items() <= dict(dataset.sizes).items()
    assert {"activation", "neighbor_index", "label_overlap", "log_density", "peak"} <= set(dataset)
    assert dataset["activation"].dims == ("sample", "feature")
    assert dataset["activation"].chunks is not None  # lazy
    np.testing.assert_array_equal(dataset["activation"], np.load(finished[0] / "late.npy"))
    assert dataset["neighbor_distance"].attrs["long_name"] == "their Euclidean distances"


@pytest.mark.parametrize("stage", ["activations", "neighbors", "measures", "landscape"])
def test_xarray_opens_every_group_without_a_warning(finished, stage):
    path = str(finished[1])
    alone = xr.open_zarr(path, group=f"models/net/late/{stage}")  # warnings are errors here
    assert alone.sizes["sample"] == N
    assert xr.open_zarr(f"{path}/models/net/late/{stage}").identical(alone)
    assert xr.open_zarr(path, group="samples")["id"].values[1] == "row-000001"


def test_xarray_opens_the_run_as_a_tree(finished):
    tree = xr.open_datatree(str(finished[1]), engine="zarr", chunks={})
    assert tree["models/net/late/landscape"]["peak"].sizes == {"sample": N}


def test_a_layer_by_its_name(run):
    assert run.find("late") == run.find("net/late") == run.find("late", "net") == ("net", "late")
    with pytest.raises(LayerError, match=r"has no layer 'lat'; closest: 'late'"):
        run.neighbors("lat")
    with pytest.raises(LayerError, match=r"no layer 'late' of model 'other'; closest: 'net/late'"):
        run.landscape("late", "other")


def test_a_figure(run):
    figure = run.figure("fig2a")
    assert isinstance(figure, Figure)
    assert figure.axes
    with pytest.raises(DnucError, match=r"no figure 'fig2'; closest: .*'fig2a'"):
        run.figure("fig2")


def test_a_run_of_arrays_has_no_images(run):
    with pytest.raises(DataError, match="has no images, so none for 'row-000003'"):
        run.image(3)


@pytest.fixture
def unfinished(finished, tmp_path):
    """A run that has the neighbors of its last layer, half of its measures and no landscape."""
    path = tmp_path / "run"
    shutil.copytree(finished[1], path)
    store = RunStore.open(path)
    store.drop("models/net/late/landscape")
    store.describe("models/net/late/measures", complete=False)
    return store


def test_a_run_that_is_not_finished_shows_what_it_has(unfinished):
    run = dnuc.open_run(unfinished.path)
    assert run.layers["label_overlap"].isna().tolist() == [False, False, True]
    assert run.layers["n_peaks"].isna().tolist() == [False, False, True]
    assert not run.has("landscape", "late")
    assert "log_density" not in run.dataset("late")


def test_a_layer_without_a_landscape_says_why(finished, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(finished[1], path)
    RunStore.open(path).describe("models/net/late/landscape", note="no density without an intrinsic dimension")
    with pytest.raises(DnucError, match=r"layer 'late' has no landscape: no density without an intrinsic dimension"):
        dnuc.open_run(path).landscape("late")


def test_a_directory_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"is not a dnuc run directory \(it has no zarr.json\): run a job first"):
        dnuc.open_run(tmp_path)


@pytest.mark.cluster
def test_run_computes_a_job_on_a_cluster(shared_cluster, finished, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("dnuc.pipeline.write_report", write_page)
    monkeypatch.chdir(tmp_path)
    run = dnuc.run(written_job(arrays_job(finished[0]), tmp_path), on=shared_cluster.scheduler_address)
    assert run.path == tmp_path / "runs" / "tiny"  # where the command line would put it
    assert_same_results(finished[1], run.path)
    assert "2 workers, 2 threads" in capfd.readouterr().err


def test_images_are_shown_where_there_are_some(here, tmp_path):
    run = dnuc.run(digits_job(tmp_path), out=tmp_path / "run")
    assert run.samples["entropy"].between(0, 8).all()
    assert run.samples["hash"].nunique() == 120
    assert run.layers["neighborhood_entropy"].notna().all()
    assert isinstance(run.figure("fig3"), Figure)
    image = run.image(7)
    assert (image.dtype, image.shape) == (np.uint8, (8, 8, 1))
    number = int(run.samples["id"][7].removeprefix("digits-"))
    np.testing.assert_array_equal(image[..., 0], np.rint(load_digits().images[number] * (255 / 16)))
    with pytest.raises(DnucError, match=r"has no sample 120; samples are 0 \.\. 119"):
        run.image(120)


# --- what is not there ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ask", "setting"),
    [
        (lambda run: run.class_dimensions("late"), "[dimension] per_class = true"),
        (lambda run: run.array("decimation", "decimation_value", "late"), "[dimension] decimation = true"),
        (lambda run: run.array("spectrum", "variance_ratio", "late"), "[dimension] pca = true"),
        (lambda run: run.attributes("surrogate", "late"), '[dimension] surrogate = ["late"]'),
        (lambda run: run.array("measures", "macro_overlap", "late"), '[data] macro = "FILE"'),
        (lambda run: run.array("measures", "neighborhood_entropy", "late"), "[data] source = ... with images"),
        (lambda run: run.array("landscape", "branch_ari", "late"), '[data] taxonomy = "wordnet" or "FILE"'),
        (lambda run: run.similarity("net", "information_imbalance"), "[similarity] imbalance = true"),
        (lambda run: run.similarity("net", "linear_cka"), '[similarity] cka = ["linear"]'),
        (lambda run: run.similarity("net", "gaussian_cka"), '[similarity] cka = ["gaussian"]'),
        (lambda run: run.similarity("net", "svcca"), "[similarity] svcca = true"),
        (lambda run: run.similarity("net", "pwcca"), "[similarity] pwcca = true"),
    ],
)
def test_what_the_job_does_not_ask_for_comes_with_the_setting(run, ask, setting):
    with pytest.raises(StoreError, match=re.escape(f"the job does not ask for it: set {setting}")):
        ask(run)


def test_what_is_asked_for_and_not_there_is_still_to_come(unfinished):
    unfinished.drop("models/net/overlaps")
    run = dnuc.open_run(unfinished.path)
    for ask in (run.landscape, run.density, run.anchors, run.tree):
        with pytest.raises(StoreError, match=r"has no landscape: it is not computed yet: run the job again to go on"):
            ask("late")
    with pytest.raises(StoreError, match=r"measures in .* is not finished: run the job again"):
        run.array("measures", "label_overlap", "late")
    with pytest.raises(StoreError, match=r"no overlaps of model 'net' yet: run the job again to go on"):
        run.overlap_matrix("net")


def test_a_mistyped_name_comes_with_the_closest(run):
    with pytest.raises(StoreError, match=r"there is no stage 'measure'; closest: 'measures'"):
        run.array("measure", "label_overlap", "late")
    with pytest.raises(StoreError, match=r"stage 'measures' has no array 'label_overlaps'; closest: 'label_overlap'"):
        run.array("measures", "label_overlaps", "late")
    with pytest.raises(LayerError, match=r"has no model 'ne'; closest: 'net'"):
        run.similarity("ne", "svcca")
    with pytest.raises(LayerError, match=r"has no model 'ne'; closest: 'net'"):
        run.overlap_matrix("ne")


# --- a run that says little -------------------------------------------------------------------------------------


def test_a_quiet_run_without_a_report(here, finished, tmp_path, capfd):
    job, path = arrays_job(finished[0]), tmp_path / "run"
    run = dnuc.run(job, out=path, quiet=True, report=False)
    assert capfd.readouterr() == ("", "")
    assert not (path / "report").exists()
    assert_same_results(finished[1], path)
    assert isinstance(run.figure("fig2a"), Figure)
    assert not survey_run(RunStore.open(path)).complete
    dnuc.run(job, out=path, quiet=True)
    assert (path / "report" / "index.html").is_file()
    assert survey_run(RunStore.open(path)).complete
    dnuc.run(job, out=path, quiet=True, report=False)  # the report is there, and shows what is stored
    assert survey_run(RunStore.open(path)).complete
    other = arrays_job(finished[0], landscape={"z": 9.0})
    dnuc.run(other, out=path, quiet=True, report=False)
    found = survey_run(RunStore.open(path))
    assert [s.name for s in found.stages if s.whole.done < s.whole.total] == ["report"]  # of the other job
