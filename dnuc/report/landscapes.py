"""Figures of a landscape that is of no run."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dnuc.report.peak_map import arrange, counted, map_figure
from dnuc.report.peaks import color_groups, describe_landscape
from dnuc.report.style import SINGLE, paper_style
from dnuc.report.tree import tree_figure


def draw_tree(
    landscape: Any, linkage: np.ndarray, assumed: np.ndarray, label: np.ndarray, names: list[str], title: str
) -> Figure:
    """The tree of at least two peaks, see `dnuc.draw_tree`; label (N,) is a position in `names`, or -1."""
    peaks = describe_landscape(landscape, label, len(names))
    with paper_style():
        return tree_figure(peaks, linkage, assumed, peaks.summit, names, color_groups(peaks, names, []), title)


def draw_peak_map(landscape: Any, label: np.ndarray, names: list[str], title: str) -> Figure:
    """The map of the peaks, see `dnuc.draw_peak_map`."""
    drawn = arrange(describe_landscape(landscape, label, len(names)))
    with paper_style():
        return map_figure([(counted(drawn, title), drawn)], names, [], side=SINGLE)
