"""Several hosts, for real: a scheduler, three workers and a client, each a network namespace with its own certificate.

The commands are those of deploy/scheduler.toml and of a user's shell; `make check-cluster` runs all this.
"""

import re
import subprocess
import sys

import pytest

from tests.cluster import knocking
from tests.cluster.hosts.cluster import CLIENT, HEAD, PATIENCE, WORKERS
from tests.conftest import assert_same_results, wait_until

pytestmark = [pytest.mark.check_cluster, pytest.mark.timeout(900)]
OPEN = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=5).status)"


# --- the same bits ------------------------------------------------------------------------------------------------


@pytest.mark.fashion
@pytest.mark.parametrize("name", ["fashion", "own-arrays"])
def test_a_job_over_five_hosts_finds_the_same_bits(cluster, calm, tmp_path, name):
    job, expected = calm[name]
    cluster.forget()
    done = cluster.run(CLIENT, *cluster.dnuc_run(job, tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert "3 workers, 3 threads" in done.stderr
    assert "through `ssh -N -L 8787:127.0.0.1:8787 head.example`" in done.stderr
    assert done.stdout == f"report: {tmp_path}/run/report/index.html\n"
    assert cluster.repeated() == {"blocks": 0, "tiles": 0, "layers": 0}
    assert_same_results(expected, tmp_path / "run")


# --- who is refused -------------------------------------------------------------------------------------------------


PLAIN = 'kind = "scheduler"\naddress = "tcp://head.example:8786"\ninsecure = true\ntimeout = "5s"\n'
FOREIGN = (
    'kind = "scheduler"\naddress = "tls://head.example:8786"\ntimeout = "5s"\n[tls]\n'
    'ca = "{0}/ca.pem"\ncert = "{0}/client.pem"\nkey = "{0}/client-key.pem"\n'
)


def refusal(cluster, job, out, on):
    """What `dnuc run` says on the client's host; it must be one message, and the run must not have begun."""
    done = cluster.run(CLIENT, *cluster.dnuc_run(job, out, on))
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert not list(out.glob("*/zarr.json"))
    return done.stderr


def test_a_client_without_a_certificate_is_refused(cluster, calm, foreign, tmp_path):
    job = calm["own-arrays"][0]
    for on, told in (
        ("tls://head.example:8786", "error: tls://head.example:8786 needs certificates: `dnuc certs certs` makes"),
        ("tcp://head.example:8786", "error: the Dask scheduler at tcp://head.example:8786 is not encrypted"),
        (cluster.place("plain", PLAIN), "and does it expect TLS (then tls://, with [tls])?"),
        (cluster.place("foreign", FOREIGN.format(foreign.directory)), "CERTIFICATE_VERIFY_FAILED"),
    ):
        assert told in refusal(cluster, job, tmp_path / "run", on)
    assert cluster.registered() == len(WORKERS)


def test_every_port_of_the_cluster_asks_for_a_certificate(cluster):
    """Those of the scheduler, of the nannies and of the workers; what asks for none is on the loopback address."""
    addresses = []
    for host in (HEAD, *WORKERS):
        found = cluster.listening(host)
        reachable = {port for address, port in found if not address.startswith("127.")}
        assert len(reachable) == (1 if host == HEAD else 2), found
        addresses += [f"tls://{cluster.bench[host].address}:{port}" for port in reachable]
    done = cluster.run(CLIENT, sys.executable, knocking.__file__, *addresses)
    answers = done.stdout.splitlines()
    assert len(answers) == len(addresses)
    for answer in answers:
        assert re.match(r"(?i)refused: .*(certificate required|reset|closed|EOF)", answer), done


@pytest.mark.parametrize(("where", "with_foreign"), [("tls", False), ("tcp", False), ("tls", True)])
def test_a_worker_without_a_certificate_does_not_join(cluster, foreign, where, with_foreign):
    """On another host, started with Dask's own command; the cluster stays as it is."""
    address = f"{where}://head.example:8786"
    options = foreign.options("worker") if with_foreign else []
    done = cluster.run(CLIENT, "dask", "worker", address, "--no-dashboard", "--death-timeout", "5", *options)
    assert done.returncode != 0
    assert cluster.registered() == len(WORKERS)
    assert re.search(r"TLS|ssl|Timed out|CommClosedError", done.stderr), done.stderr


# --- dashboards -----------------------------------------------------------------------------------------------------


def page(cluster, host, url):
    """The status of a page, or why it does not open."""
    done = cluster.run(host, sys.executable, "-c", OPEN, url)
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def test_dashboards_open_on_their_own_host_alone(cluster):
    assert page(cluster, HEAD, "http://127.0.0.1:8787/status") == "200"
    assert "refused" in page(cluster, CLIENT, "http://head.example:8787/status")
    for host in WORKERS:
        inside = [port for address, port in cluster.listening(host) if address == "127.0.0.1"]
        assert inside
        for port in inside:
            assert "refused" in page(cluster, CLIENT, f"http://{host}.example:{port}/")


def own_scheduler(cluster, host, port, *options):
    """Another scheduler, without certificates, on a host; until the block ends."""
    log = cluster.base / f"{host}-{port}.log"
    process = cluster.start(host, "dask", "scheduler", "--port", str(port), *options, log=log)
    wait_until(lambda: "dashboard at:" in log.read_text(), log.read_text(), PATIENCE)
    return process


def test_dashboards_that_are_meant_for_others_open_there(cluster):
    """An address that says so; and a worker's pages where nothing says that they are not, as docs/security.md warns."""
    host, own = WORKERS[0], cluster.base / "own.log"
    scheduler = own_scheduler(cluster, host, 9001, "--dashboard-address", ":9002")
    assert page(cluster, CLIENT, f"http://{host}.example:9002/status") == "200"
    before = {port for _, port in cluster.listening(host)}
    settings = ("--no-nanny", "--no-dashboard", "--worker-port", "9003")
    worker = cluster.start(host, "dask", "worker", f"tcp://{host}.example:9001", *settings, log=own)
    wait_until(lambda: "Registered to:" in own.read_text(), f"no worker: {own.read_text()}", PATIENCE)
    [shown] = {port for _, port in cluster.listening(host)} - before - {"9003"}
    assert page(cluster, CLIENT, f"http://{host}.example:{shown}/health") == "200"
    for each in (worker, scheduler):
        each.terminate()
        each.wait(PATIENCE)


LOCAL = """
import sys, time
from dnuc.cluster import Local, Progress, connect
with connect(Local(workers=1, memory="2GiB", dashboard=sys.argv[1]), Progress()) as found:
    print(found.client.dashboard_link, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize(("where", "reachable"), [("127.0.0.1:9003", set()), ("0.0.0.0:9003", {"9003"})])
def test_a_local_cluster_is_seen_from_other_hosts_only_where_that_is_said(cluster, tmp_path, where, reachable):
    log, before = tmp_path / "log.txt", cluster.listening(CLIENT)
    process = cluster.start(CLIENT, sys.executable, "-c", LOCAL, where, log=log, stdin=subprocess.PIPE)
    wait_until(lambda: "/status" in log.read_text(), log.read_text(), PATIENCE)
    found = cluster.listening(CLIENT) - before
    assert len(found) >= 4  # scheduler, dashboard, nanny, worker
    assert {port for address, port in found if not address.startswith("127.")} == reachable
    assert (page(cluster, HEAD, "http://client.example:9003/status") == "200") == bool(reachable)
    process.communicate(timeout=PATIENCE)


# --- what is not encrypted --------------------------------------------------------------------------------------------


FORWARD = """
import socket, sys, threading
def pipe(a, b):
    while data := a.recv(65536):
        b.sendall(data)
    b.close()
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("ready", flush=True)
while True:
    near, _ = server.accept()
    far = socket.create_connection((sys.argv[2], int(sys.argv[3])))
    for pair in ((near, far), (far, near)):
        threading.Thread(target=pipe, args=pair, daemon=True).start()
"""


def test_a_tunnel_does_not_hide_that_a_scheduler_can_be_reached(cluster, calm, tmp_path):
    """The near end of a tunnel is on the loopback address; the scheduler tells where it is itself."""
    scheduler = own_scheduler(cluster, WORKERS[0], 9004, "--dashboard-address", "127.0.0.1:0")
    log = tmp_path / "log.txt"
    tunnel = cluster.start(CLIENT, sys.executable, "-c", FORWARD, "9005", "worker1.example", "9004", log=log)
    wait_until(lambda: "ready" in log.read_text(), log.read_text(), PATIENCE)
    said = refusal(cluster, calm["own-arrays"][0], tmp_path / "run", "tcp://127.0.0.1:9005")
    assert f"error: the Dask scheduler at tcp://{cluster.bench[WORKERS[0]].address}:9004 is not encrypted" in said
    for each in (tunnel, scheduler):
        each.terminate()
        each.wait(PATIENCE)


def test_a_worker_that_others_reach_without_encryption_is_refused(cluster, calm, tmp_path):
    """Its scheduler is on the client's own loopback address, which would be safe; the worker listens to all."""
    scheduler = own_scheduler(cluster, CLIENT, 9006, "--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0")
    options = ("--no-nanny", "--dashboard-address", "127.0.0.1:0", "--host", cluster.bench[CLIENT].address)
    worker = cluster.start(CLIENT, "dask", "worker", "tcp://127.0.0.1:9006", *options)
    said = refusal(cluster, calm["own-arrays"][0], tmp_path / "run", "tcp://127.0.0.1:9006")
    assert f"error: a worker at tcp://{cluster.bench[CLIENT].address}:" in said
    for each in (worker, scheduler):
        each.terminate()
        each.wait(PATIENCE)
