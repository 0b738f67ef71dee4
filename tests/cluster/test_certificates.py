"""`dnuc certs`: an authority and certificates that OpenSSL accepts, and keys that nobody else can read."""

import os
import stat
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from typer.testing import CliRunner

from dnuc.cli import app
from dnuc.cluster import certificates
from dnuc.cluster.certificates import make_certificates
from dnuc.cluster.security import Tls
from dnuc.errors import SecurityError


def loaded(path):
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_three_parts_of_a_cluster_are_certified(tmp_path):
    directory = tmp_path / "certs"
    written = make_certificates(directory)
    assert sorted(p.name for p in written) == sorted(p.name for p in directory.iterdir())
    assert {p.name for p in written} == {f"{n}{e}.pem" for n in ("ca", *certificates.ROLES) for e in ("", "-key")}
    authority = loaded(directory / "ca.pem")
    for name in certificates.ROLES:
        certificate = loaded(directory / f"{name}.pem")
        certificate.verify_directly_issued_by(authority)
        left = certificate.not_valid_after_utc - datetime.now(UTC)
        assert timedelta(days=364) < left <= timedelta(days=365)


def test_keys_are_their_owners_alone_whatever_the_mask(tmp_path):
    before = os.umask(0)
    try:
        make_certificates(tmp_path / "certs")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "certs").stat().st_mode) == 0o700
    for path in (tmp_path / "certs").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == (0o600 if path.name.endswith("-key.pem") else 0o644), path


def test_openssl_accepts_the_chain_in_its_strictest_mode(authority):
    """Python 3.13 asks for all that the standard demands of an authority."""
    for name in certificates.ROLES:
        files = [authority.directory / "ca.pem", authority.directory / f"{name}.pem"]
        told = subprocess.run(
            ["openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", *files],
            capture_output=True,
            text=True,
        )
        assert told.stdout.endswith(f"{name}.pem: OK\n"), told


def test_the_same_authority_certifies_more(tmp_path):
    make_certificates(tmp_path)
    before = (tmp_path / "ca.pem").read_bytes()
    assert [p.name for p in make_certificates(tmp_path, ["gpu-07"], days=7)] == ["gpu-07-key.pem", "gpu-07.pem"]
    assert (tmp_path / "ca.pem").read_bytes() == before
    loaded(tmp_path / "gpu-07.pem").verify_directly_issued_by(loaded(tmp_path / "ca.pem"))
    Tls(ca=tmp_path / "ca.pem", cert=tmp_path / "gpu-07.pem", key=tmp_path / "gpu-07-key.pem").check()


def test_nothing_is_replaced(tmp_path):
    make_certificates(tmp_path, ["worker"])
    with pytest.raises(SecurityError, match=r"has a certificate 'worker': remove worker.pem and worker-key.pem first"):
        make_certificates(tmp_path, ["client", "worker"])
    assert not (tmp_path / "client.pem").exists()


@pytest.mark.parametrize("name", ["", "ca", "../worker", ".hidden", "a/b", "a b"])
def test_names_that_are_no_file_names(tmp_path, name):
    with pytest.raises(SecurityError, match="certificate name"):
        make_certificates(tmp_path / "certs", [name])
    assert not (tmp_path / "certs").exists()


def test_an_authority_without_its_key_certifies_nobody(tmp_path, foreign):
    make_certificates(tmp_path, ["worker"])
    (tmp_path / "ca-key.pem").unlink()
    with pytest.raises(SecurityError, match=r"whose key .*ca-key.pem cannot be read .*: bring the key"):
        make_certificates(tmp_path, ["client"])
    (tmp_path / "ca-key.pem").write_bytes((foreign.directory / "ca-key.pem").read_bytes())
    with pytest.raises(SecurityError, match=r"ca-key.pem is not the key of .*ca.pem"):
        make_certificates(tmp_path, ["client"])


def test_the_command_says_what_goes_where(tmp_path):
    ran = CliRunner().invoke(app, ["certs", str(tmp_path / "certs"), "worker"])
    assert ran.exit_code == 0
    assert ran.stdout.splitlines() == [
        str(tmp_path / "certs" / f"{n}.pem") for n in ("ca-key", "ca", "worker-key", "worker")
    ]
    assert "ca-key.pem is needed only to certify more: keep it where no cluster runs" in ran.stderr
