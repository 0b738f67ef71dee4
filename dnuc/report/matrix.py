"""Overlaps of all pairs of layers of a model as a heat map."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from dnuc.report.findings import Findings
from dnuc.report.style import DOUBLE, layer_name, layers_along_x, layers_along_y, new_figure, text_width

CELL = 0.4  # inches of a cell that holds its number
BAR = 1.0  # inches beside the map for the scale of colors


def overlap_matrix(findings: Findings, model: str) -> Figure | None:
    """The overlap of every layer with every other: blocks are stretches in which neighborhoods change little."""
    layers = findings.of(model)
    if len(layers) < 2 or not findings.results.store.is_complete(f"models/{model}/overlaps"):
        return None
    overlap = findings.results.overlap_matrix(model)[0]  # (layers, layers)
    names = max(text_width(layer_name(row)) for _, row in layers.iterrows()) + 0.2  # inches
    side = float(np.clip(CELL * len(layers), 1.6, DOUBLE - BAR - names))
    figure = new_figure(side + names + BAR, side + 0.5)
    axes = figure.add_subplot()
    picture = axes.imshow(overlap, vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
    axes.spines[:].set_visible(False)
    layers_along_x(axes, layers, side)
    layers_along_y(axes, layers, side)
    bar = figure.colorbar(picture, ax=axes, shrink=0.8, pad=0.02)
    bar.set_label(f"overlap χ (k = {findings.overlap_k})")
    bar.ax.spines[:].set_visible(False)
    if side / len(layers) >= 0.9 * CELL:
        for (row, column), value in np.ndenumerate(overlap):
            color = "black" if value > 0.6 else "white"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=color)
    return figure
