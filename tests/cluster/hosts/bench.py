"""Several hosts on one machine: network namespaces with a name and an address each, joined by a switch.

    with hosts("head", "client") as bench:
        bench["head"].run(["hostname"])

A host has its own loopback address, ports and host name, and reaches the others alone; files and processes are those of
this machine, so a run directory is shared as on a cluster. What a test leaves behind when it is killed, the next bench
removes.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

NETWORK = "10.77.0"
PREFIX = "dnuc"
DOMAIN = "example"
CLONE_NEWNET = 0x40000000
# In the new namespaces: a host name, names of the other hosts, and then the command in place of the shell.
ENTER = 'hostname "$0" && mount --bind "$1" /etc/hosts && shift && exec "$@"'


def ip(*arguments):
    """The output of iproute2's `ip`."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def missing():
    """What this machine lacks for a bench, in words; "" if nothing."""
    if absent := [name for name in ("ip", "unshare", "mount", "hostname") if not shutil.which(name)]:
        return f"no command {', '.join(absent)} (Debian's iproute2, util-linux, mount, hostname)"
    if os.geteuid() != 0:
        return "not root: network namespaces need CAP_NET_ADMIN and CAP_SYS_ADMIN"
    try:
        with hosts("probe") as bench:
            bench["probe"].run(["true"])
    except (OSError, subprocess.CalledProcessError) as error:
        return f"network namespaces are not permitted here ({getattr(error, 'stderr', '') or error})"
    return ""


class Host:
    """A host of a bench."""

    def __init__(self, name, number, bench, names):
        self.name, self.address = name, f"{NETWORK}.{number}"
        self.namespace, self._switch, self._names = f"{bench}-{name}", f"{bench}-switch", names
        self._port = f"port{number}"
        self.processes = []  # that were started here

    def __repr__(self):
        return f"Host({self.name}, {self.address})"

    def create(self):
        """The namespace, with one network card whose other end is in the switch."""
        ip("netns", "add", self.namespace)
        ends = ("eth0", "netns", self.namespace, "type", "veth", "peer", "name", self._port)
        ip("link", "add", *ends, "netns", self._switch)
        ip("-n", self._switch, "link", "set", self._port, "master", "switch", "up")
        ip("-n", self.namespace, "address", "add", f"{self.address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            ip("-n", self.namespace, "link", "set", device, "up")

    def command(self, command):
        """What runs a command in this host, as an argument list."""
        enter = ["ip", "netns", "exec", self.namespace, "unshare", "--uts", "--mount", "sh", "-c", ENTER]
        return [*enter, self.name, str(self._names), *map(str, command)]

    def run(self, command, *, check=True, timeout=200, **settings):
        """Run a command in this host to its end; its output is text."""
        return subprocess.run(
            self.command(command), check=check, timeout=timeout, capture_output=True, text=True, **settings
        )

    def start(self, command, log, **settings):
        """Start a command in this host; it ends with the bench at the latest. What it prints is added to a file."""
        with open(log, "ab") as file:
            process = subprocess.Popen(
                self.command(command), stdout=file, stderr=file, start_new_session=True, **settings
            )
        self.processes.append(process)
        return process

    def enter(self):
        """Move this process, and all that it starts from now on, into the network of this host."""
        with open(f"/run/netns/{self.namespace}") as file:
            if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"cannot enter {self.namespace}")

    def cut(self):
        """Pull the network cable at the switch: packets get lost both ways, and no connection is told."""
        ip("-n", self._switch, "link", "set", self._port, "down")

    def join(self):
        """Plug it in again."""
        ip("-n", self._switch, "link", "set", self._port, "up")


@contextmanager
def hosts(*names):
    """Hosts by their names (at most 15 letters each); all that runs in them is killed at the end."""
    sweep()
    bench = f"{PREFIX}-{os.getpid()}-{_started(os.getpid())}-{time.monotonic_ns()}"
    table = Path(f"/run/{bench}.hosts")
    found = {name: Host(name, number, bench, table) for number, name in enumerate(names, start=1)}
    lines = [f"{host.address} {host.name}.{DOMAIN} {host.name}" for host in found.values()]
    with ExitStack() as stack:
        stack.callback(_reap, found.values())
        stack.callback(_remove, bench)
        table.write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))
        ip("netns", "add", f"{bench}-switch")
        ip("-n", f"{bench}-switch", "link", "add", "switch", "type", "bridge")
        ip("-n", f"{bench}-switch", "link", "set", "switch", "up")
        for host in found.values():
            host.create()
        yield found


def sweep():
    """Remove the benches of processes that were killed."""
    for bench in _benches():
        _, pid, started, _ = bench.split("-")
        if _started(int(pid)) != int(started):
            _remove(bench)


def _benches():
    namespaces = [line.split()[0] for line in ip("netns", "list").splitlines()]
    namespaces += [f"{path.stem}-" for path in Path("/run").glob(f"{PREFIX}-*.hosts")]
    parts = {tuple(name.split("-")[:4]) for name in namespaces if name.startswith(f"{PREFIX}-")}
    return sorted("-".join(four) for four in parts)


def _started(pid):
    """When a process began, which tells it from a later one of the same number; -1 if there is none."""
    with suppress(psutil.NoSuchProcess):
        return int(psutil.Process(pid).create_time())
    return -1


def _remove(bench):
    for name in [line.split()[0] for line in ip("netns", "list").splitlines()]:
        if name.startswith(f"{bench}-"):
            _empty(name)
            ip("netns", "delete", name)
    Path(f"/run/{bench}.hosts").unlink(missing_ok=True)


def _empty(namespace):
    """Kill all that runs in a namespace, also what is started meanwhile."""
    end = time.monotonic() + 30
    while pids := [int(pid) for pid in ip("netns", "pids", namespace).split()]:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
        if time.monotonic() > end:
            raise OSError(f"processes in {namespace} do not end: {pids}")


def _reap(hosts):
    """Take note of the ends of processes that were started from here."""
    for host in hosts:
        for process in host.processes:
            process.wait(30)
            if process.stdin:
                process.stdin.close()
