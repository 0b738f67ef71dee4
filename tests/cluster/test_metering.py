"""What the tasks of a stage cost, counted on real workers: attempts, bytes, peaks of memory, what is done again."""

import os
import re
import signal

import dask
import numpy as np
import pytest
from distributed import Client

from dnuc.cluster import Task, performance_report, read_progress, run_tasks
from dnuc.cluster.attempt import PEAK_RESET, Outcome, peak_memory
from dnuc.cluster.compiling import NOTE
from dnuc.cluster.metering import Meter, current_meter, metered
from dnuc.pipeline import run_job
from dnuc.traffic import Traffic, count_traffic
from tests.cluster.test_window import die, fail, square
from tests.conftest import arrays_job, assert_same_results, local_cluster, quiet_cluster, wait_until

MIB = 2**20


def run(client, tasks, meter):
    with metered(meter):
        return [result for _, result in run_tasks(client, tasks)]


def pass_bytes(read, written):
    count_traffic(read=read, written=written)


def hold(count):
    return int(np.ones(count, dtype=np.uint8)[::4096].sum())


def compile_one():
    import numba

    return numba.njit(lambda x: x + 1)(1)


# --- without workers --------------------------------------------------------------------------------------------


def test_in_this_process_tasks_are_counted_too():
    meter, before = Meter(), Traffic()
    run(None, [Task(pass_bytes, (10, 1)), Task(pass_bytes, (20, 2))], meter)
    assert (meter.begun, meter.done, meter.unfinished, meter.retries, meter.repeated) == (2, 2, 0, 0, 0)
    assert meter.traffic == Traffic(30, 3)
    assert list(meter.peak_memory) == ["client"]
    assert before == Traffic()


def test_outside_a_stage_nobody_counts():
    meter = Meter()
    assert current_meter() is None
    with metered(meter):
        assert current_meter() is meter
    assert run_tasks(None, [Task(square, (3,))]).__next__()[1] == 9
    assert meter.begun == 0


def test_what_workers_tell_late_or_of_others_is_counted_once_or_not_at_all():
    meter = Meter()
    begun = {"dnuc": "begun", "key": "a", "worker": "0"}
    meter.event(begun)  # of another run on the same scheduler
    meter.event({"action": "add-client", "client": "x"})  # of Dask itself
    assert meter.begun == 0
    meter.submitted("a")
    meter.finished("a", Outcome(None, "0", "elsewhere:1", 5, Traffic(3, 0), "m"))
    meter.event(begun)  # overtaken by the result
    assert (meter.begun, meter.done, meter.unfinished, meter.repeated) == (1, 1, 0, 0)


def test_bytes_are_the_largest_count_of_a_process_and_add_up_over_processes():
    """Results of two threads of a worker may arrive in the other order."""
    meter = Meter()
    for process, measure, read in [("p:1", "m", 30), ("p:1", "m", 20), ("p:2", "m", 5), ("p:1", "n", 7)]:
        meter.finished("a", Outcome(None, "0", process, 1, Traffic(read, 1), measure))
    assert meter.traffic == Traffic(30 + 5 + 7, 3)


def test_the_peak_of_this_process_is_at_least_what_it_holds():
    before = peak_memory()
    hold(64 * MIB)
    assert 10 * MIB < before <= peak_memory() < 2**40


# --- on workers -------------------------------------------------------------------------------------------------


@pytest.mark.cluster
def test_tasks_are_counted_and_so_is_what_passes_on_every_worker(client):
    meter = Meter()
    for _ in range(2):  # a stage may run tasks in several portions
        run(client, [Task(pass_bytes, (100, 1)) for _ in range(20)], meter)
    assert (meter.begun, meter.done, meter.unfinished, meter.retries, meter.repeated) == (40, 40, 0, 0, 0)
    assert meter.traffic == Traffic(4000, 40)
    assert len(meter.peak_memory) == 2
    assert meter.warm
    later = Meter()
    run(client, [Task(square, (1,))], later)
    assert (later.begun, later.traffic) == (1, Traffic())


@pytest.mark.cluster
@pytest.mark.skipif(not os.access(PEAK_RESET, os.W_OK), reason="peaks of memory cannot start anew here")
def test_the_peak_of_memory_is_of_the_stage(client):
    small, large, after = Meter(), Meter(), Meter()
    run(client, [Task(hold, (1,)) for _ in range(8)], small)
    run(client, [Task(hold, (256 * MIB,))], large)
    run(client, [Task(hold, (1,)) for _ in range(8)], after)
    [worker] = large.peak_memory
    assert large.peak_memory[worker] > small.peak_memory[worker] + 200 * MIB
    assert after.peak_memory[worker] < large.peak_memory[worker] - 200 * MIB


@pytest.mark.cluster
def test_errors_that_are_tried_again_are_counted_and_logged(client, tmp_path):
    log = []
    meter = Meter(log.append)
    tasks = [Task(fail, (tmp_path / "count", 2), name="flaky"), *(Task(square, (x,)) for x in range(5))]
    assert sorted(map(str, run(client, tasks, meter))) == ["0", "1", "16", "4", "9", "well"]
    assert (meter.begun, meter.done, meter.retries, meter.repeated) == (8, 6, 2, 0)
    failed, again = log[:2]
    assert failed.startswith("flaky-")
    assert failed.endswith("OSError: stale file handle")
    assert "is tried again on worker" in again


@pytest.mark.cluster
def test_work_that_was_lost_with_a_worker_is_counted_and_logged(tmp_path):
    log = []
    meter = Meter(log.append)
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 3}),
        local_cluster() as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        tasks = [Task(die, (tmp_path / "count", 2), name="killer"), *(Task(square, (x,)) for x in range(5))]
        assert len(run(client, tasks, meter)) == 6
    assert (meter.done, meter.retries) == (6, 0)
    # a worker that dies within milliseconds may not have told what began, and results that it held are lost with it
    assert meter.repeated == meter.begun - meter.done == len(log)
    assert all(line.endswith("died or was cut off") for line in log)


def begin_and_die(path):
    """Die when whoever watches has had time to hear of it."""
    if not path.exists():
        path.touch()
        wait_until(lambda: (path.parent / "heard").exists())
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.cluster
def test_a_task_that_had_begun_on_a_worker_that_died_is_repeated_once(tmp_path):
    class Hearing(Meter):
        def event(self, event):
            super().event(event)
            if self.begun:
                (tmp_path / "heard").touch()

    log = []
    meter = Hearing(log.append)
    with local_cluster(workers=1) as cluster, Client(cluster, set_as_default=False) as client:
        run(client, [Task(begin_and_die, (tmp_path / "first",), name="killer")], meter)
    assert (meter.begun, meter.done, meter.retries, meter.repeated) == (2, 1, 0, 1)
    assert len(log) == 1
    assert log[0].endswith("the worker that it ran on died or was cut off")


@pytest.mark.cluster
def test_a_task_says_that_it_compiles(client):
    meter = Meter()
    assert run(client, [Task(compile_one, ())], meter) == [2]
    assert meter.note == NOTE


@pytest.mark.cluster
def test_a_run_on_a_cluster_tells_what_its_stages_cost(shared_cluster, finished, tmp_path, monkeypatch):
    monkeypatch.setattr("dnuc.pipeline.write_report", lambda results, images=None: None)
    path = run_job(arrays_job(finished[0]), shared_cluster.scheduler_address, tmp_path / "run", quiet=True)
    assert_same_results(finished[1], path)
    found = read_progress(path)
    assert (found["state"], found["attempt"]) == ("finished", 1)
    place = found["cluster"]
    assert (place["workers"], place["threads"]) == (2, 2)
    assert place["scheduler"] == shared_cluster.scheduler_address
    assert place["dashboard"]["link"] == f"http://127.0.0.1:{place['dashboard']['port']}/status"
    stages = {stage["name"]: stage for stage in found["stages"]}
    assert {name: s["tasks_done"] for name, s in stages.items()} == {
        "activations": 4, "neighbors": 9, "measures": 3, "overlaps": 3, "landscape": 3, "dimension": 3,
        "report": 0,
    }  # fmt: skip
    for name, stage in stages.items():
        assert stage["tasks_begun"] == stage["tasks_done"], name
        assert (stage["tasks_running"], stage["retries"], stage["repeated"]) == (0, 0, 0), name
        if name != "report":
            assert stage["bytes_read"] > 0, name
            assert all(100 * MIB < peak < 2**40 for peak in stage["peak_memory"].values()), name
    activations = 240 * (12 + 6 + 3) * 4
    assert stages["activations"]["bytes_written"] >= activations
    assert stages["neighbors"]["bytes_read"] >= activations
    assert stages["neighbors"]["bytes_written"] >= 3 * 240 * 10 * 16  # each list at least once


@pytest.mark.cluster
def test_a_performance_report_is_a_page_that_needs_nothing_from_elsewhere(client, tmp_path):
    found = quiet_cluster(tmp_path, client)
    page = tmp_path / "performance.html"

    def stop_early():
        list(found.run([Task(square, (x,)) for x in range(5)]))
        raise KeyboardInterrupt  # what was done until then is told all the same

    with pytest.raises(KeyboardInterrupt), performance_report(found, page):
        stop_early()
    text = page.read_text()
    assert "Task Stream" in text
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=.http", text)
    assert f"performance report: {page}" in (tmp_path / "log.txt").read_text()
