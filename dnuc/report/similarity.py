"""Layers compared by information imbalance, CKA and canonical correlations: maps of all pairs, and what is near."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dnuc.report.correlation import pearson
from dnuc.report.findings import Findings
from dnuc.report.profiles import MARGIN, legend_above
from dnuc.report.style import (
    BLUE,
    DARK,
    DOUBLE,
    GREEN,
    GREY,
    OUTPUT,
    PINK,
    SKY,
    VERMILION,
    layer_name,
    layers_along_x,
    new_figure,
    text_width,
    thin,
)
from dnuc.store import SIMILARITIES

MOST_PANELS = 6  # three rows of two; of many widths the smallest and the largest are shown
NAMES = {
    "information_imbalance": "information imbalance",
    "linear_cka": "linear CKA",
    "gaussian_cka": "Gaussian CKA",
    "svcca": "SVCCA",
    "pwcca": "PWCCA",
}


@dataclass(frozen=True)
class Matrix:
    """A measure of all pairs of layers."""

    measure: str
    width: float | None
    values: pd.DataFrame

    @property
    def name(self) -> str:
        """As figures write it."""
        return NAMES[self.measure] + ("" if self.width is None else f", width {self.width:g}")


def stored_matrices(findings: Findings, model: str) -> list[Matrix]:
    """Everything that compares the layers of a model, Gaussians from the narrowest to the widest."""
    found, results = [], findings.results
    for measure, kind in SIMILARITIES.items():
        group = f"models/{model}/similarity/{kind}"
        if results.store.is_complete(group) and results.store.has(group, measure):
            widths = sorted(results.store.attributes(group)["widths"]) if measure == "gaussian_cka" else [None]
            found += [Matrix(measure, width, results.similarity(model, measure, width)) for width in widths]
    return found


def shown_matrices(findings: Findings, model: str) -> list[Matrix]:
    """Those that fit on a page: of many Gaussians the narrowest and the widest."""
    found = stored_matrices(findings, model)
    widths = [m.width for m in found if m.width is not None]
    if len(found) > MOST_PANELS and len(widths) > 2:
        found = [m for m in found if m.width in (None, widths[0], widths[-1])]
    return found


def similarity_table(findings: Findings) -> pd.DataFrame:
    """A row a measure and pair of layers: model, measure, width (of a Gaussian), layer, other_layer, value."""
    parts = []
    for model in findings.models:
        for matrix in stored_matrices(findings, model):
            values, layers = matrix.values.to_numpy(), matrix.values.index
            width = np.nan if matrix.width is None else matrix.width
            table = {"model": model, "measure": matrix.measure, "width": width, "layer": layers.repeat(len(layers))}
            parts.append(pd.DataFrame(table | {"other_layer": [*layers] * len(layers), "value": values.ravel()}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def similarity_notes(findings: Findings) -> list[str]:
    """Layers that could not be compared, and why."""
    store, found = findings.results.store, []
    for model in findings.models:
        for kind in dict.fromkeys(SIMILARITIES.values()):
            group = f"models/{model}/similarity/{kind}"
            if store.is_complete(group):
                found += store.attributes(group).get("notes", [])
    return [f"Not compared with other layers: {note}." for note in dict.fromkeys(found)]


def similarity_matrices(findings: Findings, model: str) -> Figure | None:
    """A heat map for each measure: bright where layers are alike, or the one tells about the other."""
    matrices, layers = shown_matrices(findings, model), findings.of(model)
    if len(layers) < 2 or not matrices:
        return None
    columns = min(2, len(matrices))
    rows = -(-len(matrices) // columns)
    names = [layer_name(row, 1.1) for _, row in layers.iterrows()]
    longest = max(map(text_width, names))
    side = (DOUBLE - longest) / 2 - 0.75  # inches of a map; beside it are the gap and the scale of colors
    figure = new_figure(DOUBLE if columns == 2 else DOUBLE / 2 + longest / 2, rows * (side + 0.35) + longest + 0.1)
    panels = figure.subplots(rows, columns, squeeze=False)
    for place, panel in enumerate(panels.flat):
        if place >= len(matrices):
            panel.set_visible(False)
            continue
        _heat_map(figure, panel, matrices[place])
        _name_layers(panel, names, side, left=place % columns == 0, below=place + columns >= len(matrices))
    return figure


def _heat_map(figure: Figure, axes: Axes, matrix: Matrix) -> None:
    values = matrix.values.to_numpy()
    imbalance = matrix.measure == "information_imbalance"
    high = float(np.nanmax(values, initial=1e-9)) if imbalance else 1.0
    low = 0.0 if imbalance else min(0.0, float(np.nanmin(values, initial=0.0)))
    colors = "viridis_r" if imbalance else "viridis"
    picture = axes.imshow(values, vmin=low, vmax=high, cmap=colors, interpolation="nearest")
    axes.spines[:].set_visible(False)
    axes.set_title(matrix.name)
    bar = figure.colorbar(picture, ax=axes, shrink=0.9, pad=0.03)
    bar.ax.spines[:].set_visible(False)


def _name_layers(axes: Axes, names: list[str], side: float, *, left: bool, below: bool) -> None:
    n = len(names)
    kept = thin(n, int(side / 0.16))
    for axis, shown in ((axes.yaxis, left), (axes.xaxis, below)):
        axis.set_ticks(kept, [names[i] if shown else "" for i in kept])
        axis.set_ticks(np.setdiff1d(np.arange(n), kept), minor=True)
    axes.tick_params(axis="x", rotation=90)


def similarity_to_output(findings: Findings, model: str) -> Figure | None:
    """The overlap with the output beside CKA with it: narrow Gaussians see what is near, linear CKA does not."""
    matrices = [m for m in stored_matrices(findings, model) if m.measure.endswith("cka")]
    layers = findings.of(model)
    if len(layers) < 3 or not matrices or layers["output_overlap"].isna().all():
        return None
    figure = new_figure(DOUBLE, 3.0)
    profiles, scatter = figure.subplots(1, 2, width_ratios=(3, 2))
    x, overlap = np.arange(len(layers)), layers["output_overlap"].to_numpy()
    profiles.plot(x, overlap, color=OUTPUT.color, marker=OUTPUT.marker, label="overlap χ", zorder=3, clip_on=False)
    for matrix, look in zip(matrices, _looks(matrices), strict=True):
        to_output = matrix.values.iloc[:, -1].to_numpy()
        others = slice(0, len(layers) - 1)  # with itself the output has 1, whatever is measured
        r = pearson(overlap[others], to_output[others])
        label = matrix.name + ("" if np.isnan(r) else f" (r = {r:.2f})")
        profiles.plot(x, to_output, label=label, clip_on=False, **look)
        scatter.plot(overlap[others], to_output[others], clip_on=False, **look | {"linestyle": "none"})
    profiles.set_ylabel(f"similarity to the output (k = {findings.overlap_k})")
    profiles.set_ylim(min(-0.02, profiles.get_ylim()[0]), 1.02)
    scatter.plot([0, 1], [0, 1], color=GREY, linewidth=0.6, zorder=0)
    scatter.set_xlabel("overlap χ with the output")
    scatter.set_ylabel("CKA with the output")
    scatter.set_xlim(-0.02, 1.02)
    scatter.set_ylim(profiles.get_ylim())
    layers_along_x(profiles, layers, 0.6 * DOUBLE - MARGIN)
    legend_above(figure, profiles, DOUBLE)
    return figure


def _looks(matrices: list[Matrix]) -> list[dict[str, Any]]:
    """Color, marker and line: green for linear CKA, for Gaussians the darker the narrower."""
    gaussian = iter([(BLUE, "o"), (SKY, "v"), (PINK, "D"), (VERMILION, "P"), (DARK, "X")])
    looks = []
    for matrix in matrices:
        color, marker = (GREEN, "^") if matrix.width is None else next(gaussian, (GREY, "."))
        looks.append({"color": color, "marker": marker, "linestyle": "--" if matrix.width is None else "-"})
    return looks
