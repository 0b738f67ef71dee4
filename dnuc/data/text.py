"""Text files a job points to: one entry a line, or two columns."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from dnuc.errors import DataError


def read_lines(path: Path, setting: str) -> list[str]:
    """Every line of a UTF-8 text file, stripped; `setting` is the job's key that named it, for the message.

    Raises
    ------
    DataError
        If the file is missing, unreadable or not UTF-8.
    """
    if not path.is_file():
        raise DataError(f"{setting} = '{path}': no such file; paths in a job are relative to the job file")
    try:
        # A byte-order mark, which spreadsheets write, would become part of the first entry.
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{setting} = '{path}': not readable as UTF-8 text: {error}") from error
    # Not str.splitlines: it also breaks at characters such as U+2028, which may be part of a name.
    return [line.strip() for line in io.StringIO(text)]


def read_ids(path: Path, setting: str = "data.ids") -> list[str]:
    """Sample ids, one a line, in the file's order. Empty lines and lines that start with '#' are left out.

    Raises
    ------
    DataError
        If the file is missing, lists nothing, or lists an id twice (both lines are named).
    """
    line_of: dict[str, int] = {}
    for number, line in enumerate(read_lines(path, setting), start=1):
        if not line or line.startswith("#"):
            continue
        if line in line_of:
            raise DataError(f"{setting} = '{path}': {line!r} is on line {line_of[line]} and on line {number}; keep one")
        line_of[line] = number
    if not line_of:
        raise DataError(f"{setting} = '{path}' lists no ids; it needs one sample id a line")
    return list(line_of)


def read_table(path: Path, setting: str) -> dict[str, str]:
    """A file of two columns, first -> second, in the file's order.

    The file's ending says what parts the columns, so that names may contain spaces and commas: `.csv` a comma (a
    name with a comma goes in double quotes), `.tsv` a tab, any other ending the first tab, or the first white
    space where the line has no tab: "n01440764 tench, Tinca tinca" as ImageNet ships it. Empty lines and lines
    that start with '#' are left out. A header needs no special care: it is an entry for a class that does not exist.

    Raises
    ------
    DataError
        If the file is missing or empty, a line has not two columns, or a first column appears twice (lines named).
    """
    table: dict[str, str] = {}
    line_of: dict[str, int] = {}
    for number, line in enumerate(read_lines(path, setting), start=1):
        if not line or line.startswith("#"):
            continue
        columns = _columns(line, path.suffix.lower())
        if len(columns) != 2 or not all(columns) or columns[0].endswith(","):
            raise DataError(_not_two_columns(f"{setting} = '{path}', line {number}", line))
        first, second = columns
        if first in table:
            raise DataError(
                f"{setting} = '{path}': {first!r} is on line {line_of[first]} and on line {number}; keep one"
            )
        table[first], line_of[first] = second, number
    if not table:
        raise DataError(f"{setting} = '{path}' has no entries; it needs two columns, class and name")
    return table


def _columns(line: str, suffix: str) -> list[str]:
    """The columns of one line; more or fewer than two where it is malformed."""
    if suffix == ".csv":
        return [column.strip() for column in next(csv.reader([line], skipinitialspace=True))]
    if suffix == ".tsv":
        return [column.strip() for column in line.split("\t")]
    return [column.strip() for column in line.split("\t" if "\t" in line else None, maxsplit=1)]


def _not_two_columns(where: str, line: str) -> str:
    return (
        f"{where}: {line[:80]!r} is not two columns. In .csv files a comma parts them (a name with a comma goes in "
        "double quotes), in .tsv files a tab, in others the first tab or white space; rename or correct the file"
    )
