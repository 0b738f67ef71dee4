"""A private certificate authority for one cluster: `dnuc certs`.

Dask admits whoever has a certificate of the authority that it is told, for any host and any role. So the authority must
be private, made for this purpose alone: with a public one, everybody could come in.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dnuc.errors import SecurityError

ROLES = ("scheduler", "worker", "client")
DAYS = 365
AUTHORITY_DAYS = 3650
SKEW = timedelta(hours=1)  # clocks of a cluster's machines may differ
PUBLIC, PRIVATE = 0o644, 0o600

Key = ec.EllipticCurvePrivateKey


def make_certificates(directory: Path, names: Iterable[str] = ROLES, days: int = DAYS) -> list[Path]:
    """Certificates and keys by name, in PEM files that Dask reads; returns what was written.

    The authority (ca.pem and ca-key.pem) is made if the directory has none; one that is there certifies further names.
    NAME.pem is a certificate, NAME-key.pem its key, which only its owner can read.

    Raises
    ------
    SecurityError
        If a name is there already or is no file name, or ca.pem is there without its key.
    """
    wanted = list(dict.fromkeys(names))
    for name in wanted:
        if not name or name == "ca" or not all(c.isalnum() or c in "._-" for c in name) or name.startswith("."):
            raise SecurityError(f"certificate name {name!r}: letters, digits, '.', '_' and '-', and not 'ca'")
        if (directory / f"{name}.pem").exists() or (directory / f"{name}-key.pem").exists():
            raise SecurityError(f"{directory} has a certificate {name!r}: remove {name}.pem and {name}-key.pem first")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    written: list[Path] = []
    if not (directory / "ca.pem").exists():
        key = ec.generate_private_key(ec.SECP256R1())
        authority = _certificate("dnuc private authority", key.public_key(), None, key, AUTHORITY_DAYS)
        written += _write(directory, "ca", authority, key)
    key, authority = _authority(directory)
    for name in wanted:
        own = ec.generate_private_key(ec.SECP256R1())
        written += _write(directory, name, _certificate(name, own.public_key(), authority, key, days), own)
    return written


def _authority(directory: Path) -> tuple[Key, x509.Certificate]:
    path = directory / "ca-key.pem"
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        authority = x509.load_pem_x509_certificate((directory / "ca.pem").read_bytes())
    except (OSError, ValueError) as error:
        raise SecurityError(
            f"{directory} has an authority whose key {path} cannot be read ({error}): bring the key, or make "
            "everything anew in another directory"
        ) from None
    if not isinstance(key, Key) or key.public_key() != authority.public_key():
        raise SecurityError(f"{path} is not the key of {directory / 'ca.pem'}, or not one that `dnuc certs` made")
    return key, authority


def _certificate(
    name: str, public: ec.EllipticCurvePublicKey, issuer: x509.Certificate | None, key: Key, days: int
) -> x509.Certificate:
    """A certificate signed with `key`; of an authority if there is no issuer."""
    now, own = datetime.now(UTC), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    is_authority = issuer is None
    builder = (
        x509.CertificateBuilder()
        .subject_name(own)
        .issuer_name(own if issuer is None else issuer.subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=0 if is_authority else None), critical=True)
        .add_extension(_usage(is_authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    if not is_authority:  # every worker is also a server of other workers
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(both), critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    return builder.sign(key, hashes.SHA256())


def _usage(is_authority: bool) -> x509.KeyUsage:
    names = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only")
    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        decipher_only=False,
        **dict.fromkeys(names, False),
    )


def _write(directory: Path, name: str, certificate: x509.Certificate, key: Key) -> list[Path]:
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return [
        _new_file(directory / f"{name}-key.pem", private, PRIVATE),
        _new_file(directory / f"{name}.pem", certificate.public_bytes(pem), PUBLIC),
    ]


def _new_file(path: Path, content: bytes, mode: int) -> Path:
    """Written with its final permissions from the start, and never over another file."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)  # whatever the user's mask
        file.write(content)
    return path
