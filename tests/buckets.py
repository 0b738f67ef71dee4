"""A real S3 server on this machine (moto's), and buckets of it."""

import os
import subprocess
import sys
import urllib.request
import uuid
from contextlib import contextmanager

import pytest

from dnuc.location import locate

SERVER = """
import threading
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(*server.get_host_and_port(), flush=True)
threading.Event().wait()
"""


@contextmanager
def s3_server():
    """What the environment must hold to reach a server that forgets everything when it ends."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            host, port = process.stdout.readline().split()
            yield environment(f"http://{host}:{port}")
        finally:
            process.kill()


def environment(address):
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "secret-of-the-test",
        "AWS_REGION": "us-east-1",
    }


def make_bucket(address):
    """A new bucket on a server, by its URL."""
    name = f"bucket-{uuid.uuid4().hex[:8]}"
    with urllib.request.urlopen(urllib.request.Request(f"{address}/{name}", method="PUT")):
        return f"s3://{name}"


@pytest.fixture(scope="session")
def s3():
    """The environment of a server for the whole session."""
    with s3_server() as found:
        yield found


@pytest.fixture
def bucket(s3, monkeypatch):
    """The URL of an empty bucket, which this process can reach."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    return make_bucket(s3["AWS_ENDPOINT_URL"])


def download(url, directory):
    """Every object below a URL as a file of a directory."""
    top = locate(url)
    for path in top.below():
        file = directory / path.key.removeprefix(f"{top.key}/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(path.read_bytes())
    return directory


def upload(directory, url):
    """Every file of a directory as an object below a URL; returns the URL."""
    for file in directory.rglob("*"):
        if file.is_file():
            (locate(url) / file.relative_to(directory).as_posix()).write_bytes(file.read_bytes())
    return url
