"""The command line: arguments in, one call out."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from dnuc import cli_cluster, cli_status
from dnuc._version import __version__
from dnuc.errors import DnucError
from dnuc.units import duration, hours_minutes, size

if TYPE_CHECKING:
    from dnuc.plan import Plan

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    help="How a trained network builds its concepts: exact neighbors, intrinsic dimension and density peaks per layer.",
)

JobPath = Annotated[Path, typer.Argument(help="The job: a TOML file such as jobs/digits.toml.", show_default=False)]
RunPath = Annotated[
    str, typer.Argument(help="The run directory, e.g. runs/digits or s3://results/runs/digits.", show_default=False)
]
On = Annotated[
    str | None,
    typer.Option("--on", help="Where: a file in deploy/, a scheduler file (.json) or address. Default: this machine."),
]


@app.command()
def plan(
    job: JobPath,
    on: On = None,
    time: Annotated[bool, typer.Option("--time/--no-time", help="Measure this machine to predict the time.")] = True,
) -> None:
    """Say what a job will compute and cost, without computing anything."""
    from dnuc.job import read_job

    settings = read_job(job)  # a wrong job is told at once: PyTorch takes seconds to import
    from dnuc.forecast import EXPECTED, forecast, question_of
    from dnuc.pace import measure_pace
    from dnuc.plan import plan_job, search_seconds

    found = plan_job(settings, on)
    search = settings.neighbors
    pace = measure_pace(question_of(found, settings), found.threads) if time else None
    seconds = search_seconds(found, search, pace.search) if pace else None
    table = Table(title=f"{settings.name}: {settings.title}", title_justify="left")
    for column in ("model", "layer"):
        table.add_column(column)
    for column in ("depth", "features D", "on disk", "FLOP", "tiles", "memory/task", *(["time"] if seconds else [])):
        table.add_column(column, justify="right")
    for place, x in enumerate(found.layers):
        table.add_row(
            x.model, x.layer, str(x.depth), f"{x.features:,}", size(x.bytes), f"{x.flop:.2g}", f"{x.tiles:,}",
            size(x.tile_memory), *([duration(seconds[place])] if seconds else []),
        )  # fmt: skip
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    lines = [
        ("samples", f"{found.samples:,}" + (f" ({found.note})" if found.note else "")),
        ("layers", f"{len(found.layers)} of {len(found.block)} networks"),
        ("on disk", f"{size(found.bytes)} of activations{_turns(found)}"),
        ("products", f"{found.flop:.3g} FLOP for exact neighbors, k = {search.k}"),
        *([("dimension", f"at most {found.dimension_flop:.3g} FLOP of [dimension]")] if found.dimension_flop else []),
        ("tasks", f"{found.tasks:,}, each within {size(found.memory)}"),
    ]
    if pace:
        stages = forecast(found, settings, pace)
        told = [f"{s.name} {'at most ' if s.at_most else ''}{duration(s.seconds)}" for s in stages]
        total = hours_minutes(sum(s.seconds for s in stages))
        lines.append(
            (
                "time",
                f"{total} (hours:minutes) and the report, on {found.threads} threads as fast as those just measured on "
                f"this machine. {EXPECTED}; a cluster's workers may differ, and disks may be slower",
            )
        )
        lines.append(("", ", ".join(told)))
        if found.capacity.device != "cpu":
            lines.append(
                ("", f"measured without the device {found.capacity.device!r}, on which networks and products run")
            )
    for name, text in lines:
        console.print(f"{name:<12} {text}", highlight=False, soft_wrap=True)


def _turns(found: Plan) -> str:
    """How often layers take turns on the disk, if they do."""
    if found.budget.holds_all:
        return ""
    passes = ", ".join(f"{count} of {model}" for model, count in found.passes.items())
    return f"; at most {size(found.peak)} at a time, in passes over all samples: {passes}"


@app.command()
def run(
    job: JobPath,
    on: On = None,
    out: Annotated[
        str | None, typer.Option(help="The run directory, or s3://... or gs://... Default: runs/<job name>.")
    ] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Compute anew what is damaged, without asking.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Go on with what another version of dnuc or torch computed.")
    ] = False,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Take the run directory from a run on another host that is gone.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the path of the report.")] = False,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Draw figures, tables and the page.")] = True,
    performance: Annotated[
        bool, typer.Option("--performance-report", help="Save Dask's report of this attempt: performance.html.")
    ] = False,
) -> None:
    """Compute a job, or go on with one that was stopped; what is complete is skipped."""
    from dnuc.job import read_job

    settings = read_job(job)  # a wrong job is told at once: PyTorch takes seconds to import
    from dnuc.pipeline import run_directory, run_job
    from dnuc.store import DamagedError, RunStore, leaving_at_once

    repaired: set[str] = set()
    while True:
        try:
            with leaving_at_once(run_directory(settings, out)):
                how = {"quiet": quiet, "force": force, "report": report, "take_over": take_over}
                path = run_job(settings, on, out, **how, performance=performance)
            break
        except DamagedError as error:
            if str(error) in repaired:  # a disk that damages what was just written will do so again
                raise
            repaired.add(str(error))
            ask = sys.stdin.isatty() and not repair
            if not repair and not (ask and typer.confirm(f"{error}\nCompute it anew now?", err=True)):
                raise
            typer.echo(f"{error}\n{RunStore(error.run).repair(error)}", err=True)
        except KeyboardInterrupt as stop:
            why = f" ({stop})" if str(stop) else ""
            typer.echo(f"\nStopped{why}. What is finished is stored: the same command goes on from here.", err=True)
            raise typer.Exit(130) from None
    typer.echo(f"report: {path / 'report' / 'index.html'}" if report else f"run: {path}")


@app.command()
def status(path: RunPath) -> None:
    """Say what a run holds and how its last attempt ended: works while it runs, and where its files are seen."""
    from dnuc.cluster import read_progress
    from dnuc.cluster.submission import read_receipt
    from dnuc.store import DROPPED, RunStore, survey_run

    store = RunStore.open(path)
    found, attempt = survey_run(store), read_progress(store.path)
    name = found.job.name if found.job is not None else store.path.name
    stored = "complete" if found.complete else "not complete"
    stored += ", for it was finished for a job that was changed since" if found.changed else ""
    typer.echo(f"{name}: {stored}")
    for line in cli_status.attempt_lines(attempt):
        typer.echo(line)
    submitted = read_receipt(store.path)
    if submitted is not None and submitted.time > (attempt["updated"] if attempt else 0):
        typer.echo(f"submitted: {submitted}, {duration(time.time() - submitted.time)} ago; it has not begun")
    cli_status.print_stages(found, attempt)
    if found.dropped:
        typer.echo(f"activations of {found.dropped} layers were {DROPPED}; those in activations.keep stay")


@app.command()
def report(path: RunPath) -> None:
    """Draw the report of a run again, from what it stores."""
    from dnuc.pipeline import draw_report
    from dnuc.store import Results, RunStore

    typer.echo("drawing figures and tables ...", err=True)
    page = draw_report(RunStore.open(path), Results(path).job)
    typer.echo(f"report: {page}")


app.command()(cli_cluster.submit)
app.command()(cli_cluster.cancel)
app.command()(cli_cluster.certs)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dnuc {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; a refusal is one message, not a traceback."""
    try:
        app()
    except DnucError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(2) from None
