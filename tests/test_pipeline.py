"""A job end to end: nothing is computed twice, a change recomputes what depends on it, one run a directory."""

import errno
import json
import os
import re
import shutil
import socket
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from distributed import Client

from dnuc import pipeline
from dnuc.cluster import Capacity, Cluster, Progress, Scheduler
from dnuc.cluster.versions import installed
from dnuc.errors import DataError, DnucError, ResourceError, StoreError
from dnuc.neighbors.search import nearest_neighbors
from dnuc.pipeline import run_job, run_stages
from dnuc.store import Results, RunStore, alone, stage_group
from tests import reference
from tests.conftest import (
    CLASSES,
    N,
    arrays_job,
    assert_same_results,
    digits_job,
    folder_job,
    local_cluster,
    quiet_cluster,
    write_arrays,
)


def written(path):
    """When each chunk of a run was written: what is computed anew shows."""
    return {str(f.relative_to(path)): f.stat().st_mtime_ns for f in path.rglob("c/**/*") if f.is_file()}


def changed(path, before):
    """The "layer/stage"s, and groups beside the layers, of which anything was written since `before`."""
    now = written(path)
    files = {f for f in {*before, *now} if before.get(f) != now.get(f)}
    return {"/".join(f.split("/c/")[0].split("/")[:-1]).removeprefix("models/net/") for f in files}


def read_log(path):
    return (path / "log.txt").read_text()


def of(stage, *layers):
    return {f"{layer}/{stage}" for layer in layers or ("early", "middle", "late")}


def stages_told(path):
    return [s["name"] for s in json.loads((path / "progress.json").read_text())["stages"]]


@pytest.fixture
def done(here, finished, tmp_path):
    """A copy of a finished run, and when its chunks were written."""
    shutil.copytree(finished[1], tmp_path / "run")
    return tmp_path / "run", written(tmp_path / "run")


@pytest.fixture
def again(finished, tmp_path):
    """Run the same job, apart from the given tables, in tmp_path/run."""
    return lambda **tables: run_job(arrays_job(finished[0], **tables), out=tmp_path / "run", quiet=True)


# --- what is stored ---------------------------------------------------------------------------------------------


def test_the_stored_neighbors_and_measures_are_those_of_plain_loops(finished):
    base, path = finished
    results = Results(path)
    x, labels = np.load(base / "middle.npy"), np.load(base / "labels.npy")
    index, distance = reference.nearest_neighbors(x, 10)
    np.testing.assert_array_equal(results.array("neighbors", "neighbor_index", "middle"), index)
    np.testing.assert_allclose(results.array("neighbors", "neighbor_distance", "middle"), distance, rtol=1e-12)
    overlaps = results.array("measures", "label_overlap", "middle")
    np.testing.assert_allclose(overlaps[0], reference.label_overlap(index, labels))
    np.testing.assert_allclose(overlaps[1], reference.label_overlap(index[:, :5], labels))
    row = results.layers.set_index("layer").loc["middle"]
    expected = reference.two_nn(distance[:, 0], distance[:, 1], 0.9)
    assert row["intrinsic_dimension"] == pytest.approx(expected, rel=1e-9)
    assert row["label_overlap"] == pytest.approx(overlaps[0].mean())


def test_the_matrix_of_overlaps_is_that_of_plain_loops(finished):
    results = Results(finished[1])
    layers = ("early", "middle", "late")
    index = [results.array("neighbors", "neighbor_index", layer) for layer in layers]
    found = results.overlap_matrix("net")
    for position, k in enumerate((10, 5)):
        plain = [[reference.data_overlap(a[:, :k], b[:, :k]).mean() for b in index] for a in index]
        np.testing.assert_allclose(found[position], plain)
    following = results.array("measures", "next_overlap", "early")[0].mean()
    assert following == pytest.approx(found[0, 0, 1])


def test_the_classes_come_apart_from_layer_to_layer(finished):
    layers = Results(finished[1]).layers
    assert layers["label_overlap"].is_monotonic_increasing
    assert layers["ari_class"].iloc[-1] > 0.9
    assert layers["n_peaks"].iloc[-1] == CLASSES


STAGES = ["activations", "neighbors", "measures", "overlaps", "landscape", "dimension", "report"]


def test_every_stage_is_told(finished):
    path = finished[1]
    assert stages_told(path) == STAGES
    content = json.loads((path / "progress.json").read_text())
    assert (content["state"], content["job"]) == ("finished", "tiny")
    assert all(s["state"] == "done" and s["done"] == s["total"] for s in content["stages"])
    assert not (path / "run.lock").exists()
    assert (path / "report" / "index.html").is_file()


# --- nothing twice ----------------------------------------------------------------------------------------------


def test_a_second_run_computes_nothing(done, again):
    path, before = done
    again()
    assert changed(path, before) == set()
    assert stages_told(path) == []


def test_another_k_recomputes_from_the_neighbors_on(done, again):
    path, before = done
    again(neighbors={"k": 12, "block": 128})
    found = of("measures") | of("dimension") | of("landscape") | {"overlaps"}
    assert changed(path, before) == of("neighbors") | found
    assert Results(path).array("neighbors", "neighbor_index", "late").shape == (N, 12)


def test_another_z_recomputes_the_landscape_alone(done, again):
    path, before = done
    again(landscape={"z": 3.0})
    assert changed(path, before) == of("landscape")
    assert stages_told(path) == ["landscape", "report"]


def test_another_k_of_overlaps_recomputes_the_measures_alone(done, again):
    path, before = done
    again(measures={"overlap_k": [5]})
    assert changed(path, before) == of("measures") | {"overlaps"}


def test_weighted_overlaps_recompute_the_measures_alone(done, again):
    path, before = done
    again(measures={"overlap_k": [10, 5], "weights": "class_size"})
    assert changed(path, before) == of("measures") | {"overlaps"}


def test_another_fraction_recomputes_dimension_and_landscape(done, again):
    path, before = done
    again(measures={"overlap_k": [10, 5], "fraction": 0.5})
    assert changed(path, before) == of("measures") | of("landscape")


@pytest.mark.parametrize("tables", [{"activations": {"block": 128}}, {"neighbors": {"k": 10, "precision": "float64"}}])
def test_settings_that_change_no_result_recompute_nothing(done, again, tables):
    path, before = done
    again(**tables)
    assert changed(path, before) == set()


def test_another_layer_is_all_that_is_extracted(here, finished, again, tmp_path):
    path = run_job(arrays_job(finished[0], layers=("early", "middle")), out=tmp_path / "run", quiet=True)
    before = written(path)
    again()
    # "early" and "middle" have another last layer now, "middle" another next one
    expected = {f"late/{stage}" for stage in ("activations", "neighbors", "dimension", "landscape")} | of("measures")
    assert changed(path, before) == expected | {"overlaps"}
    assert [layer["name"] for layer in RunStore.open(path).layers("net")] == ["early", "middle", "late"]


def test_another_layer_of_a_network_is_all_that_is_extracted(here, tmp_path):
    model = digits_job(tmp_path).model[0].model_dump(exclude_none=True)
    run_job(digits_job(tmp_path, model=[model | {"layers": ["input", "output"]}]), out=tmp_path / "run", quiet=True)
    before = written(tmp_path / "run")
    path = run_job(
        digits_job(tmp_path, model=[model | {"layers": ["input", "stage2.0", "output"]}]),
        out=tmp_path / "run",
        quiet=True,
    )
    extracted = {group for group in changed(path, before) if group.endswith("activations")}
    assert extracted == {"stage2.0/activations"}


def test_files_that_changed_are_read_again(here, tmp_path):
    write_arrays(tmp_path, n=100)
    job = arrays_job(tmp_path)
    path = run_job(job, out=tmp_path / "run", quiet=True)
    before = written(path)
    np.save(tmp_path / "late.npy", np.load(tmp_path / "late.npy") * 2)
    run_job(job, out=path, quiet=True)
    # all layers are compared with the last one
    expected = {f"late/{stage}" for stage in ("activations", "neighbors", "dimension", "landscape")} | of("measures")
    assert changed(path, before) == expected | {"overlaps"}
    np.save(tmp_path / "labels.npy", np.arange(100) % 2)
    run_job(job, out=path, quiet=True)
    assert Results(path).label_names == ["0", "1"]
    assert Results(path).layers["label_overlap"].max() < 0.75


def test_labels_that_changed_leave_activations_and_neighbors(here, tmp_path):
    write_arrays(tmp_path, n=100)
    path = run_job(arrays_job(tmp_path), out=tmp_path / "run", quiet=True)
    before = written(path)
    np.save(tmp_path / "labels.npy", np.load(tmp_path / "labels.npy")[::-1])
    run_job(arrays_job(tmp_path), out=path, quiet=True)
    assert changed(path, before) == {"samples"} | of("measures") | of("landscape")
    assert_same_results(run_job(arrays_job(tmp_path), out=tmp_path / "fresh", quiet=True), path)


def test_a_manifest_made_anew_of_the_same_files_recomputes_nothing_else(here, tmp_path):
    job = folder_job(tmp_path)
    path = run_job(job, out=tmp_path / "run", quiet=True)
    before = written(path)
    RunStore.open(path).drop("samples")
    run_job(job, out=path, quiet=True)
    assert changed(path, before) == {"samples"}


def test_images_that_changed_are_seen_when_the_manifest_is_made_anew(here, tmp_path):
    """As --repair does: it drops a damaged manifest, and files may have changed since it was made."""
    job = folder_job(tmp_path)
    path = run_job(job, out=tmp_path / "run", quiet=True)
    image = tmp_path / "images" / "cat" / "cat_0.png"
    image.write_bytes((tmp_path / "images" / "dog" / "dog_0.png").read_bytes())
    RunStore.open(path).drop("samples")
    run_job(job, out=path, quiet=True)
    assert Results(path).layers["duplicates"].tolist() == [2, 2]
    assert_same_results(run_job(job, out=tmp_path / "fresh", quiet=True), path)


def test_a_run_of_before_manifests_had_digests_is_complete_as_it_is(here, tmp_path, monkeypatch):
    job = folder_job(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("dnuc.data.stage._dependencies", lambda *_: None)
        path = run_job(job, out=tmp_path / "run", quiet=True)
    before = written(path)
    run_job(job, out=path, quiet=True)
    assert changed(path, before) == set()


def test_the_log_tells_what_changed(done, finished, again):
    path, _ = done
    again(landscape={"z": 3.0}, model=[{"name": "net", "arrays": {"early": "early.npy"}}])
    log = (path / "log.txt").read_text()
    assert "changed since the last run: landscape.z: 1.65 -> 3.0\n" in log
    assert f"changed since the last run: model.net.arrays.late: {finished[0]}/late.npy -> None\n" in log


@dataclass(frozen=True)
class Recorder(Cluster):
    """Keeps the tasks that it ran."""

    tasks: list = field(default_factory=list)

    def run(self, tasks):
        for task in tasks:
            self.tasks.append(task)
            yield task, task.function(*task.args)


@pytest.mark.parametrize("unfinished", [False, True])
def test_a_task_that_outlives_its_run_changes_nothing(finished, again, here, tmp_path, unfinished):
    """A scheduler may go on with a task of a client that is gone, while another job has taken the directory."""
    path, late = tmp_path / "run", Recorder(None, Capacity(2**30), Progress(quiet=True))
    run_stages(RunStore.create(path), arrays_job(finished[0]), late)
    again(activations={"block": 64, "dtype": "float16"}, measures={"fraction": 0.5}, landscape={"z": 3.0})
    store = RunStore.open(path)
    by_tasks = ("activations", "measures", "landscape", "dimension")
    groups = [stage_group("net", x, s) for x in ("early", "middle", "late") for s in by_tasks]
    for group in groups if unfinished else []:
        store.outdate(group)
    before, attributes = written(path), [store.attributes(group) for group in groups]
    writing = [task for task in late.tasks if task.name.startswith(("extract", "measure", "landscape", "dim"))]
    assert len(writing) == 4 + 3 + 3 + 3
    for task in writing:
        task.function(*task.args)
    assert changed(path, before) == set()
    assert [store.attributes(group) for group in groups] == attributes


# --- whose directory it is --------------------------------------------------------------------------------------


def test_a_directory_of_other_data_is_refused_and_left_as_it_is(done, again, tmp_path):
    path, before = done
    (tmp_path / "ids.txt").write_text("\n".join(f"cell-{i}" for i in range(N)))
    data = {"source": "arrays", "labels": "labels.npy", "ids": str(tmp_path / "ids.txt")}
    resolved = (path / "job.toml").read_text()
    with pytest.raises(StoreError, match=r"is the run of another job. What differs:\n  data.ids: None -> .*ids.txt\n"):
        again(data=data)
    assert changed(path, before) == set()
    assert (path / "job.toml").read_text() == resolved


def test_a_directory_of_a_job_of_another_name_is_refused(done, again):
    with pytest.raises(StoreError, match=r"name: tiny -> other\n.*--out"):
        again(name="other")


def test_a_job_that_was_refused_may_be_corrected_in_its_directory(here, again, tmp_path):
    with pytest.raises(DataError, match="no such file"):
        again(data={"source": "arrays", "labels": "label.npy"})
    assert "error: data.labels" in (tmp_path / "run" / "log.txt").read_text()
    assert json.loads((tmp_path / "run" / "progress.json").read_text())["state"] == "failed"
    again()


def test_a_directory_that_is_no_run_is_refused(here, tmp_path):
    write_arrays(tmp_path / "data")
    with pytest.raises(StoreError, match=r"exists, is not empty and is not a dnuc run: give another directory"):
        run_job(arrays_job(tmp_path / "data"), out=tmp_path / "data", quiet=True)


# --- one run a directory ----------------------------------------------------------------------------------------


def test_another_torch_is_refused_unless_it_is_meant(done, finished, monkeypatch):
    """What would be computed is refused, whatever the job; nothing is changed by asking."""
    path, before = done
    job = arrays_job(finished[0], landscape={"z": 3.0})

    @contextmanager
    def connect(on, progress):
        yield Cluster(None, Capacity(2**30), progress, installed() | {"torch": "9.9.9"})

    monkeypatch.setattr(pipeline, "connect", connect)
    with pytest.raises(StoreError, match=r"was computed with torch \S+, this is torch 9.9.9: .* say --force to go on"):
        run_job(job, out=path, quiet=True)
    assert changed(path, before) == set()
    run_job(job, out=path, quiet=True, force=True)
    assert changed(path, before) == of("landscape")
    assert re.search(r"another version than computed the run until now: torch: \S+ -> 9.9.9", read_log(path))
    run_job(job, out=path, quiet=True)


def test_a_disk_that_fills_up_is_told(here, finished, tmp_path, monkeypatch):
    """Also in what is recorded as the reason of the end."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RunStore, "write", full)
    with pytest.raises(ResourceError, match=r"could not be written or read: No space left on device; [\d,]+ bytes are"):
        run_job(arrays_job(finished[0]), out=tmp_path / "run", quiet=True)
    assert "No space left" in json.loads((tmp_path / "run" / "progress.json").read_text())["message"]


def test_two_runs_at_once_are_refused(done, again):
    path, _ = done
    resolved = (path / "job.toml").read_text()
    expected = rf"is in use by process {os.getpid()} on {socket.gethostname()}: wait for it or stop it.*run.lock"
    with alone(path):
        with pytest.raises(StoreError, match=expected):
            again(landscape={"z": 3.0})
        assert (path / "job.toml").read_text() == resolved
        assert (path / "run.lock").exists()  # it is not ours to remove
    assert again(landscape={"z": 3.0}) == path


# --- the same bits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("activations", "neighbors"),
    [(128, None), (64, 64), (10_000, None)],  # samples a task, rows a tile
)
def test_no_block_changes_a_bit(here, finished, tmp_path, activations, neighbors):
    sizes = {"activations": {"block": activations}, "neighbors": {"k": 10, "block": neighbors}}
    tables = {table: {k: v for k, v in values.items() if v is not None} for table, values in sizes.items()}
    other = run_job(arrays_job(finished[0], **tables), out=tmp_path / "other", quiet=True)
    assert_same_results(finished[1], other)


@pytest.mark.cluster
def test_no_block_and_no_number_of_workers_changes_a_bit(here, finished, tmp_path, client):
    digits = digits_job(tmp_path)
    plain = run_job(digits, out=tmp_path / "plain", quiet=True)
    jobs = [
        (finished[1], arrays_job(finished[0])),
        (plain, digits),
        (plain, digits_job(tmp_path, activations={"block": 500, "batch_size": 32}, neighbors={"k": 8})),
    ]
    with local_cluster(workers=1) as cluster, Client(cluster, set_as_default=False) as alone:
        for number, (expected, job) in enumerate(jobs):
            path = tmp_path / f"run-{number}"
            run_stages(RunStore.create(path), job, quiet_cluster(path, client if number % 2 == 0 else alone))
            assert_same_results(expected, path)


# --- training ---------------------------------------------------------------------------------------------------


def trained_job(base, data=None, **settings):
    model = {
        "name": "net",
        "architecture": "residual",
        "options": {"width": 2, "blocks": 1},
        "layers": ["input", "output"],
        "train": {"epochs": 2, "keep": [0], **settings},
    }
    return digits_job(base, model=[model], **({"data": data} if data else {}))


def test_a_network_of_other_samples_is_trained_anew(here, tmp_path):
    ids = tmp_path / "ids.txt"
    job = trained_job(tmp_path, data={"source": "digits", "ids": str(ids)}, keep=[])
    ids.write_text("\n".join(f"digits-{i:04d}" for i in range(40)))
    path = run_job(job, out=tmp_path / "run", quiet=True)
    ids.write_text("\n".join(f"digits-{i:04d}" for i in range(100, 160)))
    run_job(job, out=path, quiet=True)
    assert "training" in stages_told(path)
    assert len(list(path.glob("models/net/weights-*/final.pt"))) == 2


@pytest.mark.cluster
def test_a_network_is_trained_once_and_told_epoch_by_epoch(here, tmp_path, client):
    path = tmp_path / "run"
    store = RunStore.create(path)
    run_stages(store, trained_job(tmp_path), quiet_cluster(path, client))
    [training] = [s for s in json.loads((path / "progress.json").read_text())["stages"] if s["name"] == "training"]
    assert (training["done"], training["total"]) == (2, 2)
    assert store.models() == ["net@0", "net"]
    summary = store.attributes("models/net")["training"]
    assert [e["epoch"] for e in summary["epochs"]] == [1, 2]
    before = written(path)
    cluster = quiet_cluster(path, client)
    run_stages(store, trained_job(tmp_path), cluster)
    cluster.progress.end("finished")
    assert changed(path, before) == set()
    assert stages_told(path) == []
    untrained, trained = (store.read(stage_group(m, "fc", "activations"), "activation") for m in store.models())
    assert not np.array_equal(untrained, trained)


def test_another_training_trains_anew_and_events_of_other_runs_do_not_count(here, tmp_path, monkeypatch):
    training = sys.modules["dnuc.activations.training"]
    tell = training.tell

    def tell_twice(event):
        tell(event | {"directory": "/elsewhere", "epoch": 7})  # as a second run on the same scheduler does
        tell(event)

    monkeypatch.setattr(training, "tell", tell_twice)
    path = run_job(trained_job(tmp_path, keep=[]), out=tmp_path / "run", quiet=True)
    before = written(path)
    run_job(trained_job(tmp_path, keep=[], learning_rate=0.01), out=path, quiet=True)
    [found] = [s for s in json.loads((path / "progress.json").read_text())["stages"] if s["name"] == "training"]
    assert (found["done"], found["resumed"], found["total"]) == (2, 0, 2)
    assert {"input/activations", "fc/activations"} <= changed(path, before)


# --- what is refused leaves the directory as it was --------------------------------------------------------------


REFUSED = {
    "no such deployment": ({}, "nowhere.toml", "no such file"),
    "a scheduler that does not answer": ({}, "tcp://127.0.0.1:1", "no Dask scheduler answers"),
    "k that is too large": ({"neighbors": {"k": 1000}}, None, "k = 1000 neighbors asked for among N = 240"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_job_is_not_the_job_of_the_run(name, here, finished, tmp_path, monkeypatch):
    tables, on, message = REFUSED[name]
    base, _ = finished
    run = tmp_path / "run"
    run_job(arrays_job(base), out=run, quiet=True)
    before = (run / "job.toml").read_text()
    if on is not None:
        monkeypatch.undo()  # really connect
    if on == "tcp://127.0.0.1:1":
        on = Scheduler(address=on, timeout="1s")
    changed = arrays_job(base, **(tables or {"landscape": {"z": 3.0}}))
    with pytest.raises(DnucError, match=message):
        run_job(changed, on, out=run, quiet=True)
    assert (run / "job.toml").read_text() == before


def test_a_place_without_its_device_is_refused_before_any_work(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    cluster = Cluster(None, Capacity(2**30, device="cuda"), Progress(tmp_path, quiet=True))
    with pytest.raises(ResourceError, match=r"device = 'cuda': torch .* finds no GPU here"):
        run_stages(RunStore.create(tmp_path / "run"), arrays_job(finished[0]), cluster)
    assert not RunStore(tmp_path / "run").is_complete("samples")


def test_float64_arrays_are_kept_or_their_rounding_is_told(here, tmp_path, capfd):
    rng = np.random.default_rng(0)
    write_arrays(tmp_path)
    x = 1e8 + rng.normal(size=(N, 6))
    np.save(tmp_path / "late.npy", x)
    run_job(arrays_job(tmp_path), out=tmp_path / "rounded")
    assert "net/late: float64 values are rounded to float32; activations.dtype = " in capfd.readouterr().err
    run = run_job(arrays_job(tmp_path, activations={"dtype": "float64"}), out=tmp_path / "kept")
    assert "rounded" not in capfd.readouterr().err
    np.testing.assert_array_equal(
        RunStore(run).read("models/net/late/neighbors", "neighbor_index"), nearest_neighbors(x, 10).index
    )
