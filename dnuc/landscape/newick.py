"""The tree of peaks as text that programs for phylogenetic trees read."""

from __future__ import annotations

from collections.abc import Sequence

from dnuc.errors import DnucError
from dnuc.landscape.tree import Tree


def to_newick(tree: Tree, names: Sequence[str] | None = None) -> str:
    """The tree in the Newick format, for FigTree, iTOL, ete, Bio.Phylo and others.

    The length of a branch is how far the log density falls along it: from a peak to the first merge, or from merge to
    merge. So leaves end at the log densities of their peaks, as in Doimo et al. 2020, Fig. 4c.

    Parameters
    ----------
    tree : Tree
        From `peak_tree`.
    names : list of str, optional
        One for each peak, such as its most frequent class; the peak's number when absent.

    Returns
    -------
    str
        One line that ends in a semicolon. Names with other characters than letters, digits, points and hyphens stand
        in single quotes, a quote within is doubled, and a line break becomes a blank.

    Raises
    ------
    DnucError
        If there is not one name a peak.

    Examples
    --------
    >>> import numpy as np
    >>> tree = Tree(np.array([[0.0, 1.0, 3.0, 2.0]]), np.array([False]), 9.0, 5.0, np.array([5.0, 4.0]))
    >>> to_newick(tree, ["cat", "sea lion"])
    "(cat:3,'sea lion':2);"
    """
    given = list(map(str, range(tree.n_peaks) if names is None else names))
    if len(given) != tree.n_peaks:
        raise DnucError(f"to_newick: {len(given)} names for {tree.n_peaks} peaks; give one for each")
    log_density, children, n = tree.log_density.tolist(), tree.children.tolist(), tree.n_peaks
    text: list[str] = []
    left: list[int | str] = [2 * n - 2]  # branches and pieces of text to write, the last one first: trees may be deep
    while left:
        item = left.pop()
        if isinstance(item, str):
            text.append(item)
        elif item < n:
            text.append(_label(given[item]))
        else:
            a, b = children[item - n]
            fall_a, fall_b = (max(0.0, log_density[c] - log_density[item]) for c in (a, b))
            left += [f":{fall_b:.10g})", b, f":{fall_a:.10g},", a, "("]
    return "".join(text) + ";"


def _label(name: str) -> str:
    """A name as the format wants it; an underscore without quotes would be read as a blank."""
    plain = " ".join(name.splitlines())
    if plain and all(c.isalnum() or c in ".-" for c in plain):
        return plain
    return "'" + plain.replace("'", "''") + "'"
