"""The kinds of places where a job runs, one a module, and how `--on` names one."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import ValidationError

from dnuc.cluster.deployment import Deployment
from dnuc.cluster.places.gpu_node import GpuNode
from dnuc.cluster.places.kubernetes import Kubernetes
from dnuc.cluster.places.local import Local
from dnuc.cluster.places.mpi import Mpi
from dnuc.cluster.places.scheduler import Scheduler
from dnuc.cluster.places.slurm import Slurm
from dnuc.errors import JobError, closest

ADDRESS = ("tcp://", "tls://", "ws://", "wss://", "inproc://")
KINDS: dict[str, type[Deployment]] = {
    "local": Local,
    "gpu-node": GpuNode,
    "scheduler": Scheduler,
    "slurm": Slurm,
    "mpi": Mpi,
    "kubernetes": Kubernetes,
}


def read_deployment(on: str | Path | None) -> Deployment:
    """The deployment that `--on` names.

    Parameters
    ----------
    on : None, address, .json or .toml
        None: this machine. An address such as tls://10.0.0.1:8786, the scheduler file (.json) that
        `dask scheduler --scheduler-file` wrote, or a deployment file (.toml), whose paths are relative to itself.

    Raises
    ------
    JobError
        If it is none of these, the file is missing, or it has unknown keys.
    """
    if on is None:
        return Local()
    text = str(on)
    if text.startswith(ADDRESS):
        return Scheduler(address=text)
    path = Path(text)
    if path.suffix not in (".toml", ".json"):
        raise JobError(
            f"--on {text!r}: give a scheduler address ({', '.join(ADDRESS[:2])}host:port), a scheduler file (.json) or "
            "a deployment file (.toml), e.g. deploy/local.toml"
        )
    if not path.is_file():
        raise JobError(f"--on {text!r}: no such file")
    if path.suffix == ".json":
        return Scheduler(file=path.resolve())
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise JobError(f"--on {text!r} is not valid TOML: {error}") from None
    return _parse(content, text, path.parent)


def _parse(content: dict[str, object], where: str, base: Path) -> Deployment:
    kind = content.get("kind")
    if kind not in KINDS:
        raise JobError(f"{where}: kind = {kind!r}; {closest(str(kind), KINDS)}")
    place = KINDS[str(kind)]
    try:
        return place.model_validate(content, context={"base": base.resolve()})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(p) for p in first["loc"])
        if first["type"] == "extra_forbidden":
            allowed = ("ca", "cert", "key") if key.startswith("tls.") else place.model_fields
            raise JobError(f"{where}: unknown key {key!r}; {closest(key.rpartition('.')[2], allowed)}") from None
        message = first["msg"].removeprefix("Value error, ")
        given = f"{key}: {message} (given: {first.get('input')!r})" if key else message
        raise JobError(f"{where}: {given}") from None
