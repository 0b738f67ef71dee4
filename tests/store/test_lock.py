"""One holder a directory, however the one before ended and however many want it at once."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from dnuc.errors import StoreError
from dnuc.store import alone

HERE = socket.gethostname()


def write(path, **owner):
    (path / "run.lock").write_text(json.dumps(owner))


def gone():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_lock_names_its_holder_and_is_removed(tmp_path):
    with alone(tmp_path):
        assert json.loads((tmp_path / "run.lock").read_text()) == {"host": HERE, "pid": os.getpid()}
    assert list(tmp_path.iterdir()) == []


def test_it_is_removed_after_an_error_too(tmp_path):
    with pytest.raises(KeyboardInterrupt), alone(tmp_path):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_was_deleted_by_hand_and_made_by_another_stays(tmp_path):
    with alone(tmp_path):
        (tmp_path / "run.lock").rename(tmp_path / "deleted")
        write(tmp_path, host="elsewhere", pid=1)
    assert (tmp_path / "run.lock").exists()


def test_a_second_holder_is_refused_and_told_who_holds_it(tmp_path):
    message = f"{tmp_path} is in use by process {os.getpid()} on {HERE}: wait for it or stop it. If that process is "
    with alone(tmp_path):
        for _ in range(2):
            with pytest.raises(StoreError, match=message), alone(tmp_path):
                pass
        assert (tmp_path / "run.lock").exists()


def test_a_holder_that_has_not_said_its_name_yet(tmp_path):
    with (tmp_path / "run.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match="in use by another process, which has just started"), alone(tmp_path):
            pass


def test_a_holder_on_another_machine_is_never_taken_for_dead(tmp_path):
    write(tmp_path, host="elsewhere", pid=1)
    with pytest.raises(StoreError, match="in use by process 1 on elsewhere"), alone(tmp_path):
        pass
    assert json.loads((tmp_path / "run.lock").read_text()) == {"host": "elsewhere", "pid": 1}


@pytest.mark.parametrize("content", ["{", "", "[1]", "null"])
def test_a_lock_that_was_cut_off_is_taken_over(tmp_path, content):
    (tmp_path / "run.lock").write_text(content)
    with alone(tmp_path):
        assert json.loads((tmp_path / "run.lock").read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("pid", [gone, os.getpid])  # in a container the next process often has the same number
def test_the_lock_of_a_process_that_is_gone_is_taken_over(tmp_path, pid):
    write(tmp_path, host=HERE, pid=pid())
    with alone(tmp_path):
        assert json.loads((tmp_path / "run.lock").read_text())["pid"] == os.getpid()


def test_a_process_that_is_killed_holds_it_no_longer(tmp_path):
    program = (
        "import pathlib, sys, time; from dnuc.store import alone\n"
        "with alone(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match=f"in use by process {holder.pid} on {HERE}"), alone(tmp_path):
            pass
        holder.send_signal(signal.SIGKILL)
    assert (tmp_path / "run.lock").exists()
    with alone(tmp_path):
        pass


@pytest.mark.parametrize(("pid", "refused"), [(gone, False), (os.getpid, True)])
def test_where_the_file_system_has_no_locks_the_name_decides(tmp_path, monkeypatch, pid, refused):
    def unsupported(*_):
        raise OSError("Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    write(tmp_path, host=HERE, pid=pid())
    if refused:
        with pytest.raises(StoreError, match=f"in use by process {os.getpid()}"), alone(tmp_path):
            pass
    else:
        with alone(tmp_path):
            pass


def holders_of_a_stale_lock(place, make_stale, rounds, threads):
    """How often the lock was held, and by how many at once at most, if so many want it in each round."""
    inside, most, held = [], [], []

    def want(barrier):
        barrier.wait()
        try:
            with alone(place):
                inside.append(None)
                most.append(len(inside))
                time.sleep(0.001)
                held.append(inside.pop())
        except StoreError:
            pass

    for _ in range(rounds):
        make_stale()
        barrier = threading.Barrier(threads)
        wanting = [threading.Thread(target=want, args=(barrier,)) for _ in range(threads)]
        for thread in wanting:
            thread.start()
        for thread in wanting:
            thread.join()
    return len(held), max(most)


def test_of_many_that_find_a_stale_lock_one_at_a_time_holds_it(tmp_path):
    """Each finds a lock whose process is gone; nobody may take it from one that took it over before."""
    stale = gone()
    held, most = holders_of_a_stale_lock(tmp_path, lambda: write(tmp_path, host=HERE, pid=stale), 100, 8)
    assert held >= 100
    assert most == 1
