"""What peaks are made of, and where the map puts them, against plain loops."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnuc.report.findings import Findings
from dnuc.report.layout import pass_distance, place_discs
from dnuc.report.peaks import Peaks, color_groups
from dnuc.report.style import thin


def a_landscape(log_density, saddles, counts=None):
    """Peaks with given saddles {(a, b): log density}; ten samples each."""
    n = len(log_density)
    counts = np.eye(n, dtype=int) * 10 if counts is None else np.asarray(counts)
    rows = [(a, b, height, 0.1, 0) for (a, b), height in saddles.items()]
    table = pd.DataFrame(rows, columns=["peak_a", "peak_b", "log_density", "error", "sample"])
    size = counts.sum(axis=1)
    return Peaks(
        np.arange(n),
        np.array(log_density, float),
        size,
        size,
        counts,
        counts,
        table.astype({"peak_a": int, "peak_b": int}),
        {},
    )


def test_composition_matches_counting(run):
    peaks = Findings(run).peaks("residual", "layer3")
    samples, peak = run.samples, run.array("landscape", "peak", "layer3")
    core = run.array("landscape", "core", "layer3")
    assert len(peaks) == 6
    for p in range(6):
        labels = Counter(samples["label"][peak == p])
        macros = Counter(samples["macro"][peak == p])
        assert {c: n for c, n in enumerate(peaks.label_count[p]) if n} == labels
        assert {c: n for c, n in enumerate(peaks.macro_count[p]) if n} == macros
        assert peaks.size[p] == sum(peak == p)
        assert peaks.core_size[p] == sum(core & (peak == p))


def test_passes_lead_over_the_highest_saddles():
    # 0 and 2 meet at 4 directly and at 6 over peak 1; peak 3 touches nobody
    peaks = a_landscape([10, 9, 8, 7], {(0, 1): 7.0, (1, 2): 6.0, (0, 2): 4.0})
    found = pass_distance(peaks, np.arange(4))
    assert np.allclose(found[:3, :3], [[0, 3, 4], [3, 0, 4], [4, 4, 0]])
    assert np.allclose(found[3, :3], 1.2 * 6)
    assert np.array_equal(pass_distance(peaks, np.array([2, 0])), found[np.ix_([2, 0], [2, 0])])


def test_one_peak_and_peaks_without_saddles_have_distances():
    assert pass_distance(a_landscape([3], {}), np.arange(1)).shape == (1, 1)
    assert (pass_distance(a_landscape([3, 3], {}), np.arange(2)) > 0).sum() == 2


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 40), st.integers(0, 5))
def test_discs_never_overlap(n, seed):
    rng = np.random.default_rng(seed)
    distance = rng.random((n, n))
    distance = np.triu(distance, 1) + np.triu(distance, 1).T
    radius = rng.uniform(0.01, 0.3, n)
    position = place_discs(distance, radius)
    apart = np.linalg.norm(position[:, None] - position, axis=2)
    assert (apart + np.eye(n) >= 0.999 * (radius[:, None] + radius) * (1 - np.eye(n))).all()
    assert np.array_equal(position, place_discs(distance, radius))


def test_rare_groups_beyond_twelve_colors_are_others():
    counts = np.diag(np.arange(1, 21))
    macro = np.column_stack([counts, np.zeros(20, dtype=int)])
    peaks = a_landscape(np.arange(20.0), {}, counts)
    peaks = Peaks(*[macro if name == "macro_count" else getattr(peaks, name) for name in Peaks.__dataclass_fields__])
    groups = color_groups(peaks, ["x"], [f"m{i}" for i in range(20)])
    assert groups.names == [*(f"m{i}" for i in range(9, 20)), "others"]
    assert len(set(groups.colors)) == 12
    assert groups.counts[:, -1].sum() == sum(range(1, 10))
    assert color_groups(peaks, [f"c{i}" for i in range(20)], []) is None


@pytest.mark.parametrize("n", [1, 2, 3, 10, 59, 60, 61])
@pytest.mark.parametrize("capacity", [2, 5, 40, 100])
def test_thinning_keeps_both_ends_and_its_distance(n, capacity):
    kept = thin(n, capacity)
    assert kept[0] == 0
    assert kept[-1] == n - 1
    assert len(kept) <= max(capacity, 2)
    step = -(-(n - 1) // (capacity - 1)) if n > capacity else 1
    assert n == 1 or np.diff(kept).min() >= step
