"""`dnuc submit` and `dnuc cancel`: runs that nobody waits for."""

from __future__ import annotations

from pathlib import Path

from dnuc.cluster import Deployment, read_deployment
from dnuc.cluster.submission import Order, Receipt, read_receipt, withdraw
from dnuc.errors import ResourceError, StoreError
from dnuc.job import read_job
from dnuc.location import Location, ObjectPath, locate
from dnuc.store import RunStore, cancel, holder


def submit_job(job: Path, on: str | Path | None = None, out: str | Location | None = None) -> tuple[Receipt, Location]:
    """Start a run detached: what was started, and its directory.

    What `dnuc run` would refuse before it starts workers, is refused here.

    Raises
    ------
    DnucError
        If the job or the deployment is wrong, the directory is in use, or the batch system refuses.
    """
    settings, deployment = read_job(job), read_deployment(on)
    deployment.check()
    path = (locate(out) if out is not None else Path("runs") / settings.name).absolute()
    place = None if on is None else str(on) if "://" in str(on) else str(Path(on).absolute())
    order = Order(settings.name, job.absolute(), place, path)
    if deployment.sees_run_directory or isinstance(path, ObjectPath):
        _prepare(order, deployment)
    submitted = deployment.submit(order)
    if path.is_dir():
        submitted.write(path)
    return submitted, path


def _prepare(order: Order, deployment: Deployment) -> None:
    """Refuse what would be refused later, and make the run directory."""
    capacity = deployment.capacity() if deployment.sees_run_directory else None  # else it sees no data either
    if capacity is not None:
        from dnuc.plan import plan_within  # PyTorch takes seconds to import

        plan_within(read_job(order.job), capacity)
    owner = holder(order.run) if isinstance(order.run, ObjectPath) or order.run.is_dir() else None
    if owner is not None:
        raise StoreError(f"{order.run} is in use by process {owner['pid']} on {owner['host']}: `dnuc cancel` ends it")
    RunStore.create(order.run)


def cancel_run(path: str | Location, *, wait: float = 60.0, force: bool = False) -> str:
    """End the run of a directory, whether it is active, waits in a queue or is just starting; says what was done.

    Raises
    ------
    StoreError
        If it is no run directory, or the run does not end in time.
    ResourceError
        If it waits in a queue that this machine cannot reach.
    """
    path = RunStore.open(path).path
    submitted = read_receipt(path)
    ended = cancel(path, wait=wait, force=force)
    withdrawn = None
    if submitted is not None and (ended is None or submitted.by != "process"):
        withdrawn = _withdraw(submitted, ended is not None)
    told = [text for text in (ended, withdrawn) if text is not None]
    return "; ".join(told) if told else f"nothing runs in {path}, and nothing waits to"


def _withdraw(submitted: Receipt, ended: bool) -> str | None:
    """A run that was ended needs no withdrawal on a machine that cannot do it: its job ends by itself."""
    try:
        return withdraw(submitted)
    except ResourceError:
        if ended:
            return None
        raise
