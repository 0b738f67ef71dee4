"""The only door to Zarr: what is stored, under which name, and what is complete."""

from dnuc.store.arrays import DamagedError, StoredArray
from dnuc.store.external import open_external
from dnuc.store.lock import alone
from dnuc.store.results import Results
from dnuc.store.run import RunStore, digest, stage_group

__all__ = ["DamagedError", "Results", "RunStore", "StoredArray", "alone", "digest", "open_external", "stage_group"]
