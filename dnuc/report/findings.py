"""What figures, tables and the page read from a run: each thing once, and only what is finished."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from dnuc.errors import DnucError
from dnuc.job import Job
from dnuc.report.peaks import Peaks, describe_peaks
from dnuc.report.published import published_beside
from dnuc.store import Results

Images = Callable[[str], np.ndarray]


class Findings:
    """A run, opened for its report.

    Parameters
    ----------
    results : Results
        The run, finished or not.
    images : callable, optional
        From a sample's id to its image, (height, width, channels) uint8, or float32 where images are perturbed.
        Without it figures show no images.
    """

    def __init__(self, results: Results, images: Images | None = None) -> None:
        self.results = results
        self.images = images
        self.unreadable: list[str] = []  # sample ids whose image was wanted and could not be had

    @cached_property
    def job(self) -> Job:
        """The job that the run computes."""
        return self.results.job

    @cached_property
    def layers(self) -> pd.DataFrame:
        """The table of all layers."""
        return self.results.layers

    @cached_property
    def networks(self) -> pd.DataFrame:
        """The table of all networks."""
        return self.results.models_table

    @cached_property
    def samples(self) -> pd.DataFrame:
        """The manifest."""
        return self.results.samples

    @cached_property
    def models(self) -> list[str]:
        """Models that have layers, in the job's order."""
        return [m for m in self.results.models if (self.layers["model"] == m).any()]

    def of(self, model: str) -> pd.DataFrame:
        """The model's rows of the layer table, numbered from 0."""
        return self.layers[self.layers["model"] == model].reset_index(drop=True)

    def row(self, model: str, layer: str) -> pd.Series:
        """A layer's row of the table."""
        table = self.of(model)
        return table[table["layer"] == layer].iloc[0]

    def attributes(self, stage: str, model: str, layer: str) -> dict[str, Any]:
        """Scalar results of a stage of a layer; empty while it is not complete."""
        return self.results.attributes(stage, layer, model) if self.results.has(stage, layer, model) else {}

    def with_stage(self, stage: str, model: str) -> list[str]:
        """The model's layers in which a stage is complete and found what it looks for.

        A landscape may be complete and hold nothing but a note: there is no density without a dimension.
        """
        found = [(name, self.attributes(stage, model, name)) for name in self.of(model)["layer"]]
        return [name for name, attributes in found if attributes and "note" not in attributes]

    def peaks(self, model: str, layer: str) -> Peaks:
        """The density peaks of a layer that has a landscape."""
        return describe_peaks(self.results, self.samples, model, layer)

    @property
    def overlap_k(self) -> int:
        """The k at which overlaps are drawn."""
        return self.job.overlap_k[0]

    @property
    def density_words(self) -> str:
        """How densities and their errors were estimated."""
        settings, k = self.job.landscape, self.job.landscape_k
        if settings.density == "knn":
            method, error = f"kNN, k = {k}", "1/√k"
        else:
            name, error = {"kstar": ("k*NN", "1/√k*"), "pak": ("PAk", "√((4k*+2)/(k*(k*-1)))")}[settings.density]
            method = f"{name}, k* of each sample up to {k - 1} (alpha = {settings.alpha:g})"
        if settings.error_model == "paper":
            error = "√((4k+2)/(k(k+1))), as in the paper's text"
        return f"{method}, error {error}"

    def published(self, model: str) -> pd.DataFrame | None:
        """The paper's values beside the model's layers, see `published_beside`."""
        return published_beside(self.job, model, self.of(model), self.job.measures.fraction)

    def choose(self, model: str, wanted: Sequence[str], stage: str, count: int) -> list[str]:
        """The model's layers that a figure shows: those the job names, or `count` evenly spaced ones.

        A name is a layer of any model, or "model/layer". Only layers in which the stage is complete are given.

        Raises
        ------
        LayerError
            If a wanted name is a layer of no model.
        """
        ready = self.with_stage(stage, model)
        if not wanted:
            positions = np.linspace(0, len(ready) - 1, min(count, len(ready))).round().astype(int)
            return [ready[i] for i in positions]
        pairs = [self._split(name) for name in wanted]
        return [layer for owner, layer in pairs if owner in (None, model) and layer in ready]

    def _split(self, name: str) -> tuple[str | None, str]:
        """(model or None for any, layer), after checking that there is such a layer."""
        owner, _, rest = name.partition("/")
        given, layer = (owner, rest) if rest else (None, name)
        known = self.layers[self.layers["layer"] == layer]["model"]
        if known.empty or given not in (None, *known):
            self.results.find(layer, given)  # raises, with the closest names
        return given, layer

    def image(self, sample: int) -> np.ndarray | None:
        """A sample's image, small enough for a figure; None where images are not there or cannot be read."""
        if self.images is None:
            return None
        sample_id = str(self.samples["id"].iloc[sample])
        try:
            return _thumbnail(self.images(sample_id))
        except (DnucError, OSError):
            if sample_id not in self.unreadable:
                self.unreadable.append(sample_id)
            return None


def _thumbnail(image: np.ndarray, largest: int = 160) -> np.ndarray:
    """The image as (h, w) or (h, w, 3) with at most `largest` pixels a side; a perturbed one from its darkest pixel."""
    if image.dtype != np.uint8:
        image = np.clip(np.rint(image - image.min()), 0, 255).astype(np.uint8)
    shown = image[:, :, :3] if image.shape[2] >= 3 else image[:, :, 0]
    picture = Image.fromarray(np.ascontiguousarray(shown))
    picture.thumbnail((largest, largest))
    return np.asarray(picture)
