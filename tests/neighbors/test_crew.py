"""The threads of a tile: all work is done once, errors come out, and no list is written by two at a time."""

import random
import threading
import time

import numpy as np
import pytest

from dnuc.neighbors.crew import PARTS, crew
from dnuc.neighbors.locks import RowLocks
from dnuc.neighbors.products import _pieces
from dnuc.neighbors.rows import Rows
from dnuc.neighbors.tile import tile
from tests import synthetic

THREADS = [1, 2, 3, 8]


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("n", [0, 1, 2, 5, 31, 32, 33, 1000])
def test_shared_work_covers_everything_once(n, threads):
    seen, parts = np.zeros(n, np.int64), []

    def work(first, last):
        seen[first:last] += 1
        parts.append((first, last))

    with crew(threads) as workers:
        workers.share(work, n)
    assert (seen == 1).all()
    assert all(0 <= first <= last <= n for first, last in parts)
    assert len(parts) <= (1 if threads == 1 else PARTS * threads)


@pytest.mark.parametrize("threads", THREADS)
def test_each_item_is_worked_on_once(threads):
    done = []
    with crew(threads) as workers:
        workers.each(done.append, range(100))
        workers.each(done.append, [])
    assert sorted(done) == list(range(100))


@pytest.mark.parametrize("threads", THREADS)
def test_errors_come_out(threads):
    def work(item):
        if item == 7:
            raise ValueError(f"item {item}")

    with crew(threads) as workers:
        with pytest.raises(ValueError, match="item 7"):
            workers.each(work, range(20))
        with pytest.raises(ZeroDivisionError):
            workers.share(lambda first, last: 1 // (first - first), 20)
        done = []
        workers.each(done.append, range(5))  # the crew goes on
    assert sorted(done) == list(range(5))


def test_one_thread_is_the_callers():
    threads = set()
    with crew(1) as workers:
        workers.each(lambda _: threads.add(threading.get_ident()), range(5))
    assert threads == {threading.get_ident()}


def test_no_thread_is_left_behind():
    before = threading.active_count()
    with crew(4) as workers:
        workers.each(lambda _: None, range(50))
    assert threading.active_count() == before


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_threads_of_a_tile_find_the_same(threads):
    x = synthetic.clustered(1100, 30, spread=0.5).astype(np.float32)
    for left, right in (((0, 1100), (0, 1100)), ((0, 400), (400, 1100))):
        rows = Rows(x, *left), Rows(x, *right)
        radii = [np.full(r.count, np.inf) for r in rows]
        one, many = tile(*rows, *radii, 6), tile(*rows, *radii, 6, threads=threads)
        for a, b in ((one.left, many.left), (one.right, many.right)):
            for name in ("row", "index", "distance"):
                np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


# --- locks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("same", [True, False])
def test_no_two_threads_hold_a_row_and_nobody_waits_forever(same):
    """Many threads take pieces in any order: two that share rows or columns never work at the same time."""
    pieces = _pieces((1500, 1500), same, 2)
    locks = RowLocks(pieces, same)
    holders, clashes, done = {}, [], []
    rng = random.Random(0)

    def rows_of(piece):
        rows, cols = piece
        return {("rows", rows.start), ("rows" if same else "cols", cols.start)}

    def work(mine):
        for piece in mine:
            with locks.hold(piece):
                for key in rows_of(piece):
                    if holders.setdefault(key, threading.get_ident()) != threading.get_ident():
                        clashes.append(key)
                time.sleep(0)  # lets the others run
                for key in rows_of(piece):
                    holders.pop(key, None)
            done.append(piece)

    threads = [
        threading.Thread(target=work, args=(rng.sample(pieces, len(pieces)) * 5,), daemon=True) for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads), "threads wait for each other"
    assert not clashes
    assert len(done) == 12 * 5 * len(pieces)


def test_pieces_without_a_common_row_are_held_side_by_side():
    pieces = [(slice(0, 5), slice(5, 10)), (slice(10, 15), slice(15, 20)), (slice(5, 10), slice(0, 5))]
    with RowLocks(pieces, True).hold(pieces[0]), RowLocks(pieces, True).hold(pieces[2]):
        pass  # locks belong to one tile
    locks = RowLocks(pieces, same=False)
    with locks.hold(pieces[0]), locks.hold(pieces[1]), locks.hold(pieces[2]):
        pass  # rows 5 .. 10 and columns 5 .. 10 are of different blocks
    locks = RowLocks(pieces, same=True)
    with locks.hold(pieces[0]), locks.hold(pieces[1]):
        waiting = threading.Thread(target=lambda: locks.hold(pieces[2]).__enter__(), daemon=True)
        waiting.start()
        waiting.join(timeout=0.05)
        assert waiting.is_alive()
    waiting.join(timeout=60)
    assert not waiting.is_alive()


def test_locks_are_released_after_an_error():
    piece = (slice(0, 5), slice(0, 5))
    locks = RowLocks([piece], same=True)
    for _ in range(2):
        with pytest.raises(ValueError, match="inside"), locks.hold(piece):
            raise ValueError("inside")
