"""Who may connect: encrypted and certified connections, except on this machine's own loopback address.

A Dask scheduler runs whatever its clients send it, and whoever reaches its port is a client. So connections between
machines are TLS with a private authority: only who has a certificate of that authority can connect at all. `dnuc certs`
makes the authority and the certificates.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import dask
from distributed import Security
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo

from dnuc.errors import SecurityError

ENCRYPTED = ("tls", "wss")
CERTIFICATES = "`dnuc certs certs` makes certificates, and [tls] in the deployment file names them"


def _beside(path: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("base")
    return path if base is None else (Path(base) / path.expanduser()).resolve()


Beside = Annotated[Path, AfterValidator(_beside)]  # relative to the file that names it


class Tls(BaseModel):
    """[tls]: the private authority that everybody must be certified by, and the certificate of this side."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ca: Beside  # certificate of the authority
    cert: Beside  # certificate of this client, and of what it starts
    key: Beside  # its private key, which nobody else may read

    def check(self) -> None:
        """Refuse files that cannot work before anything starts.

        Raises
        ------
        SecurityError
            If a file is missing or unreadable, others may read the key, the key is not that of the certificate, or
            the certificate has expired.
        """
        for name in ("ca", "cert", "key"):
            path = getattr(self, name)
            if not path.is_file():
                raise SecurityError(f"tls.{name} = '{path}': no such file; {CERTIFICATES}")
        if self.key.stat().st_mode & 0o007:
            raise SecurityError(
                f"tls.key = '{self.key}' can be read by everybody on this machine: chmod 600 {self.key}"
            )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(self.ca)
            context.load_cert_chain(self.cert, self.key)
        except (ssl.SSLError, OSError) as error:
            raise SecurityError(
                f"tls: '{self.ca}', '{self.cert}' and '{self.key}' are no authority, certificate and key that belong "
                f"together ({error}); {CERTIFICATES}"
            ) from None
        _check_dates(self.ca)
        _check_dates(self.cert)

    def security(self) -> Security:
        """As Dask takes it; all three parts of a cluster may use it, and none connects without encryption."""
        roles = ("client", "scheduler", "worker")
        return Security(
            require_encryption=True,
            tls_ca_file=str(self.ca),
            **{f"tls_{role}_cert": str(self.cert) for role in roles},
            **{f"tls_{role}_key": str(self.key) for role in roles},
        )

    def arguments(self) -> list[str]:
        """The same for the command line of `dask worker` or `dask scheduler`."""
        return ["--tls-ca-file", str(self.ca), "--tls-cert", str(self.cert), "--tls-key", str(self.key)]


def _check_dates(path: Path) -> None:
    from cryptography import x509  # takes a while to import

    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    now = datetime.now(UTC)
    if now > certificate.not_valid_after_utc:
        raise SecurityError(
            f"the certificate '{path}' expired on {certificate.not_valid_after_utc:%Y-%m-%d}; make new ones with `dnuc "
            "certs`"
        )
    if now < certificate.not_valid_before_utc:
        raise SecurityError(
            f"the certificate '{path}' is valid from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on, and the "
            f"clock of this machine says {now:%Y-%m-%d %H:%M} UTC"
        )


def configured() -> bool:
    """Whether Dask's own configuration on this machine names certificates for clients."""
    return bool(dask.config.get("distributed.comm.tls.ca-file") and dask.config.get("distributed.comm.tls.client.cert"))


def is_safe(address: str) -> bool:
    """Whether nobody else can read, or join in, what goes over an address.

    >>> is_safe("tls://10.0.0.1:8786"), is_safe("tcp://127.0.0.1:8786"), is_safe("tcp://10.0.0.1:8786")
    (True, True, False)
    """
    protocol, _, rest = address.rpartition("://")
    return protocol in (*ENCRYPTED, "inproc") or is_loopback(host_of(rest))


def host_of(address: str) -> str:
    """The host of an address.

    >>> host_of("tls://10.0.0.1:8786"), host_of("tcp://[::1]:8786"), host_of("head")
    ('10.0.0.1', '::1', 'head')
    """
    rest = address.rpartition("://")[2].partition("/")[0]
    if rest.startswith("["):
        return rest[1:].partition("]")[0]
    return rest.rpartition(":")[0] or rest


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether a host is this machine under an address that others cannot reach; an unknown name is not.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("10.0.0.1"), is_loopback("0.0.0.0")
    (True, True, False, False)
    """
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in found)


def check_addresses(addresses: Iterable[str], insecure: bool, what: str) -> None:
    """Refuse connections that others could read or join, unless the deployment says that this is meant.

    Raises
    ------
    SecurityError
        If one of `addresses` is neither encrypted nor a loopback address, and not `insecure`.
    """
    unsafe = [address for address in addresses if not is_safe(address)]
    if unsafe and not insecure:
        raise SecurityError(
            f"{what} at {unsafe[0]} is not encrypted: whoever reaches that port can run programs as you. Start it with "
            f"TLS ({CERTIFICATES}), or bind it to 127.0.0.1; on a network that you trust entirely, insecure = true in "
            "a deployment file allows it (docs/security.md)"
        )
