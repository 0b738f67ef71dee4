"""The only door to Zarr: what is stored, under which name, and what is complete."""

from dnuc.store.arrays import DamagedError, StoredArray, in_memory
from dnuc.store.disk import disk_errors_told
from dnuc.store.external import open_external
from dnuc.store.lock import alone, holder
from dnuc.store.reading import NO_DISTANCE, check_finite, read_part
from dnuc.store.results import SIMILARITIES, Results
from dnuc.store.run import DROPPED, RunStore, digest, stage_group
from dnuc.store.stopping import Stopped, cancel, leaving_at_once, stoppable
from dnuc.store.subset import Subset
from dnuc.store.survey import Survey, mark_finished, survey_run
from dnuc.store.taxonomy import stored_taxonomy, taxonomy_arrays
from dnuc.store.tree import StoredTree, stored_tree
from dnuc.store.versions import note_versions, version_changes

__all__ = [
    "DROPPED",
    "NO_DISTANCE",
    "SIMILARITIES",
    "DamagedError",
    "Results",
    "RunStore",
    "Stopped",
    "StoredArray",
    "StoredTree",
    "Subset",
    "Survey",
    "alone",
    "cancel",
    "check_finite",
    "digest",
    "disk_errors_told",
    "holder",
    "in_memory",
    "leaving_at_once",
    "mark_finished",
    "note_versions",
    "open_external",
    "read_part",
    "stage_group",
    "stoppable",
    "stored_taxonomy",
    "stored_tree",
    "survey_run",
    "taxonomy_arrays",
    "version_changes",
]
