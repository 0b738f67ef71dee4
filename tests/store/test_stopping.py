"""Runs that are ended from outside: real processes, by a signal where they are, by a request from elsewhere."""

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
from dnuc.store import Stopped, alone, cancel, holder, stoppable, stopping
from dnuc.store.stopping import REQUEST
from tests.conftest import ROOT, wait_until

HOLDER = """
import pathlib, signal, sys, time
from dnuc.store import alone, stoppable
directory, how = pathlib.Path(sys.argv[1]), sys.argv[2]
for name in how.split():
    if name.startswith("SIG"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
try:
    with alone(directory), stoppable(directory):
        if "deaf" in how:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        (directory / "begun").touch()
        time.sleep(600)
except KeyboardInterrupt as stop:
    (directory / "told").write_text(str(stop))
"""


HURRIED = """
import pathlib, signal, sys, time
from dnuc.store import alone, leaving_at_once
signal.signal(signal.SIGINT, signal.default_int_handler)
directory = pathlib.Path(sys.argv[1])
with leaving_at_once(directory), alone(directory):
    try:
        (directory / "begun").touch()
        time.sleep(600)
    finally:
        time.sleep(600)  # as where a scheduler hangs
"""


@pytest.fixture
def start(tmp_path):
    """Start a process that holds a directory until it is ended."""
    started = []

    def start(how="", host=None):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, tmp_path, how], env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        started.append(process)
        wait_until(lambda: (tmp_path / "begun").exists())
        if host is not None:  # in place, as on another machine: its lock may not be seen from here
            (tmp_path / "run.lock").write_text(json.dumps({"host": host, "pid": process.pid}))
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def told(directory):
    return (directory / "told").read_text()


def test_nobody_holds_an_empty_directory_or_one_that_was_left(tmp_path):
    assert holder(tmp_path) is None
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / "run.lock").write_text(json.dumps({"host": socket.gethostname(), "pid": gone.pid}))
    assert holder(tmp_path) is None
    assert cancel(tmp_path) is None
    with alone(tmp_path):
        assert holder(tmp_path) == {"host": socket.gethostname(), "pid": os.getpid()}
    assert holder(tmp_path) is None


def test_on_the_same_host_by_a_signal_as_from_control_c(tmp_path, start):
    process = start()
    assert cancel(tmp_path) == f"process {process.pid} on {socket.gethostname()} ended by SIGINT"
    assert process.wait() == 0
    assert told(tmp_path) == ""
    assert sorted(p.name for p in tmp_path.iterdir()) == ["begun", "told"]  # neither lock nor request is left


def test_what_a_script_started_in_the_background_ignores_the_first_signal(tmp_path, start):
    process = start("SIGINT")
    assert cancel(tmp_path).endswith("ended by SIGTERM")  # at once: there is no waiting for what is ignored
    assert process.wait() == 0
    assert told(tmp_path) == "SIGTERM"


def test_what_does_not_end_is_killed_only_with_force(tmp_path, start):
    process = start("SIGINT deaf")
    with pytest.raises(StoreError, match=rf"process {process.pid} on .* did not end within 0 s: .* --force to kill it"):
        cancel(tmp_path, wait=0.4)
    assert process.poll() is None
    assert cancel(tmp_path, wait=3, force=True).endswith("ended by SIGKILL")
    assert process.wait() == -signal.SIGKILL


def test_from_another_host_by_a_request(tmp_path, start):
    process = start(host="elsewhere")
    assert cancel(tmp_path) == f"process {process.pid} on elsewhere ended when asked"
    assert process.wait() == 0
    assert told(tmp_path).startswith("cancelled by ")
    assert told(tmp_path).endswith(f" on {socket.gethostname()}")


def test_a_request_is_noticed_whatever_the_process_ignores(tmp_path, start):
    start("SIGINT SIGTERM", host="elsewhere")
    assert cancel(tmp_path).endswith("ended when asked")


def test_another_host_that_does_not_answer_is_told(tmp_path):
    (tmp_path / "run.lock").write_text(json.dumps({"host": "elsewhere", "pid": 1}))
    with pytest.raises(StoreError, match=r"process 1 on elsewhere cannot be asked to end: .*cancel"):
        cancel(tmp_path, wait=0)  # its run would have made the file
    (tmp_path / REQUEST).touch()
    with pytest.raises(
        StoreError, match=r"was asked to end, and did not within 0 s: see .* If it is gone, delete .*lock"
    ):
        cancel(tmp_path, wait=0)


def test_a_process_that_is_no_holder_is_never_signalled(tmp_path):
    """In a container that shares its host's name, the number may be that of any process here."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as bystander:
        with alone(tmp_path):
            (tmp_path / "run.lock").write_text(json.dumps({"host": socket.gethostname(), "pid": bystander.pid}))
            (tmp_path / REQUEST).touch()
            with pytest.raises(StoreError, match="was asked to end"):
                cancel(tmp_path, wait=0)
        assert bystander.poll() is None
        bystander.kill()


def test_a_second_control_c_ends_it_at_once(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HURRIED, tmp_path],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: (tmp_path / "begun").exists())
    process.send_signal(signal.SIGINT)
    assert "Stopping" in process.stderr.readline() + process.stderr.readline()
    assert (tmp_path / "run.lock").exists()
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "Stopped at once. What is finished is stored" in told
    assert "Traceback" not in told
    assert not (tmp_path / "run.lock").exists()


def test_whoever_handles_control_c_already_goes_on_doing_so(tmp_path, monkeypatch):
    """A notebook's kernel must not end with a run."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stopping.leaving_at_once(tmp_path):
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with stopping.leaving_at_once(tmp_path):
            assert signal.getsignal(signal.SIGINT) not in (signal.SIG_IGN, signal.default_int_handler)
        assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_old_request_is_not_for_a_new_run(tmp_path, monkeypatch):
    monkeypatch.setattr(stopping, "LOOK_EVERY", 0.01)
    (tmp_path / REQUEST).write_text("cancelled by somebody, yesterday\n")
    with stoppable(tmp_path):
        time.sleep(0.2)
    assert not (tmp_path / REQUEST).exists()


def test_signals_are_as_before_afterwards(tmp_path, monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped, match="SIGTERM"), stoppable(tmp_path):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_run_in_another_thread_goes_its_way(tmp_path):
    """Signals are for the main thread; such a run is as it was before it could be cancelled."""
    seen = []

    def work():
        with stoppable(tmp_path):
            seen.append((tmp_path / REQUEST).exists())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [True]
    assert list(tmp_path.iterdir()) == []
