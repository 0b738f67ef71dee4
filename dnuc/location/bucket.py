"""Buckets of object stores: how they are opened, with which credentials, and what their errors mean.

Credentials and addresses come from the environment of each process, as for the tools of the store itself: they are in
no job, no deployment, no task and no run.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from dnuc.errors import StoreError

SCHEMES = ("s3", "gs")
PATIENT = {"max_retries": 10, "retry_timeout": timedelta(minutes=5)}  # for throttling and what a network does
BRISK = {"max_retries": 2, "retry_timeout": timedelta(seconds=15)}  # for the first look, whose usual error is a typo
REQUEST_TIMEOUT = timedelta(minutes=2)  # of one request, which is up to a chunk of 128 MiB
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
# with any of these the store's client finds credentials itself; else they are looked for as the aws command does
GIVEN = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
)
_SHORT = re.compile(r"InvalidRange|Range Not Satisfiable|[Rr]equested [Rr]ange|[Rr]ange .*out of bounds")


def endpoint(environ: Mapping[str, str] = os.environ) -> str | None:
    """The address of the S3 server that the environment names; None for Amazon's own.

    >>> endpoint({"AWS_ENDPOINT_URL": "https://minio.example.org"})
    'https://minio.example.org'
    """
    return next((environ[name] for name in ENDPOINTS if environ.get(name)), None)


def opened(scheme: str, bucket: str, prefix: str = "", *, brisk: bool = False) -> Any:
    """An obstore store of what lies below a prefix of a bucket; one a process, which keeps its connections."""
    return _opened(scheme, bucket, prefix, brisk, endpoint() if scheme == "s3" else None)


@lru_cache(maxsize=256)
def _opened(scheme: str, bucket: str, prefix: str, brisk: bool, address: str | None) -> Any:
    try:
        from obstore.store import GCSStore, S3Store
    except ImportError:
        raise StoreError(
            f"{scheme}://{bucket}: object stores need the package obstore, which is not installed here: "
            "pip install 'dnuc[object-stores]', on the workers too"
        ) from None
    options: dict[str, Any] = {"prefix": prefix or None, "retry_config": BRISK if brisk else PATIENT}
    client: Any = {"timeout": REQUEST_TIMEOUT}
    with explained(scheme, bucket):
        if scheme == "gs":
            return GCSStore(bucket, client_options=client, **options)
        if address is not None:
            options["endpoint"] = address
            client["allow_http"] = _may_be_plain(address)
        return S3Store(bucket, client_options=client, **options, **_credentials(bucket))


def _may_be_plain(address: str) -> bool:
    """Whether a server is asked without TLS."""
    parts = urlsplit(address)
    if parts.scheme != "http":
        return False
    host = parts.hostname or ""
    if host in ("localhost", "::1") or host.startswith("127."):
        return True
    if os.environ.get("AWS_ALLOW_HTTP", "").lower() not in ("1", "true"):
        raise StoreError(
            f"AWS_ENDPOINT_URL = {address} is not encrypted: everybody on the way could read and change the results. "
            "Use https://, or set AWS_ALLOW_HTTP=true on a network that you trust entirely"
        )
    return True


def _credentials(bucket: str) -> dict[str, Any]:
    """Those of ~/.aws or of a role, through boto3, where the environment holds none."""
    if any(os.environ.get(name) for name in GIVEN) or importlib.util.find_spec("boto3") is None:
        return {}
    from dnuc.location.aws import Credentials

    try:
        provider = Credentials()
    except ValueError:
        raise StoreError(
            f"s3://{bucket}: no credentials for S3 are found here: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "AWS_PROFILE for a profile of ~/.aws/credentials, on the workers too; AWS_SKIP_SIGNATURE=true for a bucket "
            "that everybody may use"
        ) from None
    return {"credential_provider": provider}


@contextmanager
def explained(scheme: str, bucket: str, key: str = "") -> Iterator[None]:
    """Errors of a store's client as what they mean for a run: what, where, and the way out.

    Raises
    ------
    FileNotFoundError
        If there is no such object.
    ValueError
        If the object is shorter than what is read of it.
    StoreError
        For any other error, apart from those of conditional writes, which `ObjectPath` looks at.
    """
    url = f"{scheme}://{bucket}" + (f"/{key}" if key else "")
    try:
        yield
    except FileNotFoundError as error:
        if "NoSuchBucket" in str(error):
            raise StoreError(_told("NoSuchBucket", url, scheme, bucket, str(error))) from None
        raise FileNotFoundError(f"{url}: no such object") from None
    except Exception as error:
        kind = type(error).__name__
        if not _of_a_store(error) or kind in ("AlreadyExistsError", "PreconditionError"):
            raise
        if _SHORT.search(str(error)):
            raise ValueError(f"{url} is cut off: {_reason(str(error))}") from None
        raise StoreError(_told(kind, url, scheme, bucket, str(error))) from None


def _of_a_store(error: Exception) -> bool:
    return type(error).__module__.startswith("obstore")


def _reason(message: str) -> str:
    """What a client says, without what it says to its developers."""
    return message.partition("\n\nDebug source")[0].strip().replace("\n", " ")


def _told(kind: str, url: str, scheme: str, bucket: str, message: str) -> str:
    reason = _reason(message)
    where = (endpoint() or "Amazon S3") if scheme == "s3" else "Google Cloud Storage"
    if "NoSuchBucket" in message:
        return (
            f"{url}: {where} has no bucket {bucket!r}: make it, or correct the name (AWS_ENDPOINT_URL chooses a server)"
        )
    if kind in ("PermissionDeniedError", "UnauthenticatedError"):
        return (
            f"{url}: {where} refuses access ({reason}): the credentials of this process must allow to list the bucket, "
            "and to read, write and delete objects below the run"
        )
    if "error sending request" in message or "error decoding response body" in message:
        return (
            f"{url}: {where} cannot be reached ({reason}): see the network, and AWS_ENDPOINT_URL if it is another "
            "server. What is finished is stored: the same command goes on"
        )
    return f"{url}: {where} failed ({reason}). What is finished is stored: the same command goes on"
