"""Which samples a job takes: drawn from the source by seed, or listed by the user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from dnuc.data.classes import find_class
from dnuc.data.labels import label_samples
from dnuc.data.samples import Samples
from dnuc.data.taxonomy import class_names
from dnuc.data.text import read_ids
from dnuc.errors import DataError, closest
from dnuc.job import Data


class Catalog(Protocol):
    """What a source has to offer."""

    @property
    def where(self) -> str:
        """Where the samples come from, for messages."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Every class, in the order of the class codes."""

    def ids_of(self, key: str) -> Sequence[str]:
        """Every sample of a class, sorted."""

    def locate(self, given: str) -> tuple[str, str] | None:
        """The class key and the id of the sample that a line of `data.ids` means; None if there is none."""


def select(catalog: Catalog, data: Data, seed: int) -> Samples:
    """The job's samples: those that `data.ids` lists, in its order; or drawn ones, by class and then by id.

    Raises
    ------
    DataError
        If `data.ids` comes with a setting that draws, lists a sample that does not exist; or as `draw_classes`,
        `draw_ids` and `label_samples`.
    """
    names = class_names(catalog.keys, data)
    if data.ids is not None:
        found = _listed(catalog, data)
    else:
        chosen = draw_classes(names, data.classes, seed)
        drawn = draw_ids({key: catalog.ids_of(key) for key in chosen}, data.images_per_class, seed, catalog.where)
        found = [(key, sample_id) for key in chosen for sample_id in drawn[key]]
    class_of, ids = zip(*found, strict=True)
    return label_samples(ids, class_of, names, data)


def draw_classes(names: Mapping[str, str], wanted: int | tuple[str, ...] | None, seed: int) -> list[str]:
    """Keys of the classes a job takes, in the source's order: all (None), a number drawn by seed, or named ones.

    `names` is class key -> readable name. Drawing more classes with the same seed only adds classes.

    Raises
    ------
    DataError
        If more classes are wanted than exist, or a name is unknown (the closest are listed), ambiguous or repeated.
    """
    keys = list(names)
    if wanted is None:
        return keys
    if isinstance(wanted, int):
        if wanted > len(keys):
            raise DataError(f"data.classes = {wanted}, but the data has {len(keys)} classes: give 2 .. {len(keys)}")
        drawn = np.random.default_rng(seed).permutation(len(keys))[:wanted]
        return [keys[position] for position in np.sort(drawn)]
    chosen = [_known_class(given, names) for given in wanted]
    if not chosen or len(set(chosen)) != len(chosen):
        raise DataError(f"data.classes = {list(wanted)} must name at least one class, and each once")
    return [key for key in keys if key in chosen]


def draw_ids(
    ids_of: Mapping[str, Sequence[str]], per_class: int | None, seed: int, where: str = "the data"
) -> dict[str, list[str]]:
    """For each class, `per_class` of its (sorted) ids drawn by seed, sorted again; all of them when None.

    A class's draw depends on the seed, its key and its ids, not on which other classes are drawn, so asking for
    more classes or more samples with the same seed only adds samples.

    Raises
    ------
    DataError
        If a class has too few samples; every such class is counted and the first few are named.
    """
    short = {key: len(ids) for key, ids in ids_of.items() if len(ids) < (per_class or 1)}
    if short:
        counts = ", ".join(f"{key!r} has {count}" for key, count in list(short.items())[:5])
        raise DataError(
            f"data.images_per_class = {per_class} needs {per_class or 1} of each class, but {len(short)} of the "
            f"{len(ids_of)} classes of {where} have fewer: {counts}{', ...' if len(short) > 5 else ''}; the smallest "
            f"has {min(short.values())}: lower data.images_per_class, or choose other classes with data.classes"
        )
    drawn = {}
    for key, ids in ids_of.items():
        generator = np.random.default_rng([seed, *key.encode()])
        positions = np.sort(generator.permutation(len(ids))[:per_class])
        drawn[key] = [ids[position] for position in positions]
    return drawn


def _known_class(given: str, names: Mapping[str, str]) -> str:
    key = find_class(given, names, "data.classes")
    if key is None:
        allowed = dict.fromkeys([*names, *names.values()])
        raise DataError(f"data.classes: no class is called {given!r}; {closest(given, allowed)}")
    return key


def _listed(catalog: Catalog, data: Data) -> list[tuple[str, str]]:
    """Class key and id of each sample in the file `data.ids`."""
    if data.classes is not None or data.images_per_class is not None:
        raise DataError("data.ids lists the samples, so data.classes and data.images_per_class must not be given")
    assert data.ids is not None
    located = {line: catalog.locate(line) for line in read_ids(data.ids)}
    missing = [line for line, found in located.items() if found is None]
    if missing:
        shown = ", ".join(repr(line) for line in missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise DataError(
            f"data.ids = '{data.ids}' lists {len(located)} samples; {catalog.where} does not have {len(missing)} of "
            f"them: {shown}; correct the ids or data.path"
        )
    return [found for found in located.values() if found is not None]
