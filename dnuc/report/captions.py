"""What each figure shows, in words: a title, what to look for, and a caption with definitions and sources."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dnuc.report.dimension_words import two_nn_words
from dnuc.report.dimensions import TRAININGS, correlation, measured_errors, trainings
from dnuc.report.findings import Findings
from dnuc.report.peak_map import DRAWN, LINES
from dnuc.report.peaks import color_groups
from dnuc.report.similarity_words import matrices_words, output_words
from dnuc.report.subsets import LAYERS
from dnuc.report.taxonomy import taxonomy_caption
from dnuc.report.tree import leaves_drawn, tree_layer

DOIMO = "Doimo et al. 2020"
ANSUINI = "Ansuini et al. 2019"


@dataclass(frozen=True)
class Caption:
    """The words beside a figure."""

    title: str
    see: str  # what to look for
    text: str  # definitions, settings, sources


def caption(kind: str, findings: Findings, model: str | None) -> Caption:
    """The words for a figure of a run; `kind` is a key of `FIGURES`, `model` None for figures of all models."""
    title, see, write = _WORDS[kind]
    shown = f"Model {model}. " if model and len(findings.models) > 1 else ""
    return Caption(title, see, shown + write(findings, model or ""))


def _overlap_profiles(findings: Findings, model: str) -> str:
    n, k = len(findings.samples), findings.overlap_k
    macro = "those of its macro class, " if findings.results.macro_names else ""
    return (
        f"Of a sample's k = {k} nearest neighbors, the mean share of those of its class, {macro}those that are also "
        "its neighbors in the last layer (output), and in the next layer. Layers are evenly spaced; behind each name "
        f"is its depth. Random neighbors would give {_chance(findings):.2g} with the classes and "
        f"k/(N-1) = {k / max(1, n - 1):.2g} with a layer. {DOIMO}, Sec. 2.1 and Fig. 2a."
        + _published(findings, [model], ["label_overlap", "output_overlap", "next_overlap"])
    )


def _chance(findings: Findings) -> float:
    """The overlap with the classes that random neighbors would have."""
    counts = np.bincount(findings.samples["label"])
    n = counts.sum()
    return float((counts * (counts - 1)).sum() / max(1, n * (n - 1)))


def _histograms(findings: Findings, model: str) -> str:
    return (
        f"Share of the samples by how many of their k = {findings.overlap_k} nearest neighbors have their class; "
        f"dashed, the mean. Heights differ from panel to panel. {DOIMO}, Fig. 2b."
    )


def _compare(findings: Findings, model: str) -> str:
    return (
        f"Mean share of a sample's k = {findings.overlap_k} nearest neighbors that have its class. The layers of each "
        f"model are evenly spaced. {DOIMO}, Fig. 2c."
    )


def _matrix(findings: Findings, model: str) -> str:
    return f"Mean share of common neighbors, k = {findings.overlap_k}, of all pairs of layers. {DOIMO}, Eq. 1."


def _dimension(findings: Findings, model: str) -> str:
    return (
        f"{two_nn_words(findings.job)} (to the second and to the first neighbor), with the standard error; relative "
        "depth is depth divided by the depth of the output. Values above about 20 are lower bounds. Facco et al. 2017; "
        "Ansuini et al. 2019." + _published(findings, findings.models, ["intrinsic_dimension"])
    )


def _scales(findings: Findings, model: str) -> str:
    text = (
        "Circles: Gride, the maximum-likelihood estimate from the ratio of the distances to neighbors n and 2n, for "
        "growing n, over the mean of the two distances, with its standard error (Denti et al. 2022). "
    )
    if findings.job.dimension.decimation:
        text += (
            f"Squares: {two_nn_words(findings.job)}, of fewer and fewer samples, over the distance to the second "
            "neighbor: mean and standard deviation over disjoint random blocks (of all samples, the standard error). "
        )
    return text + (
        "Scales are in units of the layer's distances. Neighborhoods of close samples overlap, so from one data set to "
        f"another values spread about 1.3 times their standard error. {ANSUINI}, Fig. 2B."
    )


def _compared(findings: Findings, model: str) -> str:
    settings, layers = findings.job.dimension, findings.of(model)
    text = f"{two_nn_words(findings.job)}; Gride at the largest rank, that is, at a larger distance. "
    if layers["class_dimension"].notna().any():
        text += "Of each class: neighbors among its own samples; mean and standard deviation over the classes. "
    if layers["pca_dimension"].notna().any():
        scaled = " of features divided by their standard deviation" if settings.standardize else ""
        text += (
            f"PC-ID: the number of principal components{scaled} that hold more than {settings.variance:.0%} of the "
            "variance. "
        )
    return text + f"Bars are standard errors where nothing else is said. {ANSUINI}, Sec. 3.1, 3.3 and Fig. 5C."


def _untrained(findings: Findings, model: str) -> str:
    return (
        "TwoNN dimension with the standard error of the fit: solid, trained networks; dashed, the same architectures "
        "with random weights or before the first epoch. Layers with random weights keep the dimension of the input as "
        f"far as they act like rotations. Right, where it is computed: PC-ID. {ANSUINI}, Fig. 5C."
    )


def _against_error(findings: Findings, model: str) -> str:
    measured = measured_errors(findings)
    assert measured is not None  # the figure is there
    networks, column = measured
    r = correlation(networks, column)
    stated = "" if np.isnan(r) else f" Pearson r = {r:.3f} over {len(networks)} networks."
    which = "the published top-5 error of its weights" if column == "top5_error" else "its error on held-out images"
    return (
        f"A point a network: the TwoNN dimension of its last hidden layer (the deepest one before the output that the "
        f"job looks at) and {which}.{stated} All networks of this run with such an error are shown, each at the end of "
        f"its training, but none that was trained on shuffled labels. {ANSUINI}, Fig. 4."
    )


def _during_training(findings: Findings, model: str) -> str:
    more = len(trainings(findings)) - TRAININGS
    left_out = f" {more} more trainings are not drawn." if more > 0 else ""
    return (
        "Left: TwoNN dimension after the epochs that the job keeps; epoch 0 is before training. Right: the last hidden "
        f"layer over the epochs, and (dotted) the accuracy on held-out images.{left_out} {ANSUINI}, Fig. 9."
    )


def _of_classes(findings: Findings, model: str) -> str:
    return (
        "TwoNN dimension of the samples of one class, with neighbors among them alone: mean over the classes; the bars "
        f"are their standard deviation, not an error of the mean. {ANSUINI}, Sec. 3.1 and Fig. 3."
    )


def _subsets(findings: Findings, model: str) -> str:
    return (
        "TwoNN in disjoint random parts of the samples, in which neighbors are found anew: mean and standard deviation "
        "over the parts; for all samples, the standard error of the fit. A dimension that is well defined depends "
        f"little on the number of samples. At most {LAYERS} layers are drawn. {ANSUINI}, Sec. 2 and Fig. 2B."
    )


def _spectra(findings: Findings, model: str) -> str:
    return (
        "Share of the variance along each principal component of the last hidden layer of each network, by rank. A gap "
        f"would show a flat manifold of as many dimensions. {ANSUINI}, Sec. 3.3 and Fig. 5A."
    )


def _gaussian(findings: Findings, model: str) -> str:
    return (
        "TwoNN in disjoint random parts of the samples (solid, where the job asks for decimation) and of Gaussian "
        "samples with exactly the same mean and covariance (dashed): what is between them is not in the covariance. "
        f"{ANSUINI}, Sec. 3.3 and Fig. 5B."
    )


def _hubs(findings: Findings, model: str) -> str:
    text = (
        f"Top: mean share of the k = {findings.overlap_k} nearest neighbors that are also neighbors in the first layer "
        "(input) or in the last (output). "
    )
    if findings.of(model)["neighborhood_entropy"].notna().any():
        text += (
            "Bottom: mean Shannon entropy of the images among the neighbors, with the standard error over samples; "
            "dashed, the same for neighbors drawn at random. "
        )
    if findings.images is not None:
        text += (
            "Right: the most frequent neighbors in the first layer and in the layer whose ten reach most samples, each "
            "with the number of neighborhoods that it is in. "
        )
    return text + f"{DOIMO}, Sec. 3.2 and Fig. 3." + _published(findings, [model], ["output_overlap"])


def _peaks(findings: Findings, model: str) -> str:
    settings = findings.job.landscape
    return (
        f"Peaks of the density of each layer ({findings.density_words}) that are significant at z = {settings.z:g} "
        f"({settings.convention} convention). {DOIMO}, Sec. 2.2." + _published(findings, findings.models, ["n_peaks"])
    )


def _peak_map(findings: Findings, model: str) -> str:
    ready = findings.with_stage("landscape", model)
    names, macros = findings.results.label_names, findings.results.macro_names
    colored = "color for the share of its most frequent class"
    if ready and color_groups(findings.peaks(model, ready[-1]), names, macros):
        colored = f"slices for the {'macro ' if macros else ''}classes of its samples"
    return (
        f"A disc a peak: area for its number of samples, {colored}; a name where at least half of the samples are of "
        "one class and it fits. Lines join peaks that touch, thicker for a higher saddle. The layout is schematic: "
        "peaks with a high pass between them are close, as far as a plane allows, and directions mean nothing. At most "
        f"{DRAWN} peaks are drawn, the largest; where more than {LINES} pairs touch, only the highest saddle of each "
        f"peak. {DOIMO}, Fig. 4a."
    )


def _agreement(findings: Findings, model: str) -> str:
    macro = " (macro classes: only over samples that have one)" if findings.results.macro_names else ""
    return (
        f"Top: adjusted Rand index between the density peaks and the classes{macro}; 1 for equal partitions, 0 on "
        f"average for unrelated ones. Bottom: number of peaks. {DOIMO}, Sec. 3.3 and Fig. 4b."
        + _published(findings, [model], ["ari_class", "ari_macro", "n_peaks"])
    )


def _tree(findings: Findings, model: str) -> str:
    layer = tree_layer(findings, model)
    assert layer is not None  # the figure is there
    peaks = findings.peaks(model, layer)
    tree, kept = peaks.tree, leaves_drawn(peaks)
    assert tree is not None
    text = (
        "Every leaf is a peak and reaches to its log density; branches join at the log density of the saddle between "
        f"them ({_METHODS.get(tree.method, tree.method)}). At a leaf: its most frequent class, "
        "the share of that class, and the number of samples, which is also the area of the dot. "
    )
    if len(kept) < len(peaks):
        share = peaks.size[kept].sum() / peaks.size.sum()
        text += (
            f"Of {len(peaks):,} peaks the {len(kept)} largest are drawn, which hold {share:.1%} of the samples, and of "
            "the tree what joins these; the whole tree is among the tables. "
        )
    if tree.assumed.any():
        text += (
            f"Peaks that do not touch have no saddle; they count as {tree.fill:.3g} below the highest peak. "
            "Joints that rest on this are dashed. "
        )
    return text + f"{DOIMO}, Sec. 3.3 and Fig. 4c, there with the leaves on top."


def _published(findings: Findings, models: list[str], columns: list[str]) -> str:
    """What open markers are, where there are any."""
    tables = [findings.published(m) for m in models]
    if not any(t is not None and t[columns].notna().any(axis=None) for t in tables):
        return ""
    settings = "300 ImageNet classes, 300 images each, k = 30, z = 1.65"
    return f" Open markers: published for ResNet152 ({settings}; {DOIMO})."


_METHODS = {"weighted": "WPGMA", "average": "UPGMA", "single": "single linkage", "complete": "complete linkage"}
_WORDS: dict[str, tuple[str, str, Callable[[Findings, str], str]]] = {
    "fig2a": (
        "Overlap profiles",
        "Where the overlap with the classes jumps, classes nucleate; where that with the next layer dips, neighbors "
        "are exchanged.",
        _overlap_profiles,
    ),
    "fig2b": (
        "How overlaps are distributed",
        "Two humps in one panel are two phases: samples that already sit among their class, and samples that do not.",
        _histograms,
    ),
    "fig2c": ("Models compared", "Whether the classes appear at the same relative place in every model.", _compare),
    "overlap_matrix": (
        "All pairs of layers",
        "Bright blocks are stretches of layers that keep their neighbors; a dark border is a sudden change.",
        _matrix,
    ),
    "similarity": (
        "Other comparisons of all pairs of layers",
        "Whether a sudden change of neighborhoods shows here too: CCA and linear CKA, which weigh all directions or "
        "all distances, tend to be smoother.",
        matrices_words,
    ),
    "similarity_output": (
        "What is near, and what is far",
        "Whether a narrow Gaussian follows the overlap with the output, and linear CKA does not.",
        output_words,
    ),
    "dimension": (
        "Intrinsic dimension",
        "The hump: representations first expand, then shrink towards the output.",
        _dimension,
    ),
    "dimension_scale": (
        "Dimension against scale",
        "Where a profile is flat, the dimension is that of a manifold; where it falls with the distance, noise adds "
        "dimensions at short distances.",
        _scales,
    ),
    "dimension_compared": (
        "Dimensions compared",
        "Whether the dimension is about the same at a larger scale and within classes, and how far the linear one is "
        "above it.",
        _compared,
    ),
    "dimension_untrained": (
        "Trained and untrained",
        "In untrained networks the dimension stays flat; the hump, and the fall towards the output, are learned.",
        _untrained,
    ),
    "dimension_error": (
        "Last hidden layer and error",
        "Whether networks that do better have fewer dimensions in their last hidden layer.",
        _against_error,
    ),
    "dimension_training": (
        "Dimension during training",
        "Whether the middle of the network expands and its end shrinks, and whether that goes one way only.",
        _during_training,
    ),
    "dimension_classes": (
        "Dimension of the classes",
        "The same hump within single classes: it is not the classes' coming apart that makes it.",
        _of_classes,
    ),
    "dimension_subsets": (
        "Dimension and number of samples",
        "Flat lines: dimensions that do not depend on how many samples there are. Rising ones are lower bounds.",
        _subsets,
    ),
    "spectra": (
        "Variance spectra",
        "Whether there is a gap, after which further components hold much less of the variance.",
        _spectra,
    ),
    "dimension_gaussian": (
        "Data and a Gaussian of the same covariance",
        "Whether the Gaussian has more dimensions, and grows with the number of samples where the data do not.",
        _gaussian,
    ),
    "fig3": (
        "Forgetting the input, and hubs",
        "Where the overlap with the input is lost, and whether neighborhoods fill up with simple images (low entropy) "
        "there.",
        _hubs,
    ),
    "peaks": ("Number of density peaks", "One peak means that the structure of the input is wiped out.", _peaks),
    "fig4a": (
        "Density peaks, layer by layer",
        "How peaks split up, first by macro classes, then by classes.",
        _peak_map,
    ),
    "fig4b": (
        "Peaks and classes",
        "Macro classes emerge first; when peaks break up into classes, the one index falls and the other rises.",
        _agreement,
    ),
    "fig4c": (
        "The tree of the peaks",
        "Whether peaks of related classes share a branch: chains of mountains with high passes.",
        _tree,
    ),
    "taxonomy": (
        "The tree and the taxonomy",
        "Broad concepts should fit few branches and fine ones many: lines that peak one after the other.",
        taxonomy_caption,
    ),
}
