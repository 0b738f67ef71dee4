"""[dimension] of a job: what is stored is what the functions give, and what changes is what depends on the change."""

import shutil

import numpy as np
import pytest

import dnuc
from dnuc.errors import DnucError, ResourceError
from dnuc.measures import dimension_stage, parts
from dnuc.measures.dimension_plan import block_counts, dimension_flop
from dnuc.measures.pca import components_for
from dnuc.pipeline import run_job, run_stages
from dnuc.plan import plan_job, plan_within
from dnuc.store import RunStore, stage_group, survey_run
from tests.conftest import N, arrays_job, assert_same_results, compute_here, quiet_cluster, write_arrays
from tests.test_pipeline import changed, written

LAYERS = ("early", "middle", "late")
EVERYTHING = {"decimation": [1, 2, 6], "per_class": True, "pca": True}


def everything(base, **tables):
    return arrays_job(base, **{"dimension": EVERYTHING, **tables})


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """(data, run) with everything that [dimension] offers."""
    base = tmp_path_factory.mktemp("complete")
    with pytest.MonkeyPatch.context() as monkeypatch:
        compute_here(monkeypatch)
        return base, run_job(everything(base), out=base / "run", quiet=True)


@pytest.fixture
def again(here, complete, tmp_path):
    """Run another job of the same data in a copy of the run; returns the "layer/stage"s in which something is new."""
    path = shutil.copytree(complete[1], tmp_path / "run")

    def run(**tables):
        before = written(path)
        run_job(everything(complete[0], **tables), out=path, quiet=True)
        return changed(path, before)

    run.path = path
    return run


def of(*stages):
    return {f"{layer}/{stage}" for layer in LAYERS for stage in stages}


def dimension(**settings):
    return {"dimension": EVERYTHING | settings}


# --- what is stored ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", LAYERS)
def test_what_is_stored_is_what_the_public_functions_give(complete, layer):
    run, x = dnuc.open_run(complete[1]), np.load(complete[0] / f"{layer}.npy")
    near, labels = dnuc.nearest_neighbors(x, 10), run.samples["label"].to_numpy()
    row = run.layers.set_index("layer").loc[layer]

    profile = run.dimension_profile(layer)
    gride, blocks = dnuc.gride(near), dnuc.decimation(x, (1, 2, 6), seed=0, neighbors=near)
    assert profile["method"].tolist() == ["gride"] * 3 + ["decimation"] * 3
    assert profile["rank"].tolist() == [1, 2, 4, 1, 1, 1]
    assert profile["blocks"].tolist() == [1, 1, 1, 1, 2, 6]
    assert profile["samples"].tolist() == [N, N, N, N, N / 2, N / 6]
    for column in ("value", "error", "scale", "dropped"):
        assert profile[column].tolist() == [getattr(found, column) for found in [*gride, *blocks]]
    assert (row["dimension_gride"], row["dimension_gride_error"]) == (gride[-1].value, gride[-1].error)
    np.testing.assert_array_equal(
        run.array("decimation", "block_value", layer), np.concatenate([found.values for found in blocks])
    )

    classes = dnuc.class_dimension(x, labels, near)
    assert (row["class_dimension"], row["class_dimension_std"]) == (classes.value, classes.error)
    table = run.class_dimensions(layer)
    assert table["value"].tolist() == classes.values.tolist()
    assert table["class_name"].tolist() == ["0", "1", "2"]
    assert table["samples"].tolist() == [80, 80, 80]

    spectrum = dnuc.pca_spectrum(x)
    np.testing.assert_array_equal(run.array("spectrum", "variance_ratio", layer), spectrum)
    assert row["pca_dimension"] == dnuc.pca_dimension(x)
    assert run.attributes("spectrum", layer)["pca_exact"] is True


def test_it_is_all_in_one_dataset(complete):
    found = dnuc.open_run(complete[1]).dataset("middle")
    assert {"gride_value", "decimation_value", "class_value", "variance_ratio"} <= set(found)


def test_without_asking_only_gride_is_computed(finished):
    run = dnuc.open_run(finished[1])
    assert not any(run.has(stage, "early") for stage in ("decimation", "classes", "spectrum"))
    assert run.dimension_profile("early")["method"].unique().tolist() == ["gride"]
    assert run.layers[["class_dimension", "pca_dimension"]].isna().all(axis=None)
    assert [s.name for s in survey_run(run.store).stages if s.name in dimension_stage.STAGES] == ["dimension"]
    run = dnuc.open_run(finished[1])
    assert survey_run(run.store).complete


def test_a_run_that_asks_is_complete_when_it_has_everything(complete, tmp_path):
    path = shutil.copytree(complete[1], tmp_path / "run")
    store = RunStore.open(path)
    assert survey_run(store).complete
    store.drop(stage_group("net", "middle", "classes"))
    counts = {s.name: str(s.whole) for s in survey_run(store).stages}
    assert (counts["classes"], counts["spectrum"]) == ("2 of 3 layers", "3 of 3 layers")
    assert not survey_run(store).complete


def test_before_anything_is_computed_the_profile_is_empty(complete, tmp_path):
    path = shutil.copytree(complete[1], tmp_path / "run")
    run = dnuc.open_run(path)
    for stage in dimension_stage.STAGES:
        run.store.drop(stage_group("net", "early", stage))
    profile = run.dimension_profile("early")
    assert list(profile) == list(run.dimension_profile("late"))
    assert (profile.dtypes == run.dimension_profile("late").dtypes).all()
    assert len(profile) == 0


def test_settings_reach_the_functions(here, complete, tmp_path):
    base = complete[0]
    settings = {"method": "mle", "error": "bootstrap", "ranks": [2, 5], "standardize": False, "pca_samples": 5}
    job = everything(base, **dimension(**settings, decimation=True, variance=0.5), seed=3)
    run = dnuc.open_run(run_job(job, out=tmp_path / "run", quiet=True))
    x = np.load(base / "early.npy")
    near, labels = dnuc.nearest_neighbors(x, 10), run.samples["label"].to_numpy()
    row, profile = run.layers.iloc[0], run.dimension_profile("early")
    expected = dnuc.two_nn(near, method="mle", error="bootstrap", seed=3)
    assert (row["intrinsic_dimension"], row["intrinsic_dimension_error"]) == (expected.value, expected.error)
    assert profile["rank"].tolist() == [2, 5, 1, 1, 1]
    assert profile["value"].tolist()[2:] == [found.value for found in dnuc.decimation(x, seed=3, method="mle")]
    assert row["class_dimension"] == dnuc.class_dimension(x, labels, method="mle").value
    spectrum = dnuc.pca_spectrum(x, standardize=False, samples=5, seed=3)
    np.testing.assert_array_equal(run.array("spectrum", "variance_ratio", "early"), spectrum)
    assert row["pca_dimension"] == components_for(spectrum, 0.5)
    attributes = run.attributes("spectrum", "early")
    assert (attributes["pca_samples"], attributes["pca_exact"], attributes["standardized"]) == (5, False, False)
    assert run.attributes("spectrum", "late")["pca_exact"] is True  # three features: all samples


# --- what depends on what ---------------------------------------------------------------------------------------


def test_a_second_run_computes_nothing(again):
    assert again() == set()


def test_another_k_leaves_what_does_not_depend_on_it(again):
    """Decimation, classes and spectra take their own neighbors, or none."""
    expected = of("neighbors", "measures", "dimension", "landscape") | {"overlaps"}
    assert again(neighbors={"k": 12, "block": 128}) == expected


@pytest.mark.parametrize(
    ("settings", "stages"),
    [
        ({"ranks": [3]}, ["dimension"]),
        ({"decimation": [3]}, ["decimation"]),
        ({"standardize": False}, ["spectrum"]),
        ({"pca_samples": 3}, ["spectrum"]),
        ({"error": "bootstrap"}, ["measures"]),
        ({"method": "mle"}, ["measures", "landscape", "decimation", "classes"]),
        ({"variance": 0.5}, []),
        ({"pca": False, "per_class": False, "decimation": False}, []),
    ],
    ids=str,
)
def test_a_setting_recomputes_what_it_is_about(again, settings, stages):
    assert again(**dimension(**settings)) == of(*stages)


def test_another_fraction_is_that_of_two_nn(again):
    found = again(measures={"overlap_k": [10, 5], "fraction": 0.5})
    assert found == of("measures", "landscape", "decimation", "classes")


def test_another_share_of_the_variance_is_counted_anew(again):
    for variance in (0.5, 0.99):
        again(**dimension(variance=variance))
        run = dnuc.open_run(again.path)
        counts = [components_for(run.array("spectrum", "variance_ratio", layer), variance) for layer in LAYERS]
        assert run.layers["pca_dimension"].tolist() == counts
    assert counts[0] > 6


def test_what_is_no_longer_asked_for_is_shown_only_while_it_is_true(again):
    off = {"pca": False, "per_class": False, "decimation": False}
    again(**dimension(**off))
    assert dnuc.open_run(again.path).layers["class_dimension"].notna().all()
    again(**dimension(**off), measures={"overlap_k": [10, 5], "fraction": 0.5})
    run = dnuc.open_run(again.path)
    assert run.layers["class_dimension"].isna().all()
    assert run.dimension_profile("early")["method"].unique().tolist() == ["gride"]
    assert run.layers["pca_dimension"].notna().all()


def test_other_labels_recompute_the_classes(here, tmp_path):
    write_arrays(tmp_path, n=100)
    path = run_job(everything(tmp_path), out=tmp_path / "run", quiet=True)
    before = written(path)
    np.save(tmp_path / "labels.npy", np.load(tmp_path / "labels.npy")[::-1])
    run_job(everything(tmp_path), out=path, quiet=True)
    assert changed(path, before) == {"samples"} | of("measures", "landscape", "classes")


def test_a_stopped_stage_goes_on_with_the_next_layer(again, monkeypatch):
    calls = []

    def stopping(x, *args, **settings):
        calls.append(x.group)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return dnuc.decimation(x, *args, **settings)

    monkeypatch.setattr(dimension_stage, "decimation", stopping)
    with pytest.raises(KeyboardInterrupt):
        again(**dimension(decimation=[1, 3]))
    again(**dimension(decimation=[1, 3]))
    assert [group.split("/")[2] for group in calls] == ["early", "middle", "middle", "late"]


@pytest.mark.cluster
def test_workers_and_their_memory_change_nothing(complete, tmp_path, client, monkeypatch):
    """Here no block fits into the memory of a task: their tiles run on the workers."""
    monkeypatch.setattr("dnuc.pipeline.write_report", lambda results, images=None: results.path)
    monkeypatch.setattr(parts, "MOST_ROWS", 20)
    store = RunStore.create(tmp_path / "run")
    run_stages(store, everything(complete[0]), quiet_cluster(store.path, client))
    assert_same_results(store.path, complete[1])


# --- layers without a dimension, and refusals -------------------------------------------------------------------


def test_a_dead_layer_does_not_stop_a_run(here, tmp_path):
    write_arrays(tmp_path)
    np.save(tmp_path / "middle.npy", np.ones((N, 6), np.float32))
    run = dnuc.open_run(run_job(everything(tmp_path), out=tmp_path / "run", quiet=True))
    for stage, why in (
        ("dimension", "Gride at rank 1: 0 of 240 samples"),
        ("decimation", "decimation into 1 blocks: none of 1 has a dimension"),
        ("classes", "dimension of the classes: none of 3 has a dimension"),
        ("spectrum", "all 240 samples are equal"),
    ):
        assert run.attributes(stage, "middle")["note"].startswith(why)
    assert run.layers.set_index("layer").loc["middle", ["dimension_gride", "pca_dimension"]].isna().all()
    assert run.layers["class_dimension"].isna().tolist() == [False, True, False]
    assert run.dimension_profile("middle")["value"].isna().all()
    assert survey_run(run.store).complete


def test_some_ranks_may_have_no_dimension(here, tmp_path):
    """Every sample four times: its first two neighbors are at distance 0, its fourth and eighth are not."""
    write_arrays(tmp_path)
    np.save(tmp_path / "middle.npy", np.repeat(np.load(tmp_path / "middle.npy")[: N // 4], 4, axis=0))
    run = dnuc.open_run(run_job(arrays_job(tmp_path), out=tmp_path / "run", quiet=True))
    profile = run.dimension_profile("middle")
    assert profile["value"].isna().tolist() == [True, True, False]
    assert profile["dropped"].tolist()[:2] == [N, N]
    assert len(run.attributes("dimension", "middle")["notes"]) == 2
    assert run.layers["dimension_gride"].iloc[1] == profile["value"].iloc[2]


def test_blocks_that_are_too_small_are_refused_by_the_plan(complete):
    with pytest.raises(DnucError, match=r"dimension.decimation: .*100 blocks of 240 samples; .* 1 \.\. 80"):
        plan_job(arrays_job(complete[0], dimension={"decimation": [1, 100]}))


def test_too_little_memory_for_the_components_is_refused_by_the_plan(tmp_path):
    x = np.zeros((9000, 9000), np.float32)
    np.save(tmp_path / "wide.npy", x)
    np.save(tmp_path / "labels.npy", np.arange(9000) % 3)
    model = [{"name": "net", "arrays": {"wide": "wide.npy"}}]
    job = arrays_job(tmp_path, model=model, neighbors={"k": 10}, dimension={"pca": True, "pca_samples": 10**4})
    capacity = quiet_cluster(tmp_path, memory=2**30).capacity
    expected = r"of net/wide \(9000 samples, 9000 features\) need 1,\d+ MiB, a task may use 1,024 MiB: .* to \d"
    with pytest.raises(ResourceError, match=expected):
        plan_within(job, capacity)
    lower = arrays_job(tmp_path, model=model, neighbors={"k": 10}, dimension={"pca": True})
    assert plan_within(lower, capacity).dimension_flop == pytest.approx(4096**2 * 9000 + 4 / 3 * 4096**3)


def test_the_plan_counts_what_is_asked_for(complete):
    settings = everything(complete[0]).dimension
    assert block_counts(settings, N) == [1, 2, 6]
    expected = N**2 * 12 * (1 / 2 + 1 / 6 + 1 / 3) + 12**2 * N + 4 / 3 * 12**3
    assert dimension_flop(settings, N, 12, 3) == pytest.approx(expected)
    assert plan_job(everything(complete[0])).layers[0].dimension_flop == pytest.approx(expected)
    assert plan_job(arrays_job(complete[0])).dimension_flop == 0
