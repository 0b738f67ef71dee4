"""One's own landscape as a picture: the tree of its peaks, and the map of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dnuc.errors import DnucError
from dnuc.landscape import Landscape, peak_tree
from dnuc.report import landscapes

MOST = 2000  # peaks; a drawing of more shows nothing


def draw_tree(
    landscape: Landscape,
    labels: Any = None,
    names: Sequence[str] | None = None,
    *,
    method: str = "weighted",
    title: str = "",
) -> Any:
    """Which peaks belong together, as a picture (Fig. 4c of the paper).

    Every leaf is a peak and reaches to its log density; branches join at the log density of the saddle. A dashed joint
    contains peaks that do not touch: its height is assumed. With labels, a leaf has the name of the peak's most
    frequent class, the share of it, and the number of samples; branches have the color of the class if it is the same
    for all their leaves (up to twelve classes). Without, leaves have the peak's number.

    Parameters
    ----------
    landscape : Landscape
        From `density_peaks`.
    labels : (N,) integers or names, optional
        The class of each sample; a negative integer for a sample that has none.
    names : list of str, optional
        What the classes 0, 1, ... are called.
    method : {"weighted", "single", "average", "complete"}
        See `peak_tree`.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        Shown by a notebook if it is the last value of a cell; `figure.savefig("tree.pdf")` saves it.

    Raises
    ------
    DnucError
        If there is a single peak, or more than 2,000; if labels are not of the N samples, or have no name.

    Examples
    --------
    >>> import dnuc
    >>> import numpy as np
    >>> x = np.concatenate([np.random.default_rng(0).normal(m, 0.1, (200, 2)) for m in (0, 1, 3)])
    >>> neighbors = dnuc.nearest_neighbors(x, k=20)
    >>> landscape = dnuc.density_peaks(neighbors, dnuc.knn_density(neighbors, 2, k=20))
    >>> figure = dnuc.draw_tree(landscape, np.repeat([0, 1, 2], 200), ["left", "middle", "right"])
    >>> sorted(text.get_text() for text in figure.axes[0].get_yticklabels())
    ['left  100%  200', 'middle  100%  200', 'right  100%  200']
    """
    _check_number(landscape, least=2)
    tree = peak_tree(landscape, method)
    codes, classes = _classes(landscape, labels, names)
    return landscapes.draw_tree(landscape, tree.linkage, tree.assumed, codes, classes, title)


def draw_peak_map(
    landscape: Landscape, labels: Any = None, names: Sequence[str] | None = None, *, title: str = ""
) -> Any:
    """Which peaks are large, what they hold and whom they touch, as a picture (Fig. 4a of the paper).

    A disc a peak, its area proportional to the number of samples, with a slice for each class (up to twelve classes; of
    more, the color tells the share of the most frequent one; without labels, it tells the height). Lines lead to peaks
    that it touches, thicker for higher saddles; peaks with high saddles between them are drawn close to each other.
    Distances in the map are only roughly those of the landscape, which has many more dimensions.

    Parameters, result and errors are those of `draw_tree`; a single peak is a map too. Of more than 300 peaks the
    largest are drawn.

    Examples
    --------
    >>> import dnuc
    >>> import numpy as np
    >>> x = np.concatenate([np.random.default_rng(0).normal(m, 0.1, (200, 2)) for m in (0, 1, 3)])
    >>> neighbors = dnuc.nearest_neighbors(x, k=20)
    >>> landscape = dnuc.density_peaks(neighbors, dnuc.knn_density(neighbors, 2, k=20))
    >>> dnuc.draw_peak_map(landscape, title="three clouds").axes[0].get_title()
    'three clouds: 3 peaks'
    """
    _check_number(landscape)
    return landscapes.draw_peak_map(landscape, *_classes(landscape, labels, names), title)


def _check_number(landscape: Landscape, least: int = 1) -> None:
    n = landscape.n_peaks
    if n < least:
        raise DnucError(f"the landscape has a single peak, so it has no tree: {_fewer('lower')}")
    if n > MOST:
        raise DnucError(f"the landscape has {n:,} peaks, at most {MOST:,} can be drawn: {_fewer('raise')}")


def _fewer(change: str) -> str:
    more = "more" if change == "lower" else "fewer"
    return f"{change} z or k in `density_peaks` to find {more}"


def _classes(landscape: Landscape, labels: Any, names: Sequence[str] | None) -> tuple[np.ndarray, list[str]]:
    """(N,) class of each sample as a position in the names of the classes, -1 for none; and these names."""
    n = len(landscape.labels)
    if labels is None:
        return np.full(n, -1), []
    values = np.asarray(labels)
    if values.shape != (n,):
        raise DnucError(f"labels have shape {values.shape}; they must be ({n},), one for each sample of the landscape")
    is_integer = values.dtype.kind in "iu"
    if names is None:
        known = values >= 0 if is_integer else np.ones(n, dtype=bool)
        found, codes = np.unique(values[known], return_inverse=True)
        code = np.full(n, -1)
        code[known] = codes
        return code, [str(value) for value in found.tolist()]
    if not is_integer or (n and values.max() >= len(names)):
        given = f"up to {values.max()}" if is_integer else f"of type {values.dtype}"
        raise DnucError(f"labels are {given}; with {len(names)} names they must be integers below {len(names)}")
    return np.maximum(values, -1), list(names)
