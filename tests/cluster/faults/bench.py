"""A real cluster on this machine, each part a process of its own, that is brought to a moment of a run.

The scheduler and the workers (with a nanny, which starts a dead one again) are those of Dask's command line, the client
is `dnuc run`. Nothing is simulated but time: tasks take longer than they need (pace.py), so that there is a middle.
"""

import importlib
import os
import re
import shutil
import signal
import sys
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

import psutil
from distributed.utils import get_mp_context
from torch import nn
from typer.testing import CliRunner

from dnuc.cli import app
from dnuc.pipeline import run_job
from dnuc.store import RunStore, stage_group
from tests.cluster.faults import pace
from tests.cluster.processes import end, scheduler, start
from tests.conftest import compute_here, digits_job, wait_until, write_page, written_job

LAYERS = ("input", "first", "second", "third", "fourth", "head")
STAGES = {  # what begins with each of them
    "extraction": ("activations", "neighbors", "measures", "landscape", "dimension"),
    "neighbors": ("neighbors", "measures", "landscape", "dimension"),
    "landscape": ("landscape",),
}
PATIENCE = 240.0  # seconds: the machine may be busy


class Net(nn.Module):
    """Five small layers."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(64, 40)
        self.second, self.third, self.fourth = (nn.Linear(40, 40) for _ in range(3))
        self.head = nn.Linear(40, 3)

    def forward(self, x):
        x = self.first(x.flatten(1))
        for layer in (self.second, self.third, self.fourth):
            x = layer(x.relu())
        return self.head(x.relu())


def job(base):
    """240 digits in 8 blocks, 6 layers of 10 tiles each."""
    model = {"name": "net", "architecture": "tests.cluster.faults.bench:Net", "weights": "random"}
    data = {"source": "digits", "classes": 3, "images_per_class": 80}
    activations, neighbors = {"block": 32, "batch_size": 32}, {"k": 8, "block": 64}
    return digits_job(
        base, name="faults", data=data, model=[model | {"layers": LAYERS}], activations=activations, neighbors=neighbors
    )


@dataclass(frozen=True)
class Moment:
    """When so many different tasks of a kind have ended."""

    stage: str
    task: str  # how the names of its tasks begin
    count: int


MOMENTS = {
    "extraction": (Moment("extraction", "extract", 1), Moment("extraction", "extract", 5)),
    "neighbors": (Moment("neighbors", "tile", 4), Moment("neighbors", "tile", 45)),
    "landscape": (Moment("landscape", "landscape", 1), Moment("landscape", "landscape", 3)),
}


class Calm:
    """The job, and a run of it that nothing disturbed."""

    def __init__(self, base, monkeypatch):
        compute_here(monkeypatch)
        self.job, self.path = job(base), base / "calm"
        run_job(self.job, out=self.path, quiet=True)
        self.file = written_job(self.job, base)

    def before(self, stage, path):
        """What the run directory holds when a stage begins."""
        if stage == "extraction":
            return
        shutil.copytree(self.path, path, dirs_exist_ok=True)
        store = RunStore(path)
        for layer in LAYERS:
            for group in STAGES[stage]:
                store.drop(stage_group("net", layer, group))
        store.drop("models/net/overlaps") if "measures" in STAGES[stage] else None


class Bench:
    """The cluster, its client, and what they have told.

    Attributes
    ----------
    path : the run directory.
    home : where notes and logs are.
    client : the process of `dnuc run`, if one is there.
    versions : that the workers claim to have; None for the truth.
    """

    def __init__(self, calm, home, settings=None):
        self.calm, self.home, self.path = calm, home, home / "volume" / "run"
        self.path.parent.mkdir(parents=True)
        self.client, self.attempts, self.versions, self._settings = None, 0, None, settings or {}
        self.slower = None  # the thread that slows a worker
        self._parts = ExitStack()
        self.start_cluster()

    # --- processes ----------------------------------------------------------------------------------------------

    def start_cluster(self, workers=2):
        """A scheduler and workers; those of before are gone."""
        self._parts.close()
        self._parts = ExitStack()
        self.scheduler, self.address = self._parts.enter_context(scheduler(self.home, settings=self._settings))
        arguments = (
            *(self.address, "--nworkers", workers, "--nthreads", 1, "--memory-limit", "2GiB", "--host", "127.0.0.1"),
            *("--no-dashboard", "--preload", pace.__name__, "--local-directory", self.home / "scratch"),
        )
        self.nanny = start("dask_worker", arguments, self.home / "workers.txt", environment={pace.HOME: str(self.home)})
        self._parts.callback(end, self.nanny)
        wait_until(lambda: len(self.workers) == workers, self.log("workers"), PATIENCE)

    def mend(self):
        """What an earlier test may have broken."""
        if not (self.scheduler.is_alive() and self.nanny.is_alive() and len(self.workers) == 2):
            self.start_cluster()

    @property
    def workers(self):
        """Numbers of the worker processes that live."""
        living = []
        for pid in map(int, pace.notes(self.home, "workers")):
            with suppress(psutil.NoSuchProcess):
                if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                    living.append(pid)
        return living

    def start_client(self, *options):
        """`dnuc run`, for the first time or again."""
        self.attempts += 1
        self.client = self._command(f"client-{self.attempts}", options)

    def _command(self, log, options=()):
        arguments = ["run", str(self.calm.file), "--on", self.address, "--out", str(self.path), *options]
        process = get_mp_context().Process(target=_dnuc, args=(arguments, self.home / f"{log}.txt", self.versions))
        process.start()
        return process

    def second_client(self):
        """The same command beside the first; what it said and how it ended."""
        process = self._command("second")
        process.join(PATIENCE)
        return process.exitcode, self.log("second")

    def ended(self):
        """Wait for the client's end: (exit code, what it printed)."""
        self.client.join(PATIENCE)
        code, self.client = self.client.exitcode, None
        assert code is not None, f"the run does not end: {self.said}"
        return code, self.said

    def log(self, name):
        """What a process has printed."""
        file = self.home / f"{name}.txt"
        return file.read_text(errors="replace") if file.exists() else ""

    @property
    def said(self):
        """What the client that runs has printed until now."""
        return self.log(f"client-{self.attempts}")

    def status(self):
        """What `dnuc status` tells of the run."""
        return CliRunner().invoke(app, ["status", str(self.path)]).output

    def everything(self):
        """Numbers of all processes: the client's first."""
        roots = [p for p in (self.client, self.scheduler, self.nanny) if p is not None and p.is_alive()]
        return [pid for p in roots for pid in (p.pid, *(c.pid for c in psutil.Process(p.pid).children(recursive=True)))]

    def close(self):
        """End whatever is left."""
        for pid in self.workers:
            os.kill(pid, signal.SIGCONT)
        if self.client is not None:
            end(self.client)
        self._parts.close()

    # --- a run --------------------------------------------------------------------------------------------------

    def begin(self, stage):
        """A run directory in which a stage is the next one, and no notes."""
        shutil.rmtree(self.path, ignore_errors=True)
        for kind in ("begun", "done", pace.HUNGRY):
            (self.home / kind).unlink(missing_ok=True)
        for file in self.home.glob("client-*.txt"):
            file.unlink()
        self.attempts, self.stage, self.versions = 0, stage, None
        self.calm.before(stage, self.path)

    def reach(self, moment):
        """Wait until the run has come to a moment."""
        wait_until(
            lambda: pace.done(self.home, moment.task) >= moment.count or not self.client.is_alive(),
            f"{moment} does not come: {self.said}",
            PATIENCE,
        )
        assert self.client.is_alive(), f"the run ended before {moment}: {self.said}"

    def counted(self):
        """Blocks, tiles and tasks of a layer that were begun, and that were begun once more than needed."""
        return pace.counted(self.home)


def _dnuc(arguments, log, versions):
    """In the new process: the command line. What it prints goes to a file."""
    import dnuc.pipeline
    from dnuc.cli import main
    from dnuc.cluster import silence

    os.setsid()
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    dnuc.pipeline.write_report = write_page  # figures have tests of their own
    silence.UNHEARD, silence.LOOK_EVERY = 5.0, 1.0
    if versions is not None:
        importlib.import_module("dnuc.cluster.connect").common_versions = lambda client: versions
    sys.argv = ["dnuc", *arguments]
    main()


@contextmanager
def bench(calm, home, settings=None):
    """A bench whose processes are gone afterwards."""
    found = Bench(calm, home, settings)
    try:
        yield found
    finally:
        found.close()


def one_line(text):
    """What was printed, without the wrapping of a terminal."""
    return re.sub(r"\s+", " ", text).strip()
