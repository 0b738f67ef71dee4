"""How figures look: a paper's column widths, colors that color-blind readers tell apart, readable layer axes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

SINGLE, DOUBLE = 3.4, 7.0  # inches: one column of a paper, and both
PAGE = 9.4  # inches: the tallest a figure gets
FONT = 8.0  # points

# Okabe and Ito's palette
BLUE, ORANGE, GREEN, PINK = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
SKY, VERMILION, YELLOW, GREY = "#56B4E9", "#D55E00", "#F0E442", "#999999"
DARK = "#333333"
PALETTE = (BLUE, ORANGE, GREEN, PINK, SKY, VERMILION, YELLOW)
# For up to twelve groups, five more of Tol's "muted" palette.
PALETTE_12 = (*PALETTE, "#882255", "#332288", "#999933", "#DDCC77", "#661100")

_SETTINGS: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same figure everywhere
    "font.size": FONT,
    "axes.titlesize": FONT + 1,
    "axes.labelsize": FONT,
    "xtick.labelsize": FONT,
    "ytick.labelsize": FONT,
    "legend.fontsize": FONT,
    "figure.titlesize": FONT + 1,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "legend.columnspacing": 1.2,
    "pdf.fonttype": 42,  # embedded TrueType: text in the PDF stays text
    "savefig.dpi": 200,
    "text.parse_math": False,  # a class may be called "$5 bill"
    "figure.facecolor": "white",
}


@dataclass(frozen=True)
class Series:
    """A column of the layer table as it is drawn, the same in every figure."""

    column: str
    label: str
    color: str
    marker: str


LABEL = Series("label_overlap", "with the classes", BLUE, "o")
MACRO = Series("macro_overlap", "with the macro classes", PINK, "D")
OUTPUT = Series("output_overlap", "with the output", ORANGE, "s")
NEXT = Series("next_overlap", "with the next layer", GREEN, "^")
INPUT = Series("input_overlap", "with the input", SKY, "v")


@contextmanager
def paper_style() -> Iterator[None]:
    """Matplotlib's settings for drawing and saving; those of the caller come back afterwards."""
    with mpl.rc_context(_SETTINGS):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches that arranges its panels itself; not registered with pyplot."""
    return Figure(figsize=(width, height), layout="constrained")


def model_style(position: int) -> dict[str, Any]:
    """Color, marker and line of the run's `position`-th model; distinct for the first 35 models."""
    lines = ("-", "--", ":", "-.", (0, (3, 1, 1, 1, 1, 1)))
    return {
        "color": (*PALETTE[:6], DARK)[position % 7],
        "marker": "osD^v<>PX*"[position % 10],
        "linestyle": lines[position // 7 % 5],
    }


def shorten(text: str, length: int = 28) -> str:
    """The text, or its beginning and an ellipsis.

    >>> shorten("a very long name", 8)
    'a very …'
    """
    return text if len(text) <= length else text[: length - 1] + "…"


def text_width(text: str, size: float = FONT) -> float:
    """Width of one line of text in inches, kerning apart."""
    return sum(map(_letter_width, text)) * size / 72


@cache
def _letter_width(letter: str) -> float:
    """In units of the font's size."""
    # between two others, because a space at the end of a line has no width
    font = FontProperties(family="DejaVu Sans", size=100)
    wide, narrow = (text_to_path.get_text_width_height_descent(t, font, ismath=False)[0] for t in (f"|{letter}|", "||"))
    return (wide - narrow) / 100


def fit(text: str, width: float, size: float = FONT) -> str:
    """The text, or its two ends and an ellipsis, in at most `width` inches: ends tell layers and models apart.

    >>> fit("transformer.encoder.block.11.output", 1.2)
    'transfor….11.output'
    """
    kept = len(text)
    shown = text
    while text_width(shown, size) > width and kept > 3:
        kept -= 1
        shown = text[: (kept - 2) // 2] + "…" + text[-((kept + 2) // 2) :]
    return shown


def layer_name(layer: pd.Series, width: float = 1.5, size: float = FONT) -> str:
    """A layer's name and depth, as every figure writes them, in about `width` inches."""
    depth = "" if pd.isna(layer["depth"]) else f" ({layer['depth']:.0f})"
    return fit(str(layer["layer"]), width - text_width(depth, size), size) + depth


def thin(n: int, capacity: int) -> np.ndarray:
    """At most `capacity` evenly spaced positions of n, always with the first and the last.

    >>> thin(5, 9).tolist(), thin(60, 8).tolist()
    ([0, 1, 2, 3, 4], [0, 9, 18, 27, 36, 45, 59])
    """
    if n <= capacity:
        return np.arange(n)
    step = -(-(n - 1) // (max(capacity, 2) - 1))
    kept = np.arange(0, n, step)
    return np.append(kept[kept <= n - 1 - step], n - 1)


def layers_along_x(axes: Axes, layers: pd.DataFrame, width: float) -> None:
    """Layers evenly spaced along x, named as in the table, with their depths; names are left out where space ends.

    `width` is about the length of the axis in inches. The figure grows by the length of upright names.
    """
    n = len(layers)
    names = [layer_name(row) for _, row in layers.iterrows()]
    two_lines = [name.replace(" (", "\n(") for name in names]
    widest = max(text_width(line) for name in two_lines for line in name.split("\n"))
    axes.set_xlim(-0.5, n - 0.5)
    if widest + 0.08 <= width / n:
        axes.set_xticks(range(n), two_lines)
        return
    kept = thin(n, int(width / 0.16))
    axes.set_xticks(kept, [names[i] for i in kept], rotation=90)
    axes.set_xticks(np.setdiff1d(np.arange(n), kept), minor=True)
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.set_figheight(figure.get_figheight() + max(text_width(names[i]) for i in kept) - 0.3)


def layers_along_y(axes: Axes, layers: pd.DataFrame, height: float) -> None:
    """Layers evenly spaced along y from the top, as in `layers_along_x`."""
    n = len(layers)
    kept = thin(n, int(height / 0.16))
    axes.set_yticks(kept, [layer_name(layers.iloc[i]) for i in kept])
    axes.set_yticks(np.setdiff1d(np.arange(n), kept), minor=True)
    axes.set_ylim(n - 0.5, -0.5)


def plain_log(axes: Axes, direction: Literal["x", "y"]) -> None:
    """Make an axis of drawn data logarithmic, with plain numbers at its ticks: as many as suit the range."""
    axes.set(**{f"{direction}scale": "log"})
    axis = axes.xaxis if direction == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    decades = np.log10(high / low)
    if decades < 0.6:
        axis.set_major_locator(MaxNLocator(5))
    else:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2.2 else (1.0,)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def profile_width(n_layers: int) -> float:
    """Width of a figure with layers along x: both columns when names or points would crowd in one."""
    return SINGLE if n_layers <= 12 else DOUBLE


def columns_that_fit(labels: Sequence[str], width: float) -> int:
    """Columns of a legend that stays within `width` inches."""
    n = len(labels)
    for columns in range(n, 1, -1):
        # matplotlib fills a legend column by column; a line and the gaps take half an inch
        parts = np.array_split(np.array(labels, dtype=object), columns)
        if sum(max(map(text_width, part)) + 0.5 for part in parts) <= width:
            return -(-n // -(-n // columns))  # as many as the rows need, so that columns are equally full
    return 1


def published_mark(color: str, marker: str) -> dict[str, Any]:
    """How values of the paper are drawn: open markers, larger than the measured ones."""
    return {
        "linestyle": "none",
        "marker": marker,
        "markersize": 7,
        "markerfacecolor": "none",
        "markeredgecolor": color,
        "markeredgewidth": 1.0,
    }
