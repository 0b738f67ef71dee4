"""The notebook's way in: compute a job, open what it found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from dnuc.cluster.deployment import Deployment
from dnuc.data import open_source
from dnuc.errors import DnucError
from dnuc.job import Job
from dnuc.landscape import Landscape
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
        """The density peaks of a layer: the peak of every sample, centers, core, saddles."""
        note = self.attributes("landscape", layer, model).get("note")
        if note is not None:
            raise DnucError(f"layer {layer!r} has no landscape: {note}")

        def read(name: str) -> Any:
            return self.array("landscape", name, layer, model)

        names = ("peak_a", "peak_b", "log_density", "error", "sample")
        saddles = pd.DataFrame({name: read(f"saddle_{name}") for name in names})
        return Landscape(read("peak"), read("peak_center"), read("peak_log_density"), read("core"), saddles)

    def figure(self, name: str) -> Any:
        """A figure of the report as a matplotlib Figure, e.g. "fig2a", "fig4c", "dimension"."""
        source = open_source(self.job.data, self.job.seed)
        return draw(self, name, images=source.image if source.has_images else None)


def run(job: Job | str | Path, on: str | Path | Deployment | None = None, out: str | Path | None = None) -> Run:
    """Compute what a job asks for and its run directory lacks, and open the result.

    Parameters
    ----------
    job : path or Job
        What to compute, e.g. "jobs/digits.toml".
    on : path or address, optional
        Where: a deployment file, a scheduler file or a scheduler address; this machine when absent.
    out : path, optional
        The run directory; runs/<job name> when absent.
    """
    return Run(run_job(job, on, out))


def open_run(path: str | Path) -> Run:
    """Open a run directory, finished or not."""
    return Run(path)
