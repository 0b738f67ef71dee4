"""Fig. 4a: the peaks of some layers as discs in the plane, a schematic map of which peaks are close."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Patch, Wedge
from matplotlib.patheffects import withStroke

from dnuc.report.findings import Findings
from dnuc.report.layout import pass_distance, place_discs
from dnuc.report.peaks import Groups, Peaks, color_groups, peak_names
from dnuc.report.style import DOUBLE, FONT, SINGLE, columns_that_fit, layer_name, new_figure, shorten, text_width

PANELS = 6
SIDE = DOUBLE / 3  # inches
DRAWN = 300  # the largest peaks; the others would be specks
LINES = 150  # saddles up to which all are drawn; beyond, the highest of each peak
SLICED = 0.02  # inches: discs with a smaller radius have the color of their majority


@dataclass(frozen=True)
class Shades:
    """How peaks are colored that have no groups: by a number each."""

    value: np.ndarray  # (P,)
    scale: ScalarMappable
    label: str


@dataclass(frozen=True)
class PeakMap:
    """Where the largest peaks of a layer are drawn. All discs of a layer together have the area 1."""

    peaks: Peaks
    kept: np.ndarray  # (n,) peaks that are drawn
    position: np.ndarray  # (n, 2)
    radius: np.ndarray  # (n,)

    @property
    def reach(self) -> float:
        """Half the side of the square around all discs."""
        return float((np.abs(self.position) + self.radius[:, None]).max())


def peak_map(findings: Findings, model: str) -> Figure | None:
    """A disc a peak: area for its samples, slices for its classes, lines to the peaks that it touches."""
    chosen = findings.choose(model, findings.job.report.peak_layers, "landscape", PANELS)
    if not chosen:
        return None
    maps, names, macros = [], findings.results.label_names, findings.results.macro_names
    for layer in chosen:
        drawn = arrange(findings.peaks(model, layer))
        width = SIDE - 0.1 - text_width(": " + counted(drawn, ""), FONT + 1)
        maps.append((counted(drawn, layer_name(findings.row(model, layer), width, FONT + 1)), drawn))
    return map_figure(maps, names, macros)


def counted(drawn: PeakMap, title: str) -> str:
    """A title, with the number of peaks."""
    n = len(drawn.peaks)
    some = f", {DRAWN} drawn" if n > DRAWN else ""
    return f"{title}{': ' if title else ''}{n:,} peak{'s' * (n > 1)}{some}"


def map_figure(
    maps: list[tuple[str, PeakMap]], label_names: list[str], macro_names: list[str], side: float = SIDE
) -> Figure:
    """Maps side by side, all on one scale, each with its title; `side` is that of a map in inches."""
    columns = 2 if len(maps) == 4 else min(3, len(maps))
    rows = -(-len(maps) // columns)
    figure = new_figure(max(SINGLE, side * columns), (side + 0.2) * rows + 0.4)
    panels = figure.subplots(rows, columns, squeeze=False)
    reach = 1.02 * max(m.reach for _, m in maps)
    for axes in panels.flat:
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        axes.set_axis_off()
    colors: Groups | Shades | None = None
    for axes, (title, drawn) in zip(panels.flat, maps, strict=False):
        colors = color_groups(drawn.peaks, label_names, macro_names) or _shades(drawn.peaks)
        _draw(axes, drawn, colors, label_names, inch=0.93 * side / (2 * reach))
        axes.set_title(title)
    if colors is not None:
        _explain(figure, panels, colors)
    return figure


def _shades(peaks: Peaks) -> Shades:
    """By the share of the most frequent class or, where there are no classes, by height."""
    if peaks.label_count.shape[1]:
        scale = ScalarMappable(Normalize(0, 1), "viridis_r")
        return Shades(peaks.majority[1], scale, "share of the most frequent class in the peak")
    height = peaks.log_density
    margin = 0.5 * (np.ptp(height) == 0)
    scale = ScalarMappable(Normalize(height.min() - margin, height.max() + margin), "viridis")
    return Shades(height, scale, "log density of the peak")


def arrange(peaks: Peaks) -> PeakMap:
    """Place the largest peaks of a layer, see `place_discs`."""
    kept = np.argsort(-peaks.size, kind="stable")[:DRAWN]
    radius = np.sqrt(peaks.size[kept] / peaks.size.sum() / np.pi)
    return PeakMap(peaks, kept, place_discs(pass_distance(peaks, kept), radius), radius)


def _draw(axes: Axes, drawn: PeakMap, colors: Groups | Shades, label_names: list[str], inch: float) -> None:
    """Lines, discs and names; `inch` is the length of 1 in inches."""
    _draw_saddles(axes, drawn)
    patches: list[Patch] = []
    for peak, center, radius in zip(drawn.kept, drawn.position.tolist(), drawn.radius, strict=True):
        patches += _disc(peak, center, radius, colors, sliced=radius * inch > SLICED)
    axes.add_collection(PatchCollection(patches, match_original=True, zorder=2))
    names = peak_names(drawn.peaks, label_names)
    clear = drawn.peaks.majority[1] >= 0.5 if label_names else np.ones(len(names), dtype=bool)
    for peak, (x, y), radius in zip(drawn.kept, drawn.position, drawn.radius, strict=True):
        name = names[peak]
        if clear[peak] and text_width(name, FONT - 1) < 1.6 * radius * inch:
            halo = [withStroke(linewidth=1.5, foreground="white")]
            axes.text(x, y, name, ha="center", va="center", fontsize=FONT - 1, path_effects=halo)


def _disc(
    peak: int, center: tuple[float, float], radius: float, groups: Groups | Shades, *, sliced: bool
) -> list[Patch]:
    """A peak as a pie of its groups, or in one color: that of the majority or, without groups, its shade."""
    if isinstance(groups, Shades):
        return [Circle(center, radius, facecolor=groups.scale.to_rgba(groups.value[peak]), edgecolor="none")]
    if not sliced:
        return [Circle(center, radius, facecolor=groups.majority_color[peak], edgecolor="none")]
    ends = 90 - 360 * np.cumsum(groups.counts[peak]) / max(1, groups.counts[peak].sum())
    starts = np.concatenate([[90], ends[:-1]])
    return [
        Wedge(center, radius, end, start, facecolor=color, edgecolor="none")
        for start, end, color in zip(starts, ends, groups.colors, strict=True)
        if start > end
    ]


def _draw_saddles(axes: Axes, drawn: PeakMap) -> None:
    """A line between peaks that touch, thicker for a higher saddle."""
    place = np.full(len(drawn.peaks), -1)
    place[drawn.kept] = np.arange(len(drawn.kept))
    saddles = drawn.peaks.saddles
    saddles = saddles[(place[saddles["peak_a"]] >= 0) & (place[saddles["peak_b"]] >= 0)]
    if len(saddles) > LINES:
        best = [saddles.groupby(side)["log_density"].idxmax() for side in ("peak_a", "peak_b")]
        saddles = saddles.loc[np.union1d(*best)]
    if saddles.empty:
        return
    height = saddles["log_density"].to_numpy()
    relative = (height - height.min()) / max(np.ptp(height), 1e-9)
    ends = np.stack([drawn.position[place[saddles[side]]] for side in ("peak_a", "peak_b")], axis=1)
    axes.add_collection(LineCollection(list(ends), linewidths=0.3 + 1.2 * relative, colors="#bbbbbb", zorder=1))


def _explain(figure: Figure, panels: np.ndarray, groups: Groups | Shades) -> None:
    """What the colors mean."""
    if isinstance(groups, Shades):
        bar = figure.colorbar(groups.scale, ax=panels, location="bottom", shrink=0.4, aspect=40)
        bar.set_label(groups.label)
        return
    handles = [Patch(color=color, label=shorten(name)) for name, color in zip(groups.names, groups.colors, strict=True)]
    columns = columns_that_fit([str(h.get_label()) for h in handles], figure.get_figwidth())
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)
