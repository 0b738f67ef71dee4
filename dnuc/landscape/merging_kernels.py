"""The loop that merges peaks, compiled: a heap of failing saddles, and for every peak a chain of the saddles it has."""

from __future__ import annotations

from heapq import heappop, heappush

import numpy as np
from numba import njit, types
from numba.typed import Dict


@njit(cache=True, nogil=True)
def merge(height, error, rank, saddle_height, saddle_error, ends, z, by_margin):
    """Cross failing saddles, the first of those that are left, until none fails.

    height, error, rank : (P,) of the peaks
    saddle_height, saddle_error : (S,) of the saddles, in the order in which they are to be crossed
    ends : (S, 2) the peaks that each joins; brought up to date as peaks merge
    by_margin : of two peaks the one with the larger margin survives, else the higher one

    Returns into (P,), the peak that each was merged into, itself if it survives; and left (S,), which saddles remain.
    Memory grows with P + S: saddles are sparse, and P^2 entries would not fit.
    """
    into, left = np.arange(len(height)), np.ones(len(ends), dtype=np.bool_)
    first, following = _chains(ends, len(height))
    between = Dict.empty(types.int64, types.int64)  # pair of peaks -> the saddle between them
    # Holds every saddle that fails, and some that are gone or do not fail any more.
    queue = [0 for _ in range(0)]
    for s in range(len(ends)):
        between[_pair(ends[s, 0], ends[s, 1], len(height))] = s
        if _fails(s, ends, height, error, saddle_height, saddle_error, z):
            queue.append(s)  # in ascending order, hence a heap
    while len(queue) > 0:
        s = heappop(queue)
        if not left[s] or not _fails(s, ends, height, error, saddle_height, saddle_error, z):
            continue
        gone, kept = _weaker_first(s, ends, height, error, rank, saddle_height, saddle_error, by_margin)
        into[gone], left[s] = kept, False
        half = first[gone]
        while half >= 0:
            after, s = following[half], half // 2
            if left[s] and _inherit(s, gone, kept, ends, left, between, len(height)):
                following[half], first[kept] = first[kept], half
                # With another peak at its end a saddle that passed may fail now.
                if _fails(s, ends, height, error, saddle_height, saddle_error, z):
                    heappush(queue, s)
            half = after
    return into, left


@njit(cache=True, nogil=True)
def _chains(ends, n_peaks):
    """Linked lists of every peak's saddles: side 0 or 1 of saddle s is the entry 2 s or 2 s + 1; -1 ends a chain."""
    first, following = np.full(n_peaks, -1), np.full(2 * len(ends), -1)
    for half in range(2 * len(ends)):
        peak = ends[half // 2, half % 2]
        following[half], first[peak] = first[peak], half
    return first, following


@njit(cache=True, nogil=True)
def _pair(a, b, n_peaks):
    """One number for two peaks, in any order."""
    return np.int64(min(a, b) * n_peaks + max(a, b))


@njit(cache=True, nogil=True)
def _fails(s, ends, height, error, saddle_height, saddle_error, z):
    """Whether a saddle is too high for either of its peaks."""
    for side in range(2):
        peak = ends[s, side]
        if height[peak] - saddle_height[s] < z * (error[peak] + saddle_error[s]):
            return True
    return False


@njit(cache=True, nogil=True)
def _weaker_first(s, ends, height, error, rank, saddle_height, saddle_error, by_margin):
    """The two peaks of a saddle: the one that goes, and the one that is kept."""
    a, b = ends[s, 0], ends[s, 1]
    strength_a, strength_b = height[a], height[b]
    if by_margin:
        strength_a = (strength_a - saddle_height[s]) / (error[a] + saddle_error[s])
        strength_b = (strength_b - saddle_height[s]) / (error[b] + saddle_error[s])
    if strength_a < strength_b or (strength_a == strength_b and rank[a] > rank[b]):
        return a, b
    return b, a


@njit(cache=True, nogil=True)
def _inherit(s, gone, kept, ends, left, between, n_peaks):
    """Let a saddle of a merged peak join its survivor and a third peak, unless a higher one does; whether it does."""
    third = ends[s, 0] + ends[s, 1] - gone
    del between[_pair(gone, third, n_peaks)]
    own = between.get(_pair(kept, third, n_peaks), np.int64(-1))
    if own >= 0:
        left[max(own, s)] = False
    if 0 <= own < s:
        return False
    between[_pair(kept, third, n_peaks)] = s
    ends[s, 0], ends[s, 1] = kept, third
    return True
