"""Loaded into the workers of a bench: every task is noted when it begins and when it ends, and takes a while.

What is computed twice is counted from these notes, by a witness that knows nothing of how a run keeps its progress.
"""

import os
import time
from collections import Counter
from pathlib import Path

from distributed import get_worker

from dnuc.cluster import attempt

HOME = "DNUC_BENCH"  # in the environment: where the notes are
PACE = {"extract": 0.25, "tile": 0.04, "landscape": 0.3, "measure": 0.1, "overlaps": 0.05}  # seconds before a task
UNITS = {"extract": "blocks", "tile": "tiles"}  # of anything else: layers
HUNGRY = "hungry"  # a file: as long as it is there, whoever begins a task eats all its memory


def note(home, kind, what):
    """Add a line; lines of many processes do not mix."""
    with open(home / kind, "ab", buffering=0) as file:
        file.write(f"{what}\n".encode())


def notes(home, kind):
    """The lines of one kind."""
    file = home / kind
    return file.read_text().splitlines() if file.exists() else []


def done(home, prefix):
    """How many different tasks of a kind have ended."""
    return len({task for task in notes(home, "done") if task.startswith(prefix)})


def counted(home):
    """(tasks, again): how many different ones were begun, and how often one that had been begun before, by unit."""
    tasks, again = Counter(), Counter()
    for task, times in Counter(notes(home, "begun")).items():
        unit = UNITS.get(task.split("-")[0], "layers")
        tasks[unit] += 1
        again[unit] += times - 1
    return tuple({unit: count[unit] for unit in ("blocks", "tiles", "layers")} for count in (tasks, again))


def dask_setup(worker):
    """Called by Dask in a worker that starts."""
    home, plain = Path(os.environ[HOME]), attempt.plain

    def paced(function, *args):
        name = get_worker().get_current_task().rpartition("-")[0]  # without the number that makes a key
        note(home, "begun", name)
        time.sleep(PACE.get(name.split("-")[0], 0.02))
        if (home / HUNGRY).exists():
            _eat()
        result = plain(function, *args)
        note(home, "done", name)
        return result

    attempt.plain = paced  # tasks name it by its module
    note(home, "workers", os.getpid())


def _eat():
    """Take memory until the nanny notices, and in any case not all that the machine has."""
    eaten = []
    while len(eaten) < 96:
        eaten.append(bytearray(os.urandom(1) * 2**25))
        time.sleep(0.01)
    time.sleep(10)
