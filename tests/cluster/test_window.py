"""Tasks through the window: every result once, no further ahead than the workers need, and what happens on failure."""

import errno
import os
import signal
import time

import dask
import pytest
from distributed import Client

from dnuc.cluster import Task, run_tasks
from dnuc.cluster.window import RETRIES, window
from dnuc.errors import DataError, ResourceError
from dnuc.store import DamagedError
from tests.conftest import local_cluster, wait_until

pytestmark = pytest.mark.cluster


def square(x):
    return x * x


def wait(seconds, path):
    path.touch()
    time.sleep(seconds)
    return seconds


def wait_for(path):
    wait_until(path.exists)
    time.sleep(0.3)


def refuse(path):
    note_attempt(path)
    raise DataError("layer 'fc': 3 samples are NaN")


def fail(path, times):
    """Fail the first `times` times it is called, as a flaky disk does."""
    if note_attempt(path) <= times:
        raise OSError("stale file handle")
    return "well"


def die(path, times):
    """Kill the worker the first `times` times, as the kernel does when memory runs out."""
    if note_attempt(path) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


def note_attempt(path):
    with path.open("a") as file:
        file.write("x")
    return path.stat().st_size


def damaged():
    raise DamagedError("runs/x", "models/m/fc/neighbors", "neighbor_index", (64, 0), "checksum")


# --- without a cluster ------------------------------------------------------------------------------------------


def test_without_a_client_tasks_run_here_one_after_the_other():
    made = []

    def tasks():
        for x in range(4):
            made.append(x)
            yield Task(square, (x,), context=f"task {x}")

    for count, (task, result) in enumerate(run_tasks(None, tasks())):
        assert (task.context, result) == (f"task {count}", count**2)
        assert made == list(range(count + 1))  # the next task may be made with what this result taught


def test_without_a_client_exceptions_are_raised_as_they_are(tmp_path):
    with pytest.raises(OSError, match="stale file handle"):
        list(run_tasks(None, [Task(fail, (tmp_path / "count", 9))]))


# --- on workers -------------------------------------------------------------------------------------------------


def test_every_task_comes_back_once_with_its_result_and_context(client):
    found = {task.context: result for task, result in run_tasks(client, (Task(square, (x,), x) for x in range(50)))}
    assert found == {x: x * x for x in range(50)}


def test_no_tasks_is_no_result(client):
    assert list(run_tasks(client, [])) == []


def test_tasks_are_made_only_when_a_worker_will_soon_be_free(client):
    made = 0

    def tasks():
        nonlocal made
        for x in range(40):
            made += 1
            yield Task(square, (x,))

    most = window(sum(client.nthreads().values()))
    assert most == 3
    farthest = 0
    for done, _ in enumerate(run_tasks(client, tasks())):
        farthest = max(farthest, made - done)
    assert made == 40
    assert farthest == most


def test_results_come_in_order_of_completion(client, tmp_path):
    flag = tmp_path / "flag"
    tasks = [Task(wait_for, (flag,), "started first"), Task(wait, (0, flag), "started second")]
    assert [task.context for task, _ in run_tasks(client, tasks)] == ["started second", "started first"]


def test_a_refusal_is_raised_at_once_and_never_tried_again(client, tmp_path):
    count = tmp_path / "count"
    with pytest.raises(DataError, match="layer 'fc': 3 samples are NaN"):
        list(run_tasks(client, [Task(refuse, (count,))]))
    assert count.stat().st_size == 1


def test_a_refusal_keeps_what_it_knows_on_its_way_from_the_worker(client):
    with pytest.raises(DamagedError, match="neighbor_index in runs/x is damaged") as caught:
        list(run_tasks(client, [Task(damaged, ())]))
    assert (caught.value.group, caught.value.first) == ("models/m/fc/neighbors", (64, 0))


def fill_disk(path):
    note_attempt(path)
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_not_tried_again(client, tmp_path):
    count = tmp_path / "count"
    with pytest.raises(OSError, match="No space left"):
        list(run_tasks(client, [Task(fill_disk, (count,))]))
    assert count.stat().st_size == 1


def test_another_error_is_tried_again(client, tmp_path):
    [(_, result)] = run_tasks(client, [Task(fail, (tmp_path / "count", RETRIES))])
    assert result == "well"


def test_another_error_is_raised_as_it_is_when_it_stays(client, tmp_path):
    count = tmp_path / "count"
    with pytest.raises(OSError, match="stale file handle"):
        list(run_tasks(client, [Task(fail, (count, RETRIES + 1))]))
    assert count.stat().st_size == RETRIES + 1


def test_leaving_the_loop_cancels_what_has_not_begun(client, tmp_path):
    tasks = [Task(wait, (0.0, tmp_path / "first")), *(Task(wait, (0.5, tmp_path / f"{i}")) for i in range(10))]
    for _ in run_tasks(client, tasks):
        break
    wait_until(lambda: client.run_on_scheduler(count_tasks) == 0, "the scheduler still holds tasks", timeout=10)
    time.sleep(0.7)
    assert len(list(tmp_path.iterdir())) <= 1 + 2 + 1  # the first, one a worker, and one that began meanwhile
    assert next(iter(run_tasks(client, [Task(square, (3,))])))[1] == 9  # the workers are free for others


def count_tasks(dask_scheduler):
    return len(dask_scheduler.tasks)


def test_an_error_in_the_loop_cancels_too(client, tmp_path):
    def stop_early():
        for _ in run_tasks(client, [Task(wait, (0.2, tmp_path / f"{i}")) for i in range(12)]):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_early()
    wait_until(lambda: client.run_on_scheduler(count_tasks) == 0, "the scheduler still holds tasks", timeout=10)
    assert len(list(tmp_path.iterdir())) < 12


# --- workers that die -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fragile():
    """A cluster whose workers these tests kill; a task may cost two of them."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        local_cluster() as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def test_a_task_whose_worker_dies_runs_again_elsewhere(fragile, tmp_path):
    count = tmp_path / "count"
    tasks = [Task(die, (count, 1), "killer"), *(Task(square, (x,), x) for x in range(20))]
    found = {task.context: result for task, result in run_tasks(fragile, tasks)}
    assert found == {"killer": "survived"} | {x: x * x for x in range(20)}
    assert count.stat().st_size == 2


def test_a_task_that_always_kills_its_worker_is_given_up(fragile, tmp_path):
    count = tmp_path / "count"
    with pytest.raises(ResourceError, match=r"grows: workers died 2 times .* give workers more memory, or make blocks"):
        list(run_tasks(fragile, [Task(die, (count, 99), name="grows")]))
    assert count.stat().st_size == 2
    fragile.wait_for_workers(2, timeout=30)
    assert [result for _, result in run_tasks(fragile, [Task(square, (3,))])] == [9]


def test_a_scheduler_that_is_lost_is_told_with_the_way_to_go_on(tmp_path):
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        local_cluster(workers=1) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        results = run_tasks(client, [Task(wait, (0.5, tmp_path / f"{i}")) for i in range(20)])
        next(results)
        cluster.close()
        with pytest.raises(ResourceError, match=r"the connection to the Dask scheduler was lost .* again to go on"):
            list(results)
