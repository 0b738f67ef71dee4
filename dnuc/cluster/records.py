"""What `progress.json` in a run directory holds: the state of the last attempt, for `dnuc status` and for other tools.

The file is replaced as a whole about once a second while something happens, and every few seconds while nothing does:
a reader sees one moment. Its content is an `AttemptRecord`, its stages in the order in which they began.
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

FORMAT = 1  # raised when the meaning of a field changes; fields may be added without


class StageRecord(TypedDict):
    """One stage of an attempt. What an earlier attempt had finished is not a stage again."""

    name: str  # "samples", "training", "activations", "neighbors", "measures", ...; a stage of several networks has
    # a record for each
    state: Literal["running", "done", "stopped"]
    # how far
    done: int  # units, those of earlier attempts included
    total: int
    unit: str  # "images", "epochs", "blocks", "tiles", "layers", "page"
    resumed: int  # units that earlier attempts did
    note: str  # what was done last
    # how fast; everything a second is of this attempt alone, on the average since the stage began
    seconds: float  # since the stage began
    per_second: float  # units
    seconds_left: float | None  # None: not to be told (yet), see `Stage`
    flop: NotRequired[float]  # multiplications and additions done, those of earlier attempts included; neighbors only
    flop_total: NotRequired[float]
    flop_per_second: NotRequired[float]
    # what passed: arrays of the run directory as they are in memory, image files as they are, over all processes
    bytes_read: int
    bytes_written: int
    bytes_read_per_second: float
    bytes_written_per_second: float
    # tasks: what workers are given at a time, a tile, a block, a layer, 256 images
    tasks_begun: int  # attempts at tasks
    tasks_done: int
    tasks_running: int  # begun and not done
    retries: int  # attempts after one that ended with an error of the worker's disk, network, ...
    repeated: int  # attempts after one that was lost: its worker died or was cut off, or the run was stopped meanwhile
    # most memory that each worker's process had, in bytes, by the worker's name; as of the last task it finished
    peak_memory: dict[str, int]


class DashboardRecord(TypedDict):
    """Where Dask's dashboard is."""

    link: str  # as it opens on `host`, or as a proxy shows it
    host: str  # the scheduler's machine; "" where the link opens from anywhere
    port: int


class ClusterRecord(TypedDict):
    """Where the tasks run."""

    scheduler: str  # address
    workers: int  # now
    threads: int  # of all workers, now
    task_memory: int  # bytes that a task may use
    dashboard: DashboardRecord


class AttemptRecord(TypedDict):
    """One attempt at a job: `dnuc run` from its start to its end."""

    format: int
    job: NotRequired[str]  # its name
    dnuc: NotRequired[str]  # version
    attempt: int  # 1 for the first in this run directory
    host: str  # of the client, which submits tasks and merges what they find
    pid: int
    state: Literal["running", "finished", "failed", "stopped"]  # "running" for ever if its process was killed
    message: str  # why it failed or was stopped
    started: float  # seconds since 1970
    updated: float  # when this was written
    cluster: ClusterRecord | None  # None before there is one
    stages: list[StageRecord]
