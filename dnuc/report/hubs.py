"""Fig. 3: how the input is forgotten, and the simple images that end up in very many neighborhoods."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from dnuc.report.findings import Findings
from dnuc.report.profiles import CROWDED, MARGIN, draw_profiles, legend_above
from dnuc.report.style import BLUE, DOUBLE, FONT, GREY, INPUT, OUTPUT, fit, layers_along_x, new_figure, profile_width

STRIP = 1.3  # inches: a strip of hub images, two beside each other
ROWS = 5


def input_and_hubs(findings: Findings, model: str) -> Figure | None:
    """Overlap with input and output, entropy of the neighborhoods, and the images that are most often neighbors.

    Panels without data are left out: no entropy, no lower panel; no images, no strips.
    """
    layers = findings.of(model)
    series = [s for s in (INPUT, OUTPUT) if layers[s.column].notna().any()]
    if not series:
        return None
    strips = _hub_layers(findings, model)
    has_entropy = bool(layers["neighborhood_entropy"].notna().any())
    width = DOUBLE if strips else profile_width(len(layers))
    profiles = width - STRIP * len(strips)
    figure = new_figure(width, 4.1 if has_entropy or strips else 2.7)
    ratios = [profiles, *[STRIP] * len(strips)]
    left, *right = figure.subfigures(1, len(ratios), squeeze=False, width_ratios=ratios)[0]
    for part, layer in zip(right, strips, strict=True):
        _draw_strip(part, findings, model, layer)
    panels = left.subplots(1 + has_entropy, 1, sharex=True, squeeze=False)[:, 0]
    draw_profiles(panels[0], layers, series, findings.published(model))
    panels[0].set_ylim(-0.02, 1.02)
    panels[0].set_ylabel(f"overlap χ (k = {findings.overlap_k})")
    legend_above(left, panels[0], profiles)
    if has_entropy:
        panels[0].tick_params(axis="x", bottom=False, which="both")
        _draw_entropy(panels[1], layers)
    layers_along_x(panels[-1], layers, profiles - MARGIN)
    return figure


def _draw_entropy(axes: Axes, layers: pd.DataFrame) -> None:
    x = np.arange(len(layers))
    size = 4 if len(layers) <= CROWDED else 2.5
    axes.errorbar(
        x,
        layers["neighborhood_entropy"],
        layers["neighborhood_entropy_error"],
        color=BLUE,
        marker="o",
        markersize=size,
        capsize=size / 2,
        label="of the neighbors",
    )
    axes.errorbar(
        x,
        layers["shuffled_entropy"],
        layers["shuffled_entropy_error"],
        color=GREY,
        linestyle="--",
        capsize=size / 2,
        label="neighbors shuffled",
    )
    axes.set_ylabel("image entropy (bit)")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, ncols=2)


def _hub_layers(findings: Findings, model: str) -> list[str]:
    """The layers whose hubs are shown: the first, and the one whose hubs reach most neighborhoods."""
    if findings.images is None:
        return []
    table = findings.of(model).dropna(subset="hub_coverage")
    if table.empty:
        return []
    highest = str(table["layer"].iloc[int(table["hub_coverage"].argmax())])
    return list(dict.fromkeys([str(table["layer"].iloc[0]), highest]))


def _draw_strip(part: SubFigure, findings: Findings, model: str, layer: str) -> None:
    """The most frequent neighbors of a layer, each with the number of neighborhoods that it is in."""
    found = findings.attributes("measures", model, layer)
    hubs = list(zip(found["hub_sample"], found["hub_occurrence"], strict=True))[: 2 * ROWS]
    part.suptitle(f"hubs of\n{fit(layer, STRIP - 0.1, FONT + 1)}")
    grid = part.subplots(ROWS, 2, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, (sample, occurrence) in zip(grid.flat, hubs, strict=False):
        image = findings.image(sample)
        axes.set_title(f"{occurrence:,}", pad=2, fontsize="medium")
        if image is None:
            axes.text(0.5, 0.5, "no\nimage", ha="center", va="center", color=GREY)
        else:
            axes.imshow(image, cmap="gray" if image.ndim == 2 else None, vmin=0, vmax=255)
