"""Blocks that a worker keeps for its next tiles, as they were read and as they were rounded.

Only blocks of few features are kept, those that a tile holds in memory anyway, and only those of one search: as many as
fit into the memory that its tiles leave of what a task may use.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from dnuc.neighbors.blocks import CHUNK
from dnuc.neighbors.rows import Rows


@dataclass
class _Kept:
    search: str = ""
    blocks: dict[int, Rows] = field(default_factory=dict)  # by their first row, the one used last at the end


_kept: dict[int, _Kept] = {}  # by thread: each runs one task at a time, and may use as much memory
_changing = threading.Lock()


def resident(search: str, wanted: list[Rows], spare: int = 0) -> list[Rows]:
    """The blocks of a tile of a search, read unless this thread has them still.

    Beside them it keeps those that it used last, up to `spare` bytes.
    """
    with _changing:
        mine = _kept.setdefault(threading.get_ident(), _Kept())
    if mine.search != search:
        mine.search, mine.blocks = search, {}
    if wanted[0].features > CHUNK or wanted[0].is_resident:
        return wanted
    starts = [b.start for b in wanted]
    mine.blocks = {s: b for s, b in mine.blocks.items() if s not in starts} | {
        s: mine.blocks[s] for s in starts if s in mine.blocks
    }
    _make_room(mine.blocks, starts, spare)  # before anything is read
    for block in wanted:
        if block.start not in mine.blocks:
            mine.blocks[block.start] = block.resident()
    return [mine.blocks[s] for s in starts]


def _make_room(blocks: dict[int, Rows], wanted: list[int], spare: int) -> None:
    """Let go of the blocks that were not used for the longest time."""
    others = [s for s in blocks if s not in wanted]
    total = sum(blocks[s].kept_bytes for s in others)
    for start in others:
        if total <= spare:
            return
        total -= blocks.pop(start).kept_bytes


def forget() -> None:
    """Give back the memory of all kept blocks of this process."""
    with _changing:
        _kept.clear()
