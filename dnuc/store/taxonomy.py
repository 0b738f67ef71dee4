"""The taxonomy of the classes, as a run stores it beside its samples."""

from __future__ import annotations

import numpy as np

from dnuc.store.run import RunStore
from dnuc.taxonomy import Taxonomy


def taxonomy_arrays(taxonomy: Taxonomy | None) -> dict[str, np.ndarray]:
    """The arrays of group samples that hold a taxonomy; none without one."""
    if taxonomy is None:
        return {}
    return {
        "taxon_parent": taxonomy.parent,
        "taxon_key": np.array(taxonomy.key, dtype=np.dtypes.StringDType()),
        "taxon_name": np.array(taxonomy.name, dtype=np.dtypes.StringDType()),
        "class_taxon": taxonomy.leaf,
    }


def stored_taxonomy(store: RunStore) -> Taxonomy | None:
    """The taxonomy of a run's classes, in the order of the class codes; None if its job has none."""
    if not store.has("samples", "taxon_parent"):
        return None
    key, name = (tuple(store.read("samples", array).tolist()) for array in ("taxon_key", "taxon_name"))
    return Taxonomy(store.read("samples", "taxon_parent"), key, name, store.read("samples", "class_taxon"))
