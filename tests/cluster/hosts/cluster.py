"""The cluster that deploy/scheduler.toml describes, over the hosts of a bench: its own commands, each where it says.

Every host has a directory with its own certificate, as a machine has; the directory of runs is shared.
"""

import os
import re
import shutil
import sys
from pathlib import Path

from tests.cluster.faults import pace
from tests.cluster.hosts import slow
from tests.conftest import ROOT, wait_until

PLACE = ROOT / "deploy" / "scheduler.toml"
HEAD, WORKERS, CLIENT = "head", ("worker1", "worker2", "worker3"), "client"
ROLES = {HEAD: "scheduler", CLIENT: "client", **dict.fromkeys(WORKERS, "worker")}
# The file says 8GB, which three workers on one test machine may not find.
WORKER_SETTINGS = f"--memory-limit 3GB --preload {slow.__name__}"
PATIENCE = 240.0  # seconds: the machine may be busy


def documented(words):
    """The commands in the deployment file's comments that contain some words, as a text for a shell."""
    lines = PLACE.read_text().splitlines()
    text = "\n".join(line[6:] if line.startswith("#     ") else "" for line in lines)
    [block] = [block for block in re.split(r"\n{2,}", text) if words in block]
    return block


class HostCluster:
    """Scheduler, workers and client, each on a host of its own, with a directory `base`/<host> for itself."""

    def __init__(self, bench, base):
        self.bench, self.base = bench, base
        self.notes = base / "notes"  # what the workers begin and end
        self.notes.mkdir()
        for name in bench:
            self.directory(name).mkdir()
        self._certify()

    # --- hosts ------------------------------------------------------------------------------------------------------

    def directory(self, host):
        """Where a host's commands run."""
        return self.base / host

    def log(self, host):
        """What the commands that were started in a host have printed."""
        file = self.base / f"{host}.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def run(self, host, *command):
        """Run a command in a host to its end."""
        return self.bench[host].run(
            command, cwd=self.directory(host), env=self._environment(), check=False, timeout=PATIENCE
        )

    def start(self, host, *command, log=None, **settings):
        """Start a command in a host."""
        log = log or self.base / f"{host}.log"
        return self.bench[host].start(command, log, cwd=self.directory(host), env=self._environment(), **settings)

    def listening(self, host):
        """(address, port) of everything that waits for connections in a host."""
        told = self.bench[host].run(["ss", "--tcp", "--listening", "--numeric", "--no-header"]).stdout
        return {tuple(line.split()[3].rsplit(":", 1)) for line in told.splitlines()}

    # --- the cluster ------------------------------------------------------------------------------------------------

    def start_all(self):
        """The scheduler and the workers, by the commands of the deployment file."""
        self.start(HEAD, "bash", "-c", documented("dask scheduler"))
        wait_until(lambda: "Scheduler at:" in self.log(HEAD), "the scheduler does not start", PATIENCE)
        worker = documented("dask worker").replace("--memory-limit 8GB", WORKER_SETTINGS)
        assert WORKER_SETTINGS in worker
        for host in WORKERS:
            self.start(host, "bash", "-c", worker)
        self.wait_for_workers()

    def wait_for_workers(self):
        """Wait until every worker's host is there."""
        wait_until(lambda: self.registered() == len(WORKERS), f"workers do not come: {self.log(HEAD)}", PATIENCE)

    def registered(self):
        """How many workers the scheduler knows, as it tells itself."""
        there = set()
        for event, address in re.findall(r"(Register|Remove) worker addr: (\S+)", self.log(HEAD)):
            (there.add if event == "Register" else there.discard)(address)
        return len(there)

    def dnuc_run(self, job, out, on="deploy/scheduler.toml"):
        """The arguments of `dnuc run`, for the client's host."""
        return ("dnuc", "run", str(job), "--on", str(on), "--out", str(out))

    def place(self, name, text):
        """A deployment file on the client's host."""
        path = self.directory(CLIENT) / "deploy" / f"{name}.toml"
        path.write_text(text)
        return path

    def forget(self):
        """Begin to count anew what the workers do."""
        for file in self.notes.glob("*"):
            file.unlink()

    def tiles(self):
        """How many tiles the workers have finished."""
        return pace.done(self.notes, "tile")

    def repeated(self):
        """How often blocks, tiles and layers were begun that had been begun before."""
        return pace.counted(self.notes)[1]

    def _environment(self):
        """Of a user who has installed dnuc."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), pace.HOME: str(self.notes)}

    def _certify(self):
        """On the client's machine, as the deployment file says; each machine gets ca.pem and its own two files."""
        place = self.directory(CLIENT) / "deploy"
        place.mkdir()
        shutil.copy(PLACE, place)
        made = self.run(CLIENT, "bash", "-c", documented("dnuc certs"))
        assert made.returncode == 0, made.stderr
        for host in self.bench:
            if host != CLIENT:
                (self.directory(host) / "certs").mkdir()
                for name in ("ca.pem", f"{ROLES[host]}.pem", f"{ROLES[host]}-key.pem"):
                    shutil.copy(place / "certs" / name, self.directory(host) / "certs")
        for file in place.glob("certs/*"):  # the others' keys, and the authority's, do not stay on the client
            if file.name not in ("ca.pem", "client.pem", "client-key.pem"):
                file.unlink()
