"""Commands for runs on clusters: who may connect, and runs that nobody waits for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


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
