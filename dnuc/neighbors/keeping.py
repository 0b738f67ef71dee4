"""Blocks that a thread of a worker keeps for its next tile, which often shares one of them.

Only blocks of few features are kept: those that a tile holds in memory anyway. A thread keeps the blocks of its last
tile, no more, and only of one search.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from dnuc.neighbors.blocks import CHUNK
from dnuc.neighbors.rows import Rows


@dataclass
class _Kept:
    search: str = ""
    blocks: dict[int, Rows] = field(default_factory=dict)  # by their first row


_kept: dict[int, _Kept] = {}  # by thread
_changing = threading.Lock()


def resident(search: str, wanted: list[Rows]) -> list[Rows]:
    """The blocks of a tile of a search, read unless this thread has them from its last tile of the same search."""
    if wanted[0].features > CHUNK:
        return wanted
    with _changing:
        mine = _kept.setdefault(threading.get_ident(), _Kept())
    have = mine.blocks if mine.search == search else {}
    # what is not wanted any more goes before anything is read
    mine.search, mine.blocks = search, {b.start: have[b.start] for b in wanted if b.start in have}
    for block in wanted:
        if block.start not in mine.blocks:
            mine.blocks[block.start] = block.resident()
    return [mine.blocks[block.start] for block in wanted]


def forget() -> None:
    """Give back the memory of all kept blocks of this process."""
    with _changing:
        _kept.clear()
