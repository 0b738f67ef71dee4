"""Are the manifolds flat? What the covariance says, beside the intrinsic dimension (Ansuini et al. 2019, Fig. 5)."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from dnuc.report.findings import Findings
from dnuc.report.profiles import legend_above, legend_of_models, model_figure
from dnuc.report.style import DOUBLE, SINGLE, fit, model_style, new_figure, plain_log
from dnuc.store import stage_group

MODELS = 20  # that a figure of spectra shows
ZERO = 1e-10  # share of the variance below which a component is rounding: units that never fire, sums that are fixed


def spectra(findings: Findings) -> Figure | None:
    """Fig. 5A: share of the variance of each principal component of the last hidden layers, largest first."""
    shown = [(m, layer) for m, layer in last_hidden(findings) if layer in findings.with_stage("spectrum", m)][:MODELS]
    if not shown:
        return None
    figure, axes = model_figure(len(shown))
    for position, (model, layer) in enumerate(shown):
        ratio = findings.results.store.read(stage_group(model, layer, "spectrum"), "variance_ratio")
        rank = 1 + np.flatnonzero(ratio > ZERO)
        label = fit(f"{model}, {layer}", 2.2)
        look = model_style(position) | {"marker": ""}
        axes.plot(rank, ratio[rank - 1], label=label, **look)
    plain_log(axes, "x")
    plain_log(axes, "y")
    axes.set_xlabel("rank of the principal component")
    axes.set_ylabel("share of the variance")
    legend_of_models(figure, axes, len(shown))
    return figure


def last_hidden(findings: Findings) -> list[tuple[str, str]]:
    """(model, layer) of the last hidden layer of each network that has one."""
    networks = findings.networks
    if "last_hidden_layer" not in networks:
        return []
    known = networks[networks["last_hidden_layer"].notna() & networks["model"].isin(findings.models)]
    return list(zip(known["model"], known["last_hidden_layer"], strict=True))


def gaussian(findings: Findings) -> Figure | None:
    """Fig. 5B: the dimension of a layer, and of Gaussian samples with its covariance, against the number of samples."""
    shown = [(m, layer) for m in findings.models for layer in findings.with_stage("surrogate", m)][:MODELS]
    if not shown:
        return None
    figure = new_figure(SINGLE if len(shown) <= 3 else DOUBLE, 2.8)
    axes = figure.add_subplot()
    for position, (model, layer) in enumerate(shown):
        look = model_style(position)
        profile = findings.results.dimension_profile(layer, model)
        for method, line in (("decimation", "-"), ("surrogate", "--")):
            part = profile[profile["method"] == method].sort_values("samples")
            label = fit(f"{model}, {layer}", 1.8) if method == "decimation" else "its Gaussian"
            face = {"mfc": "white"} if method == "surrogate" else {}
            axes.errorbar(
                part["samples"],
                part["value"],
                part["error"],
                capsize=2,
                label=label,
                **look | {"linestyle": line} | face,
            )
    plain_log(axes, "x")
    plain_log(axes, "y")
    axes.set_xlabel("number of samples")
    axes.set_ylabel("intrinsic dimension (TwoNN)")
    legend_above(figure, axes, figure.get_figwidth())
    return figure
