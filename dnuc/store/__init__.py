"""The only door to Zarr: what is stored, under which name, and what is complete."""

from dnuc.store.arrays import DamagedError, StoredArray, in_memory
from dnuc.store.external import open_external
from dnuc.store.lock import alone, holder
from dnuc.store.reading import NO_DISTANCE, check_finite, read_part
from dnuc.store.results import SIMILARITIES, Results
from dnuc.store.run import RunStore, digest, stage_group
from dnuc.store.stopping import Stopped, cancel, stoppable
from dnuc.store.subset import Subset
from dnuc.store.survey import Survey, mark_finished, survey_run
from dnuc.store.taxonomy import stored_taxonomy, taxonomy_arrays

__all__ = [
    "NO_DISTANCE",
    "SIMILARITIES",
    "DamagedError",
    "Results",
    "RunStore",
    "Stopped",
    "StoredArray",
    "Subset",
    "Survey",
    "alone",
    "cancel",
    "check_finite",
    "digest",
    "holder",
    "in_memory",
    "mark_finished",
    "open_external",
    "read_part",
    "stage_group",
    "stoppable",
    "stored_taxonomy",
    "survey_run",
    "taxonomy_arrays",
]
