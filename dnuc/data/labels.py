"""Samples from ids and the class of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dnuc.data.classes import macro_classes
from dnuc.data.samples import Samples
from dnuc.data.taxonomy import class_taxonomy, macro_of_taxonomy
from dnuc.job import Data


def label_samples(ids: Sequence[str], class_of: Sequence[str], names: Mapping[str, str], data: Data) -> Samples:
    """Samples from ids and each one's class key, with class and macro codes, and the taxonomy if the job has one.

    `names`, class key -> readable name, holds every class of the source and sets their order. Only classes that
    have a sample get a code; macro classes come in the order of the macro file or of `data.macro_roots`.

    Raises
    ------
    DataError
        As `macro_classes`, `class_taxonomy`, `macro_of_taxonomy` and `Samples`.
    """
    present = set(class_of)
    keys = tuple(key for key in names if key in present)
    code = {key: number for number, key in enumerate(keys)}
    label = np.array([code[key] for key in class_of], dtype=np.int64)
    taxonomy = class_taxonomy({key: names[key] for key in keys}, data)
    if taxonomy is not None and data.macro is None:
        macro_of, macro_names = macro_of_taxonomy(taxonomy, data)
    else:
        macro_of, macro_names = _macro_of_file(keys, macro_classes(names, data.macro))
    return Samples(
        id=np.array(ids, dtype=np.dtypes.StringDType()),
        label=label,
        label_names=tuple(names[key] for key in keys),
        macro=macro_of[label],
        macro_names=macro_names,
        class_keys=keys,
        taxonomy=taxonomy,
    )


def _macro_of_file(keys: Sequence[str], macro_of: Mapping[str, str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Macro code of each class, and the names of those macro classes that have one."""
    present = set(keys)
    names = tuple(dict.fromkeys(name for key, name in macro_of.items() if key in present))
    return np.array([names.index(macro_of[key]) if key in macro_of else -1 for key in keys], dtype=np.int64), names
