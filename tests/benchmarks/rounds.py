"""All contenders in turn, round after round, so that a machine that is slower for a while is so for all of them."""

from __future__ import annotations

import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dnuc.errors import DnucError
from tests.benchmarks.answers import Truth, some_rows, truth
from tests.benchmarks.contenders import Contender, Task, find, names
from tests.benchmarks.machine import ROOT
from tests.benchmarks.measure import Measured
from tests.benchmarks.problems import Problem

Run = Callable[[Contender, Task], Measured]
Say = Callable[[str], None]

SLOWING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # may make OpenBLAS, so FAISS, use slower products than it has
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
DADAPY = ROOT / ".venv-dadapy" / "bin" / "python"  # it needs NumPy 1
GET = {"faiss": "make bench", "dadapy": "make dadapy-env"}  # the command that installs it


@dataclass
class Result:
    """What one contender did on one problem."""

    contender: Contender
    seconds: list[float] = field(default_factory=list)
    version: str = ""
    wrong: int | None = None  # rows; of the last round
    checksums: set[str] = field(default_factory=set)
    failure: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def add(self, measured: Measured, reference: Truth | None) -> None:
        """Another round."""
        self.seconds.append(measured.seconds)
        self.version = measured.version
        if reference is None or not self.contender.searches:
            return
        self.checksums.add(measured.checksum)
        exact = self.contender.exact
        wrong = reference.wrong(measured.index, measured.distance) if exact else reference.wrong_set(measured.index)
        self.wrong = max(wrong, self.wrong or 0)


@dataclass
class Outcome:
    """A problem and what everybody did on it."""

    problem: Problem
    checked: int = 0  # rows whose answers were compared with brute force
    results: dict[str, Result] = field(default_factory=dict)
    missing: str = ""  # why it was not measured at all

    @property
    def measured(self) -> dict[str, Result]:
        """The results that there are."""
        return {name: r for name, r in self.results.items() if r.seconds and not r.failure}

    def faults(self) -> list[str]:
        """What must not be: an exact contender that failed, is wrong, or disagrees with another."""
        exact = [r for r in self.results.values() if r.contender.exact]
        found = [f"{self.problem.name}: {r.contender.name} failed: {r.failure}" for r in exact if r.failure]
        found += [f"{self.problem.name}: {r.contender.name} has {r.wrong} wrong rows" for r in exact if r.wrong]
        if len(set().union(*(r.checksums for r in exact))) > 1:
            found.append(f"{self.problem.name}: dnuc's answers differ between its settings or rounds")
        return found


def contenders_of(problem: Problem) -> list[Contender]:
    """Who takes part, "dnuc-*" spelled out."""
    tiers = [name for name in names() if name.startswith("dnuc-")]
    return [find(n) for name in problem.contenders for n in (tiers if name == "dnuc-*" else [name])]


def run_problem(
    problem: Problem, contenders: Iterable[Contender], rounds: int, threads: int, run: Run, say: Say = print
) -> Outcome:
    """Every contender once a round; one that fails is left out of the rounds that follow."""
    outcome = Outcome(problem, results={c.name: Result(c) for c in contenders})
    with tempfile.TemporaryDirectory(prefix="dnuc-bench-") as directory:
        task = Task(Path(directory), problem.k, threads)
        try:
            reference = _prepare(problem, task, check=any(r.contender.searches for r in outcome.results.values()))
        except DnucError as error:
            outcome.missing = str(error)
            return outcome
        outcome.checked = 0 if reference is None else len(reference.rows)
        for number in range(rounds):
            for name, result in outcome.results.items():
                if result.failure:
                    continue
                try:
                    result.add(run(result.contender, task), reference)
                    say(f"{problem.name}, round {number + 1}: {name} {result.seconds[-1]:.2f} s")
                except (RuntimeError, DnucError) as error:
                    result.failure = str(error).strip().splitlines()[-1] if str(error).strip() else repr(error)
                    say(f"{problem.name}, round {number + 1}: {name} failed: {error}")
    return outcome


def _prepare(problem: Problem, task: Task, check: bool) -> Truth | None:
    """Write what the contenders read; the right answer for some rows."""
    x = problem.data()
    rows = some_rows(len(x))
    np.save(task.directory / "x.npy", x)
    np.save(task.directory / "rows.npy", rows)
    return truth(x, rows, problem.k) if check else None


def in_own_process(contender: Contender, task: Task) -> Measured:
    """Run a contender as it would run alone: a new process, the same threads for everybody."""
    words = [contender.name, str(task.directory), str(task.k), str(task.threads)]
    command = [python_of(contender), "-m", "tests.benchmarks.measure", *words]
    ran = subprocess.run(
        command, cwd=ROOT, env=environment(contender, task.threads), capture_output=True, text=True, check=False
    )
    if ran.returncode:
        raise RuntimeError(ran.stderr.strip() or f"exit status {ran.returncode}")
    return Measured.load(task.directory / f"{contender.name}.npz")


def environment(contender: Contender, threads: int) -> dict[str, str]:
    """This process's variables, without those that slow a library down, with the number of threads.

    Workers of a cluster get the threads that dnuc gives them.
    """
    kept = {name: value for name, value in os.environ.items() if name not in (*SLOWING, *THREADS)}
    if not contender.name.startswith("cluster-"):
        kept |= dict.fromkeys(THREADS, str(threads))
    return kept


def python_of(contender: Contender) -> str:
    """The interpreter that has the contender's library."""
    return str(DADAPY) if contender.name == "dadapy" else sys.executable


def unavailable(contender: Contender) -> str:
    """Why a contender cannot take part, with the command that helps; nothing if it can."""
    foreign = contender.name == "dadapy"
    there = DADAPY.is_file() if foreign else importlib.util.find_spec(contender.module) is not None
    return "" if there else f"{contender.title.split()[0]} is not installed: {GET.get(contender.name, 'make test')}"
