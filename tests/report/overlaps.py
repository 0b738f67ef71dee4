"""Whether the words of a figure can be read: none lies on another, none is cut off at the edge."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text


def words(figure):
    """(text, bounding box in pixels) of every visible text of a drawn figure."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    hidden = set()
    for axes in figure.findobj(Axes):
        for axis in (axes.xaxis, axes.yaxis):
            hidden |= _not_drawn(axes, axis)
    texts = [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible() and t not in hidden]
    return [(t.get_text(), t.get_window_extent(renderer)) for t in texts]


def _not_drawn(axes, axis):
    """Labels that an axis holds and does not draw: all if it is off, else those of ticks beyond the limits."""
    low, high = sorted(axis.get_view_interval())
    margin = 1e-6 * (high - low)
    shown = axes.get_visible() and axes.axison
    hidden = set() if shown else {axis.label, axis.offsetText, axes.title}
    for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
        if not (shown and low - margin <= tick.get_loc() <= high + margin):
            hidden |= {tick.label1, tick.label2}
    return hidden - ({axes.title} if axes.get_visible() else set())


def colliding(figure, tolerance=1.0):
    """Pairs of texts whose boxes share more than `tolerance` pixels in both directions."""
    found = words(figure)
    pairs = []
    for i, (first, a) in enumerate(found):
        for second, b in found[i + 1 :]:
            width = min(a.x1, b.x1) - max(a.x0, b.x0)
            height = min(a.y1, b.y1) - max(a.y0, b.y0)
            if width > tolerance and height > tolerance:
                pairs.append((first, second))
    return pairs


def cut_off(figure, tolerance=1.5):
    """Texts that reach beyond the edge of the figure."""
    page = figure.bbox
    return [
        text
        for text, box in words(figure)
        if min(box.x0, box.y0) < -tolerance or box.x1 > page.x1 + tolerance or box.y1 > page.y1 + tolerance
    ]
