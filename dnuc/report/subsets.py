"""The intrinsic dimension of fewer samples (Ansuini et al. 2019, Fig. 2B)."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dnuc.report.findings import Findings
from dnuc.report.style import SINGLE, layer_name, new_figure, plain_log

LAYERS = 6  # of a model that are drawn
WORDS = 1.5  # inches of a legend beside the panel


def subsamples(findings: Findings, model: str) -> Figure | None:
    """Fig. 2B: the dimension against the number of samples, a line a layer; flat where it is well defined."""
    layers = findings.choose(model, (), "decimation", LAYERS)
    if not layers:
        return None
    figure = new_figure(SINGLE + WORDS, 2.8)
    axes = figure.add_subplot()
    for layer, look in _looks(layers):
        profile = findings.results.dimension_profile(layer, model)
        profile = profile[profile["method"] == "decimation"].sort_values("samples")
        axes.errorbar(profile["samples"], profile["value"], profile["error"], capsize=2, **look)
    plain_log(axes, "x")
    axes.set_xlabel("number of samples")
    axes.set_ylabel("intrinsic dimension (TwoNN)")
    axes.set_ylim(bottom=0)
    handles = [
        Line2D([], [], label=layer_name(findings.row(model, layer), WORDS - 0.5), linestyle="-", **look)
        for layer, look in _looks(layers)
    ]
    figure.legend(handles=handles, loc="outside right upper")
    return figure


def _looks(layers: list[str]) -> list[tuple[str, dict[str, Any]]]:
    """Layers from dark to bright, first to last."""
    colors = mpl.colormaps["viridis"](np.linspace(0, 0.9, len(layers)))
    return [
        (layer, {"color": c, "marker": "osD^v<"[i % 6]})
        for i, (layer, c) in enumerate(zip(layers, colors, strict=True))
    ]
