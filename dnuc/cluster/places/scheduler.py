"""A scheduler that already runs, wherever it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from distributed import Client
from pydantic import model_validator

from dnuc.cluster.deployment import Networked
from dnuc.cluster.security import CERTIFICATES, ENCRYPTED, Beside, check_addresses, configured
from dnuc.errors import ResourceError, SecurityError


class Scheduler(Networked):
    """A scheduler that already runs: its address, or the file it wrote."""

    kind: Literal["scheduler"] = "scheduler"
    address: str | None = None
    file: Beside | None = None
    timeout: str = "30s"  # to reach it

    @model_validator(mode="after")
    def _one_place(self) -> Scheduler:
        if (self.address is None) == (self.file is None):
            raise ValueError("a scheduler needs either 'address' or 'file'")
        return self

    @property
    def where(self) -> str:
        """For messages."""
        return str(self.address or self.file)

    def check(self) -> None:
        super().check()
        address = self._address()
        check_addresses([address], self.insecure, "the Dask scheduler")
        encrypted = address.startswith(tuple(f"{protocol}://" for protocol in ENCRYPTED))
        if encrypted and self.tls is None and not configured():
            raise SecurityError(f"{self.where} needs certificates: {CERTIFICATES}, as in deploy/scheduler.toml")
        if self.tls is not None and not encrypted:
            raise SecurityError(
                f"{self.where}: [tls] is given, but {address} is not encrypted: start the scheduler with its own "
                "certificate (--tls-ca-file, --tls-cert, --tls-key) and give its tls:// address"
            )

    @contextmanager
    def connect(self) -> Iterator[Client]:
        where: dict[str, Any] = {"address": self.address} if self.address else {"scheduler_file": str(self.file)}
        if self.tls is not None:
            where["security"] = self.tls.security()
        try:
            client = Client(**where, timeout=self.timeout)
        except OSError as error:
            raise ResourceError(self._unreachable(error)) from None
        with client:
            yield client

    def _address(self) -> str:
        if self.address is not None:
            return self.address
        try:
            return str(json.loads(self.file.read_text(encoding="utf-8"))["address"])  # type: ignore[union-attr]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ResourceError(
                f"scheduler file '{self.file}' cannot be read ({error!r}): start the scheduler with `dask scheduler "
                "--scheduler-file`, on a file system that this machine sees"
            ) from None

    def _unreachable(self, error: OSError) -> str:
        """The deepest reason is the true one: Dask tells that its time is up."""
        reasons, cause = [str(error)], error.__cause__
        while cause is not None:
            reasons.append(f"{type(cause).__name__}: {cause}")
            cause = cause.__cause__
        message = f"no Dask scheduler answers at {self.where}: {'; '.join(dict.fromkeys(reasons))}. "
        if self.tls is not None:
            return message + (
                f"Is it running, can this machine reach it, and is its certificate of the authority '{self.tls.ca}'?"
            )
        return message + "Is it running, can this machine reach it, and does it expect TLS (then tls://, with [tls])?"
