"""Runs that nobody waits for: submitted, followed, cancelled and gone on with, by real processes and a real SLURM."""

import json
import os
import re
import signal
import sys
import time

import psutil
import pytest
import yaml

from dnuc.cluster import Kubernetes, Slurm, read_deployment
from dnuc.cluster.submission import RECORD, Order, read_receipt, receipt, withdraw
from dnuc.errors import DnucError, JobError, ResourceError, SecurityError, StoreError
from dnuc.job import read_job
from dnuc.store import RunStore, alone
from dnuc.submit import cancel_run, submit_job
from tests.cluster.conftest import authority  # noqa: F401 - the fixture
from tests.cluster.slurm import needs_slurm, run, slurm
from tests.conftest import ROOT, arrays_job, assert_same_results, wait_until, written_job
from tests.test_cli import dnuc  # noqa: F401 - the fixture
from tests.test_resume import REACHED, slow_job, told, uninterrupted  # noqa: F401 - the fixture


def state(path):
    """How the last attempt goes."""
    try:
        return json.loads((path / "progress.json").read_text())["state"]
    except FileNotFoundError:
        return None


def log(path):
    return (path / "log.txt").read_text()


@pytest.fixture
def environment(monkeypatch):
    """What processes that are started from here need."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


# --- what is started ----------------------------------------------------------------------------------------------


def test_a_run_needs_no_shell(tmp_path):
    order = Order("digits", tmp_path / "a job.toml", str(tmp_path / "place.toml"), tmp_path / "run")
    assert order.command("/env/bin/python") == [
        *("/env/bin/python", "-m", "dnuc", "run", f"{tmp_path}/a job.toml", "--out", f"{tmp_path}/run", "--quiet"),
        *("--on", f"{tmp_path}/place.toml"),
    ]
    assert order.command(on="other.toml")[-2:] == ["--on", "other.toml"]


def test_what_would_be_refused_is_refused_at_once(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = written_job(arrays_job(finished[0], neighbors={"k": 240}), tmp_path)
    with pytest.raises(DnucError, match="k = 240 neighbors asked for among N = 240 samples"):
        submit_job(job)
    job = written_job(arrays_job(finished[0]), tmp_path)
    with pytest.raises(JobError, match="--on 'slurm': give a scheduler address"):
        submit_job(job, "slurm")
    with pytest.raises(SecurityError, match="is not encrypted"):
        submit_job(job, "tcp://192.0.2.1:8786")
    assert not (tmp_path / "runs").exists()
    path = RunStore.create(tmp_path / "run").path
    with alone(path), pytest.raises(StoreError, match=rf"in use by process {os.getpid()} on .*: `dnuc cancel` ends it"):
        submit_job(job, "tcp://127.0.0.1:1", path)
    assert not (path / RECORD).exists()


def test_to_cancel_what_is_no_run_or_does_not_run(tmp_path):
    with pytest.raises(StoreError, match="is not a dnuc run directory"):
        cancel_run(tmp_path)
    path = RunStore.create(tmp_path / "run").path
    assert cancel_run(path) == f"nothing runs in {path}, and nothing waits to"


def test_a_process_that_is_gone_is_not_taken_for_another(tmp_path):
    with psutil.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as other:
        assert withdraw(receipt("process", str(other.pid), began=other.create_time() - 5)) is None
        assert other.is_running()
        assert "ended by SIGTERM" in withdraw(receipt("process", str(other.pid), began=other.create_time()))
        assert other.wait() == -signal.SIGTERM
    assert withdraw(receipt("process", str(other.pid), began=1.0)) is None


# --- a process on this host ---------------------------------------------------------------------------------------


@pytest.mark.cluster
def test_a_process_is_started_followed_cancelled_and_gone_on_with(
    here,
    dnuc,  # noqa: F811
    environment,
    uninterrupted,  # noqa: F811
    shared_cluster,
    tmp_path,
):
    job, expected = uninterrupted["slow"]
    path, on = tmp_path / "run", shared_cluster.scheduler_address
    arguments = ("submit", written_job(job, tmp_path), "--on", on, "--out", path)
    code, out, err = dnuc(*arguments)
    assert (code, err) == (0, "")
    number = int(re.match(r"submitted: process (\d+) on \S+\n", out)[1])
    assert {f"  dnuc status {path}", f"  dnuc cancel {path}", f"log: {path}/log.txt"} <= set(out.splitlines())
    process = psutil.Process(number)
    assert os.getsid(number) == number  # it outlives the terminal
    assert "submitted: process" in dnuc("status", path)[1]

    wait_until(lambda: REACHED["activations"](path), timeout=120)
    assert "last attempt: running" in dnuc("status", path)[1]
    assert "it has not begun" not in dnuc("status", path)[1]
    assert "is in use by process" in dnuc(*arguments)[2]
    code, out, _ = dnuc("cancel", path)
    assert (code, out) == (0, f"process {number} on {read_receipt(path).host} ended by SIGINT\n")
    process.wait(timeout=60)
    assert state(path) == "stopped"
    assert "last attempt: stopped" in dnuc("status", path)[1]

    assert dnuc(*arguments)[0] == 0
    wait_until(lambda: state(path) == "finished", timeout=200)
    assert told(path)["activations"]["resumed"] >= 2
    assert "report: " in log(path)
    assert "Traceback" not in log(path)
    assert_same_results(expected, path)
    wait_until(lambda: not psutil.pid_exists(int(read_receipt(path).id)))


@pytest.mark.cluster
def test_a_run_is_cancelled_from_another_host(environment, uninterrupted, shared_cluster, tmp_path, monkeypatch):  # noqa: F811
    """The same host under another name: signals are then out of the question."""
    path = tmp_path / "run"
    submitted, _ = submit_job(written_job(uninterrupted["slow"][0], tmp_path), shared_cluster.scheduler_address, path)
    wait_until(lambda: REACHED["activations"](path), timeout=120)
    with monkeypatch.context() as patch:
        patch.setattr("socket.gethostname", lambda: "elsewhere")
        assert cancel_run(path).endswith(f"process {submitted.id} on {submitted.host} ended when asked")
    content = json.loads((path / "progress.json").read_text())
    assert content["state"] == "stopped"
    assert re.fullmatch(r"cancelled by \S+ on elsewhere", content["message"])
    wait_until(lambda: not psutil.pid_exists(int(submitted.id)))
    assert re.search(r"Stopped \(cancelled by \S+ on elsewhere\)\. What is finished is stored", log(path))


@pytest.mark.cluster
def test_a_run_is_cancelled_before_it_began(environment, finished, shared_cluster, tmp_path):
    path = tmp_path / "run"
    job = written_job(arrays_job(finished[0]), tmp_path)
    submitted, _ = submit_job(job, shared_cluster.scheduler_address, path)
    said = cancel_run(path)
    assert f"process {submitted.id}" in said
    wait_until(lambda: not psutil.pid_exists(int(submitted.id)))
    assert state(path) != "finished"
    assert cancel_run(path) == f"nothing runs in {path}, and nothing waits to"


# --- SLURM --------------------------------------------------------------------------------------------------------


def test_the_batch_script_says_what_the_deployment_says(tmp_path, authority, monkeypatch):  # noqa: F811
    place = read_deployment(ROOT / "deploy" / "slurm_gpu.toml").model_copy(update={"tls": authority.tls("client")})
    order = Order("digits", tmp_path / "job.toml", None, tmp_path / "run")
    called = []
    monkeypatch.setattr("dnuc.cluster.places.slurm.call", lambda *words: called.append(words) or "123;cluster\n")
    order.run.mkdir()
    assert str(place.submit(order)) == "SLURM job 123"
    assert called == [("sbatch", "--parsable", f"{order.run}/submitted.sbatch")]
    script = (order.run / "submitted.sbatch").read_text()
    assert re.findall("^#SBATCH (.*)$", script, re.MULTILINE) == [
        *("--job-name=dnuc-digits", "--ntasks=4", "--cpus-per-task=8", "--mem-per-cpu=7630M", "--time=12:00:00"),
        *("--signal=B:TERM@300", "--requeue", "--open-mode=append", f"--output={order.run}/log.txt"),
        *("--partition=gpu", "--gpus-per-task=1"),
    ]
    assert "\nmodule load cuda\n" in script
    assert f"-m dnuc run {order.job} --out {order.run} --quiet --on {order.run}/submitted.toml &\n" in script
    inside = read_deployment(order.run / "submitted.toml")
    assert inside.launcher == "srun --ntasks=4 --cpus-per-task=8"
    assert (inside.device, inside.cores, inside.memory) == ("cuda", 8, "64GB")
    assert inside.tls == place.tls


def test_a_machine_without_the_batch_system_is_told(tmp_path, monkeypatch, authority):  # noqa: F811
    monkeypatch.setenv("PATH", str(tmp_path))
    place = Slurm(workers=1, memory="2GiB", tls=authority.tls("client"))
    with pytest.raises(ResourceError, match="`sbatch` is not on this machine: submit from one that has it"):
        place.submit(Order("digits", tmp_path / "job.toml", None, tmp_path))


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A SLURM of one node."""
    with slurm(tmp_path_factory.mktemp("slurm")) as file:
        yield file


@pytest.fixture
def queue(running, environment, monkeypatch):
    """The states of the jobs that SLURM has, by number."""
    monkeypatch.setenv("SLURM_CONF", str(running))

    def states():
        return dict(line.split() for line in run("squeue", "--noheader", "--states=all", "--format=%i %T").splitlines())

    return states


def slurm_place(directory, tls, **settings):
    """A deployment file for the SLURM of these tests."""
    lines = {"kind": "slurm", "workers": 1, "memory": "2GiB", "time": "1:00:00", "interface": "lo", **settings}
    path = directory / "place.toml"
    text = "\n".join(f"{key} = {json.dumps(value)}" for key, value in lines.items())
    path.write_text(text + "\n[tls]\n" + "\n".join(f'{n} = "{getattr(tls, n)}"' for n in ("ca", "cert", "key")) + "\n")
    return path


@needs_slurm
@pytest.mark.cluster
def test_a_batch_job_goes_on_after_its_time_limit(queue, uninterrupted, authority, tmp_path):  # noqa: F811
    job, expected = uninterrupted["slow"]
    path = tmp_path / "run"
    submitted, _ = submit_job(written_job(job, tmp_path), slurm_place(tmp_path, authority.tls("client")), path)
    wait_until(lambda: REACHED["activations"](path), log(path) if (path / "log.txt").exists() else "", timeout=200)
    run("scancel", "--batch", "--signal=TERM", submitted.id)  # as SLURM does five minutes before the end
    wait_until(lambda: state(path) == "stopped", timeout=60)
    wait_until(lambda: state(path) == "finished", timeout=250)
    wait_until(lambda: queue()[submitted.id] == "COMPLETED")
    assert told(path)["activations"]["resumed"] >= 2
    assert_same_results(expected, path)


@needs_slurm
@pytest.mark.cluster
def test_a_batch_job_is_cancelled_in_the_queue_and_at_work(queue, uninterrupted, authority, tmp_path, dnuc):  # noqa: F811
    job, path = written_job(uninterrupted["slow"][0], tmp_path), tmp_path / "run"
    held = slurm_place(tmp_path, authority.tls("client"), directives=["--hold"])
    submitted, _ = submit_job(job, held, path)
    assert f"submitted: SLURM job {submitted.id}, " in dnuc("status", path)[1]
    assert cancel_run(path) == f"SLURM job {submitted.id} (pending) was cancelled"
    wait_until(lambda: queue()[submitted.id] == "CANCELLED")

    submitted, _ = submit_job(job, slurm_place(tmp_path, authority.tls("client")), path)
    wait_until(lambda: REACHED["activations"](path), timeout=200)
    assert "ended by SIG" in cancel_run(path)
    assert state(path) == "stopped"
    wait_until(lambda: queue()[submitted.id] in ("CANCELLED", "FAILED"))
    time.sleep(2)
    assert queue()[submitted.id] in ("CANCELLED", "FAILED")  # it does not go into the queue again


@needs_slurm
@pytest.mark.cluster
def test_the_script_to_write_by_hand(queue, finished, authority, tmp_path, monkeypatch):  # noqa: F811
    """deploy/slurm.sbatch as it is, but for the size of the job."""
    job, path = written_job(arrays_job(finished[0]), tmp_path), tmp_path / "run"
    monkeypatch.setenv("DNUC_CERTS", str(authority.directory))
    monkeypatch.setenv("DNUC_MEMORY", "2GiB")
    monkeypatch.setenv("DNUC_NETWORK", "lo")
    monkeypatch.setenv("PATH", f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}")
    size = ("--ntasks=1", "--cpus-per-task=1", "--mem-per-cpu=2G")
    monkeypatch.chdir(tmp_path)
    number = run("sbatch", "--parsable", *size, str(ROOT / "deploy" / "slurm.sbatch"), str(job), str(path)).strip()
    wait_until(lambda: queue()[number] not in ("PENDING", "RUNNING", "COMPLETING"), timeout=250)
    assert queue()[number] == "COMPLETED", (tmp_path / f"dnuc-{number}.txt").read_text()
    assert state(path) == "finished"
    assert_same_results(finished[1], path)
    assert list(tmp_path.glob(".dnuc-*")) == []


# --- Kubernetes ---------------------------------------------------------------------------------------------------

KUBECTL = """#!/bin/sh
echo "$@" >> {directory}/called
cat > {directory}/given
echo created
"""


@pytest.fixture
def kubectl(tmp_path, monkeypatch):
    """A stand-in that writes down how it was called."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "kubectl"
    program.write_text(KUBECTL.format(directory=tmp_path))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return lambda: (tmp_path / "called").read_text().splitlines()


def test_a_dask_job_is_handed_to_kubectl(kubectl, finished, tmp_path, authority):  # noqa: F811
    place = tmp_path / "place.toml"
    text = (ROOT / "deploy" / "kubernetes.toml").read_text().replace('"certs/', f'"{authority.directory}/')
    place.write_text(text)
    job = written_job(arrays_job(finished[0], name="Tiny_Job"), tmp_path)
    submitted, path = submit_job(job, place, "/data/runs/tiny")
    assert str(path) == "/data/runs/tiny"
    assert not path.exists()  # it is on the cluster's volume
    assert kubectl() == ["create --filename -"]
    settings, dask_job = yaml.safe_load((tmp_path / "given").read_text())["items"]
    name = dask_job["metadata"]["name"]
    assert re.fullmatch("dnuc-tiny-job-[0-9a-f]{6}", name)
    assert submitted.follow[1] == f"kubectl --namespace default logs --follow {name}-runner"
    (client,) = dask_job["spec"]["job"]["spec"]["containers"]
    assert client["command"][-6:] == [
        *("run", "/settings/job.toml", "--on", "/settings/place.toml", "--out", "/data/runs/tiny"),
    ]
    for file, content in settings["data"].items():
        (tmp_path / file).write_text(content)
    assert read_job(tmp_path / "job.toml") == read_job(job)
    inside = read_deployment(tmp_path / "place.toml")
    assert inside.address == f"tls://{name}-scheduler.default.svc:8786"
    assert str(inside.tls.key) == "/certs/client-key.pem"

    run_directory = RunStore.create(tmp_path / "seen").path
    submitted.write(run_directory)
    assert cancel_run(run_directory) == f"DaskJob {name} in default was deleted"
    assert kubectl()[1:] == [f"--namespace default delete daskjob,configmap {name} --ignore-not-found"]


def test_a_client_pod_that_was_cancelled_is_not_started_again():
    from pathlib import Path
    from subprocess import run as execute

    from dnuc.cluster.places.kubernetes import run_command

    shell, flag, text, name, *_ = run_command(Order("x", Path("/j"), None, Path("/r")))
    for code, ends in ((0, 0), (130, 0), (2, 1), (137, 1)):
        assert execute([shell, flag, text, name, "sh", "-c", f"exit {code}"]).returncode == ends


def test_kubernetes_needs_certificates():
    with pytest.raises(SecurityError, match="pods reach their scheduler over a network"):
        Kubernetes(workers=1, memory="2GiB", image="x", claim="data").check()
