"""The table of faults: what happens to a run, what its user is told, what is done, and how much is computed again.

Each fault happens at every moment of a stage, one after the other in one run, which must end with the same bits as a
run that nothing disturbed. A new fault is a row here; `bench.py` brings the cluster to the moment, `test_faults.py`
runs it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tests.cluster.faults import inflict

TWO = 2  # workers, each of which does one task at a time
AHEAD = 3  # tasks the scheduler has at a time: what was computed and not yet stored cannot be more


@dataclass(frozen=True)
class Fault:
    """One row.

    Attributes
    ----------
    name : as docs/reliability.md calls it.
    inflict : what happens to the bench at each moment of a stage.
    ends : exit code of the run that it ends; None if the run goes on by itself.
    told : regular expression of what the user is told, without line breaks.
    then : what the user does before the same command is started again.
    heal : that, done; also after the last moment of a run that went on.
    options : of the command when it is started again.
    again : tasks that one such fault makes the cluster do again, at most, by stage or for every stage.
    prepare : before a run begins; what it makes is undone by `restore`.
    needs : "root" if the system lets nobody else do it.
    settings : of Dask, for the scheduler.
    moments : how many of each stage's moments; all if None.
    apart : whether each moment is one of another run, because what happens is noticed only later.
    """

    name: str
    inflict: Callable
    ends: int | None = None
    told: str = ""
    then: str = ""
    heal: Callable = inflict.nothing
    options: tuple[str, ...] = ()
    again: int = AHEAD
    prepare: Callable = inflict.nothing
    restore: Callable = inflict.nothing
    needs: str = ""
    settings: tuple[tuple[str, str], ...] = ()
    moments: int | None = None
    apart: bool = False


VOLUME = {"prepare": inflict.mount_volume, "restore": inflict.unmount_volume, "needs": "root"}
REPAIR = {"options": ("--repair",), "again": 20 + AHEAD, "apart": True}
LOST = r"error: the connection to the Dask scheduler was lost .* start the same command again to go on"
DIED = r"last attempt: died \(its process is gone\); the same command goes on from where it was"
STOPPED = r"Stopped( at once)?\. What is finished is stored: the same command goes on from here\."
DAMAGED = r"error: array \S+ in \S+ is damaged.*: only what is damaged is computed anew"
DISK = r"error: the run \S+: a file.* could not be written or read: {}.* start the same command again to go on"
CLUSTER = "start the cluster again"

FAULTS = (
    # --- processes that die -----------------------------------------------------------------------------------------
    # The nanny starts another worker, the scheduler gives it the tasks of the dead one.
    Fault("a worker is killed", inflict.kill_one_worker),
    # Nobody computes until the nannies have started others; the run waits.
    Fault("all workers are killed at once", inflict.kill_all_workers),
    # As if it was killed, but Dask's nanny does it, at 95 % of the worker's memory.
    Fault("a worker runs out of memory", inflict.starve_a_worker),
    # One that needs more than there is kills every worker that tries it: Dask gives up after four.
    Fault(
        "a task needs more memory than workers have",
        inflict.starve_every_worker,
        ends=2,
        told=r"error: \S+: workers died 4 times while running it, .*block\)",
        then="give workers more memory",
        heal=inflict.feed,
        again=4 * TWO + AHEAD,
        moments=1,
    ),
    # Workers end with their scheduler: a new cluster is needed.
    Fault("the scheduler is killed", inflict.kill_scheduler, 2, LOST, CLUSTER, inflict.new_cluster),
    # The scheduler and the workers stay, and drop what the client wanted.
    Fault("the client is killed", inflict.kill_client, -9, DIED),
    # All at once.
    Fault("everything is killed at once", inflict.kill_all, -9, DIED, CLUSTER, inflict.new_cluster),
    # The same on a machine that had promised to write, and did not: the newest files are empty.
    Fault(
        "power is cut, and the last files are lost",
        inflict.kill_all,
        -9,
        DIED,
        f"{CLUSTER}; `--repair`",
        inflict.lose_last_writes,
        options=("--repair",),
        again=inflict.LOSABLE + AHEAD,
    ),
    # --- processes that hang or are slow ----------------------------------------------------------------------------
    # Told after 5 s and given up after 15 s here, where Dask's own limit is 5 minutes; by default told after 30 s.
    Fault(
        "a worker hangs",
        inflict.hang_a_worker,
        told=r"the worker \S+ has not been heard of .* the worker \S+ was given up: its tasks are given to others",
        heal=inflict.kill_the_hung,
        settings=(("distributed.scheduler.worker-ttl", "15s"),),
        moments=1,
    ),
    # Others do more; nothing is taken from it.
    Fault("a worker is ten times as slow", inflict.slow_a_worker, restore=inflict.let_it_run, again=0, moments=1),
    # --- disks ------------------------------------------------------------------------------------------------------
    Fault(
        "the disk is full",
        inflict.fill_disk,
        2,
        DISK.format("No space left on device; 0 bytes are free on its disk"),
        "make room",
        inflict.make_room,
        **VOLUME,
    ),
    Fault(
        "the file system becomes read-only",
        inflict.make_read_only,
        2,
        DISK.format("Read-only file system"),
        "make it writable",
        inflict.make_writable,
        **VOLUME,
    ),
    # A checksum tells. Damaged activations cost a block; damaged neighbors cost the tiles of their layer.
    Fault("a byte of a stored file flips", inflict.flip_a_byte, 2, DAMAGED, "`--repair`", **REPAIR),
    Fault("a stored file is cut short", inflict.truncate_a_file, 2, DAMAGED, "`--repair`", **REPAIR),
    # --- users ------------------------------------------------------------------------------------------------------
    Fault("Ctrl-C, twice", inflict.interrupt_twice, 130, STOPPED),
    Fault(
        "the same run is started twice",
        inflict.start_a_second,
        told=r"error: \S+ is in use by process \d+ on \S+: wait for it or stop it",
        again=0,
    ),
    Fault(
        "dnuc or torch is upgraded in the middle",
        inflict.change_versions,
        2,
        r"error: \S+ was computed with (dnuc|torch) .* or say --force to go on with this one",
        "the old version, or `--force`",
        options=("--force",),
    ),
)
