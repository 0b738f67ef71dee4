"""The command line of `make conformance`."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from dnuc.errors import closest
from tests.benchmarks.machine import ROOT, this_machine
from tests.benchmarks.rounds import DADAPY
from tests.conformance import ours, plain
from tests.conformance.cases import CASES, TROUBLE, Case, Task, find
from tests.conformance.compare import Ask, Outcome, run_case
from tests.conformance.page import page, tables
from tests.conformance.quantities import Answers

PAGE = ROOT / "docs" / "results" / "conformance.md"

Only = Annotated[list[str] | None, typer.Option(help="A data set; may be repeated.")]
Quick = Annotated[bool, typer.Option("--quick", help="Tiny sizes: does it work?")]
Plain = Annotated[
    bool, typer.Option("--plain", help="Plain loops in DADApy's place, which is not needed then; with --quick.")
]
Out = Annotated[
    Path | None, typer.Option(help="Where the page goes; docs/results/conformance.md after a whole run, else nowhere.")
]


def main(only: Only = None, quick: Quick = False, without: Plain = False, out: Out = None) -> None:
    """dnuc beside DADApy, number by number, on generated data."""
    if not without and not DADAPY.is_file():
        raise typer.BadParameter(f"DADApy is not installed in {DADAPY.parents[1]}: make dadapy-env, or give --plain")
    cases = [case.tiny() if quick else case for case in chosen(only or [])]
    versions: dict[str, None] = {}
    ask_them = plain.answers if without else lambda task, _: _noting(ask_dadapy(task), versions)
    outcomes = [_run(case, ask_them, typer.echo) for case in cases]
    typer.echo("\n" + "\n".join(tables(outcomes)))
    out = out or (None if only or quick or without else PAGE)
    if out is not None:
        out.write_text(page(outcomes, this_machine(), ", ".join(versions)), encoding="utf-8")
        typer.echo(f"\nwritten: {out}")
    faults = [fault for outcome in outcomes for fault in outcome.faults()]
    for fault in faults:
        typer.echo(f"WRONG: {fault}", err=True)
    if faults:
        raise typer.Exit(1)


def chosen(only: list[str]) -> list[Case]:
    """The data sets that `--only` names; all if it names none."""
    names = [case.name for case in (*CASES, *TROUBLE)]
    for name in only:
        if name not in names:
            raise typer.BadParameter(f"--only {name}: no such data set; {closest(name, names)}")
    return [find(name) for name in names if not only or name in only]


def _run(case: Case, ask_them: Ask, say: Callable[[str], None]) -> Outcome:
    """One case, with a line on it; only where DADApy goes wrong are its answers shown, and kept."""
    outcome = run_case(case, ours.answers, ask_them, plain.answers)
    wrong = len(outcome.faults())
    say(f"{case.name}: {'as it must be' if not wrong else f'{wrong} differences that are too large'}")
    return outcome if case.trouble else outcome.without_answers()


def ask_dadapy(task: Task) -> Answers:
    """DADApy's answers, from a process of the environment that has it."""
    with tempfile.TemporaryDirectory(prefix="dnuc-conformance-") as directory:
        np.savez(Path(directory) / "task.npz", **task.arrays())
        command = [str(DADAPY), "-m", "tests.conformance.theirs", directory]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise RuntimeError(f"DADApy's process ended with {ran.returncode}: {ran.stderr.strip()[-2000:]}")
        with np.load(Path(directory) / "theirs.npz") as file:
            return dict(file)


def _noting(answers: Answers, versions: dict[str, None]) -> Answers:
    versions[str(answers.pop("versions"))] = None
    return answers


if __name__ == "__main__":
    typer.run(main)
