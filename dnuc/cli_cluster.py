"""Commands for runs on clusters: who may connect, and runs that nobody waits for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def submit(
    job: Annotated[Path, typer.Argument(help="The job: a TOML file such as jobs/digits.toml.", show_default=False)],
    on: Annotated[str | None, typer.Option("--on", help="Where, as for `dnuc run`.")] = None,
    out: Annotated[
        str | None, typer.Option(help="The run directory, or s3://... or gs://... Default: runs/<job name>.")
    ] = None,
) -> None:
    """Start a run that goes on without this terminal, and return: a batch job, a DaskJob, or a process here."""
    from dnuc.submit import submit_job

    submitted, path = submit_job(job, on, out)
    typer.echo(f"submitted: {submitted}")
    for command in (f"dnuc status {path}", f"dnuc cancel {path}", *submitted.follow):
        typer.echo(f"  {command}")
    if path.is_dir():
        typer.echo(f"log: {path / 'log.txt'}")


def cancel(
    path: Annotated[str, typer.Argument(help="The run directory, as for `dnuc status`.", show_default=False)],
    wait: Annotated[float, typer.Option(help="Seconds that the run has to end.", min=0)] = 60.0,
    force: Annotated[
        bool, typer.Option("--force", help="Kill it if it does not end; what is finished is stored.")
    ] = False,
) -> None:
    """End a run cleanly, wherever it is: what is finished is stored, and the same command goes on later."""
    from dnuc.submit import cancel_run

    typer.echo(cancel_run(path, wait=wait, force=force))


def certs(
    directory: Annotated[Path, typer.Argument(help="Where to write them, e.g. certs.", show_default=False)],
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Whom to certify. Default: scheduler, worker and client.", show_default=False),
    ] = None,
    days: Annotated[int, typer.Option(help="How long the certificates are valid.", min=1)] = 365,
) -> None:
    """Make a private authority and certificates, without which nobody connects to a cluster."""
    from dnuc.cluster.certificates import ROLES, make_certificates

    for path in make_certificates(directory, names or ROLES, days):
        typer.echo(path)
    typer.echo(
        "\nEvery machine of the cluster needs ca.pem, and its own certificate and key (NAME.pem, NAME-key.pem); name "
        "them in [tls] of a deployment file. ca-key.pem is needed only to certify more: keep it where no cluster runs.",
        err=True,
    )
