"""Loaded into the workers of the hosts: a tile takes half a second, so that a run is long enough to cut cables in."""

from tests.cluster.faults import pace

pace.PACE["tile"] = 0.5
dask_setup = pace.dask_setup
