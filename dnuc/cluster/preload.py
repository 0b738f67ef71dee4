"""For workers that are started with Dask's own command line: `dask worker --preload-nanny dnuc.cluster.preload`.

The nanny starts the worker process; what must be set before Python starts there, is set here.
"""

from __future__ import annotations

from distributed import Nanny

from dnuc.cluster.deployment import WORKER_ENVIRONMENT


def dask_setup(nanny: Nanny) -> None:
    """Called by Dask in the nanny, before it starts the worker."""
    wanted = {name: str(value) for name, value in WORKER_ENVIRONMENT.items()}
    nanny.pre_spawn_env.update(wanted)
    nanny.env.update(wanted)  # set once more in the worker, with what was configured when the nanny was made
