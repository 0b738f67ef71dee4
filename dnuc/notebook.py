"""The notebook's way in: compute a job, open what it found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dnuc.cluster import Deployment
from dnuc.data import open_source
from dnuc.errors import DnucError
from dnuc.job import Job
from dnuc.landscape import Density, Landscape, Tree, anchors, peak_tree
from dnuc.location import Location
from dnuc.neighbors.lists import Neighbors, stored_neighbors
from dnuc.pipeline import run_job
from dnuc.report import draw
from dnuc.store import Results


class Run(Results):
    """A run directory opened for reading.

    Attributes
    ----------
    layers : pandas.DataFrame
        A row a model and layer: depth, number of features, and every measure.
    samples : pandas.DataFrame
        A row a sample: id, class, macro class, entropy.
    models, label_names, macro_names : lists of names

    Examples
    --------
    >>> run = open_run("runs/digits")  # doctest: +SKIP
    >>> run.layers[["layer", "intrinsic_dimension", "label_overlap", "n_peaks"]]  # doctest: +SKIP
    >>> run.figure("fig2a").savefig("overlaps.pdf")  # doctest: +SKIP
    """

    def neighbors(self, layer: str, model: str | None = None) -> Neighbors:
        """The stored neighbors of a layer: index and distance, (N, k)."""
        return stored_neighbors(self.store, *self.find(layer, model))

    def landscape(self, layer: str, model: str | None = None) -> Landscape:
        """The density peaks of a layer: the peak of every sample, centers, core, saddles, border."""
        names = ("peak_a", "peak_b", "log_density", "error", "sample")
        saddles = {name: self._of_landscape(f"saddle_{name}", layer, model) for name in names}
        of_peaks = ("peak", "peak_center", "peak_log_density", "core")
        labels, centers, heights, core = (self._of_landscape(name, layer, model) for name in of_peaks)
        border = self._of_landscape("border", layer, model)
        return Landscape(labels, centers, heights, core, pd.DataFrame(saddles), border)

    def density(self, layer: str, model: str | None = None) -> Density:
        """The density at the samples of a layer that its landscape was made from."""
        names = ("log_density", "log_density_error", "density_k")
        log_density, error, k = (self._of_landscape(name, layer, model) for name in names)
        recorded = self.attributes("landscape", layer, model)
        return Density(log_density, error, k, recorded.get("kstar_capped", 0), recorded.get("pak_replaced", 0))

    def tree(self, layer: str, model: str | None = None) -> Tree:
        """The tree of a layer's peaks, by the method that the job names."""
        return peak_tree(self.landscape(layer, model), self.job.landscape.tree_method)

    def anchors(self, layer: str, model: str | None = None) -> pd.DataFrame:
        """Border samples and saddles of a layer, see `dnuc.anchors`, with the ids of the samples."""
        table = anchors(self.landscape(layer, model), self.density(layer, model))
        table.insert(1, "id", self.store.read("samples", "id")[table["sample"]])
        return table

    def _of_landscape(self, name: str, layer: str, model: str | None) -> np.ndarray:
        note = self.attributes("landscape", layer, model).get("note")
        if note is not None:
            raise DnucError(f"layer {layer!r} has no landscape: {note}")
        return self.array("landscape", name, layer, model)

    def image(self, sample: int) -> np.ndarray:
        """The image of a sample, (height, width, channels) uint8, as it was before a network's preprocessing.

        `sample` is a position in `samples`, as in a landscape's centers and saddles. DnucError if there is no such
        sample or, as for representations that are given as arrays, no image.
        """
        ids = self.store.read("samples", "id")
        if not 0 <= sample < len(ids):
            raise DnucError(f"run {self.path} has no sample {sample}; samples are 0 .. {len(ids) - 1}")
        return open_source(self.job.data, self.job.seed, self.path).image(str(ids[sample]))

    def figure(self, name: str) -> Any:
        """A figure of the report as a matplotlib Figure, e.g. "fig2a", "fig4c", "dimension"."""
        source = open_source(self.job.data, self.job.seed, self.path)
        return draw(self, name, images=source.image if source.has_images else None)


def run(
    job: Job | str | Path,
    on: str | Path | Deployment | None = None,
    out: str | Location | None = None,
    *,
    quiet: bool = False,
    report: bool = True,
    force: bool = False,
    take_over: bool = False,
    performance: bool = False,
) -> Run:
    """Compute what a job asks for and its run directory lacks, and open the result.

    Parameters
    ----------
    job : path or Job
        What to compute, e.g. "jobs/digits.toml".
    on : path or address, optional
        Where: a deployment file, a scheduler file or a scheduler address; this machine when absent.
    out : path or URL, optional
        The run directory, also on an object store (s3://..., gs://...); runs/<job name> when absent.
    quiet : bool
        Print nothing; log.txt and progress.json in the run directory tell all the same.
    report : bool
        Draw figures, tables and the page too. Without, results come sooner, `Run.figure` draws what is wanted, and
        another call (or `dnuc report RUN`) draws the rest.
    force : bool
        Go on with a run that another version of dnuc or torch computed.
    take_over : bool
        Take the run directory from a run on another host that is gone, though its lock is still there.
    performance : bool
        Save Dask's performance report of what is computed now, as performance.html in the run directory.

    Examples
    --------
    >>> run = dnuc.run("jobs/digits.toml", quiet=True, report=False)  # doctest: +SKIP
    >>> run.figure("dimension")  # doctest: +SKIP
    """
    how = {"quiet": quiet, "report": report, "force": force, "take_over": take_over, "performance": performance}
    return Run(run_job(job, on, out, **how))


def open_run(path: str | Location) -> Run:
    """Open a run directory, finished or not; by its URL on an object store, e.g. "s3://results/runs/digits"."""
    return Run(path)
