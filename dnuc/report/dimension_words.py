"""What the report says about how dimensions were found, and what was left out of them."""

from __future__ import annotations

from dnuc.job import Job
from dnuc.report.findings import Findings


def two_nn_words(job: Job) -> str:
    """How TwoNN was fitted: without it a number means little."""
    if job.dimension.method == "mle":
        return "TwoNN by maximum likelihood over all distance ratios"
    return f"TwoNN on the {job.measures.fraction:.0%} smallest distance ratios"


def dimension_facts(job: Job) -> list[tuple[str, str]]:
    """What was computed, as pairs of a term and its value."""
    settings = job.dimension
    resampled = ", error by resampling" if settings.error == "bootstrap" else ""
    ranks = ", ".join(map(str, settings.ranks)) if settings.ranks else f"1, 2, 4, ... up to {job.neighbors.k // 2}"
    scales = [f"Gride at ranks {ranks}"]
    if settings.decimation:
        blocks = "1, 2, 4, ..." if isinstance(settings.decimation, bool) else ", ".join(map(str, settings.decimation))
        scales.append(f"decimation into {blocks} blocks")
    found = [("Intrinsic dimension", two_nn_words(job) + resampled), ("At growing scales", "; ".join(scales))]
    if settings.per_class:
        found.append(("Object manifolds", "TwoNN among the samples of each class alone"))
    if settings.pca:
        scaled = "features divided by their standard deviation" if settings.standardize else "features as they are"
        found.append(("PC-ID", f"components with more than {settings.variance:.0%} of the variance, {scaled}"))
    if settings.surrogate:
        layers = ", ".join(settings.surrogate)
        found.append(("Gaussian surrogates", f"of {layers}: samples with the same mean and covariance"))
    return found


def dimension_notes(findings: Findings, model: str, layer: str) -> list[str]:
    """What a layer's dimensions leave out."""
    place = f"{model}, {layer}"
    gride, blocks, classes, spectrum, surrogate = (
        findings.attributes(stage, model, layer)
        for stage in ("dimension", "decimation", "classes", "spectrum", "surrogate")
    )
    found = [f"{place}: no value at one rank. {note}." for note in gride.get("notes", [])]
    for name, attributes in (
        ("dimension at growing ranks", gride),
        ("decimation", blocks),
        ("dimension of the classes", classes),
        ("principal components", spectrum),
        ("Gaussian surrogate", surrogate),
    ):
        if attributes.get("note"):
            found.append(f"{place} has no {name}. {attributes['note']}.")
    if blocks.get("blocks_left_out"):
        found.append(f"{place}: {blocks['blocks_left_out']:,} random blocks without a dimension are left out.")
    if classes.get("classes_left_out"):
        found.append(
            f"{place}: {classes['classes_left_out']:,} classes are left out of the mean dimension of the classes; they "
            "have fewer than 3 distinct samples."
        )
    if spectrum.get("pca_exact") is False:
        found.append(
            f"{place}: principal components of {spectrum['pca_samples']:,} samples drawn at random, not of all; PC-ID "
            "is a lower bound."
        )
    return found
