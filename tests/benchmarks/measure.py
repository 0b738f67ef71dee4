"""One contender, once, in a process of its own: `python -m tests.benchmarks.measure CONTENDER DIRECTORY K THREADS`.

Every library brings its own threads and memory; in one process they would disturb each other. The samples are read
before the clock starts. What comes back, DIRECTORY/CONTENDER.npz, is the time, a checksum of the whole answer, and
the answer for the rows in DIRECTORY/rows.npy.
"""

from __future__ import annotations

import hashlib
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from tests.benchmarks.contenders import Contender, Task, find


@dataclass(frozen=True)
class Measured:
    """One run of a contender: seconds, and what it found for some rows (nothing if it is a floor)."""

    seconds: float
    version: str
    checksum: str
    index: np.ndarray  # (rows, k) int64
    distance: np.ndarray  # (rows, k) float64

    def save(self, path: Path) -> None:
        """Write it where the process that asked for it looks."""
        np.savez(path, **vars(self))

    @classmethod
    def load(cls, path: Path) -> Measured:
        """What `save` wrote."""
        with np.load(path) as file:
            return cls(
                float(file["seconds"]), str(file["version"]), str(file["checksum"]), file["index"], file["distance"]
            )


def measure(contender: Contender, task: Task) -> Measured:
    """Warm up, then run it once by the clock."""
    with contender.open(task) as job:
        start = time.perf_counter()
        answer = job()
        seconds = time.perf_counter() - start
    if answer is None:
        return Measured(seconds, version(contender.package), "", np.empty((0, 0), np.int64), np.empty((0, 0)))
    index, distance = answer
    rows = np.load(task.directory / "rows.npy")
    return Measured(
        seconds,
        version(contender.package),
        _checksum(index, distance),
        index[rows].astype(np.int64),
        distance[rows].astype(np.float64),
    )


def _checksum(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def main(name: str, directory: str, k: str, threads: str) -> None:
    """The command line, of four words."""
    measured = measure(find(name), Task(Path(directory), int(k), int(threads)))
    measured.save(Path(directory) / f"{name}.npz")


if __name__ == "__main__":
    main(*sys.argv[1:])
