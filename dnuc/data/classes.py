"""What classes are called, and which macro class (animal, artifact, ...) each belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dnuc.data.text import read_table
from dnuc.errors import DataError


def readable_names(keys: Sequence[str], class_names: Path | None) -> dict[str, str]:
    """Each class key of a source -> its readable name, from the job's `data.class_names` file.

    The file may cover more classes than the source has (one file serves every subset of ImageNet); a class that
    it leaves out keeps its key as its name.

    Raises
    ------
    DataError
        If the file is malformed (see `text.read_table`) or names no class of the source at all.
    """
    if class_names is None:
        return {key: key for key in keys}
    table = read_table(class_names, "data.class_names")
    if not any(key in table for key in keys):
        raise DataError(_no_match(f"data.class_names = '{class_names}'", table, keys))
    return {key: table.get(key, key) for key in keys}


def find_class(given: str, names: Mapping[str, str], setting: str) -> str | None:
    """The key of the class that `given` means: a class key or, failing that, a readable name; None if neither.

    `names` is class key -> readable name; `setting` is the job's key that gave it, for the message.

    Raises
    ------
    DataError
        If `given` is the readable name of several classes: only their keys tell them apart.

    >>> find_class("tench", {"n01440764": "tench", "n01443537": "goldfish"}, "data.classes")
    'n01440764'
    """
    if given in names:
        return given
    keys = [key for key, name in names.items() if name == given]
    if len(keys) > 1:
        keys_shown = " or ".join(map(repr, keys))
        raise DataError(f"{setting}: {given!r} is the name of {len(keys)} classes; write {keys_shown} instead")
    return keys[0] if keys else None


def macro_classes(names: Mapping[str, str], macro: Path | None) -> dict[str, str]:
    """Class key -> macro class, from the job's `data.macro` file, in the file's order.

    `names` is class key -> readable name; the file may use either. It may leave classes out (they have no macro
    class) and cover classes that the source does not have.

    Raises
    ------
    DataError
        If the file is malformed, uses a name that several classes share, puts one class into two macro
        classes, or matches no class of the source at all.
    """
    if macro is None:
        return {}
    where = f"data.macro = '{macro}'"
    table = read_table(macro, "data.macro")
    macro_of: dict[str, str] = {}
    for given, name in table.items():
        key = find_class(given, names, where)
        if key is not None and macro_of.setdefault(key, name) != name:
            raise DataError(f"{where}: class {key!r} ({names[key]!r}) is both {macro_of[key]!r} and {name!r}; keep one")
    if not macro_of:
        raise DataError(_no_match(where, table, [*names, *names.values()]))
    return macro_of


def _no_match(where: str, table: Mapping[str, str], known: Sequence[str]) -> str:
    return (
        f"{where} names no class of the data: its first column has {_few(table)}, the classes are {_few(known)}; "
        "the first column must hold class keys (an image folder: directory names) or, for macro classes, readable names"
    )


def _few(values: Iterable[str]) -> str:
    shown = list(dict.fromkeys(values))
    return ", ".join(repr(value) for value in shown[:3]) + (f", ... ({len(shown)} in all)" if len(shown) > 3 else "")
