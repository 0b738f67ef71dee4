"""The command line of `make bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dnuc.errors import closest
from tests.benchmarks.contenders import names
from tests.benchmarks.machine import ROOT, cores, this_machine
from tests.benchmarks.page import page, tables
from tests.benchmarks.problems import PROBLEMS, Problem
from tests.benchmarks.rounds import Outcome, contenders_of, in_own_process, run_problem, unavailable

PAGE = ROOT / "docs" / "results" / "neighbors.md"

Only = Annotated[list[str] | None, typer.Option(help="A problem or a contender; may be repeated.")]
Quick = Annotated[bool, typer.Option("--quick", help="Tiny sizes, one round, two minutes: does it work?")]
Rounds = Annotated[int, typer.Option(min=1, help="Times that each contender runs; the median is shown.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Of each contender; all cores when absent.")]
Out = Annotated[
    Path | None, typer.Option(help="Where the page goes; docs/results/neighbors.md after a whole run, else nowhere.")
]


def main(only: Only = None, quick: Quick = False, rounds: Rounds = 3, threads: Threads = None, out: Out = None) -> None:
    """dnuc, other libraries and bare products side by side on this machine."""
    problems, contenders = chosen(only or [])
    threads, rounds = threads or cores(), 1 if quick else rounds
    machine = this_machine()
    outcomes: list[Outcome] = []
    notes: dict[str, None] = {}  # in the order they came up, each once
    for problem in problems:
        everybody = [c for c in contenders_of(problem) if c.name in contenders]
        able = [c for c in everybody if not unavailable(c)]
        notes |= dict.fromkeys(unavailable(c) for c in everybody if unavailable(c))
        if able:
            size = problem.quick() if quick else problem
            outcomes.append(run_problem(size, able, rounds, threads, in_own_process, typer.echo))
    typer.echo("\n" + "\n".join([*tables(outcomes, threads), *(f"Not measured: {note}." for note in notes)]))
    out = out or (None if only or quick else PAGE)
    if out is not None:
        out.write_text(page(outcomes, machine, threads, rounds, notes), encoding="utf-8")
        typer.echo(f"\nwritten: {out}")
    faults = [fault for outcome in outcomes for fault in outcome.faults()]
    for fault in faults:
        typer.echo(f"WRONG: {fault}", err=True)
    if faults:
        raise typer.Exit(1)


def chosen(only: list[str]) -> tuple[list[Problem], list[str]]:
    """The problems and contenders that `--only` names; all of a kind if it names none of that kind."""
    problems, contenders = [p.name for p in PROBLEMS], names()
    for name in only:
        if name not in (*problems, *contenders):
            raise typer.BadParameter(
                f"--only {name}: no such problem or contender; {closest(name, problems + contenders)}"
            )
    wanted = [p for p in PROBLEMS if p.name in only] or list(PROBLEMS)
    return wanted, [c for c in contenders if c in only] or contenders


if __name__ == "__main__":
    typer.run(main)
