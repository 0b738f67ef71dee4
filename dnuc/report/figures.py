"""Every figure by name: what draws it, whether there is one a model, and what it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from matplotlib.figure import Figure

from dnuc.errors import DnucError, closest
from dnuc.report import dimensions, profiles, spectra, subsets
from dnuc.report.findings import Findings, Images
from dnuc.report.hubs import input_and_hubs
from dnuc.report.matrix import overlap_matrix
from dnuc.report.peak_map import peak_map
from dnuc.report.scales import dimension_scales, dimensions_compared
from dnuc.report.similarity import similarity_matrices, similarity_to_output
from dnuc.report.style import paper_style
from dnuc.report.taxonomy import taxonomy_match
from dnuc.report.tree import peak_tree
from dnuc.store import Results


@dataclass(frozen=True)
class Kind:
    """A kind of figure.

    Attributes
    ----------
    needs : what a run must hold for it, as the end of "needs ...".
    one_model : draws one model; a run of several models has one such figure for each.
    all_models : draws all models together.
    """

    needs: str
    one_model: Callable[[Findings, str], Figure | None] | None = None
    all_models: Callable[[Findings], Figure | None] | None = None


FIGURES: dict[str, Kind] = {
    "fig2a": Kind("the measures of a layer", one_model=profiles.overlap_profiles),
    "fig2b": Kind("the measures of a layer", one_model=profiles.overlap_histograms),
    "fig2c": Kind("the measures of at least two models", all_models=profiles.compare_models),
    "overlap_matrix": Kind("the overlaps of all pairs of at least two layers", one_model=overlap_matrix),
    "similarity": Kind("matrices of the job's table [similarity]", one_model=similarity_matrices),
    "similarity_output": Kind("CKA and the overlaps of at least three layers", one_model=similarity_to_output),
    "dimension": Kind("the intrinsic dimension of a layer", all_models=profiles.dimension),
    "dimension_scale": Kind("the intrinsic dimension of a layer at several scales", one_model=dimension_scales),
    "dimension_compared": Kind("the intrinsic dimension of a layer in two ways", one_model=dimensions_compared),
    "dimension_untrained": Kind(
        "a trained network and the same one with random weights", all_models=dimensions.untrained
    ),
    "dimension_error": Kind("at least two networks whose error is known", all_models=dimensions.against_error),
    "dimension_training": Kind("a training of which epochs are kept", all_models=dimensions.during_training),
    "dimension_classes": Kind("[dimension] per_class = true in the job", all_models=dimensions.of_classes),
    "dimension_subsets": Kind("[dimension] decimation = true in the job", one_model=subsets.subsamples),
    "spectra": Kind("[dimension] pca = true in the job", all_models=spectra.spectra),
    "dimension_gaussian": Kind("layers named in [dimension] surrogate in the job", all_models=spectra.gaussian),
    "fig3": Kind("the measures of a layer", one_model=input_and_hubs),
    "peaks": Kind("the landscape of a layer", all_models=profiles.peak_numbers),
    "fig4a": Kind("the landscape of a layer", one_model=peak_map),
    "fig4b": Kind("the landscape of a layer", one_model=profiles.agreement),
    "fig4c": Kind("a layer with at least two peaks, and at most 10,000", one_model=peak_tree),
    "taxonomy": Kind("a taxonomy of the classes, and a layer with at most 10,000 peaks", one_model=taxonomy_match),
}


@dataclass(frozen=True)
class Drawable:
    """A figure of one run: its name (that of its file), its kind, and its model if it shows only one."""

    name: str
    kind: str
    model: str | None
    draw: Callable[[], Figure | None]


def drawables(findings: Findings) -> dict[str, Drawable]:
    """Every figure that this run could have, by name: fig2a, or fig2a_<model> where there are several models."""
    found = []
    for kind, entry in FIGURES.items():
        if entry.all_models is not None:
            found.append(Drawable(kind, kind, None, partial(entry.all_models, findings)))
        if entry.one_model is not None:
            several = len(findings.models) > 1
            for model in findings.models:
                name = f"{kind}_{model}" if several else kind
                found.append(Drawable(name, kind, model, partial(entry.one_model, findings, model)))
    return {d.name: d for d in found}


def draw(results: Results, name: str, images: Images | None = None) -> Figure:
    """One figure of a run, to look at or to save.

    Parameters
    ----------
    results : Results
        The run; unfinished ones are drawn as far as they are.
    name : str
        A key of `FIGURES`, e.g. "fig2a"; in a run of several models with the model, e.g. "fig2a_resnet18", for
        the figures that show one model.
    images : callable, optional
        From a sample's id to its image, (height, width, channels) uint8: fig3 then shows the hubs.

    Raises
    ------
    DnucError
        If there is no figure of that name (the closest names are given), or the run lacks what it shows.
    LayerError
        If [report] in the job names a layer that no model has.
    """
    available = drawables(Findings(results, images))
    if name not in available:
        among = [n for n in available if n.startswith(f"{name}_")] or list(available)
        raise DnucError(f"run {results.path} has no figure {name!r}; {closest(name, among)}")
    with paper_style():
        figure = available[name].draw()
    if figure is None:
        raise DnucError(
            f"figure {name!r} needs {FIGURES[available[name].kind].needs}, which run {results.path} does not hold "
            "(yet): finish the run, see `dnuc status`"
        )
    return figure
