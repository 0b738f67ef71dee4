"""What faults do to a bench, and what a user does about them."""

import os
import random
import signal
import subprocess
import threading
import time
from contextlib import suppress
from importlib import metadata

from dnuc._version import __version__
from tests.cluster.faults import pace
from tests.conftest import wait_until

VOLUME_BYTES = 64 * 2**20
LOSABLE = 12  # files that a power cut makes empty


def nothing(bench):
    """Nothing."""


# --- processes that die -----------------------------------------------------------------------------------------


def kill_one_worker(bench):
    """One worker process; its nanny lives."""
    os.kill(bench.workers[0], signal.SIGKILL)
    return_of_workers(bench)


def kill_all_workers(bench):
    """All worker processes; their nannies live."""
    for pid in bench.workers:
        os.kill(pid, signal.SIGKILL)
    return_of_workers(bench)


def return_of_workers(bench, count=2):
    """Wait until the nannies have started others."""
    wait_until(lambda: len(bench.workers) == count, bench.log("workers"), timeout=120)


def starve_a_worker(bench):
    """The next task takes all memory that its worker may have."""
    before, told = set(bench.workers), bench.log("workers").count("exceeded 95% memory budget")
    (bench.home / pace.HUNGRY).touch()
    wait_until(lambda: before - set(bench.workers), "no worker ran out of memory", timeout=60)
    (bench.home / pace.HUNGRY).unlink()
    assert bench.log("workers").count("exceeded 95% memory budget") > told, bench.log("workers")
    return_of_workers(bench)


def starve_every_worker(bench):
    """Every task from now on takes all memory, until the run has given up."""
    (bench.home / pace.HUNGRY).touch()


def feed(bench):
    """Tasks are content again."""
    (bench.home / pace.HUNGRY).unlink()
    return_of_workers(bench)


def kill_scheduler(bench):
    """The scheduler process."""
    bench.scheduler.kill()


def new_cluster(bench):
    """Start a scheduler and workers."""
    bench.start_cluster()


def kill_client(bench):
    """The process of `dnuc run`."""
    bench.client.kill()


def kill_all(bench):
    """Scheduler, nannies, workers and client, before any of them can do anything about it."""
    doomed = bench.everything()
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in doomed:
            os.kill(pid, number)


def lose_last_writes(bench):
    """The files that were written last are there and empty, as after a power cut; then a new cluster."""
    files = [f for f in bench.path.rglob("*") if f.is_file() and f.name != "run.lock"]
    for file in sorted(files, key=lambda f: f.stat().st_mtime_ns)[-LOSABLE:]:
        os.truncate(file, 0)
    bench.start_cluster()


# --- processes that hang or are slow ----------------------------------------------------------------------------


def hang_a_worker(bench):
    """Stopped, not killed: its connections stay open, and its nanny sees a living process."""
    bench.hung = bench.workers[0]
    os.kill(bench.hung, signal.SIGSTOP)
    wait_until(lambda: "was given up" in bench.said, f"nothing is told of the worker: {bench.said}", timeout=120)
    return bench.said


def kill_the_hung(bench):
    """Its nanny starts another."""
    os.kill(bench.hung, signal.SIGKILL)
    return_of_workers(bench)


def slow_a_worker(bench):
    """From now on it runs a tenth of the time."""
    pid, bench.slowing = bench.workers[0], threading.Event()

    def slow():
        while not bench.slowing.wait(0.05):
            os.kill(pid, signal.SIGSTOP)
            bench.slowing.wait(0.45)
            os.kill(pid, signal.SIGCONT)

    bench.slower = threading.Thread(target=slow)
    bench.slower.start()


def let_it_run(bench):
    """As fast as before."""
    if bench.slower is not None:
        bench.slowing.set()
        bench.slower.join()
        bench.slower = None


# --- disks ------------------------------------------------------------------------------------------------------


def mount_volume(bench):
    """The run directory is on a small disk of its own."""
    _system("mount", "-t", "tmpfs", "-o", f"size={VOLUME_BYTES}", "dnuc-faults", bench.path.parent)


def unmount_volume(bench):
    """All of it is gone."""
    while os.path.ismount(bench.path.parent):
        _system("umount", "--lazy", bench.path.parent)


def fill_disk(bench):
    """Not a byte is left on the disk of the run directory."""
    with suppress(OSError), open(bench.path.parent / "other-data", "wb", buffering=0) as file:
        while file.write(b"x" * 2**20):
            pass
    return None


def make_room(bench):
    """Delete what filled the disk."""
    (bench.path.parent / "other-data").unlink()


def make_read_only(bench):
    """Every file that is opened from now on is on a file system without writing."""
    volume = bench.path.parent
    _system("mount", "--bind", volume, volume)
    while subprocess.run(["mount", "-o", "remount,ro,bind", volume], capture_output=True).returncode:
        time.sleep(0.005)  # somebody was just writing
    assert not os.access(bench.path, os.W_OK)


def make_writable(bench):
    """As before."""
    _system("umount", "--lazy", bench.path.parent)


def _system(*command):
    subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True)


def flip_a_byte(bench):
    """In the middle of a file that somebody will read."""
    file = _wanted(bench)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x10
    file.write_bytes(content)


def truncate_a_file(bench):
    """Half of a file that somebody will read is gone."""
    file = _wanted(bench)
    os.truncate(file, file.stat().st_size // 2)


def _wanted(bench):
    """A chunk of the last layer: of its neighbors, once they are complete, else of the first stored activations."""
    layer = bench.path / "models" / "net" / "head"
    if bench.stage == "landscape":
        return layer / "neighbors" / "neighbor_distance" / "c" / "0" / "0"
    return layer / "activations" / "activation" / "c" / _first_block(layer) / "0"


def _first_block(layer):
    marks = (layer / "activations" / "block_done" / "c").iterdir()
    return min((m.name for m in marks if m.name.isdigit()), key=int)


# --- users ------------------------------------------------------------------------------------------------------


def interrupt_twice(bench):
    """Ctrl-C, and again before or while the run ends."""
    os.kill(bench.client.pid, signal.SIGINT)
    wait_until(lambda: "Stopping" in bench.said, bench.said, timeout=60)
    time.sleep(random.Random(bench.attempts).choice((0.0, 0.02, 0.2)))
    os.kill(bench.client.pid, signal.SIGINT)


def start_a_second(bench):
    """The same command in another terminal; this one goes on."""
    code, said = bench.second_client()
    assert code == 2, said
    return said


def change_versions(bench):
    """Ctrl-C, an upgrade (of torch, then of dnuc), and the same command again."""
    os.kill(bench.client.pid, signal.SIGINT)
    assert bench.ended()[0] == 130
    here = {"dnuc": __version__, "torch": metadata.version("torch")}
    bench.versions = here | ({"torch": "9.9.9"} if bench.versions is None else {"dnuc": "9.9.9"})
    bench.start_client()
