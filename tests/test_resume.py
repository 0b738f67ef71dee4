"""Real runs that are really killed: what was finished is kept, and the end is the same, bit for bit.

A run is stopped in every stage by Ctrl-C (SIGINT) or by a kill that it cannot notice (SIGKILL), or one of its workers
is killed; the same command then goes on. The network is slow on purpose, so that there is a middle to be stopped in.
"""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest
from distributed import Client
from distributed.utils import get_mp_context
from torch import nn

from dnuc.pipeline import run_job, run_stages
from dnuc.store import RunStore
from tests.conftest import (
    ROOT,
    Killed,
    arrays_job,
    assert_same_results,
    compute_here,
    digits_job,
    local_cluster,
    quiet_cluster,
    wait_until,
    write_arrays,
    written_job,
)

pytestmark = pytest.mark.cluster
LAYERS = ["input", "hidden", "head"]
# A shell has what it starts in the background ignore Ctrl-C, and so would all that the tests start from there.
HEED_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
DNUC = [sys.executable, "-c", f"{HEED_CTRL_C}; from dnuc.cli import main; main()"]


class Slow(nn.Module):
    """Two small layers and a pause: a batch takes a fifth of a second."""

    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(64, 40)
        self.head = nn.Linear(40, 10)

    def forward(self, x):
        time.sleep(0.2)
        return self.head(self.hidden(x.flatten(1)).relu())


def slow_job(base):
    """300 digits in 10 blocks, 3 layers with 55 tiles each."""
    model = {"name": "net", "architecture": "tests.test_resume:Slow", "weights": "random"}
    data = {"source": "digits", "classes": 3, "images_per_class": 100}
    small = {"k": 8, "block": 32}
    return digits_job(base, name="slow", data=data, model=[model | {"layers": LAYERS}], neighbors=small)


def wide_job(base):
    """Twelve layers, so that the stages after the neighbors take a while too."""
    write_arrays(base)
    arrays = {f"layer{i:02d}": f"{('early', 'middle', 'late')[i // 4]}.npy" for i in range(12)}
    return arrays_job(base, name="wide", model=[{"name": "net", "arrays": arrays}], neighbors={"k": 10, "block": 128})


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The jobs, and finished runs of them that nothing disturbed."""
    base = tmp_path_factory.mktemp("uninterrupted")
    jobs = {"slow": slow_job(base), "wide": wide_job(base)}
    with pytest.MonkeyPatch.context() as monkeypatch:
        compute_here(monkeypatch)
        return {name: (job, run_job(job, out=base / f"run-{name}", quiet=True)) for name, job in jobs.items()}


# --- how far a run is, from its files ---------------------------------------------------------------------------


def groups(path, stage):
    return sorted((path / "models" / "net").glob(f"*/{stage}"))


def extracted(path):
    """(layer, block) pairs whose activations are stored; a chunk that is being written is a file of another name."""
    marks = (path / "models" / "net").glob("*/activations/block_done/c/*")
    return {(mark.parents[3].name, int(mark.name)) for mark in marks if mark.name.isdigit()}


def whole_blocks(marks):
    """Blocks that are stored for every layer, among (layer, block) pairs."""
    return [b for b in range(10) if {(layer, b) for layer in LAYERS} <= marks]


def merged(path):
    """Tiles whose neighbors are stored, over all layers."""
    store, count = RunStore(path), 0
    for group in groups(path, "neighbors"):
        name = str(group.relative_to(path))
        if (group / "tile_redone" / "c").exists():
            count += int((store.read(name, "tile_redone") >= 0).sum())
    return count


def complete(path, stage):
    """Layers that a stage is complete for."""
    store = RunStore(path)
    return sum(store.is_complete(str(group.relative_to(path))) for group in groups(path, stage))


REACHED = {
    "activations": lambda path: len(whole_blocks(extracted(path))) >= 2,
    "neighbors": lambda path: merged(path) >= 5,
    "measures": lambda path: complete(path, "measures") >= 2,
    "landscape": lambda path: complete(path, "landscape") >= 2,
}


def at_rest(cluster):
    """Wait until no task runs any more: workers finish what they have begun when their client is gone."""

    def waiting(dask_scheduler):
        return len(dask_scheduler.tasks)

    def running(dask_worker):
        return len(dask_worker.state.all_running_tasks)

    with Client(cluster, set_as_default=False) as client:
        wait_until(lambda: not client.run_on_scheduler(waiting), "the scheduler still holds tasks")
        wait_until(lambda: not any(client.run(running).values()), "tasks outlive their client")


def told(path):
    return {s["name"]: s for s in json.loads((path / "progress.json").read_text())["stages"]}


# --- the client is stopped --------------------------------------------------------------------------------------


def run_command(arguments, log):
    """The command line in a process of its own, on workers that are there."""
    from dnuc.cli import main

    with open(log, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["dnuc", *arguments]
    main()


@pytest.mark.parametrize(
    ("job", "stage", "how"),
    [
        ("slow", "activations", signal.SIGKILL),
        ("slow", "neighbors", signal.SIGINT),
        ("slow", "neighbors", signal.SIGKILL),
        ("wide", "measures", signal.SIGINT),
        ("wide", "landscape", signal.SIGKILL),
    ],
)
def test_a_run_that_is_stopped_goes_on(here, uninterrupted, shared_cluster, tmp_path, job, stage, how):
    job, expected = uninterrupted[job]
    path, log = tmp_path / "run", tmp_path / "output.txt"
    on = shared_cluster.scheduler_address
    arguments = ["run", str(written_job(job, tmp_path)), "--on", on, "--out", str(path)]
    process = get_mp_context().Process(target=run_command, args=(arguments, log))
    process.start()
    wait_until(lambda: (path.exists() and REACHED[stage](path)) or not process.is_alive(), timeout=120)
    os.kill(process.pid, how)
    process.join(timeout=60)
    assert process.exitcode == (130 if how == signal.SIGINT else -signal.SIGKILL), log.read_text()
    at_rest(shared_cluster)
    assert json.loads((path / "progress.json").read_text())["state"] == (
        "stopped" if how == signal.SIGINT else "running"
    )
    assert (path / "run.lock").exists() == (how == signal.SIGKILL)
    if how == signal.SIGINT:
        assert "Stopped. What is finished is stored: the same command goes on from here." in log.read_text()

    blocks, tiles = extracted(path), merged(path)
    files = [
        f for layer, b in blocks for f in path.glob(f"models/net/{layer}/*/activation/c/{b}/*") if f.name.isdigit()
    ]
    chunks = {f: f.stat().st_mtime_ns for f in files}
    with Client(shared_cluster, set_as_default=False) as client:
        store = RunStore.create(path)
        run_stages(store, job, quiet_cluster(path, client))
    assert {f: f.stat().st_mtime_ns for f in chunks} == chunks
    found = told(path)
    if stage == "activations":
        assert found["activations"]["resumed"] == len(whole_blocks(blocks)) >= 2
        assert found["activations"]["done"] == found["activations"]["total"] == 10
    if stage == "neighbors":
        assert "activations" not in found
        assert found["neighbors"]["done"] - found["neighbors"]["resumed"] == 3 * 55 - tiles
    if stage in ("measures", "landscape"):
        assert "neighbors" not in found
        assert 0 < found["landscape"]["total"] <= (12 if stage == "measures" else 10)
    assert_same_results(expected, path)


# --- a kill at the worst moment ---------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [5, 16])
def test_a_kill_between_the_two_files_of_a_block(here, finished, tmp_path, monkeypatch, write):
    """Index and distance of a block are two files: a kill between their writes leaves lists of two moments."""
    job, path = arrays_job(finished[0], neighbors={"k": 10, "block": 64}), tmp_path / "run"
    shutil.copytree(finished[1], path)
    RunStore(path).drop("models/net/early/neighbors")
    whole, count = RunStore.write, itertools.count(1)

    def cut_off(store, group, name, key, value):
        if name == "neighbor_distance" and next(count) == write:
            raise Killed
        whole(store, group, name, key, value)

    with monkeypatch.context() as patch:
        patch.setattr(RunStore, "write", cut_off)
        with pytest.raises(Killed):
            run_job(job, out=path, quiet=True)
    run_job(job, out=path, quiet=True)
    assert_same_results(finished[1], path)


def test_a_kill_while_old_results_are_deleted(here, finished, tmp_path, monkeypatch):
    """What is left of another job's neighbors must not be taken for unfinished work of this one."""
    path = tmp_path / "run"
    shutil.copytree(finished[1], path)
    remove = shutil.rmtree

    def cut_off(directory, ignore_errors=False):
        if (directory / "zarr.json").exists():
            (directory / "zarr.json").unlink()  # the marker happens to be the first file of the directory
            raise Killed
        remove(directory, ignore_errors=ignore_errors)

    changed = arrays_job(finished[0], activations={"block": 64, "dtype": "float16"})
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", cut_off)
        with pytest.raises(Killed):
            RunStore(path).drop("models/net/early/neighbors")
    run_job(changed, out=path, quiet=True)
    assert_same_results(run_job(changed, out=tmp_path / "fresh", quiet=True), path)


# --- a worker is killed -----------------------------------------------------------------------------------------


def test_workers_that_are_killed_cost_only_time(here, uninterrupted, tmp_path):
    job, expected = uninterrupted["slow"]
    path = tmp_path / "run"
    killed = []

    def kill_workers(cluster):
        for stage in ("activations", "neighbors"):
            wait_until(lambda stage=stage: REACHED[stage](path))
            pid = next(worker.pid for worker in cluster.workers.values() if worker.pid)
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    with local_cluster() as cluster, Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        killer = threading.Thread(target=kill_workers, args=(cluster,))
        killer.start()
        run_stages(RunStore.create(path), job, quiet_cluster(path, client))
        killer.join()
    assert len(set(killed)) == 2
    assert_same_results(expected, path)


def test_a_training_whose_worker_is_killed_ends_with_the_same_weights(here, tmp_path):
    model = {"name": "net", "architecture": "residual", "options": {"width": 4, "blocks": 1}, "layers": ["output"]}
    job = digits_job(tmp_path, model=[model | {"train": {"epochs": 6, "batch_size": 64}}])
    with local_cluster(workers=1) as cluster, Client(cluster, set_as_default=False) as client:
        paths = [tmp_path / "calm", tmp_path / "killed"]
        client.wait_for_workers(1, timeout=60)
        run_stages(RunStore.create(paths[0]), job, quiet_cluster(paths[0], client))

        def kill_worker():
            wait_until(lambda: list(paths[1].glob("models/net/weights-*/resume.pt")))
            os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)

        killer = threading.Thread(target=kill_worker)
        killer.start()
        run_stages(RunStore.create(paths[1]), job, quiet_cluster(paths[1], client))
        killer.join()
    training = told(paths[1])["training"]
    assert (training["done"], training["total"]) == (6, 6)
    assert_same_results(*paths)


# --- everything as a user starts it -----------------------------------------------------------------------------


def test_the_command_line_survives_a_kill_and_a_control_c(uninterrupted, tmp_path):
    """Three starts of the same command, each with worker processes of its own, from a terminal's process group."""
    job, expected = uninterrupted["slow"]
    path = tmp_path / "run"
    place = tmp_path / "one.toml"
    place.write_text('kind = "local"\nworkers = 1\nmemory = "2GiB"\n')
    command = [*DNUC, "run", str(written_job(job, tmp_path)), "--on", str(place), "--out", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"}

    def start():
        return subprocess.Popen(
            command, env=environment, start_new_session=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    with start() as killed:
        wait_until(lambda: path.exists() and REACHED["activations"](path), timeout=200)
        family = psutil.Process(killed.pid).children(recursive=True)
        killed.kill()
        killed.communicate()
    assert len(family) >= 2
    wait_until(lambda: not any(p.is_running() for p in family), f"workers outlive their client: {family}", timeout=30)
    before = whole_blocks(extracted(path))

    with start() as stopped:
        wait_until(lambda: REACHED["neighbors"](path), timeout=200)
        family = psutil.Process(stopped.pid).children(recursive=True)
        os.killpg(stopped.pid, signal.SIGINT)  # a terminal sends it to the workers too
        out, err = stopped.communicate(timeout=60)
    assert stopped.returncode == 130, err
    assert (out, "Stopped. What is finished is stored" in err, "Traceback" in err) == ("", True, False), err
    wait_until(lambda: not any(p.is_running() for p in family), f"workers outlive their client: {family}", timeout=30)
    assert not (path / "run.lock").exists()
    assert told(path)["activations"]["resumed"] == len(before) >= 2

    with start() as finished:
        out, err = finished.communicate(timeout=250)
    assert finished.returncode == 0, err
    assert out == f"report: {path}/report/index.html\n"
    assert (path / "report" / "index.html").stat().st_size > 10_000
    assert "activations" not in told(path)
    assert told(path)["neighbors"]["resumed"] >= 5
    assert_same_results(expected, path)
    assert np.isfinite(RunStore(path).read("models/net/head/neighbors", "neighbor_distance")).all()
