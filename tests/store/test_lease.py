"""One holder a place in an object store: as with the lock of a directory, and told where it cannot be known."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from dnuc.errors import StoreError
from dnuc.location import ObjectPath, locate
from dnuc.store import Stopped, alone, cancel, holder, lease, stoppable, stopping
from dnuc.store.stopping import REQUEST
from tests.conftest import ROOT, wait_until
from tests.store.test_lock import gone, holders_of_a_stale_lock

HERE = socket.gethostname()


@pytest.fixture
def place(bucket):
    return locate(bucket) / "runs" / "x"


@pytest.fixture
def quick(monkeypatch):
    """Signs of life, and looks at what is asked, several times a second."""
    monkeypatch.setattr(lease, "BEAT", 0.05)
    monkeypatch.setattr(stopping, "LOOK_AT_OBJECTS", 0.05)


def write(place, **owner):
    """A lock as another process has written it."""
    found = {"host": "elsewhere", "pid": 1, "began": 1.0, "machine": "another", "token": "its", "beats": 1} | owner
    (place / "run.lock").write_text(json.dumps(found))


def read(place):
    return json.loads((place / "run.lock").read_text())


def test_it_names_its_holder_and_is_removed(place):
    with alone(place) as lost:
        assert (read(place)["host"], read(place)["pid"]) == (HERE, os.getpid())
        assert holder(place) == {"host": HERE, "pid": os.getpid(), "began": lease._began(os.getpid())}
        assert lost() is None
    assert place.below() == []
    assert holder(place) is None


def test_it_is_removed_after_an_error_too(place):
    with pytest.raises(KeyboardInterrupt), alone(place):
        raise KeyboardInterrupt
    assert place.below() == []


def test_a_second_holder_is_refused_and_told_who_holds_it(place):
    with alone(place):
        message = f"{place} is in use by process {os.getpid()} on {HERE}: wait for it, or end it with `dnuc cancel"
        for take_over in (False, True):  # it lives
            with pytest.raises(StoreError, match=message), alone(place, take_over=take_over):
                pass
        assert read(place)["pid"] == os.getpid()
    assert place.below() == []


def test_the_lock_of_a_process_that_is_gone_is_taken_over(place):
    mine = {"host": HERE, "machine": lease._machine()}
    for owner in ({"pid": gone()}, {"pid": os.getpid(), "began": 1.0}):  # a number may be another's by now
        write(place, **mine, **owner)
        assert holder(place) is None
        with alone(place):
            assert read(place)["token"] != "its"
    write(place, machine=lease._machine(), pid=gone(), host="renamed")
    with alone(place):
        pass


@pytest.mark.parametrize("content", ["{", "[1]", "null", '{"host": "x"}', '{"host": 1, "pid": "1; rm", "token": ""}'])
def test_what_is_no_lock_is_taken_over(place, content):
    (place / "run.lock").write_text(content)
    assert holder(place) is None
    with alone(place):
        assert read(place)["pid"] == os.getpid()


def test_a_silent_holder_on_another_machine_is_told_and_taken_over_when_asked(place, monkeypatch):
    write(place)
    for take_over in (False, True):
        with (
            pytest.raises(StoreError, match=r"in use by process 1 on elsewhere: wait"),
            alone(place, take_over=take_over),
        ):
            pass
    monkeypatch.setattr(lease, "SILENT", -1.0)
    with pytest.raises(StoreError, match=r"no sign of life for \d+ s\. If it is gone, say --take-over"), alone(place):
        pass
    assert read(place)["token"] == "its"
    with alone(place, take_over=True):
        assert read(place)["pid"] == os.getpid()
    assert place.below() == []


def test_the_container_next_door_may_have_the_same_name(place):
    write(place, host=HERE, pid=gone())
    with pytest.raises(StoreError, match=f"in use by process .* on {HERE}"), alone(place):
        pass


def test_signs_of_life(place, quick):
    with alone(place):
        first = read(place)["beats"]
        wait_until(lambda: read(place)["beats"] >= first + 2)
    assert place.below() == []


def test_a_holder_that_is_taken_over_learns_it_and_leaves_the_lock(place, quick):
    def run():
        with alone(place) as lost, stoppable(place, lost):
            write(place)
            time.sleep(60)

    with pytest.raises(Stopped, match="its lock was taken over by process 1 on elsewhere"):
        run()
    assert read(place)["token"] == "its"
    assert not (place / REQUEST).exists()


def test_a_lock_that_was_deleted_by_hand_comes_back(place, quick):
    with alone(place) as lost:
        (place / "run.lock").unlink()
        wait_until(lambda: (place / "run.lock").exists())
        assert lost() is None


@pytest.mark.parametrize("method", ["create", "exchange"])
def test_a_write_whose_answer_was_lost_counts(place, quick, monkeypatch, method):
    """The client tries it again, and meets its own first try."""
    whole, fooled = getattr(ObjectPath, method), threading.Event()

    def lossy(path, *arguments):
        result = whole(path, *arguments)
        if fooled.is_set():
            return result
        fooled.set()
        return None

    if method == "create":
        monkeypatch.setattr(ObjectPath, method, lossy)
        with alone(place):
            assert fooled.is_set()
    else:
        with alone(place) as lost:
            monkeypatch.setattr(ObjectPath, method, lossy)
            before = read(place)["beats"]
            wait_until(lambda: fooled.is_set() and read(place)["beats"] > before + 2)
            assert lost() is None
    assert place.below() == []


def test_a_network_that_fails_for_a_while_is_no_loss(place, quick, monkeypatch):
    with alone(place) as lost:
        with monkeypatch.context() as patch:
            failed = threading.Event()

            def fail(*_):
                failed.set()
                raise StoreError("cannot be reached")

            patch.setattr(ObjectPath, "exchange", fail)
            assert failed.wait(30)
        before = read(place)["beats"]
        wait_until(lambda: read(place)["beats"] > before)
        assert lost() is None


def test_of_many_that_find_a_stale_lock_one_at_a_time_holds_it(place):
    stale = gone()
    held, most = holders_of_a_stale_lock(
        place, lambda: write(place, host=HERE, machine=lease._machine(), pid=stale), 5, 6
    )
    assert held >= 5
    assert most == 1


# --- from outside -------------------------------------------------------------------------------------------------

HOLDER = """
import sys, time
from dnuc.location import locate
from dnuc.store import alone, lease, stoppable, stopping
stopping.LOOK_AT_OBJECTS = 0.1
if sys.argv[2] == "elsewhere":
    lease._machine = lambda: "another"
    lease.socket.gethostname = lambda: "elsewhere"
place = locate(sys.argv[1])
try:
    with alone(place) as lost, stoppable(place, lost):
        print("held", flush=True)
        time.sleep(600)
except KeyboardInterrupt as stop:
    print(stop, flush=True)
"""


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_a_run_is_cancelled(place, where):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(place), where],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout.readline() == "held\n"
            host = HERE if where == "here" else "elsewhere"
            told = cancel(place, wait=60)
            how = "(by SIGINT|by SIGTERM)" if where == "here" else "when asked"
            assert re.fullmatch(f"process {process.pid} on {host} ended {how}", told)
            if where == "elsewhere":
                assert process.stdout.readline().startswith("cancelled by ")
        finally:
            process.kill()
    assert place.below() == []
    assert cancel(place) is None


def test_a_run_that_does_not_look_is_not_asked(place):
    write(place)
    with pytest.raises(StoreError, match="process 1 on elsewhere cannot be asked to end"):
        cancel(place, wait=0)
    (place / REQUEST).write_text("")
    with pytest.raises(StoreError, match=r"did not within 0 s: .* go on with --take-over"):
        cancel(place, wait=0)


def test_a_process_that_is_killed_holds_it_no_longer(place):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(place), "here"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match=f"in use by process {process.pid} on {HERE}"), alone(place):
            pass
        process.send_signal(signal.SIGKILL)
    with alone(place):
        pass
