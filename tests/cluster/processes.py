"""Schedulers and workers as a cluster has them: processes of their own, started with Dask's command line."""

import importlib
import json
import os
import signal
import sys
from contextlib import ExitStack, contextmanager

import dask
import psutil
from distributed.utils import get_mp_context

from tests.conftest import wait_until


def _main(module, arguments, log, settings, environment):
    """In the new process: the command line of `module`. What it prints goes to a file."""
    os.setsid()
    os.environ.update(environment)
    dask.config.set({"distributed.worker.multiprocessing-method": "forkserver", **settings})
    get_mp_context().set_forkserver_preload(["distributed", "dnuc.pipeline"])  # for what a nanny starts
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = [module, *arguments]
    importlib.import_module(f"distributed.cli.{module}").main(arguments)


def start(module, arguments, log, settings=None, environment=None):
    """A command line of Dask, forked from a process that has imported all of it; `settings` are of Dask."""
    told = (module, [str(a) for a in arguments], log, settings or {}, environment or {})
    process = get_mp_context().Process(target=_main, args=told)
    process.start()
    return process


def end(process):
    """Kill a process and whatever it started."""
    family = [process.pid]
    if psutil.pid_exists(process.pid):
        family += [p.pid for p in psutil.Process(process.pid).children(recursive=True)]
    for pid in family:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.join()


@contextmanager
def scheduler(directory, *options, settings=None):
    """A scheduler on the loopback address: (process, address). `options` are of `dask scheduler`."""
    file, log = directory / "scheduler.json", directory / "scheduler.txt"
    file.unlink(missing_ok=True)  # of an earlier one
    where = ("--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0", "--scheduler-file", file)
    process = start("dask_scheduler", (*where, *options), log, settings)
    try:
        # Dask writes the file in place: it may be there and still be empty
        wait_until(lambda: (file.exists() and file.read_text().endswith("}")) or not process.is_alive())
        assert file.exists(), log.read_text()
        yield process, json.loads(file.read_text())["address"]
    finally:
        end(process)


@contextmanager
def worker(directory, address, *options):
    """A worker of one thread."""
    settings = ("--nthreads", "1", "--memory-limit", "2GiB", "--no-nanny", "--host", "127.0.0.1")
    dashboard = ("--no-dashboard", "--dashboard-address", "127.0.0.1:0")
    process = start("dask_worker", (address, *settings, *dashboard, *options), directory / "worker.txt")
    try:
        yield process
    finally:
        end(process)


@contextmanager
def cluster(directory, scheduler_options=(), worker_options=()):
    """A scheduler and a worker, as (scheduler process, address)."""
    with ExitStack() as stack:
        process, address = stack.enter_context(scheduler(directory, *scheduler_options))
        stack.enter_context(worker(directory, address, *worker_options))
        yield process, address
