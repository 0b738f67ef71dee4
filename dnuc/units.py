"""Numbers as people read them: bytes, rates, durations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def size(count: float) -> str:
    """Bytes.

    >>> size(21504), size(3 * 2**40)
    ('21.0 KiB', '3.0 TiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} TiB"


def rate(per_second: float, unit: str) -> str:
    """So many of a unit a second, with the prefix that suits.

    >>> rate(412.3e9, "FLOP"), rate(35e6, "B"), rate(0, "B")
    ('412 GFLOP/s', '35 MB/s', '0 B/s')
    """
    for prefix in ("", "k", "M", "G"):
        if per_second < 999.5:
            return f"{per_second:.3g} {prefix}{unit}/s"
        per_second /= 1000
    return f"{per_second:.3g} T{unit}/s" if per_second < 999.5 else f"{per_second:,.0f} T{unit}/s"


def duration(seconds: float) -> str:
    """About how long.

    >>> duration(12), duration(1200), duration(86400)
    ('12 s', '20 min', '24.0 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def hours_minutes(seconds: float) -> str:
    """Hours and minutes, rounded up: no work takes no time.

    >>> hours_minutes(1), hours_minutes(3600), hours_minutes(100 * 3600 + 61)
    ('0:01', '1:00', '100:02')
    """
    minutes = int(-(-seconds // 60))
    return f"{minutes // 60}:{minutes % 60:02d}"


def pace(record: Mapping[str, Any]) -> str:
    """How fast a stage goes and how long it will yet take, from its record in progress.json.

    >>> pace({"done": 3, "resumed": 1, "per_second": 2.0, "bytes_read_per_second": 35e6, "seconds_left": 10.0})
    '2/s, 35 MB/s read, 10 s left'
    >>> pace({"done": 1, "resumed": 1, "state": "running"})
    'starting'
    """
    if record["done"] <= record.get("resumed", 0) and record.get("state") == "running":
        return "starting"
    parts = [rate(record["flop_per_second"], "FLOP") if "flop_total" in record else f"{record['per_second']:.3g}/s"]
    for what in ("read",) if "flop_total" in record else ("read", "written"):  # lists of neighbors are small
        if passed := record.get(f"bytes_{what}_per_second"):
            parts.append(f"{rate(passed, 'B')} {what}")
    if record.get("seconds_left") is not None:
        parts.append(f"{duration(record['seconds_left'])} left")
    return ", ".join(parts)


def troubles(record: Mapping[str, Any]) -> list[str]:
    """What a stage had to do again, from its record in progress.json; nothing, if all went well.

    >>> troubles({"retries": 1, "repeated": 2}), troubles({"retries": 0, "repeated": 0})
    (['1 retried', '2 repeated'], [])
    """
    words = {"retries": "retried", "repeated": "repeated"}
    return [f"{record[key]} {word}" for key, word in words.items() if record.get(key)]
