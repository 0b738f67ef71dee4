"""Images read, decoded and preprocessed while the network works on earlier ones; a few batches in memory, no more."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

import torch
from torch import Tensor

BATCHES_AHEAD = 2  # beside the one that the network works on
PIECES = 4  # of a batch, for each thread: a piece is small enough that threads are done together

T = TypeVar("T")
R = TypeVar("R")


def read_ahead(load: Callable[[T], R], items: Iterable[T], ahead: int, threads: int) -> Generator[R]:
    """`load` of every item, in order, by threads that are at most `ahead` items in front of the caller.

    Threads suffice where `load` works without Python's global lock for most of its time, as decoding and resizing
    images do. An exception of an item is raised where its result would come.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="read-ahead") as pool:
        waiting: deque[Future[R]] = deque()
        todo = iter(items)
        try:
            while True:
                for item in todo:
                    waiting.append(pool.submit(load, item))
                    if len(waiting) >= ahead:
                        break
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def batches_ahead(
    prepare: Callable[[str], Tensor], ids: Sequence[str], batch_size: int, threads: int = 1
) -> Generator[Tensor]:
    """The images of some samples in batches, (n, C, H, W) with n = `batch_size` but for the last.

    Parameters
    ----------
    prepare : from an id to what the network takes, (C, H, W); called in several threads.
    ids : of the samples.
    batch_size : images in a batch.
    threads : that prepare images.
    """
    batches = [ids[start : start + batch_size] for start in range(0, len(ids), batch_size)]
    step = max(1, -(-batch_size // (PIECES * threads)))
    pieces = [[batch[start : start + step] for start in range(0, len(batch), step)] for batch in batches]

    def load(piece: Sequence[str]) -> Tensor:
        return torch.stack([prepare(sample_id) for sample_id in piece])

    ahead = BATCHES_AHEAD * max(map(len, pieces), default=1)
    with closing(read_ahead(load, (piece for batch in pieces for piece in batch), ahead, threads)) as ready:
        for batch in pieces:
            yield torch.cat([next(ready) for _ in batch])
