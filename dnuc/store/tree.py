"""The tree of the peaks of a layer, as it is stored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dnuc.store.run import RunStore, stage_group


@dataclass(frozen=True)
class StoredTree:
    """The merges of a layer's peaks, P of them, and what was assumed; see `dnuc.Tree`.

    Attributes
    ----------
    linkage : (P - 1, 4) float64
        As SciPy has it.
    assumed : (P - 1,) bool
        Merges whose height rests on `fill`.
    method : str
        Of the linkage.
    fill, summit : float
        The distance of peaks that do not touch; the log density from which heights count down.
    newick : str
        The tree as text.
    """

    linkage: np.ndarray
    assumed: np.ndarray
    method: str
    fill: float
    summit: float
    newick: str

    @property
    def n_peaks(self) -> int:
        """Leaves."""
        return len(self.linkage) + 1

    def of(self, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The tree of some of the peaks alone: linkage and assumed, for leaves that are numbered as in `kept`."""
        n, node = self.n_peaks, np.full(2 * self.n_peaks - 1, -1)
        node[kept] = np.arange(len(kept))
        leaves = np.ones(2 * len(kept) - 1)
        rows: list[tuple[float, ...]] = []
        steps: list[int] = []
        for step, pair in enumerate(self.linkage[:, :2].astype(np.int64)):
            a, b = node[pair]
            if min(a, b) < 0:
                node[n + step] = max(a, b)  # nothing is joined here, or one branch has no leaf
                continue
            node[n + step] = merged = len(kept) + len(rows)
            leaves[merged] = leaves[a] + leaves[b]
            rows.append((min(a, b), max(a, b), self.linkage[step, 2], leaves[merged]))
            steps.append(step)
        return np.array(rows, dtype=np.float64).reshape(-1, 4), self.assumed[steps]


def stored_tree(store: RunStore, model: str, layer: str) -> StoredTree | None:
    """The tree of a layer; None where it has no landscape, or too many peaks for a tree."""
    group = stage_group(model, layer, "landscape")
    told = store.attributes(group).get("tree") if store.is_complete(group) else None
    if not told:
        return None
    if "linkage" in told:  # a run of dnuc 0.1 before trees had arrays of their own
        linkage = np.reshape(np.array(told["linkage"], dtype=np.float64), (-1, 4))
        assumed, newick = np.isin(np.arange(len(linkage)), told["filled"]), str(told["newick"])
    else:
        linkage, assumed, text = (store.read(group, name) for name in ("tree_linkage", "tree_assumed", "tree_newick"))
        newick = str(text[0])
    return StoredTree(linkage, assumed, told["method"], told["fill"], told["summit"], newick)
