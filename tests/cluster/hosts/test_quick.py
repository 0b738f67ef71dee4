"""A cluster over three hosts, small enough for every run of the test suite: forked processes in network namespaces."""

import importlib
import os
import re
import signal
import sys
import urllib.request

import pytest
from distributed import Client
from distributed.utils import get_mp_context

from tests.conftest import arrays_job, assert_same_results, wait_until, write_page, written_job

PORT = 8786


def _main(host, log, target, arguments):
    """In the new process: `target` in the network of a host. What it prints goes to a file."""
    os.setsid()
    host.enter()
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    target([str(a) for a in arguments])


def dask(arguments):
    """`dask scheduler` or `dask worker`."""
    sys.argv = ["dask", *arguments]
    importlib.import_module(f"distributed.cli.dask_{arguments[0]}").main(arguments[1:])


def dnuc(arguments):
    """The command line, without drawing figures."""
    import dnuc.pipeline
    from dnuc.cli import main

    dnuc.pipeline.write_report = write_page
    sys.argv = ["dnuc", *arguments]
    main()


def plain_client(arguments):
    """Dask's own client, which has none of dnuc's good manners."""
    Client(arguments[0], timeout="3s")


def page(arguments):
    """Open a page."""
    print(urllib.request.urlopen(arguments[0], timeout=20).status)


class Quick:
    """Starts processes in hosts."""

    def __init__(self, bench, directory):
        self.bench, self.directory = bench, directory

    def start(self, host, target, *arguments):
        """A process, and the file of what it prints."""
        log = self.directory / f"{host}-{len(list(self.directory.iterdir()))}.txt"
        log.touch()
        process = get_mp_context().Process(target=_main, args=(self.bench[host], log, target, arguments))
        process.start()
        return process, log

    def run(self, host, target, *arguments):
        """The exit code, and what was printed."""
        process, log = self.start(host, target, *arguments)
        process.join(100)
        return process.exitcode, log.read_text()


@pytest.mark.cluster
@pytest.mark.parametrize("bench", [("head", "worker", "client")], indirect=True)
def test_a_run_over_three_hosts_and_who_is_refused(bench, authority, finished, tmp_path):
    quick, where = Quick(bench, tmp_path), f"{bench['head'].address}:{PORT}"
    page_of = ("--no-dashboard", "--dashboard-address", "127.0.0.1:0")
    options = ("--protocol", "tls", "--port", PORT, "--dashboard-address", "127.0.0.1:8787")
    _, head = quick.start("head", dask, "scheduler", *options, *authority.options("scheduler"))
    memory = ("--nthreads", "1", "--memory-limit", "2GiB", "--no-nanny")
    quick.start("worker", dask, "worker", f"tls://{where}", *memory, *page_of, *authority.options("worker"))
    wait_until(lambda: "Register worker" in head.read_text(), "the worker does not come", timeout=200)

    job = written_job(arrays_job(finished[0]), tmp_path)
    place, out = tmp_path / "place.toml", tmp_path / "run"
    tls = "\n".join(f'{n} = "{getattr(authority.tls("client"), n)}"' for n in ("ca", "cert", "key"))
    place.write_text(f'kind = "scheduler"\naddress = "tls://{where}"\n[tls]\n{tls}\n')
    code, said = quick.run("client", dnuc, "run", job, "--on", place, "--out", out)
    assert (code, "1 workers, 1 threads" in said) == (0, True), said
    assert f"through `ssh -N -L 8787:127.0.0.1:8787 {bench['head'].address}`" in said
    assert_same_results(finished[1], out)

    refused = quick.run("client", dnuc, "run", job, "--on", f"tcp://{where}", "--out", tmp_path / "other")
    assert refused[0] == 2
    assert refused[1].startswith(f"error: the Dask scheduler at tcp://{where} is not encrypted")
    code, said = quick.run("client", plain_client, f"tcp://{where}")
    assert (code, bool(re.search("Timed out trying to connect|CommClosedError", said))) == (1, True), said
    assert quick.run("head", page, "http://127.0.0.1:8787/status") == (0, "200\n")
    code, said = quick.run("client", page, f"http://{bench['head'].address}:8787/status")
    assert (code, "Connection refused" in said) == (1, True), said
