"""Certificates for tests of clusters: making them costs milliseconds, but many tests want the same."""

import pytest

from dnuc.cluster.certificates import make_certificates
from dnuc.cluster.security import Tls


class Authority:
    """A directory as `dnuc certs` makes it."""

    def __init__(self, directory):
        self.directory = directory
        make_certificates(directory)

    def tls(self, name):
        """The [tls] of a certificate by name."""
        return Tls(
            ca=self.directory / "ca.pem",
            cert=self.directory / f"{name}.pem",
            key=self.directory / f"{name}-key.pem",
        )

    def options(self, name):
        """The same for Dask's command line."""
        return self.tls(name).arguments()


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """The authority of the cluster."""
    return Authority(tmp_path_factory.mktemp("authority") / "certs")


@pytest.fixture(scope="session")
def foreign(tmp_path_factory):
    """Another cluster's authority."""
    return Authority(tmp_path_factory.mktemp("foreign") / "certs")
