"""Hosts of a bench are hosts: names, addresses and loopbacks of their own; one that is cut off is silent."""

import os
import signal
import subprocess
import sys

import pytest

from tests.cluster.hosts.bench import PREFIX, hosts, ip, missing, sweep
from tests.conftest import ROOT, wait_until

pytestmark = pytest.mark.cluster
SERVE = "import http.server as h; h.HTTPServer(('', 80), h.SimpleHTTPRequestHandler).serve_forever()"
ASK = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=2).status)"


def asked(host, url):
    """The status of an answer, or what went wrong."""
    done = host.run([sys.executable, "-c", ASK, url], check=False)
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("bench", [("one", "two")], indirect=True)
def test_two_hosts(bench, tmp_path):
    one, two = bench.values()
    names = [host.run(["hostname"]).stdout.strip() for host in (one, two)]
    assert (names, one.address == two.address) == (["one", "two"], False)
    one.start([sys.executable, "-c", SERVE], tmp_path / "log.txt", cwd=tmp_path)
    wait_until(lambda: asked(two, "http://one.example/") == "200", (tmp_path / "log.txt").read_text())
    assert asked(one, "http://127.0.0.1/") == "200"
    assert "refused" in asked(two, "http://127.0.0.1/")  # its own loopback
    assert subprocess.run([sys.executable, "-c", ASK, f"http://{one.address}/"], capture_output=True).returncode == 1
    one.cut()
    assert "timed out" in asked(two, "http://one.example/")
    assert asked(one, "http://127.0.0.1/") == "200"
    one.join()
    assert asked(two, "http://one.example/") == "200"


ABANDON = """
import os, signal
from tests.cluster.hosts.bench import hosts
with hosts("one") as bench:
    sleeper = bench["one"].start(["sleep", "1000"], "/dev/null")
    print(bench["one"].namespace, sleeper.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_test_leaves_behind_is_swept():
    done = subprocess.run([sys.executable, "-c", ABANDON], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == -signal.SIGKILL, done.stderr
    namespace, sleeper = done.stdout.split()
    assert namespace in ip("netns", "list")
    with hosts("other") as bench:
        assert namespace not in ip("netns", "list")
        wait_until(lambda: not os.path.exists(f"/proc/{sleeper}/ns/net"))
        sweep()  # takes nothing from who lives
        assert bench["other"].run(["hostname"]).stdout == "other\n"
    assert f"{PREFIX}-{os.getpid()}-" not in ip("netns", "list")


def test_what_is_missing_is_named(monkeypatch):
    assert missing() == ""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert missing().startswith("not root: network namespaces need CAP_NET_ADMIN")
    monkeypatch.setenv("PATH", "/nowhere")
    assert missing().startswith("no command ip, unshare, mount, hostname (Debian's iproute2")
