"""Fig. 4c: the peaks of a layer as a tree, joined in the order of the saddles between them."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.cluster.hierarchy import leaves_list

from dnuc.report.findings import Findings
from dnuc.report.peaks import Groups, Peaks, color_groups, peak_names
from dnuc.report.style import DARK, DOUBLE, FONT, GREY, PAGE, columns_that_fit, layer_name, new_figure, shorten

ROW = 0.17  # inches of a leaf, where there is room
LEGIBLE = 5.5  # points: leaf labels that had to be smaller are left out
MOST_LEAVES = 300  # a tree of more peaks is drawn of the largest ones alone,
LARGEST = 80  # so many that each has its label


def tree_layer(findings: Findings, model: str) -> str | None:
    """The layer whose tree is drawn: the job's, or the last one that has a tree, or else a landscape."""
    wanted = findings.job.report.tree_layer
    chosen = findings.choose(model, (wanted,) if wanted else (), "landscape", 1)
    if wanted and chosen:
        return chosen[0]
    ready = findings.with_stage("landscape", model)
    with_tree = [layer for layer in ready if findings.attributes("landscape", model, layer).get("tree")]
    return next(reversed(with_tree or ready), None)


def peak_tree(findings: Findings, model: str) -> Figure | None:
    """Every leaf is a peak and reaches to its log density; branches join at the log density of the saddle.

    None for a single peak, and where no tree was stored because the peaks are too many.
    """
    layer = tree_layer(findings, model)
    if layer is None:
        return None
    everything = findings.peaks(model, layer)
    tree = everything.tree
    if tree is None or len(everything) < 2:
        return None
    kept = leaves_drawn(everything)
    peaks = everything.take(kept)
    linkage, assumed = tree.of(kept)
    names, macros = findings.results.label_names, findings.results.macro_names
    some = f": the {len(kept)} largest of {len(everything):,} peaks" if len(kept) < len(everything) else ""
    title = layer_name(findings.row(model, layer), DOUBLE - 3) + some
    return tree_figure(peaks, linkage, assumed, tree.summit, names, color_groups(peaks, names, macros), title)


def tree_figure(
    peaks: Peaks,
    linkage: np.ndarray,
    assumed: np.ndarray,
    summit: float,
    label_names: list[str],
    groups: Groups | None,
    title: str,
) -> Figure:
    """The tree of at least two peaks: linkage (P - 1, 4) as of SciPy, the joints whose height is assumed, and the log
    density from which heights count down."""
    row = min(ROW, (PAGE - 1) / len(peaks))
    figure = new_figure(DOUBLE, max(1.6, row * len(peaks) + 0.9))
    axes = figure.add_subplot()
    order = leaves_list(linkage)
    x = np.concatenate([peaks.log_density, summit - linkage[:, 2]])  # leaves, then joints
    _draw_branches(axes, peaks, x, linkage, np.repeat(assumed, 2), order, groups)
    _label_leaves(axes, peaks, order, label_names, min(FONT, 0.82 * row * 72))
    axes.set_title(title, loc="left")
    axes.set_xlabel("log density (natural logarithm)")
    _explain(figure, groups, any_filled=bool(assumed.any()))
    return figure


def leaves_drawn(peaks: Peaks) -> np.ndarray:
    """The peaks that are leaves of the drawn tree, in their order: all of them, or the largest."""
    if len(peaks) <= MOST_LEAVES:
        return np.arange(len(peaks))
    return np.sort(np.argsort(-peaks.size, kind="stable")[:LARGEST])


def _draw_branches(
    axes: Axes,
    peaks: Peaks,
    x: np.ndarray,
    linkage: np.ndarray,
    is_assumed: np.ndarray,
    order: np.ndarray,
    groups: Groups | None,
) -> None:
    """Branches in the color that all their leaves share, dashed where a height is assumed, and dots at the leaves."""
    n = len(peaks)
    leaf_color = groups.majority_color if groups else [DARK] * n
    paths, colors = _branches(x, linkage, order, leaf_color)
    thick = float(np.clip(60 / n, 0.5, 1.3))
    axes.add_collection(LineCollection(list(paths[is_assumed]), colors=GREY, linewidths=0.8 * thick, linestyles="--"))
    axes.add_collection(LineCollection(list(paths[~is_assumed]), colors=colors[~is_assumed].tolist(), linewidths=thick))
    area = np.clip(peaks.size / peaks.size.max() * 30, 2, None) * min(1, 60 / n)
    axes.scatter(peaks.log_density[order], range(n), s=area[order], c=[leaf_color[p] for p in order], zorder=3, lw=0)
    span = x.max() - x.min()
    axes.set_xlim(x.min() - 0.03 * span, x.max() + 0.03 * span)
    axes.set_ylim(n - 0.5, -0.5)


def _branches(
    x: np.ndarray, linkage: np.ndarray, order: np.ndarray, leaf_color: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Two branches a joint, as paths (2P - 2, 3, 2) from a child to the joint's middle, and their colors."""
    n = len(order)
    y = np.empty(2 * n - 1)
    y[order] = np.arange(n)
    color = leaf_color + [DARK] * (n - 1)
    paths, colors = [], []
    for node, (a, b) in enumerate(linkage[:, :2].astype(int), start=n):
        y[node] = (y[a] + y[b]) / 2
        color[node] = color[a] if color[a] == color[b] else DARK
        paths += [[(x[child], y[child]), (x[node], y[child]), (x[node], y[node])] for child in (a, b)]
        colors += [color[a], color[b]]
    return np.array(paths), np.array(colors)


def _label_leaves(axes: Axes, peaks: Peaks, order: np.ndarray, label_names: list[str], size: float) -> None:
    """Majority class, its share (or the peak's number), and its size beside every leaf, where it can be read."""
    axes.spines["left"].set_visible(False)
    axes.yaxis.tick_right()
    axes.tick_params(axis="y", length=0)
    if size < LEGIBLE:
        axes.set_yticks([])
        return
    share = [f"  {s:.0%}" for s in peaks.majority[1]] if label_names else [""] * len(peaks)
    names = peak_names(peaks, label_names)
    texts = [f"{shorten(names[p])}{share[p]}  {peaks.size[p]:,}" for p in order]
    axes.set_yticks(range(len(order)), texts, fontsize=size)
    right = axes.get_xlim()[1]
    axes.hlines(range(len(order)), peaks.log_density[order], right, colors="#dddddd", linewidths=0.5, zorder=0)


def _explain(figure: Figure, groups: Groups | None, *, any_filled: bool) -> None:
    handles: list[Line2D] = []
    if groups:
        handles = [
            Line2D([], [], color=c, marker="o", label=shorten(n))
            for n, c in zip(groups.names, groups.colors, strict=True)
        ]
        handles.append(Line2D([], [], color=DARK, label="mixed branch"))
    if any_filled:
        handles.append(Line2D([], [], color=GREY, linestyle="--", label="peaks do not touch: height assumed"))
    if handles:
        columns = columns_that_fit([str(h.get_label()) for h in handles], DOUBLE)
        figure.legend(handles=handles, loc="outside lower left", ncols=columns)
