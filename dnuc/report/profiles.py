"""Profiles over the layers: overlaps (Fig. 2), intrinsic dimension, density peaks and whether they are classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from dnuc.report.findings import Findings
from dnuc.report.published import NAME
from dnuc.report.style import (
    BLUE,
    DARK,
    DOUBLE,
    FONT,
    GREY,
    LABEL,
    MACRO,
    NEXT,
    ORANGE,
    OUTPUT,
    SINGLE,
    Series,
    columns_that_fit,
    fit,
    layer_name,
    layers_along_x,
    model_style,
    new_figure,
    profile_width,
    published_mark,
)

CROWDED = 30  # layers beyond which markers are small
FEW = 6  # models up to which the legend stands above the panel
MARGIN = 0.7  # inches beside an axis for its label and ticks
ARI_CLASS = Series("ari_class", "with the classes", BLUE, "o")
ARI_MACRO = Series("ari_macro", "with the macro classes", ORANGE, "s")


def overlap_profiles(findings: Findings, model: str) -> Figure | None:
    """Fig. 2a: overlap with the classes, with the output, and between consecutive layers."""
    layers = findings.of(model)
    series = [s for s in (LABEL, MACRO, OUTPUT, NEXT) if layers[s.column].notna().any()]
    if not series:
        return None
    width = profile_width(len(layers))
    figure = new_figure(width, 2.7)
    axes = figure.add_subplot()
    draw_profiles(axes, layers, series, findings.published(model))
    axes.set_ylabel(f"overlap χ (k = {findings.overlap_k})")
    axes.set_ylim(-0.02, 1.02)
    layers_along_x(axes, layers, width - MARGIN)
    legend_above(figure, axes, width)
    return figure


def draw_profiles(axes: Axes, layers: pd.DataFrame, series: Sequence[Series], published: pd.DataFrame | None) -> None:
    """Columns of the layer table as lines over evenly spaced layers, with the published values as open markers."""
    x = np.arange(len(layers))
    size = 4 if len(layers) <= CROWDED else 2.5
    for s in series:
        axes.plot(x, layers[s.column], color=s.color, marker=s.marker, markersize=size, label=s.label, clip_on=False)
    beside = [
        s for s in series if published is not None and s.column in published and published[s.column].notna().any()
    ]
    for s in beside:
        assert published is not None
        axes.plot(x, published[s.column], clip_on=False, **published_mark(s.color, s.marker))
    if beside:
        axes.plot([], [], label=NAME, **published_mark(DARK, "o"))


def legend_above(figure: Figure | SubFigure, axes: Axes, width: float) -> None:
    """A legend above the panels, where it hides no data; `width` inches are there."""
    handles, labels = legend_entries(axes)
    figure.legend(handles, labels, loc="outside upper left", ncols=columns_that_fit(labels, width))


def legend_entries(axes: Axes) -> tuple[list[Any], list[str]]:
    """What a legend shows, published values last."""
    entries = zip(*axes.get_legend_handles_labels(), strict=True)
    handles, labels = zip(*sorted(entries, key=lambda entry: entry[1] == NAME), strict=True)
    return list(handles), list(labels)


def overlap_histograms(findings: Findings, model: str) -> Figure | None:
    """Fig. 2b: in four layers, how the overlap with the classes is distributed over the samples."""
    chosen = findings.choose(model, findings.job.report.histogram_layers, "measures", 4)
    if not chosen:
        return None
    columns = min(4, len(chosen))
    rows = -(-len(chosen) // columns)
    figure = new_figure(DOUBLE if columns > 2 else SINGLE, 1.75 * rows + 0.1)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True)
    k = findings.overlap_k
    edges = (np.arange(k + 2) - 0.5) / k  # a bin for each possible value j/k
    for panel, layer in zip(panels.flat, chosen, strict=False):
        overlap = findings.results.array("measures", "label_overlap", layer, model)[0]
        panel.hist(overlap, edges, weights=np.full(len(overlap), 1 / len(overlap)), color=BLUE, histtype="stepfilled")
        panel.axvline(overlap.mean(), color=DARK, linewidth=1, linestyle="--")
        panel.set_title(layer_name(findings.row(model, layer), 1.3, FONT + 1))
        panel.set_xlim(edges[0], edges[-1])
        panel.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        panel.yaxis.set_major_locator(MaxNLocator(3))
    for panel in panels.flat[len(chosen) :]:
        panel.set_visible(False)
    figure.supxlabel(f"overlap of a sample with its class (k = {k})", fontsize=FONT)
    figure.supylabel("share of samples", fontsize=FONT)
    return figure


def compare_models(findings: Findings) -> Figure | None:
    """Fig. 2c: overlap with the classes in several models."""
    if len(findings.models) < 2 or findings.layers["label_overlap"].isna().all():
        return None
    figure, axes = model_figure(len(findings.models))
    for position, model in enumerate(findings.models):
        layers = findings.of(model)
        x = np.linspace(0, 1, len(layers)) if len(layers) > 1 else np.ones(1)
        axes.plot(x, layers["label_overlap"], label=fit(model, 1.4), clip_on=False, **model_style(position))
    axes.set_xlabel("layer, evenly spaced (0 first, 1 last)")
    axes.set_ylabel(f"overlap with the classes (k = {findings.overlap_k})")
    axes.set_ylim(-0.02, 1.02)
    legend_of_models(figure, axes, len(findings.models))
    return figure


def dimension(findings: Findings) -> Figure | None:
    """Intrinsic dimension over relative depth, all models."""
    if findings.layers["intrinsic_dimension"].isna().all():
        return None
    figure, axes = _over_depth(findings, "intrinsic_dimension", "intrinsic_dimension_error")
    axes.set_ylabel("intrinsic dimension (TwoNN)")
    axes.set_ylim(bottom=0)
    return figure


def peak_numbers(findings: Findings) -> Figure | None:
    """Number of density peaks over relative depth, all models."""
    if findings.layers["n_peaks"].isna().all():
        return None
    figure, axes = _over_depth(findings, "n_peaks")
    log_counts(axes, findings.layers["n_peaks"].max())
    return figure


def log_counts(axes: Axes, largest: float) -> None:
    """A logarithmic y axis for numbers of peaks, with plain numbers at its ticks."""
    axes.set_yscale("log")
    axes.set_ylim(0.8, max(12.0, 1.5 * largest))
    axes.set_ylabel("density peaks")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if largest < 300 else (1.0,)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _over_depth(findings: Findings, column: str, error: str | None = None) -> tuple[Figure, Axes]:
    """A column of the layer table over relative depth, a line a model."""
    figure, axes = model_figure(len(findings.models))
    any_published = False
    for position, model in enumerate(findings.models):
        layers, look = findings.of(model), model_style(position)
        bars = layers[error] if error else None
        axes.errorbar(layers["relative_depth"], layers[column], bars, label=fit(model, 1.4), capsize=2, **look)
        published = findings.published(model)
        if published is not None:
            axes.plot(layers["relative_depth"], published[column], **published_mark(look["color"], look["marker"]))
            any_published = True
    if any_published:
        axes.plot([], [], label=NAME, **published_mark(DARK, "o"))
    axes.set_xlabel("relative depth")
    axes.set_xlim(-0.03, 1.03)
    legend_of_models(figure, axes, len(findings.models))
    return figure, axes


def model_figure(n_models: int) -> tuple[Figure, Axes]:
    """An empty panel for a line a model, wider where the legend stands beside it."""
    figure = new_figure(SINGLE if n_models <= FEW else DOUBLE, 2.8)
    return figure, figure.add_subplot()


def legend_of_models(figure: Figure, axes: Axes, n_models: int) -> None:
    """Above for a few models, beside for many; none for a single line."""
    handles, labels = legend_entries(axes)
    if n_models > FEW:
        figure.legend(handles, labels, loc="outside right upper")
    elif len(handles) > 1:
        legend_above(figure, axes, SINGLE)


def agreement(findings: Findings, model: str) -> Figure | None:
    """Fig. 4b: agreement of the density peaks with classes and macro classes, and how many peaks there are."""
    layers = findings.of(model)
    series = [s for s in (ARI_CLASS, ARI_MACRO) if layers[s.column].notna().any()]
    if layers["n_peaks"].isna().all():
        return None
    width = profile_width(len(layers))
    figure = new_figure(width, 3.7)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    published = findings.published(model)
    draw_profiles(upper, layers, series, published)
    upper.axhline(0, color=GREY, linewidth=0.6, zorder=0)
    upper.set_ylabel("adjusted Rand index")
    low, high = upper.get_ylim()
    upper.set_ylim(min(-0.03, low), max(0.1, high))
    upper.tick_params(axis="x", bottom=False, which="both")
    draw_profiles(lower, layers, [Series("n_peaks", "density peaks", DARK, "o")], published)
    log_counts(lower, layers["n_peaks"].max())
    layers_along_x(lower, layers, width - MARGIN)
    if series:
        legend_above(figure, upper, width)
    return figure
