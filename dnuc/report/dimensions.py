"""What training does to the intrinsic dimension, and whether it tells how well a network does (Ansuini et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dnuc.report.correlation import pearson
from dnuc.report.findings import Findings
from dnuc.report.profiles import legend_above, legend_of_models, model_figure
from dnuc.report.style import DARK, DOUBLE, ORANGE, SINGLE, fit, model_style, new_figure

TRAININGS = 3  # that fit on a page, a row each
COLUMN, ERROR = "intrinsic_dimension", "intrinsic_dimension_error"


def untrained(findings: Findings) -> Figure | None:
    """Fig. 5C: over relative depth, the dimension in trained networks and in the same ones with random weights.

    Beside it PC-ID, where it is known of at least one pair.
    """
    pairs = untrained_pairs(findings)
    if not pairs:
        return None
    linear = findings.layers["pca_dimension"].notna().any()
    figure = new_figure(DOUBLE if linear or len(pairs) > 3 else SINGLE, 2.8)
    panels = figure.subplots(1, 2 if linear else 1, squeeze=False)[0]
    for position, (trained, random) in enumerate(pairs):
        solid = model_style(position) | {"linestyle": "-"}
        for model, look in ((trained, solid), (random, solid | {"linestyle": "--", "mfc": "white"})):
            layers = findings.of(model)
            _profile(panels[0], layers, label=fit(model, 1.4), **look)
            if linear:
                panels[1].plot(layers["relative_depth"], layers["pca_dimension"], **look)
    for panel in panels:
        _over_relative_depth(panel)
    if linear:
        panels[1].set_ylabel(f"PC-ID ({findings.job.dimension.variance:.0%} of the variance)")
    legend_above(figure, panels[0], figure.get_figwidth())
    return figure


def untrained_pairs(findings: Findings) -> list[tuple[str, str]]:
    """(trained, untrained) networks of the same architecture and options.

    Untrained ones have random weights or are epoch 0 of a training. Networks trained on shuffled labels are left out.
    """
    networks = findings.networks
    networks = networks[networks["model"].isin(_with_dimension(findings)) & networks["architecture"].notna()]
    pairs = []
    for _, same in networks.groupby(["architecture", "options"], sort=False):
        random = same[(same["weights"] == "random") | (same["epoch"] == 0)]
        trained = same[(same["model"] == same["of"]) & ~same["shuffled"] & (same["weights"] != "random")]
        pairs += [(model, _counterpart(model, random)) for model in trained["model"] if len(random)]
    return pairs


def _counterpart(model: str, random: pd.DataFrame) -> str:
    """The untrained network that a trained one began as, or else the first."""
    own = random[random["of"] == model]
    return str((own if len(own) else random)["model"].iloc[0])


def against_error(findings: Findings) -> Figure | None:
    """Fig. 4: the dimension of the last hidden layer against the error of the network."""
    measured = measured_errors(findings)
    if measured is None:
        return None
    networks, column = measured
    figure = new_figure(SINGLE if len(networks) <= 8 else DOUBLE, 3.0)
    axes = figure.add_subplot()
    for position, (_, row) in enumerate(networks.iterrows()):
        axes.errorbar(
            100 * row[column], row["last_hidden_dimension"], row["last_hidden_dimension_error"], capsize=2,
            label=fit(row["model"], 1.4), **model_style(position) | {"linestyle": "none"},
        )  # fmt: skip
    axes.set_xlabel(f"{ERROR_NAMES[column]} (%)")
    axes.set_ylabel("ID of the last hidden layer")
    axes.margins(0.1)
    r = correlation(networks, column)
    if not np.isnan(r):
        axes.set_title(f"Pearson r = {r:.2f}", loc="left")
    handles, labels = axes.get_legend_handles_labels()
    if len(networks) > 8:
        figure.legend(handles, labels, loc="outside right upper")
    else:
        legend_above(figure, axes, SINGLE)
    return figure


ERROR_NAMES = {"test_error": "error on held-out images", "top5_error": "published top-5 error"}


def measured_errors(findings: Findings) -> tuple[pd.DataFrame, str] | None:
    """The networks whose error and last hidden dimension are known, and which error that is; None for fewer than two.

    Each training counts once, at its end; networks trained on shuffled labels do not count. Errors on held-out images
    are taken where at least as many networks have one as have a published error.
    """
    networks = findings.networks
    if "last_hidden_dimension" not in networks:
        return None
    networks = networks[networks["last_hidden_dimension"].notna() & ~networks["shuffled"].astype(bool)]
    networks = networks[networks["model"] == networks["of"]]
    found = [(networks[networks[column].notna()], column) for column in ERROR_NAMES]
    best = max(found, key=lambda one: len(one[0]))
    return best if len(best[0]) >= 2 else None


def correlation(networks: pd.DataFrame, column: str) -> float:
    """Pearson's r of the error and the dimension of the last hidden layer; NaN for few or for equal networks."""
    return pearson(networks[column].to_numpy(), networks["last_hidden_dimension"].to_numpy())


def during_training(findings: Findings) -> Figure | None:
    """Fig. 9: profiles after some epochs of a training, and the last hidden layer epoch by epoch."""
    shown = trainings(findings)[:TRAININGS]
    if not shown:
        return None
    figure = new_figure(DOUBLE, 2.7 * len(shown))
    rows = figure.subfigures(len(shown), 1, squeeze=False)[:, 0]
    for part, model in zip(rows, shown, strict=True):
        networks = _epochs(findings, model)
        left, right = part.subplots(1, 2, width_ratios=(3, 2))
        colors = mpl.colormaps["viridis"](np.linspace(0, 0.9, len(networks)))
        for color, (_, row) in zip(colors, networks.iterrows(), strict=True):
            _profile(left, findings.of(row["model"]), color=color, marker="o", label=f"{row['epoch']:.0f}")
        _over_relative_depth(left)
        left.legend(title="epoch", ncols=2)
        left.set_title(fit(model, 3), loc="left")
        _last_hidden(right, networks)
    return figure


def trainings(findings: Findings) -> list[str]:
    """The networks of which at least one earlier epoch has a dimension too."""
    found = findings.networks[findings.networks["model"].isin(_with_dimension(findings))]
    if "of" not in found:
        return []
    several = found["of"].value_counts()
    return [model for model in found["model"] if several.get(model, 0) > 1]


def _epochs(findings: Findings, model: str) -> pd.DataFrame:
    networks = findings.networks
    return networks[(networks["of"] == model) & networks["epoch"].notna()].sort_values("epoch")


def _last_hidden(axes: Axes, networks: pd.DataFrame) -> None:
    """The dimension of the last hidden layer over the epochs, and the accuracy on a second axis where it is known."""
    axes.errorbar(
        networks["epoch"], networks["last_hidden_dimension"], networks["last_hidden_dimension_error"], capsize=2,
        color=DARK, marker="o",
    )  # fmt: skip
    axes.set_xlabel("epoch")
    axes.set_ylabel("ID of the last hidden layer")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if networks["test_accuracy"].notna().any():
        other = axes.twinx()
        other.plot(networks["epoch"], 100 * networks["test_accuracy"], color=ORANGE, marker="s", linestyle=":")
        other.set_ylabel("held-out accuracy (%)", color=ORANGE)
        other.spines["right"].set_visible(True)


def _profile(axes: Axes, layers: pd.DataFrame, **look: Any) -> None:
    axes.errorbar(layers["relative_depth"], layers[COLUMN], layers[ERROR], capsize=2, **look)


def _over_relative_depth(axes: Axes) -> None:
    axes.set_xlabel("relative depth")
    axes.set_ylabel("intrinsic dimension (TwoNN)")
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(bottom=0)


def _with_dimension(findings: Findings) -> Sequence[str]:
    layers = findings.layers
    return list(layers.loc[layers[COLUMN].notna(), "model"].unique())


def of_classes(findings: Findings) -> Figure | None:
    """Fig. 3: mean dimension of the classes, each by itself, over relative depth; bars, how they differ."""
    if "class_dimension" not in findings.layers or findings.layers["class_dimension"].isna().all():
        return None
    shown = [m for m in findings.models if findings.of(m)["class_dimension"].notna().any()]
    figure, axes = model_figure(len(shown))
    for position, model in enumerate(shown):
        layers = findings.of(model)
        bars = layers["class_dimension_std"]
        axes.errorbar(
            layers["relative_depth"], layers["class_dimension"], bars, capsize=2, label=fit(model, 1.4),
            **model_style(position),
        )  # fmt: skip
    _over_relative_depth(axes)
    axes.set_ylabel("mean dimension of a class (TwoNN)")
    legend_of_models(figure, axes, len(shown))
    return figure
