"""Whether peaks and their tree, found without labels, reproduce the taxonomy of the classes: which level, how well."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from dnuc.report.findings import Findings
from dnuc.report.style import BLUE, DOUBLE, GREY, columns_that_fit, layer_name, layers_along_x, new_figure, thin
from dnuc.report.tree import tree_layer

MOST_LINES = 7  # levels drawn: the broadest, the finest, and some between
SIGNIFICANT = 0.01


def taxonomy_layer(findings: Findings, model: str) -> str | None:
    """The layer whose tree is compared with every level, that of the drawn tree; None without a taxonomy or tree."""
    layer = tree_layer(findings, model)
    if layer is None or not findings.attributes("landscape", model, layer).get("taxonomy", {}).get("distances"):
        return None
    return layer if len(findings.results.taxonomy_levels(layer, model)) else None


def taxonomy_match(findings: Findings, model: str) -> Figure | None:
    """At every cut of one layer's tree, the agreement with levels of the taxonomy; in every layer, that of distances.

    None where the job has no taxonomy, and where the layer's peaks are too many for a tree.
    """
    layer = taxonomy_layer(findings, model)
    if layer is None:
        return None
    figure = new_figure(DOUBLE, 2.9)
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    _draw_cuts(left, findings, model, layer)
    _draw_layers(right, findings.of(model))
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=columns_that_fit(labels, DOUBLE))
    return figure


def drawn_levels(levels: pd.DataFrame) -> np.ndarray:
    """The rows of the levels that are drawn: all if they are few."""
    return thin(len(levels), MOST_LINES)


def _draw_cuts(axes: Axes, findings: Findings, model: str, layer: str) -> None:
    """Adjusted Rand index over the number of branches, a line a level; a dot where the tree fits the level best."""
    levels = findings.results.taxonomy_levels(layer, model)
    ari = findings.results.array("landscape", "branch_ari", layer, model)  # (branches, levels)
    branches = np.arange(1, len(ari) + 1)
    shown = drawn_levels(levels)
    colors = mpl.colormaps["viridis"](np.linspace(0.0, 0.88, len(shown)))
    for color, level in zip(colors, shown, strict=True):
        row = levels.iloc[level]
        axes.plot(branches, ari[:, level], color=color, label=f"{row['n_groups']:,.0f} groups")
        axes.plot(row["branches"], row["branch_ari"], "o", color=color, markersize=4, clip_on=False)
    if len(ari) > 1:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.axhline(0, color=GREY, linewidth=0.6, zorder=0)
    axes.set_ylim(min(-0.03, float(ari.min())), max(0.1, 1.05 * float(ari.max())))
    axes.set_xlabel(f"branches of the tree (all {len(ari):,}: the peaks)")
    axes.set_ylabel("adjusted Rand index")
    axes.set_title(layer_name(findings.row(model, layer), 2.4), loc="left")


def _draw_layers(axes: Axes, layers: pd.DataFrame) -> None:
    """Rank correlation of distances in the tree and in the taxonomy; filled where chance would hardly give it."""
    x, y = np.arange(len(layers)), layers["taxonomy_correlation"].to_numpy()
    certain = layers["taxonomy_p_value"].to_numpy() < SIGNIFICANT
    axes.plot(x, y, color=BLUE, linewidth=1)
    for rows, inside in ((certain, BLUE), (~certain & ~np.isnan(y), "white")):
        if rows.any():  # the box of an empty line is at the corner of the figure
            axes.plot(x[rows], y[rows], "o", color=BLUE, markersize=4, markerfacecolor=inside, clip_on=False)
    axes.axhline(0, color=GREY, linewidth=0.6, zorder=0)
    low, high = np.nanmin([0, *y]), np.nanmax([0.1, *y])
    axes.set_ylim(low - 0.05, high + 0.05)
    axes.set_ylabel("correlation of tree and taxonomy")
    axes.set_title("all layers", loc="left")
    layers_along_x(axes, layers, 2.5)


def taxonomy_caption(findings: Findings, model: str) -> str:
    """Definitions, and the numbers of the layer that is drawn."""
    layer = taxonomy_layer(findings, model) or ""
    found = findings.attributes("landscape", model, layer)["taxonomy"]
    levels = findings.results.taxonomy_levels(layer, model)
    tests = [f"{_NAMES[name]} {_told(test)}" for name, test in found["distances"].items()]
    left_out = "" if len(levels) <= MOST_LINES else f" {len(drawn_levels(levels))} of {len(levels)} levels are drawn."
    assumed = f" {found['assumed_share']:.0%} of the distances in the tree are assumed: peaks between do not touch."
    return (
        "Left: the tree is cut into any number of branches, and each cut compared with levels of the taxonomy of the "
        "classes, named by their number of groups; dots mark the best cut; the adjusted Rand index is 1 for equal "
        f"partitions, 0 on average for unrelated ones.{left_out} Right, for every layer: Spearman's correlation, over "
        "all pairs of classes, of the height at which their peaks merge with their distance in the taxonomy (Wu and "
        f"Palmer). Open circles: classes in random order do as well in at least {SIGNIFICANT:.0%} of the cases "
        f"(Mantel's test). In {layer}: {', '.join(tests)}." + (assumed if found["assumed_share"] else "")
    )


_NAMES = {"path": "steps in the taxonomy", "wu_palmer": "Wu and Palmer"}


def _told(test: dict[str, float | None]) -> str:
    if test["correlation"] is None:
        return "undefined (all distances are equal)"
    return f"{test['correlation']:.3f} (p = {test['p_value']:.2g})"
