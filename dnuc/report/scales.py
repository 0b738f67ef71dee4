"""The intrinsic dimension as a profile: against the scale at which it is measured, and by other definitions of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator, StrMethodFormatter

from dnuc.report.findings import Findings
from dnuc.report.profiles import legend_above
from dnuc.report.style import (
    BLUE,
    DARK,
    DOUBLE,
    FONT,
    GREEN,
    ORANGE,
    SINGLE,
    VERMILION,
    Series,
    layer_name,
    new_figure,
    text_width,
)

PANELS = 8  # layers whose profiles are drawn
GRIDE = Series("gride", "Gride, ranks n and 2n of the neighbors", BLUE, "o")
DECIMATION = Series("decimation", "TwoNN in random blocks, mean ± standard deviation", ORANGE, "s")

# column, its error, and how it is drawn
_KINDS = (
    ("intrinsic_dimension", "intrinsic_dimension_error", Series("two_nn", "TwoNN", DARK, "o")),
    ("dimension_gride", "dimension_gride_error", Series("gride", "Gride, largest rank", BLUE, "^")),
    ("class_dimension", "class_dimension_std", Series("class", "TwoNN of each class, mean ± spread", GREEN, "D")),
    ("pca_dimension", None, Series("pca", "PC-ID", VERMILION, "s")),
)


def dimension_scales(findings: Findings, model: str) -> Figure | None:
    """Fig. 2B: for some layers, the dimension over the distance at which it is measured."""
    chosen = findings.choose(model, (), "dimension", PANELS)
    if not chosen:
        return None
    columns = min(4, len(chosen))
    rows = -(-len(chosen) // columns)
    figure = new_figure(DOUBLE if columns > 2 else SINGLE, 1.75 * rows + 0.3)
    panels = figure.subplots(rows, columns, squeeze=False)
    width = figure.get_figwidth() / columns - 0.4
    for panel, layer in zip(panels.flat, chosen, strict=False):
        _scale_panel(panel, findings.results.dimension_profile(layer, model), width)
        panel.set_title(layer_name(findings.row(model, layer), width, FONT + 1))
    for panel in panels.flat[len(chosen) :]:
        panel.set_visible(False)
    figure.supxlabel("distance", fontsize=FONT)
    figure.supylabel("intrinsic dimension", fontsize=FONT)
    fullest = max(panels.flat[: len(chosen)], key=lambda panel: len(panel.get_legend_handles_labels()[0]))
    legend_above(figure, fullest, figure.get_figwidth())
    return figure


def _scale_panel(axes: Axes, profile: pd.DataFrame, width: float) -> None:
    """Both ways to larger scales, each with its errors."""
    for s in (GRIDE, DECIMATION):
        rows = profile[(profile["method"] == s.column) & profile["value"].notna()]
        if len(rows):
            axes.errorbar(
                rows["scale"], rows["value"], rows["error"], capsize=2, markersize=3.5, color=s.color, marker=s.marker,
                label=s.label,
            )  # fmt: skip
    axes.set_xscale("log")
    axes.set_ylim(0, 1.1 * axes.dataLim.intervaly[1])
    axes.yaxis.set_major_locator(MaxNLocator(4))
    _few_ticks(axes, width)


def _few_ticks(axes: Axes, width: float) -> None:
    """Plain numbers along a logarithmic x axis of `width` inches, as many as have room."""
    low, high = axes.dataLim.intervalx
    low, high = low / 1.1, high * 1.1
    axes.set_xlim(low, high)
    locator = MaxNLocator(3) if high < 8 * low else LogLocator(subs=(1.0, 3.0) if high < 100 * low else (1.0,))
    ticks: list[float] = []
    end = -1.0
    for tick in locator.tick_values(low, high):
        label = text_width(f"{tick:.4g}")
        place = width * float(np.log(tick / low) / np.log(high / low)) if tick > 0 else -1.0
        if 0 <= place <= width and place - label / 2 > end + 0.08:
            ticks.append(tick)
            end = place + label / 2
    axes.set_xticks(ticks, [f"{t:.4g}" for t in ticks])
    axes.xaxis.set_minor_locator(NullLocator())


def dimensions_compared(findings: Findings, model: str) -> Figure | None:
    """Fig. 5C: TwoNN, Gride at the largest scale, the classes' and the linear dimension over relative depth."""
    layers = findings.of(model)
    drawn = [kind for kind in _KINDS if layers[kind[0]].notna().any()]
    if len(drawn) < 2:
        return None
    figure = new_figure(SINGLE if len(drawn) < 4 else DOUBLE, 3.0)
    axes = figure.add_subplot()
    for column, error, s in drawn:
        bars = layers[error] if error else None
        axes.errorbar(
            layers["relative_depth"], layers[column], bars, capsize=2, color=s.color, marker=s.marker, label=s.label
        )
    axes.set_xlabel("relative depth")
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylabel("dimension")
    if layers["pca_dimension"].notna().any():
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(bottom=0)
    legend_above(figure, axes, figure.get_figwidth())
    return figure
