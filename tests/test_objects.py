"""Runs on an object store: the same objects as files in a directory, the same bits, and the same ways to end and go on.

The store is a real S3 server, the workers are processes that reach it themselves.
"""

import json
import os
import re
import signal
import socket
import sys

import numpy as np
import pytest
from distributed.utils import get_mp_context

import dnuc.pipeline as pipeline
from dnuc.cluster import Slurm
from dnuc.cluster.submission import Order, read_receipt
from dnuc.data.tars import Span, members_of
from dnuc.errors import JobError, StoreError
from dnuc.location import filled, locate
from dnuc.notebook import open_run
from dnuc.pipeline import run_job
from dnuc.store import RunStore, alone
from dnuc.submit import cancel_run, submit_job
from tests.buckets import download, upload
from tests.conftest import (
    arrays_job,
    assert_same_results,
    compute_here,
    digits_job,
    local_cluster,
    wait_until,
    written_job,
)
from tests.test_cli import dnuc as command_line

pytestmark = pytest.mark.cluster
dnuc = command_line  # the fixture


@pytest.fixture(scope="module")
def on(s3):
    """The scheduler of two worker processes that know the server."""
    with local_cluster(env=s3) as cluster:
        yield cluster.scheduler_address


def write_page(results, images=None):
    """A page with a line a layer; figures take seconds, and have tests of their own."""
    with filled(results.path / "report") as directory:
        directory.mkdir(exist_ok=True)
        (directory / "index.html").write_text(results.layers.to_csv(), encoding="utf-8")
    return results.path / "report" / "index.html"


@pytest.fixture
def _page(monkeypatch):
    monkeypatch.setattr(pipeline, "write_report", write_page)


def objects(url):
    """Every object of a run, and when and as what it was written."""
    return {path.key.removeprefix(f"{locate(url).key}/"): path.version() for path in locate(url).below()}


def stages(path):
    return {s["name"]: s for s in json.loads((path / "progress.json").read_text())["stages"]}


# --- the same run -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_page")
def test_a_run_in_a_bucket_is_the_run_in_a_directory(on, bucket, finished, tmp_path):
    base, expected = finished
    url, job = f"{bucket}/runs/x", arrays_job(base)
    path = run_job(job, on, url, quiet=True)
    assert str(path) == url
    found = objects(url)
    kept = {str(f.relative_to(expected)) for f in expected.rglob("*") if f.is_file()}
    assert {name for name in found if name != "log.txt"} == kept - {"log.txt"}
    assert_same_results(expected, download(url, tmp_path / "copy"))
    log = (path / "log.txt").read_text()
    assert re.search(r"neighbors: 9/9 tiles.*done", log)

    run, same = open_run(url), open_run(expected)
    assert repr(run) == f"Run('{url}': 1 models, 3 layers)"
    columns = [c for c in same.layers if not c.startswith("seconds")]
    assert run.layers[columns].equals(same.layers[columns])
    assert run.samples.equals(same.samples)
    assert np.array_equal(run.neighbors("late").index, same.neighbors("late").index)
    assert run.dataset("late").load().drop_attrs().equals(same.dataset("late").load().drop_attrs())
    assert run.job == same.job

    run_job(job, on, url, quiet=True)
    assert stages(path) == {}
    assert {n: v for n, v in objects(url).items() if "/c/" in n} == {n: v for n, v in found.items() if "/c/" in n}


@pytest.mark.usefixtures("_page")
def test_a_network_is_trained_and_its_weights_are_kept(on, bucket, tmp_path, monkeypatch):
    model = {"name": "net", "architecture": "residual", "options": {"width": 2, "blocks": 1}, "layers": ["output"]}
    job = digits_job(tmp_path, model=[model | {"train": {"epochs": 2, "batch_size": 64, "keep": [0, 1]}}])
    path = run_job(job, on, f"{bucket}/trained", quiet=True)
    assert stages(path)["training"]["done"] == 2
    with monkeypatch.context() as patch:
        compute_here(patch)
        expected = run_job(job, out=tmp_path / "run", quiet=True)
    copy = download(path, tmp_path / "copy")
    assert_same_results(expected, copy)
    names = [sorted(f.name for f in run.glob("models/net/weights-*/*.pt")) for run in (expected, copy)]
    assert names == [["epoch-000.pt", "epoch-001.pt", "final.pt", "resume.pt"]] * 2
    row = open_run(path).models_table.iloc[-1]
    assert (row["epoch"], row["weights"]) == (2, "trained")


def test_the_index_of_an_archive_is_kept(bucket, tmp_path):
    import tarfile

    (tmp_path / "a.png").write_bytes(b"image")
    with tarfile.open(tmp_path / "cat.tar", "w") as archive:
        archive.add(tmp_path / "a.png", "a.png")
    span, cache = Span.of(tmp_path / "cat.tar"), locate(bucket) / "index"
    first = members_of(span, "cat", cache)
    members_of.cache_clear()
    assert (cache / "cat.npz").is_file()
    assert list(members_of(span, "cat", cache).names) == list(first.names) == ["a.png"]


# --- the command line ---------------------------------------------------------------------------------------------


def test_status_report_and_cancel(bucket, finished, dnuc):
    """The report is drawn here and put into the bucket: what a browser asks for has its type."""
    import obstore

    url = upload(finished[1], f"{bucket}/x")
    code, out, err = dnuc("status", url)
    assert (code, out.splitlines()[0]) == (0, "tiny: complete"), err
    assert "last attempt: finished" in out
    code, out, err = dnuc("report", url)
    assert (code, out) == (0, f"report: {url}/report/index.html\n"), err
    names = objects(url)
    assert {"report/tables/layers.csv", "report/tables/net/late/tree.nwk"} <= names.keys()
    assert any(re.fullmatch(r"report/figures/.*\.png", name) for name in names)
    got = obstore.get(locate(bucket).store(), "x/report/index.html")
    assert got.attributes["Content-Type"] == "text/html"
    assert b"<html" in bytes(got.bytes())
    assert dnuc("cancel", url)[:2] == (0, f"nothing runs in {url}, and nothing waits to\n")


def test_a_submitted_run_writes_what_it_prints_to_a_file_of_this_machine(bucket, finished, tmp_path, monkeypatch):
    program = "import sys, time; print('begun', flush=True); time.sleep(60)"
    monkeypatch.setattr(Order, "command", lambda order: [sys.executable, "-c", program, str(order.run)])
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    url = f"{bucket}/x"
    submitted, path = submit_job(written_job(arrays_job(finished[0]), tmp_path), None, url)
    assert str(path) == url
    assert read_receipt(path) == submitted
    [log] = tmp_path.glob("dnuc-tiny-*.log")
    assert submitted.follow == (f"cat {log}",)
    wait_until(lambda: log.read_text() == "begun\n")
    assert cancel_run(url) == f"process {submitted.id} on {socket.gethostname()} ended by SIGTERM before the run began"


def test_a_batch_job_needs_a_directory(bucket, tmp_path):
    order = Order("tiny", tmp_path / "job.toml", None, locate(bucket) / "x")
    place = Slurm(kind="slurm", workers=1, memory="2GiB", insecure=True)
    with pytest.raises(JobError, match="a batch job needs its script and its log on a disk that the nodes share"):
        place.submit(order)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://no-such-bucket/x", "error: s3://no-such-bucket/x: http://.* has no bucket 'no-such-bucket'"),
        ("BUCKET/empty", "error: BUCKET/empty is not a dnuc run directory .* run a job first"),
        ("ftp://BUCKET/x", "error: 'ftp://.*: a run directory is a path, s3://"),
    ],
)
def test_refusals(bucket, dnuc, url, message):
    url = url.replace("BUCKET", bucket.removeprefix("s3://") if url.startswith("ftp") else bucket)
    for arguments in (("status", url), ("report", url), ("cancel", url)):
        code, out, err = dnuc(*arguments)
        assert (code, out) == (2, "")
        assert re.match(message.replace("BUCKET", bucket), err.splitlines()[-1]), err


def test_a_place_with_other_objects_is_refused(bucket, finished):
    (locate(bucket) / "data" / "a.csv").write_text("mine")
    with pytest.raises(StoreError, match="exists, is not empty and is not a dnuc run: give another directory"):
        run_job(arrays_job(finished[0]), out=f"{bucket}/data", quiet=True)
    assert objects(f"{bucket}/data").keys() == {"a.csv"}


# --- faults -------------------------------------------------------------------------------------------------------


def killed_run(job, on, url, environment, name, count):
    """A run whose process is killed at its so many-th write of an array."""
    os.environ.update(environment)
    whole, left = RunStore.write, [count]

    def write(store, group, array, key, value):
        if array == name:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
        whole(store, group, array, key, value)

    RunStore.write = write
    run_job(job, on, url, quiet=True)


@pytest.mark.usefixtures("_page")
@pytest.mark.parametrize(("name", "count"), [("neighbor_distance", 5), ("tile_redone", 8)])
def test_a_run_that_is_killed_goes_on(on, bucket, s3, finished, tmp_path, name, count):
    base, expected = finished
    job, url = arrays_job(base), f"{bucket}/x"
    process = get_mp_context().Process(target=killed_run, args=(job, on, url, s3, name, count))
    process.start()
    process.join(timeout=120)
    assert process.exitcode == -signal.SIGKILL
    path = locate(url)
    assert (path / "run.lock").is_file()
    run_job(job, on, url, quiet=True)
    found = stages(path)
    assert "activations" not in found
    if name == "tile_redone":
        assert found["neighbors"]["done"] - found["neighbors"]["resumed"] == 9 - 7
    assert_same_results(expected, download(url, tmp_path / "copy"))


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.usefixtures("_page")
def test_damage_is_told_and_repaired(on, bucket, finished, tmp_path, dnuc):
    base, expected = finished
    url, job = upload(expected, f"{bucket}/x"), written_job(arrays_job(base), tmp_path)
    store = RunStore.open(url)
    flip(store.path / "models/net/late/activations/activation/c/1/0")
    (store.path / "models/net/late/neighbors/neighbor_index/c/1/0").unlink()
    store.outdate("models/net/late/measures")
    store.outdate("models/net/overlaps")
    code, out, err = dnuc("run", job, "--on", on, "--out", url, "--quiet")
    assert (code, out) == (2, "")
    assert re.search(rf"error: array models/net/late/neighbors/\w+ in {url} is damaged.* with --repair", err), err
    code, out, err = dnuc("run", job, "--on", on, "--out", url, "--quiet", "--repair")
    assert code == 0, err
    assert "models/net/late/neighbors will be computed again" in err
    assert "samples 64 .. 127 of models/net/late/activations will be extracted again" in err
    assert_same_results(expected, download(url, tmp_path / "copy"))


def test_two_runs_at_once(bucket, finished, here):
    job, url = arrays_job(finished[0]), f"{bucket}/x"
    store = RunStore.create(url)
    with alone(store.path):
        with pytest.raises(
            StoreError, match=rf"{url} is in use by process {os.getpid()} on .*: wait for it, or end it"
        ):
            run_job(job, out=url, quiet=True)
        assert (store.path / "run.lock").is_file()
        assert not (store.path / "progress.json").exists()
    assert cancel_run(url) == f"nothing runs in {url}, and nothing waits to"


def test_an_outage_is_no_damage(bucket, finished, monkeypatch):
    """What cannot be read for a while must not be computed anew."""
    store = RunStore.open(upload(finished[1], f"{bucket}/x"))
    monkeypatch.setattr("dnuc.location.bucket.PATIENT", {"max_retries": 0})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    for act in (
        lambda: store.read("models/net/late/neighbors", "neighbor_index"),
        lambda: store.attributes("models/net/late/neighbors"),
        lambda: store.is_complete("models/net/late/neighbors"),
        lambda: store.flags("models/net/late/activations", "block_done"),
        lambda: store.describe("models/net", more=1),
        lambda: store.drop("models/net/late/neighbors"),
        lambda: store.consolidate(),
    ):
        with pytest.raises(StoreError, match=r"127\.0\.0\.1:9 cannot be reached") as told:
            act()
        assert type(told.value) is StoreError
