"""The only door to distributed: where tasks run, in a bounded window, and how far they are."""

from dnuc.cluster.connect import Cluster, connect, on_worker, tell
from dnuc.cluster.deployment import WORKER_ENVIRONMENT, Capacity, Deployment
from dnuc.cluster.performance import performance_report
from dnuc.cluster.places import GpuNode, Kubernetes, Local, Mpi, Scheduler, Slurm, read_deployment
from dnuc.cluster.progress import Progress, read_progress
from dnuc.cluster.window import Task, run_tasks

__all__ = [
    "WORKER_ENVIRONMENT",
    "Capacity",
    "Cluster",
    "Deployment",
    "GpuNode",
    "Kubernetes",
    "Local",
    "Mpi",
    "Progress",
    "Scheduler",
    "Slurm",
    "Task",
    "connect",
    "on_worker",
    "performance_report",
    "read_deployment",
    "read_progress",
    "run_tasks",
    "tell",
]
