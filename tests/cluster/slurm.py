"""SLURM itself (Debian's slurm-wlm) on this machine: one node, one partition, in a directory of its own."""

import os
import shutil
import socket
import subprocess
from contextlib import contextmanager

import pytest

from tests.conftest import wait_until

NEEDED = ("slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
needs_slurm = pytest.mark.skipif(
    "CI" not in os.environ and not all(shutil.which(name) for name in NEEDED), reason="needs SLURM (Debian's slurm-wlm)"
)

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/none
AuthInfo=cred_expire=5
CredType=cred/none
SlurmUser={user}
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd.pid
SlurmctldParameters=enable_configless
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=requeue_delay=0,bf_interval=1,sched_interval=1,batch_sched_delay=0
ReturnToService=2
MpiDefault=none
KillWait=5
MinJobAge=600
NodeName={host} NodeAddr=127.0.0.1 CPUs=64 RealMemory=1000000 State=UNKNOWN
PartitionName=normal Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(count):
    """Ports that are free now."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def run(*command, **environment):
    """The output of a command."""
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=True, timeout=60
    ).stdout


@contextmanager
def slurm(directory):
    """A controller and a node; yields the path of their configuration, for SLURM_CONF."""
    host = socket.gethostname().partition(".")[0]
    for name in ("state", "spool"):
        (directory / name).mkdir()
    file = directory / "slurm.conf"
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    file.write_text(CONFIGURATION.format(host=host, ports=free_ports(2), user=user, directory=directory))
    environment = {**os.environ, "SLURM_CONF": str(file)}
    commands = (["slurmctld", "-D", "-f", file], ["slurmd", "-D", "-N", host, "-f", file])
    with open(directory / "log.txt", "w") as log:
        daemons = [subprocess.Popen(c, env=environment, stdout=log, stderr=log) for c in commands]
    try:
        wait_until(lambda: "idle" in _nodes(file), f"SLURM does not start: see {directory}/log.txt")
        yield file
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            daemon.wait(30)


def _nodes(file):
    told = subprocess.run(
        ["sinfo", "--noheader", "--format=%t"],
        env={**os.environ, "SLURM_CONF": str(file)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return told.stdout
