"""What Dask's operator for Kubernetes is asked for: a DaskCluster for a client elsewhere, a DaskJob with its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dask.utils import parse_bytes

from dnuc.cluster.places.workers import WORKER_OPTIONS

if TYPE_CHECKING:
    from dnuc.cluster.places.kubernetes import Kubernetes

API = "kubernetes.dask.org/v1"
PORT = 8786
CERTS, SETTINGS = "/certs", "/settings"  # where the secret, and the files of a job, are mounted
Spec = dict[str, Any]


def cluster_manifest(place: Kubernetes) -> Spec:
    """A DaskCluster: one scheduler, `place.workers` workers."""
    return {
        "apiVersion": API,
        "kind": "DaskCluster",
        **_metadata(place, place.name),
        "spec": _cluster(place, place.name),
    }


def job_manifests(place: Kubernetes, name: str, command: Sequence[str], files: Mapping[str, str]) -> Spec:
    """A DaskJob that runs a command in a pod beside its own cluster, with some small text files under /settings."""
    settings = {"apiVersion": "v1", "kind": "ConfigMap", **_metadata(place, name), "data": dict(files)}
    client = _pod(place, "client", "job", list(command), {"memory": "4Gi", "cpu": "1"})
    client["restartPolicy"] = "OnFailure"  # what is finished is stored, so it goes on where it was
    client["volumes"].append({"name": "settings", "configMap": {"name": name}})
    mounts = client["containers"][0]["volumeMounts"]
    mounts.append({"name": "settings", "mountPath": SETTINGS, "readOnly": True})
    spec = {"job": {"spec": client}, "cluster": {"spec": _cluster(place, name)}}
    job = {"apiVersion": API, "kind": "DaskJob", **_metadata(place, name), "spec": spec}
    return {"apiVersion": "v1", "kind": "List", "items": [settings, job]}


def address(place: Kubernetes, name: str) -> str:
    """Where pods reach the scheduler of a cluster."""
    protocol = "tcp" if place.tls is None else "tls"
    return f"{protocol}://{name}-scheduler.{place.namespace}.svc:{PORT}"


def _metadata(place: Kubernetes, name: str) -> Spec:
    return {"metadata": {"name": name, "namespace": place.namespace}}


def _cluster(place: Kubernetes, name: str) -> Spec:
    return {"worker": _worker(place, name), "scheduler": _scheduler(place, name)}


def _scheduler(place: Kubernetes, name: str) -> Spec:
    protocol = "tcp" if place.tls is None else "tls"
    command = [
        *("dask", "scheduler", "--protocol", protocol, "--port", str(PORT), "--dashboard-address", "127.0.0.1:8787"),
        *_certificates(place, "scheduler"),
    ]
    pod = _pod(place, "scheduler", "scheduler", command, {"memory": "4Gi", "cpu": "2"})
    listens = {"tcpSocket": {"port": "tcp-comm"}, "periodSeconds": 5}  # its pages are on its loopback address
    pod["containers"][0] |= {
        "ports": [{"name": "tcp-comm", "containerPort": PORT, "protocol": "TCP"}],
        "readinessProbe": listens,
        "livenessProbe": {**listens, "initialDelaySeconds": 30, "failureThreshold": 6},
    }
    service = {
        "type": "ClusterIP",
        "selector": {"dask.org/cluster-name": name, "dask.org/component": "scheduler"},
        "ports": [{"name": "tcp-comm", "protocol": "TCP", "port": PORT, "targetPort": "tcp-comm"}],
    }
    return {"spec": pod, "service": service}


def _worker(place: Kubernetes, name: str) -> Spec:
    memory = parse_bytes(place.memory)
    command = [
        *("dask", "worker", address(place, name), "--name", "$(DASK_WORKER_NAME)"),
        *("--nthreads", str(place.threads), "--memory-limit", str(memory)),
        *("--death-timeout", "60"),
        *WORKER_OPTIONS,
        *_certificates(place, "worker"),
    ]
    resources: Spec = {"memory": str(memory), "cpu": str(place.threads * place.cores)}
    if place.gpus:
        resources["nvidia.com/gpu"] = str(place.gpus)
    pod = _pod(place, "worker", "worker", command, resources)
    # the operator would set a tcp:// address; Dask reads this variable where no address is given
    pod["containers"][0]["env"].append({"name": "DASK_SCHEDULER_ADDRESS", "value": address(place, name)})
    return {"replicas": place.workers, "spec": pod}


def _pod(place: Kubernetes, role: str, container: str, command: list[str], resources: Spec) -> Spec:
    """A pod of one container that is nobody in particular and may do nothing to the cluster or the node."""
    pod: Spec = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            **dict.fromkeys(("runAsUser", "runAsGroup", "fsGroup"), place.user),
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": container,
                "image": place.image,
                "command": command,
                "env": [{"name": "HOME", "value": "/tmp"}],
                "resources": {"requests": dict(resources), "limits": dict(resources)},
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": [{"name": "data", "mountPath": place.mount}],
            }
        ],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": place.claim}}],
    }
    if place.store_secret is not None and role != "scheduler":
        pod["containers"][0]["envFrom"] = [{"secretRef": {"name": place.store_secret}}]
    if place.tls is not None:
        mounts, volumes = pod["containers"][0]["volumeMounts"], pod["volumes"]
        mounts.append({"name": "certs", "mountPath": CERTS, "readOnly": True})
        names = ("ca.pem", f"{role}.pem", f"{role}-key.pem")  # each pod gets its own role's, not the others'
        items = [{"key": key, "path": key} for key in names]
        volumes.append({"name": "certs", "secret": {"secretName": place.secret, "defaultMode": 0o440, "items": items}})
    return pod


def _certificates(place: Kubernetes, role: str) -> tuple[str, ...]:
    if place.tls is None:
        return ()
    options = {"ca-file": "ca.pem", "cert": f"{role}.pem", "key": f"{role}-key.pem"}
    return tuple(part for name, file in options.items() for part in (f"--tls-{name}", f"{CERTS}/{file}"))
