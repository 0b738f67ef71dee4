"""The branches of a layer's tree as tables: how they nest, and which classes each holds."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dnuc.report.findings import Findings
from dnuc.report.peaks import Peaks
from dnuc.store import StoredTree

MOST_ROWS = 1_000_000  # of a table of what branches are composed of


def branch_table(findings: Findings, peaks: Peaks, tree: StoredTree) -> pd.DataFrame:
    """A row a branch: the peaks, then the merges in their order, so that branch n_peaks + i is what merge i makes.

    Columns: branch; parent, the branch that it merges into, -1 for the whole; log_density, of the peak or where its two
    parts meet; assumed, whether that rests on peaks that do not touch; n_peaks; size, its samples; class and
    class_share, the most frequent class; macro and macro_share, the same of macro classes, empty and NaN without one.
    """
    linkage, n = tree.linkage, len(peaks)
    parent = np.full(2 * n - 1, -1)
    for step, pair in enumerate(linkage[:, :2].astype(int)):
        parent[pair] = n + step
    label, macro = in_branches(peaks.label_count, linkage), in_branches(peaks.macro_count, linkage)
    macro_names = np.array([*findings.results.macro_names, ""], dtype=object)
    most = macro.argmax(axis=1)
    share = macro.max(axis=1) / label.sum(axis=1)
    return pd.DataFrame(
        {
            "branch": np.arange(2 * n - 1),
            "parent": parent,
            "log_density": np.concatenate([peaks.log_density, tree.summit - linkage[:, 2]]),
            "assumed": np.concatenate([np.zeros(n, dtype=bool), tree.assumed]),
            "n_peaks": np.concatenate([np.ones(n), linkage[:, 3]]).astype(np.int64),
            "size": label.sum(axis=1),
            "class": np.array(findings.results.label_names, dtype=object)[label.argmax(axis=1)],
            "class_share": label.max(axis=1) / label.sum(axis=1),
            "macro": macro_names[most],
            "macro_share": np.where(most < len(macro_names) - 1, share, np.nan),
        }
    )


def composition_table(findings: Findings, peaks: Peaks, tree: StoredTree) -> pd.DataFrame:
    """A row a branch and class or macro class in it: branch, kind ("class" or "macro"), name, samples, share of it.

    Of the peaks alone where more than `MOST_ROWS` would be needed: a branch holds what the peaks below it hold.
    """
    linkage = tree.linkage
    if np.count_nonzero(in_branches(peaks.label_count, linkage)) > MOST_ROWS:
        linkage = linkage[:0]
    size = in_branches(peaks.label_count, linkage).sum(axis=1)
    parts = []
    for kind, leaves, names in (
        ("class", peaks.label_count, findings.results.label_names),
        ("macro", peaks.macro_count[:, :-1], findings.results.macro_names),
    ):
        count = in_branches(leaves, linkage)
        branch, column = np.nonzero(count)
        samples = count[branch, column]
        name = np.array(names, dtype=object)[column]
        parts.append(
            pd.DataFrame(
                {"branch": branch, "kind": kind, "name": name, "samples": samples, "share": samples / size[branch]}
            )
        )
    table = pd.concat(parts, ignore_index=True)
    return table.sort_values(["branch", "kind", "samples"], ascending=[True, True, False], kind="stable")


def in_branches(count: np.ndarray, linkage: np.ndarray) -> np.ndarray:
    """(2 P - 1, columns) counts of all branches from the (P, columns) counts of the peaks."""
    found = np.concatenate([count, np.zeros((len(linkage), count.shape[1]), dtype=count.dtype)])
    for branch, (a, b) in enumerate(linkage[:, :2].astype(int), start=len(count)):
        found[branch] = found[a] + found[b]
    return found
