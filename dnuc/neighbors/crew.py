"""The threads of one tile: they multiply, select and refine side by side, each on a part of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from dnuc.neighbors.tiers import plain_products

PARTS = 4  # a thread: parts are not all equally long


class Crew:
    """Some threads. With one, everything happens in the caller's."""

    def __init__(self, threads: int, pool: ThreadPoolExecutor | None) -> None:
        self.threads, self._pool = threads, pool

    def each(self, function: Callable[..., Any], items: Iterable[Any]) -> None:
        """Call function(item) for all items, in order as far as threads are free; an error of any is raised."""
        if self._pool is None:
            for item in items:
                function(item)
            return
        for _ in self._pool.map(function, items):
            pass

    def share(self, function: Callable[[int, int], Any], n: int) -> None:
        """Call function(first, last) for parts that make up 0 .. n."""
        parts = 1 if self._pool is None else min(max(n, 1), PARTS * self.threads)
        cuts = [n * p // parts for p in range(parts + 1)]
        self.each(lambda part: function(cuts[part], cuts[part + 1]), range(parts))


@contextmanager
def crew(threads: int) -> Iterator[Crew]:
    """A crew of so many threads, whose products use one thread each."""
    with plain_products():
        if threads == 1:
            yield Crew(1, None)
            return
        with ThreadPoolExecutor(threads) as pool:
            yield Crew(threads, pool)
