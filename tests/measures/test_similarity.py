"""All layers compared with each other in a run: the numbers of the functions, nothing twice, what is refused."""

import json
import shutil
import tracemalloc
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from dnuc.cluster import Capacity, Cluster, Progress
from dnuc.errors import JobError, LayerError, ResourceError, StoreError
from dnuc.job import Similarity, parse_job
from dnuc.measures import panels, similarity, similarity_tasks
from dnuc.measures.cca import pwcca, svcca
from dnuc.measures.cka import cka
from dnuc.measures.imbalance import information_imbalance
from dnuc.measures.panels import draw_rows
from dnuc.measures.similarity import check_similarity
from dnuc.measures.similarity_tasks import Comparison, cka_bytes, cka_tile, measure_moments
from dnuc.pipeline import run_job, run_stages
from dnuc.plan import plan_within
from dnuc.store import Results, RunStore, stage_group, survey_run
from tests.conftest import N, arrays_job, assert_same_results, compute_here, quiet_cluster, write_arrays
from tests.test_pipeline import changed, of, stages_told, written

LAYERS = ("early", "middle", "late")
ALL = {"imbalance": True, "cka": ["linear", "gaussian"], "widths": [0.5, 0.1], "svcca": True, "pwcca": True}
TILE = 100
GROUPS = {"similarity/imbalance", "similarity/cka", "similarity/cca"}


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """Three tiles of rows among 240 samples."""
    set_tile(monkeypatch, TILE)


def set_tile(monkeypatch, rows):
    for module in (panels, similarity_tasks, similarity):
        monkeypatch.setattr(module, "TILE", rows)


@pytest.fixture
def begin(here, finished, tmp_path):
    """A new directory with a finished run that compares nothing."""

    def copied(name="run"):
        return Path(shutil.copytree(finished[1], tmp_path / name))

    return copied


@pytest.fixture
def compared(begin, finished):
    """Run the arrays job with a table [similarity] in a directory, a new one when absent."""

    def run(path=None, **settings):
        return run_job(arrays_job(finished[0], similarity=ALL | settings), out=path or begin(), quiet=True)

    return run


@pytest.fixture(scope="module")
def all_there(finished, tmp_path_factory):
    """A run that holds everything; it may not be changed."""
    path = tmp_path_factory.mktemp("similarity") / "run"
    shutil.copytree(finished[1], path)
    with pytest.MonkeyPatch.context() as monkeypatch:
        compute_here(monkeypatch)
        for module in (panels, similarity_tasks, similarity):
            monkeypatch.setattr(module, "TILE", TILE)
        return run_job(arrays_job(finished[0], similarity=ALL), out=path, quiet=True)


@pytest.fixture
def done(here, all_there, tmp_path):
    """A copy of it, and when its chunks were written."""
    path = Path(shutil.copytree(all_there, tmp_path / "run"))
    return path, written(path)


def layers_of(base):
    return [np.load(base / f"{layer}.npy") for layer in LAYERS]


def matrix(function, layers):
    return np.array([[function(x, y) for y in layers] for x in layers])


def check(results, layers):
    """Every stored matrix is that of the public functions."""
    expected = {
        ("linear_cka", None): lambda x, y: cka(x, y),
        ("gaussian_cka", 0.1): lambda x, y: cka(x, y, "gaussian", 0.1),
        ("gaussian_cka", 0.5): lambda x, y: cka(x, y, "gaussian", 0.5),
        ("svcca", None): svcca,
        ("pwcca", None): pwcca,
    }
    for (name, width), function in expected.items():
        found = results.similarity("net", name, width)
        np.testing.assert_allclose(found, matrix(function, layers), rtol=1e-10, atol=1e-12, err_msg=name)


# --- what is stored ---------------------------------------------------------------------------------------------


def test_stored_matrices_are_those_of_the_functions(all_there, finished):
    results = Results(all_there)
    layers = layers_of(finished[0])
    check(results, layers)
    found = results.similarity("net", "information_imbalance")
    np.testing.assert_array_equal(found, matrix(information_imbalance, layers))
    assert found.index.tolist() == found.columns.tolist() == list(LAYERS)
    assert (found.index.name, found.columns.name) == ("layer", "other_layer")
    assert found.loc["early", "late"] == information_imbalance(layers[0], layers[2])
    assert results.similarity("net", "gaussian_cka").equals(results.similarity("net", "gaussian_cka", 0.1))
    attributes = results.store.attributes("models/net/similarity/cka")
    assert (attributes["widths"], attributes["samples"], attributes["notes"]) == ([0.5, 0.1], None, [])
    assert not any(results.store.exists(f"models/net/{layer}/scores") for layer in LAYERS)


def test_some_samples_are_drawn_by_seed(compared, finished):
    results = Results(compared(samples=120))
    rows = draw_rows(N, 120, seed=0)
    check(results, [x[rows] for x in layers_of(finished[0])])
    # ranks are counted among all samples
    found = results.similarity("net", "information_imbalance")
    np.testing.assert_array_equal(found, matrix(information_imbalance, layers_of(finished[0])))


def test_several_neighbors_and_the_debiased_estimator(compared, finished):
    results = Results(compared(imbalance_k=4, debiased=True, cka=["linear"], svcca=False, pwcca=False))
    layers = layers_of(finished[0])
    expected = matrix(lambda x, y: information_imbalance(x, y, 4), layers)
    np.testing.assert_allclose(results.similarity("net", "information_imbalance"), expected, rtol=1e-14)
    expected = matrix(lambda x, y: cka(x, y, debiased=True), layers)
    np.testing.assert_allclose(results.similarity("net", "linear_cka"), expected, rtol=1e-10)


def test_only_what_is_asked_for_is_there(compared):
    results = Results(compared(imbalance=False, cka=["linear"], pwcca=False))
    store = results.store
    assert not store.exists("models/net/similarity/imbalance")
    assert not store.has("models/net/similarity/cka", "gaussian_cka")
    assert not store.has("models/net/similarity/cca", "pwcca")
    found = results.similarity("net", "svcca").to_numpy()
    np.testing.assert_array_equal(found, found.T)
    with pytest.raises(
        StoreError, match=r"no gaussian_cka of model 'net': the job .* set \[similarity\] cka = \[\"gaussian\"\]"
    ):
        results.similarity("net", "gaussian_cka")


def test_a_dead_layer_is_noted_and_does_not_stop_the_run(here, tmp_path):
    write_arrays(tmp_path)
    np.save(tmp_path / "middle.npy", np.ones((N, 3), np.float32))
    early = np.zeros((N, 2), np.float32)
    early[:40] = np.random.default_rng(0).normal(size=(40, 2))
    np.save(tmp_path / "early.npy", early)  # most samples equal: no median distance
    results = Results(run_job(arrays_job(tmp_path, similarity=ALL), out=tmp_path / "run", quiet=True))
    linear, gaussian = (results.similarity("net", name) for name in ("linear_cka", "gaussian_cka"))
    assert linear.isna().to_numpy().tolist() == [[i == 1 or j == 1 for j in range(3)] for i in range(3)]
    assert gaussian.notna().to_numpy().tolist() == [[i == j == 2 for j in range(3)] for i in range(3)]
    late = np.load(tmp_path / "late.npy")
    assert linear.loc["early", "late"] == pytest.approx(cka(early, late), rel=1e-10)
    assert results.similarity("net", "svcca").loc["early", "late"] == pytest.approx(svcca(early, late), rel=1e-8)
    assert results.similarity("net", "pwcca")["middle"].isna().all()
    notes = results.store.attributes("models/net/similarity/cka")["notes"]
    assert ["all 240 samples are equal" in n or "median distance of its samples is 0" in n for n in notes] == [True] * 2
    json.dumps(results.store.attributes("models/net/late/moments"), allow_nan=False)


def test_unknown_measures_and_widths_name_what_there_is(all_there):
    results = Results(all_there)
    with pytest.raises(StoreError, match="no similarity 'linear_ckb'; closest: 'linear_cka'"):
        results.similarity("net", "linear_ckb")
    with pytest.raises(StoreError, match=r"no Gaussian of width 0\.3 .* its widths are \[0\.5, 0\.1\]"):
        results.similarity("net", "gaussian_cka", 0.3)
    with pytest.raises(LayerError, match="has no model 'other'; allowed: 'net'"):
        results.similarity("other", "linear_cka")


# --- nothing twice ----------------------------------------------------------------------------------------------


def test_a_second_run_computes_nothing(done, compared):
    path, before = done
    assert stages_told(path) == ["imbalance", "moments", "cka", "scores", "cca", "report"]
    compared(path)
    assert changed(path, before) == set()
    assert stages_told(path) == []


def test_a_job_without_the_table_compares_nothing(finished):
    assert not (finished[1] / "models/net/similarity").exists()


@pytest.mark.parametrize(
    ("settings", "groups"),
    [
        ({"widths": [0.5, 0.1, 2]}, {"similarity/cka"} | of("moments")),
        ({"variance": 0.5}, {"similarity/cca"}),
        ({"imbalance_k": 2}, {"similarity/imbalance"}),
        ({"samples": 50}, {"similarity/cka", "similarity/cca"} | of("moments")),
    ],
)
def test_a_setting_recomputes_what_depends_on_it(done, compared, settings, groups):
    path, before = done
    compared(path, **settings)
    assert changed(path, before) == groups


def test_neighbors_of_another_k_leave_the_matrices(done, finished):
    path, before = done
    run_job(arrays_job(finished[0], similarity=ALL, neighbors={"k": 12, "block": 128}), out=path, quiet=True)
    assert not changed(path, before) & (GROUPS | of("moments"))


def test_other_activations_recompute_them(here, tmp_path):
    write_arrays(tmp_path)
    job = arrays_job(tmp_path, similarity={"cka": ["linear"]})
    path = run_job(job, out=tmp_path / "run", quiet=True)
    np.save(tmp_path / "late.npy", np.load(tmp_path / "late.npy")[:, :2])
    run_job(arrays_job(tmp_path), out=path, quiet=True)  # which does not ask for them
    with pytest.raises(StoreError, match="no linear_cka of model 'net'"):
        Results(path).similarity("net", "linear_cka")
    run_job(job, out=path, quiet=True)
    found = Results(path).similarity("net", "linear_cka")
    np.testing.assert_allclose(found, matrix(cka, layers_of(tmp_path)), rtol=1e-10)


@dataclass(frozen=True)
class Stopping(Cluster):
    """Stops after so many tasks of a name."""

    name: str = ""
    after: int = 0

    def run(self, tasks):
        done = 0
        for task in tasks:
            if task.name.startswith(self.name):
                if done == self.after:
                    raise KeyboardInterrupt
                done += 1
            yield task, task.function(*task.args)


@pytest.mark.parametrize(("name", "after", "total"), [("cka-", 4, 6), ("cca-", 1, 3), ("moments-", 2, 3)])
def test_an_interrupted_run_goes_on(begin, finished, all_there, name, after, total):
    job, path = arrays_job(finished[0], similarity=ALL), begin()
    store = RunStore.open(path)
    with pytest.raises(KeyboardInterrupt):
        run_stages(store, job, Stopping(None, Capacity(2**30), Progress(quiet=True), name=name, after=after))
    assert not store.is_complete("models/net/similarity/cca")
    run_job(job, out=path, quiet=True)
    stage = name.removesuffix("-")
    [told] = [s for s in json.loads((path / "progress.json").read_text())["stages"] if s["name"] == stage]
    assert (told["resumed"], told["done"]) == (after, total)
    assert_same_results(all_there, path)


def test_columns_of_imbalance_are_kept(compared, begin, all_there, monkeypatch):
    path = begin()
    column = similarity._column

    def stopping(comparison, near, layer, cluster):
        if layer == "late":
            raise KeyboardInterrupt
        return column(comparison, near, layer, cluster)

    with monkeypatch.context() as patch:
        patch.setattr(similarity, "_column", stopping)
        with pytest.raises(KeyboardInterrupt):
            compared(path)
    compared(path)
    [told] = [s for s in json.loads((path / "progress.json").read_text())["stages"] if s["name"] == "imbalance"]
    assert told["resumed"] == 2
    assert_same_results(all_there, path)


@pytest.mark.cluster
def test_workers_change_nothing(begin, finished, client, monkeypatch):
    set_tile(monkeypatch, 1024)  # workers know nothing of ours
    job = arrays_job(finished[0], similarity=ALL | {"samples": 150})
    paths = begin("here"), begin("workers")
    for path, client_ in zip(paths, (None, client), strict=True):
        run_stages(RunStore.open(path), job, quiet_cluster(path, client_))
    assert_same_results(*paths)


def test_status_counts_the_matrices(done, finished):
    path, _ = done
    store = RunStore.open(path)
    store.outdate("models/net/similarity/cka")
    [found] = [s for s in survey_run(store).stages if s.name == "similarity"]
    assert str(found.whole) == "2 of 3 matrices"
    assert "similarity" not in [s.name for s in survey_run(RunStore.open(finished[1])).stages]


# --- what is refused --------------------------------------------------------------------------------------------


def test_all_pairs_of_very_many_samples_must_be_asked_for():
    wanted = Similarity(cka=("linear",))
    with pytest.raises(JobError, match=r"all pairs of N = 50,000 samples.*samples = 5000, or samples = 50000 for all"):
        check_similarity(wanted, 50_000, [10], 4, 2**40)
    check_similarity(wanted.model_copy(update={"samples": 50_000}), 50_000, [10], 4, 2**40)
    check_similarity(Similarity(imbalance=True), 50_000, [10], 4, 2**30)


def test_too_little_memory_is_told_before_anything_runs(finished, monkeypatch):
    wanted, needed = Similarity(cka=("linear",)), cka_bytes(3, N, 12, 4)
    with pytest.raises(ResourceError, match=rf"100 x 100 .* in 3 layers needs {needed / 2**10:.1f} KiB.*fewer layers"):
        check_similarity(wanted, N, [12, 6, 3], 4, needed - 1)
    with pytest.raises(ResourceError, match="a layer with 5,000 features: canonical correlations of 9,000 samples"):
        check_similarity(Similarity(svcca=True), 9_000, [10, 5_000], 4, 2**28)
    set_tile(monkeypatch, 1024)
    with pytest.raises(ResourceError, match="240 x 240 samples in 3 layers"):
        plan_within(arrays_job(finished[0], similarity={"cka": ["linear"]}), Capacity(2**22))


REFUSED = {
    "unknown kernel": ({"cka": ["rbf"]}, "similarity.cka"),
    "kernel twice": ({"cka": ["linear", "linear"]}, "names a value twice"),
    "no width": ({"cka": ["gaussian"], "widths": []}, "at least 1 item"),
    "negative width": ({"widths": [-1]}, "greater than 0"),
    "too many neighbors": ({"imbalance": True, "imbalance_k": 11}, "but neighbors.k = 10: raise neighbors.k to 11"),
    "misspelled": ({"svca": True}, "unknown key 'similarity.svca'; closest: 'svcca'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_job_is_refused(finished, name):
    settings, message = REFUSED[name]
    with pytest.raises(JobError, match=message):
        arrays_job(finished[0], similarity=settings)


def test_no_layer_can_have_the_name_of_the_group():
    model = {"name": "net", "arrays": {"similarity": "a.npy"}}
    with pytest.raises(JobError, match="no layer can be called 'similarity'"):
        parse_job({"name": "a", "data": {"source": "arrays"}, "model": [model]})


# --- memory -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", [40, 3000])
def test_a_tile_needs_no_more_memory_than_planned(here, tmp_path, monkeypatch, features):
    set_tile(monkeypatch, 1024)
    n, rng = 1500, np.random.default_rng(0)
    store = RunStore.create(tmp_path)
    store.describe("models/net", layers=[{"name": layer} for layer in LAYERS])
    for layer in LAYERS:
        group = stage_group("net", layer, "activations")
        store.save(group, {"activation": rng.normal(size=(n, features)).astype(np.float32)})
    work = Comparison(store, "net", Similarity(cka=("linear", "gaussian")), seed=0)
    for layer in LAYERS:
        store.begin(stage_group("net", layer, "moments"), "d")
        measure_moments(work, layer, "d")
    tracemalloc.start()
    try:
        cka_tile(work, slice(0, 1024), slice(1024, 1500))
        cka_tile(work, slice(0, 1024), slice(0, 1024))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    needed = cka_bytes(len(LAYERS), n, features, 4)
    assert 0.4 * needed < peak < needed
