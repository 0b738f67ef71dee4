"""Fig. 4a: the peaks of some layers as discs in the plane, a schematic map of which peaks are close."""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib as mpl
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
from dnuc.report.peaks import Groups, Peaks, color_groups
from dnuc.report.style import DOUBLE, FONT, SINGLE, columns_that_fit, layer_name, new_figure, shorten, text_width

PANELS = 6
DRAWN = 300  # the largest peaks; the others would be specks
LINES = 150  # saddles up to which all are drawn; beyond, the highest of each peak
SLICED = 0.02  # inches: discs with a smaller radius have the color of their majority
PURITY = mpl.colormaps["viridis_r"]


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
    maps = [(layer, arrange(findings.peaks(model, layer))) for layer in chosen]
    if not maps:
        return None
    columns = 2 if len(maps) == 4 else min(3, len(maps))
    rows = -(-len(maps) // columns)
    side = DOUBLE / 3
    figure = new_figure(max(SINGLE, side * columns), (side + 0.2) * rows + 0.4)
    panels = figure.subplots(rows, columns, squeeze=False)
    reach = 1.02 * max(m.reach for _, m in maps)
    for axes in panels.flat:
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        axes.set_axis_off()
    groups = None
    for axes, (layer, drawn) in zip(panels.flat, maps, strict=False):
        groups = color_groups(drawn.peaks, findings.results.label_names, findings.results.macro_names)
        _draw(axes, drawn, groups, findings.results.label_names, inch=0.93 * side / (2 * reach))
        n = len(drawn.peaks)
        count = f": {n:,} peak{'s' * (n > 1)}" + (f", {DRAWN} drawn" if n > DRAWN else "")
        width = side - 0.1 - text_width(count, FONT + 1)
        axes.set_title(layer_name(findings.row(model, layer), width, FONT + 1) + count)
    _explain(figure, panels, groups)
    return figure


def arrange(peaks: Peaks) -> PeakMap:
    """Place the largest peaks of a layer, see `place_discs`."""
    kept = np.argsort(-peaks.size, kind="stable")[:DRAWN]
    radius = np.sqrt(peaks.size[kept] / peaks.size.sum() / np.pi)
    return PeakMap(peaks, kept, place_discs(pass_distance(peaks, kept), radius), radius)


def _draw(axes: Axes, drawn: PeakMap, groups: Groups | None, label_names: list[str], inch: float) -> None:
    """Lines, discs and names; `inch` is the length of 1 in inches."""
    _draw_saddles(axes, drawn)
    patches: list[Patch] = []
    for peak, center, radius in zip(drawn.kept, drawn.position.tolist(), drawn.radius, strict=True):
        patches += _disc(drawn.peaks, peak, center, radius, groups, sliced=radius * inch > SLICED)
    axes.add_collection(PatchCollection(patches, match_original=True, zorder=2))
    label, share = drawn.peaks.majority
    for peak, (x, y), radius in zip(drawn.kept, drawn.position, drawn.radius, strict=True):
        name = label_names[label[peak]]
        if share[peak] >= 0.5 and text_width(name, FONT - 1) < 1.6 * radius * inch:
            halo = [withStroke(linewidth=1.5, foreground="white")]
            axes.text(x, y, name, ha="center", va="center", fontsize=FONT - 1, path_effects=halo)


def _disc(
    peaks: Peaks, peak: int, center: tuple[float, float], radius: float, groups: Groups | None, *, sliced: bool
) -> list[Patch]:
    """A peak as a pie of its groups, or in one color: that of the majority or, without groups, of its purity."""
    if groups is None:
        share = peaks.label_count[peak].max() / max(1, peaks.size[peak])
        return [Circle(center, radius, facecolor=PURITY(share), edgecolor="none")]
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


def _explain(figure: Figure, panels: np.ndarray, groups: Groups | None) -> None:
    """What the colors mean."""
    if groups is None:
        colors = ScalarMappable(Normalize(0, 1), PURITY)
        bar = figure.colorbar(colors, ax=panels, location="bottom", shrink=0.4, aspect=40)
        bar.set_label("share of the most frequent class in the peak")
        return
    handles = [Patch(color=color, label=shorten(name)) for name, color in zip(groups.names, groups.colors, strict=True)]
    columns = columns_that_fit([str(h.get_label()) for h in handles], figure.get_figwidth())
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)
