"""What the density peaks of a layer are made of: how large they are and which classes they hold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from dnuc.report.style import GREY, PALETTE, PALETTE_12
from dnuc.store import Results, StoredTree, stage_group, stored_tree

SADDLE_COLUMNS = ("peak_a", "peak_b", "log_density", "error", "sample")


@dataclass(frozen=True)
class Peaks:
    """The density peaks of one layer, P of them, with their composition.

    Attributes
    ----------
    center : (P,) int64
        Sample at the top.
    log_density : (P,) float64
        Natural logarithm of the density there.
    size, core_size : (P,) int64
        Samples in the peak; those of its core.
    label_count : (P, classes) int64
        Samples of each class.
    macro_count : (P, macro classes + 1) int64
        Samples of each macro class; the last column counts those without one.
    saddles : DataFrame
        A row a pair of peaks that touch: peak_a, peak_b, log_density, error, sample.
    attributes : dict
        What else is recorded: k, z, dimension, convention, ...
    tree : StoredTree or None
        None where the peaks are too many.
    """

    center: np.ndarray
    log_density: np.ndarray
    size: np.ndarray
    core_size: np.ndarray
    label_count: np.ndarray
    macro_count: np.ndarray
    saddles: pd.DataFrame
    attributes: dict[str, Any]
    tree: StoredTree | None = None

    def __len__(self) -> int:
        return len(self.center)

    @property
    def majority(self) -> tuple[np.ndarray, np.ndarray]:
        """(P,) the most frequent class of each peak, and its share of the peak's samples; none without classes."""
        if not self.label_count.shape[1]:
            return np.full(len(self), -1), np.zeros(len(self))
        return self.label_count.argmax(axis=1), self.label_count.max(axis=1) / np.maximum(self.size, 1)

    def take(self, kept: np.ndarray) -> Peaks:
        """Some of the peaks, in this order, with the saddles between them; without a tree."""
        place = np.full(len(self), -1)
        place[kept] = np.arange(len(kept))
        saddles = self.saddles.assign(**{side: place[self.saddles[side]] for side in ("peak_a", "peak_b")})
        saddles = saddles[(saddles["peak_a"] >= 0) & (saddles["peak_b"] >= 0)].reset_index(drop=True)
        names = ("center", "log_density", "size", "core_size", "label_count", "macro_count")
        return replace(self, **{name: getattr(self, name)[kept] for name in names}, saddles=saddles, tree=None)

    @property
    def summit(self) -> float:
        """The largest log density of peaks and saddles: heights of the tree count down from it."""
        return float(np.concatenate([self.log_density, self.saddles["log_density"]]).max())


def peak_names(peaks: Peaks, label_names: list[str]) -> list[str]:
    """(P,) the name of each peak's most frequent class; its number where there are no classes."""
    return [label_names[c] if c >= 0 else f"peak {p}" for p, c in enumerate(peaks.majority[0].tolist())]


@dataclass(frozen=True)
class Groups:
    """By what peaks are colored: macro classes where there are any, classes where they are few."""

    names: list[str]
    colors: list[str]
    counts: np.ndarray  # (P, groups)

    @property
    def majority_color(self) -> list[str]:
        """(P,) the color of each peak's most frequent group."""
        return [self.colors[g] for g in self.counts.argmax(axis=1)]


def describe_peaks(results: Results, samples: pd.DataFrame, model: str, layer: str) -> Peaks:
    """The stored landscape of a layer, seen through the classes of its samples."""
    group = stage_group(model, layer, "landscape")
    read = {name: results.store.read(group, name) for name in ("peak", "core", "peak_center", "peak_log_density")}
    saddles = {name: results.store.read(group, f"saddle_{name}") for name in SADDLE_COLUMNS}
    n, peak = len(read["peak_center"]), read["peak"]
    macro, n_macros = samples["macro"].to_numpy(), len(results.macro_names)
    return Peaks(
        read["peak_center"],
        read["peak_log_density"],
        np.bincount(peak, minlength=n),
        np.bincount(peak[read["core"]], minlength=n),
        _cross_table(peak, samples["label"].to_numpy(), n, len(results.label_names)),
        _cross_table(peak, np.where(macro < 0, n_macros, macro), n, n_macros + 1),
        pd.DataFrame(saddles),
        results.store.attributes(group),
        stored_tree(results.store, model, layer),
    )


def describe_landscape(landscape: Any, label: np.ndarray, n_classes: int) -> Peaks:
    """A landscape as `density_peaks` gives it, seen through classes (N,) of its samples; -1 for those without one."""
    n, peak, known = len(landscape.centers), landscape.labels, label >= 0
    size = np.bincount(peak, minlength=n)
    return Peaks(
        landscape.centers,
        landscape.peak_log_density,
        size,
        np.bincount(peak[landscape.core], minlength=n),
        _cross_table(peak[known], label[known], n, n_classes),
        size[:, None],
        landscape.saddles,
        {},
    )


def _cross_table(row: np.ndarray, column: np.ndarray, n_rows: int, n_columns: int) -> np.ndarray:
    return np.bincount(row * n_columns + column, minlength=n_rows * n_columns).reshape(n_rows, n_columns)


def color_groups(peaks: Peaks, label_names: list[str], macro_names: list[str]) -> Groups | None:
    """How to color peaks by what they hold; None where there are many classes and no macro classes.

    At most twelve groups can be told apart: beyond that the most frequent eleven keep a color.
    """
    if macro_names:
        names, counts = _few(macro_names, peaks.macro_count)
    elif label_names and len(label_names) <= len(PALETTE_12):
        names, counts = _few(label_names, np.pad(peaks.label_count, ((0, 0), (0, 1))))
    else:
        return None
    palette = PALETTE if len(names) - 1 <= len(PALETTE) else PALETTE_12
    colors = [*palette[: len(names) - 1], GREY]
    used = len(names) if counts[:, -1].any() else len(names) - 1
    return Groups(names[:used], colors[:used], counts[:, :used])


def _few(names: list[str], counts: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Names with one more for the rest, and their counts: the rarest groups join the rest beyond the palette."""
    if len(names) <= len(PALETTE_12):
        return [*names, "no macro class"], counts
    frequent = np.sort(np.argsort(-counts[:, :-1].sum(axis=0), kind="stable")[: len(PALETTE_12) - 1])
    kept = counts[:, frequent]
    rest = counts.sum(axis=1) - kept.sum(axis=1)
    return [*(names[i] for i in frequent), "others"], np.column_stack([kept, rest])
