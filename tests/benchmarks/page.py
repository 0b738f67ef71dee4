"""Results to text: the tables that are printed, and the page in docs/results/ that holds them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import typer

from tests.benchmarks.contenders import pairs
from tests.benchmarks.machine import Machine
from tests.benchmarks.problems import GROWING, MAIN
from tests.benchmarks.rounds import SLOWING, Outcome, Result

INTRO = """\
# Neighbors: how fast, on one machine

Written by `make bench`. All contenders search the same float32 samples, each in a process of its own, with the same
{threads} threads, in turn: {rounds} rounds over all of them. A time is the median of the rounds, with the smallest and
the largest beside it; reading the samples, imports, compilation and a first small search are not counted. Variables
that make OpenBLAS choose slower products ({slowing}) are unset.

Right answers: float64 brute force by direct differences, for {checked} random samples of each problem. dnuc's neighbors
and distances must equal it in the order (distance, index); of the others, those samples are counted that have a
neighbor which is not among the k nearest (ties are no fault).
"""

DATA = """\
Generated activations are made from a seed to be like the output of a ReLU: clustered, not negative, half of the values
0; at N = 20,000, D = 4,096 the 100th neighbor is at about 1.09 times the norm of a sample (the mean subtracted).
"""

FLOOR = """\
A floor is the bare matrix product with no search after it, in pieces of 2,048 rows: all pairs of samples, or each pair
once (half; the pieces on the diagonal are whole). What a search takes beyond it is preparation, selection, certainty.
"""

AGAIN = """\
## Run it again

    make dadapy-env                     # once, for DADApy, which needs NumPy 1
    make bench                          # everything, and this page
    make bench ARGS="--quick"           # tiny sizes, two minutes: does it work?
    make bench ARGS="--only {main} --only dnuc --only faiss"
"""


def page(outcomes: Sequence[Outcome], machine: Machine, threads: int, rounds: int, notes: Iterable[str] = ()) -> str:
    """docs/results/neighbors.md."""
    checked = max((o.checked for o in outcomes), default=0)
    intro = INTRO.format(threads=threads, rounds=rounds, slowing=", ".join(SLOWING), checked=checked)
    parts = [intro, "\n".join(["| this machine | |", "|---|---|", *machine.lines(), *_library_lines(outcomes)]) + "\n"]
    parts += [DATA, *tables(outcomes, threads), *(f"Not measured: {note}.\n" for note in notes)]
    return "\n".join([*parts, AGAIN.format(main=MAIN)])


def write(text: str, out: Path | None) -> None:
    """Write a page, if it has a place, and say where it is."""
    if out is not None:
        out.write_text(text, encoding="utf-8")
        typer.echo(f"written: {out}")


def tables(outcomes: Sequence[Outcome], threads: int) -> list[str]:
    """A section a problem, then the cluster and the growth with N, as far as they were measured."""
    parts = [section(o, threads) for o in _in_order(outcomes)]
    parts += [cluster_section(o, threads) for o in outcomes]
    return [p for p in [*parts, growth_section(outcomes)] if p]


def _in_order(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The main problem first."""
    return sorted(outcomes, key=lambda o: o.problem.name != MAIN)


def section(outcome: Outcome, threads: int) -> str:
    """Everybody that searched in memory, and the floors."""
    p = outcome.problem
    title = f"## {p.title}, k = {p.k}\n"
    if outcome.missing:
        return f"{title}\nNot measured: {outcome.missing}\n"
    shown = {name: r for name, r in outcome.results.items() if not name.startswith("cluster-")}
    if not shown:
        return ""
    faiss = outcome.measured.get("faiss")
    rows = [
        [
            r.contender.title.format(threads=threads),
            *_times(r),
            _ratio(faiss, r),
            _rate(r, p.n, p.features),
            _wrong(r, outcome.checked),
        ]
        for r in shown.values()
    ]
    head = ["", "seconds", "min", "max", "times as fast as FAISS", "GFLOP/s", "samples with a wrong neighbor"]
    floors = f"\n{FLOOR}" if any(not r.contender.searches for r in shown.values()) else ""
    return f"{title}\n{markdown(head, rows)}{floors}"


def cluster_section(outcome: Outcome, threads: int) -> str:
    """The same from a store through workers, against the same in memory."""
    shown = {name: r for name, r in outcome.results.items() if name.startswith("cluster-")}
    if not shown:
        return ""
    memory, one = outcome.measured.get("dnuc"), outcome.measured.get("cluster-one")
    rows = [
        [
            r.contender.title.format(threads=threads),
            *_times(r),
            _ratio(r, memory),
            _ratio(one, r),
            _wrong(r, outcome.checked),
        ]
        for r in shown.values()
    ]
    if memory:
        rows.insert(0, [f"in memory, {threads} threads", *_times(memory), "1.00", _ratio(one, memory), ""])
    head = ["", "seconds", "min", "max", "of the time in memory", "times as fast as one worker", "wrong"]
    return (
        f"## Through a cluster: {outcome.problem.title}\n\nFrom a Zarr store (chunks of 1,024 whole rows, "
        "not compressed) on worker processes of this machine\nthat have done a small search before.\n\n"
        f"{markdown(head, rows)}"
    )


def growth_section(outcomes: Sequence[Outcome]) -> str:
    """Seconds at growing N, and the exponent p of the fit seconds = c N^p."""
    growing = [o for o in outcomes if o.problem.name in GROWING]
    if len(growing) < 2:
        return ""
    common = [name for name in growing[0].measured if all(name in o.measured for o in growing)]
    rows = []
    for name in common:
        results = [o.measured[name] for o in growing]
        p = exponent([o.problem.n for o in growing], [r.median for r in results])
        rows.append([results[0].contender.title, *(f"{r.median:.2f}" for r in results), f"{p:.2f}"])
    head = ["seconds", *(f"N = {o.problem.n:,}" for o in growing), "exponent"]
    text = f"The exponent p of c N^p, fitted to these times ({growing[0].problem.features:,} features):"
    return f"## Growth with N\n\n{text}\n\n{markdown(head, rows)}" if rows else ""


def exponent(n: Sequence[int], seconds: Sequence[float]) -> float:
    """p of the least-squares fit log(seconds) = p log(N) + c.

    >>> round(exponent([10, 20, 40], [3.0, 12.0, 48.0]), 6)
    2.0
    """
    return float(np.polyfit(np.log(n), np.log(seconds), 1)[0])


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, the first column to the left, the others to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _times(r: Result) -> list[str]:
    if r.failure or not r.seconds:
        return ["failed", "", ""]
    return [f"{value:.2f}" for value in (r.median, min(r.seconds), max(r.seconds))]


def _ratio(over: Result | None, under: Result | None) -> str:
    if over is None or under is None or under.failure or not under.seconds:
        return ""
    return f"{over.median / under.median:.2f}"


def _rate(r: Result, n: int, features: int) -> str:
    """Of a floor: what its product achieved."""
    if r.contender.searches or r.failure or not r.seconds:
        return ""
    return f"{2 * pairs(n, r.contender.half) * features / r.median / 1e9:,.0f}"


def _wrong(r: Result, checked: int) -> str:
    return "" if r.wrong is None else f"{r.wrong} of {checked}"


def _library_lines(outcomes: Iterable[Outcome]) -> list[str]:
    """The versions of the other contenders, as they told them."""
    told = {r.contender.package: r.version for o in outcomes for r in o.results.values() if r.version}
    others = [f"{package} {number}" for package, number in told.items() if package not in ("dnuc", "torch")]
    return [f"| others | {', '.join(others)} |"] if others else []
