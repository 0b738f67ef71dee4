"""The command line: what it prints where, and how it ends."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from dnuc import __version__
from dnuc.cli import app, main
from dnuc.cluster import read_progress
from dnuc.neighbors.calibration import Calibration
from dnuc.pace import Pace
from dnuc.store import RunStore
from tests.conftest import arrays_job, digits_job, written_job


@pytest.fixture
def dnuc(monkeypatch, capfd):
    """Call the command line as a user does; returns (exit code, stdout, stderr)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["dnuc", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        return ended.value.code, out, err

    return call


@pytest.fixture
def copy(finished, tmp_path):
    """A finished run that a test may change, and the file of its job."""
    path = tmp_path / "run"
    shutil.copytree(finished[1], path)
    return path, written_job(arrays_job(finished[0]), tmp_path)


# --- help -------------------------------------------------------------------------------------------------------


def test_version_and_help():
    runner = CliRunner()
    assert runner.invoke(app, ["--version"]).stdout == f"dnuc {__version__}\n"
    result = runner.invoke(app, ["--help"])
    assert result.exit_code == 0
    assert all(word in result.stdout for word in ("plan", "run", "status", "report"))
    result = runner.invoke(app, ["run", "--help"])
    assert all(word in result.stdout for word in ("--on", "--out", "--repair", "--quiet"))


def test_the_installed_command_starts_quickly():
    """Help and refusals need no PyTorch: what is imported when the command starts decides how it feels."""
    script = Path(sys.executable).with_name("dnuc")
    result = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (0, f"dnuc {__version__}\n", "")
    code = "import sys, dnuc.cli; print(sorted({'torch', 'distributed', 'matplotlib', 'zarr'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_a_refusal_in_a_process_of_its_own(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", "from dnuc.cli import main; main()", "plan", "nowhere.toml"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: job 'nowhere.toml': no such file; give the path of a TOML job")


# --- plan -------------------------------------------------------------------------------------------------------


def test_plan_prints_a_table_and_sums(dnuc, finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = dnuc("plan", written_job(arrays_job(finished[0]), tmp_path), "--no-time")
    assert (code, err) == (0, "")
    assert "hours" not in out
    assert all(name in out for name in ("early", "middle", "late", "features D", "memory/task"))
    assert re.search(r"^samples      240$", out, re.MULTILINE)
    assert re.search(r"^layers       3 of 1 networks$", out, re.MULTILINE)
    assert re.search(r"^on disk      21.0 KiB of activations$", out, re.MULTILINE)
    assert re.search(r"^tasks        13, each within .*B$", out, re.MULTILINE)
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.toml"]


def test_plan_predicts_time_and_says_from_what(dnuc, finished, tmp_path, monkeypatch):
    search = Calibration({"float32": 240**2 * 1.0}, 0.0, 0.0, 0.0)  # a second a feature
    names = ["start", "image", "inspect", "byte", "measures", "overlap", "landscape", "gride"]
    measured = Pace(search, dict.fromkeys([*names, *(f"{name} 0" for name in names)], 0.0) | {"landscape 0": 3600.0})
    monkeypatch.setattr("dnuc.pace.measure_pace", lambda question, threads: measured)
    one = tmp_path / "one.toml"
    one.write_text('kind = "local"\nworkers = 1\nmemory = "3GiB"\n')
    code, out, _ = dnuc("plan", written_job(arrays_job(finished[0]), tmp_path), "--on", one)
    features = [np.load(finished[0] / f"{layer}.npy").shape[1] for layer in ("early", "middle", "late")]
    assert code == 0
    assert all(re.search(rf" {d} s │$", out, re.MULTILINE) for d in features)
    total = "3:01 (hours:minutes) and the report, on 1 threads as fast as those just measured on this machine. Expect"
    assert f"time         {total}" in out
    assert "             neighbors 21 s, landscape 3.0 h\n" in out


def test_plan_says_why_its_number_of_samples_is_an_expectation(dnuc, tmp_path):
    job = digits_job(tmp_path)
    text = written_job(job, tmp_path).read_text().replace('"digits"', '"image_folder"\npath = "nowhere"')
    (tmp_path / "folder.toml").write_text(text)
    code, out, _ = dnuc("plan", tmp_path / "folder.toml", "--no-time")
    assert code == 0
    assert "samples      120 (as the job says; the data cannot be listed here: data.path = " in out


def test_plan_tells_how_layers_take_turns(dnuc, finished, tmp_path):
    job = arrays_job(finished[0], activations={"block": 64, "storage_budget": "60KB"})
    code, out, _ = dnuc("plan", written_job(job, tmp_path), "--no-time")
    assert code == 0
    told = r"^on disk      21.0 KiB of activations; at most 5\d.\d KiB at a time, in passes over all samples: 2 of net$"
    assert re.search(told, out, re.MULTILINE)


# --- run --------------------------------------------------------------------------------------------------------


def test_run_prints_lines_to_stderr_and_the_report_to_stdout(here, dnuc, finished, tmp_path):
    path = tmp_path / "run"
    code, out, err = dnuc("run", written_job(arrays_job(finished[0]), tmp_path), "--out", path)
    assert (code, out) == (0, f"report: {path}/report/index.html\n")
    assert re.search(
        r"^neighbors: 9/9 tiles, \S+ \SFLOP/s, \S+ \S+/s read, net/late in float32, \d+\.\d s$", err, re.MULTILINE
    )
    assert re.search(r"^landscape: 3/3 layers", err, re.MULTILINE)
    assert "\x1b" not in err  # no terminal, no colors


def test_run_without_a_report(here, dnuc, finished, tmp_path):
    path = tmp_path / "run"
    arguments = ("run", written_job(arrays_job(finished[0]), tmp_path), "--out", path, "-q", "--no-report")
    assert dnuc(*arguments) == (0, f"run: {path}\n", "")
    assert not (path / "report").exists()
    _, out, _ = dnuc("status", path)
    assert out.startswith("tiny: not complete\nlast attempt: finished")
    assert row(out, "report")[1] == "0 of 1 page"


def test_run_quietly(here, dnuc, copy):
    path, job = copy
    assert dnuc("run", job, "--out", path, "-q") == (0, f"report: {path}/report/index.html\n", "")


def test_a_refused_run_ends_with_2_and_one_message(here, dnuc, finished, tmp_path):
    job = written_job(arrays_job(finished[0], neighbors={"k": 240}), tmp_path)
    code, out, err = dnuc("run", job, "--out", tmp_path / "run")
    assert (code, out) == (2, "")
    assert err.startswith("error: k = 240 neighbors asked for among N = 240 samples of job 'tiny'")
    assert "Traceback" not in err
    assert json.loads((tmp_path / "run" / "progress.json").read_text())["state"] == "failed"


def test_an_unknown_place_is_refused(dnuc, copy):
    path, job = copy
    code, out, err = dnuc("run", job, "--out", path, "--on", "slurm")
    assert (code, out) == (2, "")
    assert "error: --on 'slurm': give a scheduler address" in err
    assert not (path / "run.lock").exists()


def test_control_c_ends_with_130_and_says_how_to_go_on(here, dnuc, copy, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    path, job = copy
    monkeypatch.setattr("dnuc.pipeline.run_stages", stop)
    code, out, err = dnuc("run", job, "--out", path)
    assert (code, out) == (130, "")
    assert err.endswith("Stopped. What is finished is stored: the same command goes on from here.\n")
    assert json.loads((path / "progress.json").read_text())["state"] == "stopped"


def damage(path):
    chunk = path / "models/net/late/neighbors/neighbor_index/c/0/0"
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"\0")


def test_damage_is_told_and_repaired_only_when_asked(here, dnuc, copy, finished, tmp_path):
    path, _ = copy
    job = written_job(arrays_job(finished[0], landscape={"z": 2.0}), tmp_path)
    damage(path)
    code, out, err = dnuc("run", job, "--out", path, "-q")
    assert (code, out) == (2, "")
    assert re.search(r"error: array models/net/late/neighbors/neighbor_index in .* damaged .* with --repair", err)
    code, out, err = dnuc("run", job, "--out", path, "-q", "--repair")
    assert code == 0
    assert "models/net/late/neighbors will be computed again\n" in err


def test_damage_that_comes_back_is_given_up(here, dnuc, copy, finished, tmp_path, monkeypatch):
    path, _ = copy
    damage(path)
    monkeypatch.setattr(RunStore, "repair", lambda self, error: "nothing, on a broken disk")
    job = written_job(arrays_job(finished[0], landscape={"z": 2.0}), tmp_path)
    code, _, err = dnuc("run", job, "--out", path, "-q", "--repair")
    assert code == 2
    assert err.count("nothing, on a broken disk") == 1


# --- status and report ------------------------------------------------------------------------------------------


def rewrite(path, **changes):
    content = json.loads((path / "progress.json").read_text()) | changes
    (path / "progress.json").write_text(json.dumps(content))


def row(out, stage):
    """The cells of a stage in the table of `dnuc status`."""
    [line] = [line for line in out.splitlines() if line.startswith(f"│ {stage} ")]
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_status_of_a_finished_run(dnuc, copy):
    path, _ = copy
    rewrite(path, updated=time.time() - 3600)
    code, out, err = dnuc("status", path)
    assert (code, err) == (0, "")
    assert out.startswith("tiny: complete\nlast attempt: finished, told 60 min ago\n")
    assert row(out, "samples")[1:3] == ["1 of 1 manifest", "240 of 240 samples"]
    assert row(out, "activations")[1:3] == ["3 of 3 layers", "12 of 12 blocks"]
    assert row(out, "neighbors")[1:3] == ["3 of 3 layers", "9 of 9 tiles"]
    assert re.fullmatch(r"9/9 tiles in \d+\.\d s, \S+ \SFLOP/s, \S+ \S+/s read", row(out, "neighbors")[3])
    assert re.fullmatch(r"\d+\.\d \SiB", row(out, "neighbors")[4])
    assert [row(out, stage)[1] for stage in ("measures", "landscape")] == ["3 of 3 layers"] * 2
    assert row(out, "overlaps")[1] == "1 of 1 networks"
    assert row(out, "report")[1] == "1 of 1 page"


def test_status_tells_what_was_dropped(here, dnuc, finished, tmp_path):
    job = arrays_job(finished[0], activations={"block": 64, "storage_budget": "60KB"})
    dnuc("run", written_job(job, tmp_path), "--out", tmp_path / "run", "-q")
    _, out, _ = dnuc("status", tmp_path / "run")
    assert out.startswith("tiny: complete\n")
    assert row(out, "activations")[1:3] == ["3 of 3 layers", ""]
    told = "dropped to stay within activations.storage_budget; those in activations.keep stay"
    assert out.endswith(f"activations of 3 layers were {told}\n")


def test_status_after_an_attempt_with_nothing_to_do(here, dnuc, copy):
    path, job = copy
    dnuc("run", job, "--out", path, "-q")
    _, out, _ = dnuc("status", path)
    assert re.match(r"tiny: complete\nlast attempt: finished, told \d s ago\n", out)
    assert row(out, "neighbors")[1:] == ["3 of 3 layers", "9 of 9 tiles", "", ""]


def test_a_failed_attempt_does_not_make_a_finished_run_a_failed_one(dnuc, copy, tmp_path):
    path, job = copy
    nowhere = tmp_path / "nowhere.toml"
    nowhere.write_text('kind = "scheduler"\naddress = "tcp://127.0.0.1:1"\ntimeout = "1s"\n')
    dnuc("run", job, "--out", path, "--on", nowhere)
    _, out, _ = dnuc("status", path)
    assert re.match(r"tiny: complete\nlast attempt: failed, told \d s ago: no Dask scheduler answers at tcp:", out)
    assert row(out, "report")[1] == "1 of 1 page"


def test_a_mistyped_command_leaves_no_trace(dnuc, copy):
    path, job = copy
    _, before, _ = dnuc("status", path)
    code, _, err = dnuc("run", job, "--out", path, "--on", "slurm")
    assert code != 0
    assert "--on 'slurm': give a scheduler address" in err
    _, after, _ = dnuc("status", path)
    assert before.split("ago", 1)[1] == after.split("ago", 1)[1]


def test_status_of_a_run_whose_job_was_changed(here, dnuc, copy, finished, tmp_path, monkeypatch):
    path, _ = copy
    job = written_job(arrays_job(finished[0], landscape={"z": 3.0}), tmp_path)

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("dnuc.pipeline.run_stages", stop)
    dnuc("run", job, "--out", path)
    _, out, _ = dnuc("status", path)
    assert out.startswith("tiny: not complete, for it was finished for a job that was changed since\n")
    assert row(out, "report")[1] == "0 of 1 page"


def test_status_of_a_run_that_works(dnuc, copy):
    path, _ = copy
    store = RunStore.open(path)
    for layer in ("middle", "late"):
        store.drop(f"models/net/{layer}/neighbors")
    stage = {"name": "neighbors", "state": "running", "done": 10, "total": 30, "unit": "tiles", "resumed": 0}
    stage |= {"seconds": 5.0, "per_second": 2.0, "seconds_left": 30.0, "note": "net/late", "flop": 1e12}
    stage |= {"flop_total": 7e12, "flop_per_second": 2e11, "bytes_read_per_second": 2 * 10**8}
    stage |= {"retries": 1, "repeated": 2, "peak_memory": {"0": 3 * 2**30, "1": 2**30}}
    page = {"link": "http://127.0.0.1:8787/status", "host": "head-01", "port": 8787}
    place = {"scheduler": "tls://head-01:8786", "workers": 2, "threads": 4, "task_memory": 1, "dashboard": page}
    here = {"host": socket.gethostname(), "pid": os.getpid()}
    rewrite(path, cluster=place, state="running", updated=time.time(), stages=[stage], **here)
    code, out, _ = dnuc("status", path)
    assert code == 0
    assert re.match(r"tiny: not complete\nlast attempt: running, told \d s ago\n", out)
    assert "  2 workers, 4 threads, scheduler tls://head-01:8786\n" in out
    assert "  dashboard: http://127.0.0.1:8787/status, through `ssh -N -L 8787:127.0.0.1:8787 head-01`\n" in out
    pace = "10/30 tiles in 5.0 s, 200 GFLOP/s, 200 MB/s read, 30 s left, 1 retried, 2 repeated"
    assert row(out, "neighbors")[1:] == ["1 of 3 layers", "3 of 3 tiles", pace, "3.0 GiB"]
    assert row(out, "landscape")[1] == "1 of 3 layers"  # what was found with other neighbors does not count


def test_status_of_a_run_whose_process_is_gone(dnuc, copy):
    path, _ = copy
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    rewrite(path, state="running", host=socket.gethostname(), pid=gone.pid)
    _, out, _ = dnuc("status", path)
    assert "attempt: died (its process is gone); the same command goes on from where it was, told " in out


def test_status_of_a_run_on_another_machine_does_not_guess(dnuc, copy):
    path, _ = copy
    rewrite(path, state="running", host="elsewhere", pid=1)
    _, out, _ = dnuc("status", path)
    assert "last attempt: running, told " in out


def test_status_of_a_run_that_is_silent(dnuc, copy):
    """Another machine's processes cannot be looked at, but a run that works tells so every few seconds."""
    path, _ = copy
    stage = read_progress(path)["stages"][-1] | {"state": "running"}
    rewrite(path, state="running", host="elsewhere", pid=17, updated=time.time() - 600, stages=[stage])
    _, out, _ = dnuc("status", path)
    assert "last attempt: running, told 10 min ago\n  it is silent: process 17 on elsewhere hangs, or its" in out


def test_status_of_a_run_of_an_earlier_dnuc(dnuc, copy):
    """Of before progress.json had counts of tasks."""
    path, _ = copy
    stage = {"name": "neighbors", "state": "done", "done": 9, "total": 9, "unit": "tiles", "seconds": 5.0}
    old = {"job": "tiny", "host": "x", "pid": 1, "state": "finished", "message": "", "updated": time.time()}
    old["stages"] = [stage | {"per_second": 2.0, "seconds_left": None, "resumed": 0, "note": ""}]
    (path / "progress.json").write_text(json.dumps(old))
    _, out, _ = dnuc("status", path)
    assert row(out, "neighbors")[3:] == ["9/9 tiles in 5.0 s, 2/s", ""]


def test_status_of_files_alone(dnuc, copy):
    """Also after a power cut that emptied one of them."""
    path, _ = copy
    for damage in (lambda file: file.write_text(""), lambda file: file.unlink()):
        damage(path / "progress.json")
        code, out, _ = dnuc("status", path)
        assert code == 0
        assert out.startswith("tiny: complete\nlast attempt: none is recorded (there is no progress.json that can be ")


def test_status_of_what_is_no_run(dnuc, tmp_path):
    code, out, err = dnuc("status", tmp_path)
    assert (code, out) == (2, "")
    assert err == f"error: {tmp_path} is not a dnuc run directory (it has no zarr.json): run a job first\n"


def test_report_draws_again(here, dnuc, copy):
    path, _ = copy
    page = path / "report" / "index.html"
    page.unlink()
    assert dnuc("report", path)[:2] == (0, f"report: {page}\n")
    assert "early" in page.read_text()


def test_report_of_what_is_no_run(dnuc, tmp_path):
    code, out, err = dnuc("report", tmp_path)
    assert (code, out) == (2, "")
    assert "is not a dnuc run directory" in err
