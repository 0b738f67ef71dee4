"""A Kubernetes cluster with Dask's operator: scheduler and workers in pods, from a DaskCluster manifest."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import tomli_w
from distributed import Client
from pydantic import Field

from dnuc.cluster.deployment import Capacity, require_tls
from dnuc.cluster.places.manifests import CERTS, SETTINGS, address, cluster_manifest, job_manifests
from dnuc.cluster.places.optional import need
from dnuc.cluster.places.workers import Workers
from dnuc.cluster.submission import Order, Receipt, call, receipt
from dnuc.errors import ResourceError
from dnuc.job import read_job

OPERATOR = 'kind = "kubernetes"'
Label = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=53)]


class Kubernetes(Workers):
    """Pods that are made for the run and removed after it.

    The client needs the run directory and the data under the same path as the pods: run it in a pod that mounts the
    volume (as `dnuc submit` does, with a DaskJob), or mount the volume on this machine too.
    """

    kind: Literal["kubernetes"] = "kubernetes"
    workers: Annotated[int, Field(ge=1)]  # pods
    image: str  # as deploy/containers/ builds it
    name: Label = "dnuc"  # of the DaskCluster
    namespace: Label = "default"
    claim: Label  # PersistentVolumeClaim with data and run directories, ReadWriteMany
    mount: Annotated[str, Field(pattern=r"^/")] = "/data"  # where it is mounted in every pod
    secret: Label = "dnuc-certs"
    store_secret: Label | None = None  # its keys become environment variables: credentials of an object store
    gpus: Annotated[int, Field(ge=0)] = 0  # of a worker
    user: Annotated[int, Field(ge=1)] = 1000  # user and group of all processes, who own the files on the volume
    wait: str = "600s"  # for the first worker

    def check(self) -> None:
        super().check()
        require_tls(self, "pods")

    def capacity(self) -> Capacity:
        return self.size(self.workers)

    @property
    def sees_run_directory(self) -> bool:
        return False  # it is on a volume of the cluster

    def submit(self, order: Order) -> Receipt:
        """A DaskJob: a cluster of its own, and a pod for the client; submitted by kubectl."""
        name = job_name(order.name)
        manifests = job_manifests(self, name, run_command(order), self._files(order, name))
        call("kubectl", "create", "--filename", "-", given=json.dumps(manifests))
        pods = f"kubectl --namespace {self.namespace} "
        return receipt(
            "kubernetes",
            f"{name} in {self.namespace}",
            f"{pods}get daskjob {name}",
            f"{pods}logs --follow {name}-runner",
        )

    def _files(self, order: Order, name: str) -> dict[str, str]:
        """The job, and the deployment as the client's pod sees it: a scheduler that starts beside it."""
        certs = {"ca": f"{CERTS}/ca.pem", "cert": f"{CERTS}/client.pem", "key": f"{CERTS}/client-key.pem"}
        place: dict[str, Any] = {
            "kind": "scheduler",
            "address": address(self, name),
            "timeout": self.wait,
            "wait": self.wait,
        }
        place |= {"cores": self.cores, "device": self.device, "insecure": self.insecure}
        place |= {} if self.tls is None else {"tls": certs}
        job = read_job(order.job).model_dump(mode="json", exclude_none=True)
        return {"job.toml": tomli_w.dumps(job), "place.toml": tomli_w.dumps(place)}

    @contextmanager
    def connect(self) -> Iterator[Client]:
        need("dask_kubernetes", "kubernetes", OPERATOR)
        try:
            address = asyncio.run(_create(cluster_manifest(self), self.name, self.namespace, self.patience))
            security = None if self.tls is None else self.tls.security()
            # the operator's own address is always tcp://, also of a scheduler that speaks TLS
            where = address if self.tls is None else address.replace("tcp://", "tls://", 1)
            with Client(where, security=security, timeout="60s") as client:
                yield client
        finally:
            asyncio.run(_delete(self.name, self.namespace))


def job_name(name: str) -> str:
    """The name of a job as Kubernetes takes it, with something that no other has.

    >>> job_name("Fashion_MNIST")[:19]
    'dnuc-fashion-mnist-'
    """
    plain = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")[:36].strip("-")
    return f"dnuc-{plain}-{uuid.uuid4().hex[:6]}"


def run_command(order: Order) -> list[str]:
    """`dnuc run` in the client's pod. A run that was cancelled ends well, or the pod would start it again."""
    command = ["dnuc", "run", f"{SETTINGS}/job.toml", "--on", f"{SETTINGS}/place.toml", "--out", str(order.run)]
    return ["sh", "-c", '"$@" || [ $? -eq 130 ]', "dnuc", *command]


def _dask_cluster() -> Any:
    from kr8s.asyncio.objects import new_class

    return new_class("DaskCluster", "kubernetes.dask.org/v1", asyncio=True)


async def _create(manifest: dict[str, Any], name: str, namespace: str, timeout: float) -> str:
    """Ask for the cluster, and wait until its scheduler runs; returns its address as seen from here."""
    import kr8s
    from dask_kubernetes.operator.networking import get_scheduler_address, wait_for_scheduler

    try:
        cluster = await _dask_cluster()(manifest, namespace=namespace)
        await cluster.create()
        await asyncio.wait_for(wait_for_scheduler(name, namespace, timeout=timeout), timeout)
        return str(await get_scheduler_address(f"{name}-scheduler", namespace))
    except TimeoutError:
        raise ResourceError(
            f"the pod of scheduler {name!r} in namespace {namespace!r} does not run after {timeout:.0f} s: see "
            f"`kubectl --namespace {namespace} describe pods --selector dask.org/cluster-name={name}`. Is Dask's "
            "operator installed, are there nodes for it, and is the image there?"
        ) from None
    except (kr8s.ServerError, kr8s.APITimeoutError, kr8s.ConnectionClosedError, OSError, ValueError) as error:
        raise ResourceError(
            f"Kubernetes refused DaskCluster {name!r} in namespace {namespace!r}: {error}. Is `kubectl` set up on this "
            "machine, Dask's operator installed (helm install --repo https://helm.dask.org dask-kubernetes-operator), "
            "and no other run of this name active?"
        ) from None


async def _delete(name: str, namespace: str) -> None:
    import kr8s

    try:
        cluster = await _dask_cluster().get(name, namespace=namespace)
        await cluster.delete()
    except (kr8s.NotFoundError, kr8s.ServerError, OSError, ValueError):
        pass  # it never was, or is gone with the machine that held it
