"""Credentials as the aws command finds them: profiles in ~/.aws, single sign-on, the role of a machine."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from obstore.auth.boto3 import Boto3CredentialProvider

ASK_AGAIN = timedelta(minutes=10)  # boto3 renews what expires within 15


class Credentials(Boto3CredentialProvider):
    """Looked up in each process: sent to another one, they are looked up there."""

    def __init__(self) -> None:
        super().__init__(ttl=ASK_AGAIN)

    def __reduce__(self) -> tuple[Any, ...]:
        return (Credentials, ())
