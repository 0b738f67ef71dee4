"""The taxonomy above a job's classes, from WordNet or from a file, and macro classes at any height of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dnuc.data.classes import find_class, readable_names
from dnuc.data.text import read_table
from dnuc.data.wordnet import SYSTEM_PATH, WNID, Synset, WordNet, synset_taxonomy
from dnuc.errors import DataError, closest
from dnuc.job import Data
from dnuc.taxonomy import Taxonomy


def wordnet_directory(data: Data) -> Path | None:
    """Where the job's WordNet is; None if its taxonomy is a file of another kind, or it has none."""
    if isinstance(data.taxonomy, Path):
        return data.taxonomy if data.taxonomy.is_dir() else None
    return SYSTEM_PATH if data.taxonomy else None


def taxonomy_files(data: Data) -> list[Path]:
    """The files that the job's taxonomy is read from."""
    directory = wordnet_directory(data)
    if directory is not None:
        return [directory / "data.noun", directory / "index.noun"]
    return [data.taxonomy] if isinstance(data.taxonomy, Path) else []


def class_names(keys: Sequence[str], data: Data) -> dict[str, str]:
    """Each class key -> its readable name: from the job's file, or what WordNet calls ImageNet's ids."""
    directory = wordnet_directory(data)
    if data.class_names is not None or directory is None:
        return readable_names(keys, data.class_names)
    wordnet = WordNet(directory)
    return {key: wordnet.find(key).words[0] if WNID.fullmatch(key) else key for key in keys}


def class_taxonomy(names: Mapping[str, str], data: Data) -> Taxonomy | None:
    """The tree above the job's classes; None if the job has no `data.taxonomy`.

    Parameters
    ----------
    names : class key -> readable name, of the classes that have samples, in the order of their codes
        In WordNet a class is found by its key or else by its name: an ImageNet id, a sense such as "crane.n.05", or a
        noun with one meaning. A file has two columns, a class (key or name) or a concept, and the concept above it.

    Raises
    ------
    DataError
        If the files are missing or malformed, a class has no place or several, or macro classes are to be taken from
        a taxonomy that is not there.
    """
    if data.taxonomy is None:
        if data.macro_roots or data.macro_depth is not None:
            raise DataError(
                "data.macro_roots and data.macro_depth take macro classes from a taxonomy: set data.taxonomy, to "
                '"wordnet" or a file'
            )
        return None
    if sum([data.macro is not None, bool(data.macro_roots), data.macro_depth is not None]) > 1:
        raise DataError(
            "data.macro, data.macro_roots and data.macro_depth all say which macro classes there are; keep one"
        )
    directory = wordnet_directory(data)
    if directory is None:
        return file_taxonomy(Path(str(data.taxonomy)), names)
    wordnet = WordNet(directory)
    return synset_taxonomy(wordnet, [_meaning(wordnet, key, name) for key, name in names.items()])


def _meaning(wordnet: WordNet, key: str, name: str) -> Synset:
    """What a class means, by its key or else by its readable name."""
    try:
        return wordnet.find(key)
    except DataError as error:
        if name == key or WNID.fullmatch(key):
            raise DataError(
                f"data.taxonomy: class {key!r}: {error}; data.class_names may give a sense as its name"
            ) from None
    return _meaning(wordnet, name, name)


def file_taxonomy(path: Path, names: Mapping[str, str]) -> Taxonomy:
    """The tree that a file of two columns describes: in each line a class or a concept, and the concept above it.

    A class may be given by its key or its readable name. What is above nothing else is a root; several roots are
    joined. The form of the file is that of `text.read_table`; concepts and classes that the data lack do no harm.

    Raises
    ------
    DataError
        If the file is malformed, a class has no entry or two that differ, or a chain of parents is a circle.
    """
    where = f"data.taxonomy = '{path}'"
    table = read_table(path, "data.taxonomy")
    key_of = {given: find_class(given, names, where) for given in [*table, *table.values()]}
    parent_of: dict[str, str] = {}
    for given, above in table.items():
        child, parent = key_of[given] or given, key_of[above] or above
        if parent_of.setdefault(child, parent) != parent:
            raise DataError(f"{where}: {child!r} is below {parent_of[child]!r} and below {parent!r}; keep one")
    missing = [key for key in names if key not in parent_of]
    if missing:
        shown = ", ".join(repr(names[key]) for key in missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise DataError(
            f"{where}: {len(missing)} of the {len(names)} classes have no entry: {shown}; give each a line with what "
            "it is a kind of, in the second column"
        )
    try:
        return Taxonomy.of_parents(parent_of, list(names), dict(names))
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def macro_of_taxonomy(taxonomy: Taxonomy, data: Data) -> tuple[np.ndarray, tuple[str, ...]]:
    """Macro code of each class, -1 for none, and the names of the macro classes, from the taxonomy.

    With `data.macro_roots` a class belongs to the lowest of these concepts that it is a kind of; with
    `data.macro_depth` to what is so many steps below the root (a class that is less deep: to itself).

    Raises
    ------
    DataError
        If a root is unknown, no class is below any of them, or no class is so deep.
    """
    if data.macro_roots:
        nodes = _roots(taxonomy, data)
        position = taxonomy.below(nodes)
        if (position < 0).all():
            raise DataError(f"data.macro_roots = {list(data.macro_roots)}: no class is a kind of any of them")
        macro = np.where(position >= 0, np.array([*nodes, -1])[position], -1)
        order = [node for node in nodes if (macro == node).any()]
    elif data.macro_depth is not None:
        macro = taxonomy.level(data.macro_depth)
        order = np.unique(macro).tolist()
    else:
        return np.full(taxonomy.n_classes, -1, dtype=np.int64), ()
    code = {node: number for number, node in enumerate(order)}
    names = [taxonomy.name[node] for node in order]
    told = [n if names.count(n) == 1 else f"{n} ({taxonomy.key[node]})" for n, node in zip(names, order, strict=True)]
    return np.array([code.get(node, -1) for node in macro.tolist()], dtype=np.int64), tuple(told)


def _roots(taxonomy: Taxonomy, data: Data) -> list[int]:
    """The nodes of `data.macro_roots`, without those that exist but are above no class of the data."""
    directory = wordnet_directory(data)
    if directory is not None:
        wordnet = WordNet(directory)
        keys = [wordnet.find(given).wnid for given in data.macro_roots]
        return [taxonomy.key.index(key) for key in dict.fromkeys(keys) if key in taxonomy.key]
    table = read_table(Path(str(data.taxonomy)), "data.taxonomy")
    known = dict.fromkeys([*table.values(), *table, *taxonomy.key])
    for given in data.macro_roots:
        if given not in known:
            raise DataError(
                f"data.macro_roots: nothing in '{data.taxonomy}' is called {given!r}; {closest(given, known)}"
            )
    return [taxonomy.find(given) for given in data.macro_roots if given in taxonomy.key or given in taxonomy.name]
