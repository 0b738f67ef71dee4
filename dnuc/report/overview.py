"""The words and numbers of the page beside its figures: what was computed, the table of layers, and what to know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dnuc.job import Job
from dnuc.report.dimension_words import dimension_facts, dimension_notes
from dnuc.report.findings import Findings
from dnuc.report.similarity import similarity_notes
from dnuc.store import DROPPED, stored_tree

MISSING = "–"  # noqa: RUF001 - a dash for a value that is not there


@dataclass(frozen=True)
class Column:
    """A column of the page's table of layers."""

    name: str
    heading: str
    meaning: str
    write: Callable[[pd.Series], str]


def layer_columns(layers: pd.DataFrame) -> list[Column]:
    """The columns that hold something, with how their values are written."""
    columns = [
        Column("model", "model", "network", lambda row: str(row["model"])),
        Column("layer", "layer", "name of the layer", lambda row: str(row["layer"])),
        number("depth", "depth", "weighted layers from the input", ",.0f"),
        number("features", "D", "features of the layer, flattened", ",.0f"),
        with_error("intrinsic_dimension", "ID", "intrinsic dimension ± standard error (TwoNN)"),
        with_error("dimension_gride", "ID far", "the same at the largest rank of neighbors (Gride)"),
        with_error("class_dimension", "ID class", "mean intrinsic dimension of the classes ± spread over them", "std"),
        number("pca_dimension", "PC-ID", "principal components that hold most of the variance", ",.0f"),
        number("label_overlap", "χ class", "overlap with the classes", ".3f"),
        number("macro_overlap", "χ macro", "overlap with the macro classes", ".3f"),
        number("input_overlap", "χ input", "overlap with the first layer", ".3f"),
        number("output_overlap", "χ output", "overlap with the last layer", ".3f"),
        number("next_overlap", "χ next", "overlap with the next layer", ".3f"),
        number("hub_coverage", "hubs", "share of neighborhoods that hold one of the top hubs", ".1%"),
        number("neighborhood_entropy", "entropy", "mean image entropy of the neighbors, bit", ".3f"),
        number("n_peaks", "peaks", "significant density peaks", ",.0f"),
        number("core_share", "core", "share of samples above the highest saddle of their peak", ".1%"),
        number("ari_class", "ARI class", "adjusted Rand index of peaks and classes", ".3f"),
        number("ari_macro", "ARI macro", "adjusted Rand index of peaks and macro classes", ".3f"),
        number("purity_class", "purity", "share of samples of the most frequent class of their peak", ".1%"),
        number("taxonomy_correlation", "taxonomy", "rank correlation of distances in tree and taxonomy", ".3f"),
    ]
    if layers["model"].nunique() == 1:
        del columns[0]
    return [c for c in columns if layers[c.name].notna().any()]


def number(name: str, heading: str, meaning: str, form: str) -> Column:
    """A column of numbers, written in Python's format `form`."""
    return Column(name, heading, meaning, lambda row: MISSING if pd.isna(row[name]) else format(row[name], form))


def with_error(name: str, heading: str, meaning: str, error: str = "error") -> Column:
    """A column of numbers, each beside its error."""

    def write(row: pd.Series) -> str:
        return MISSING if pd.isna(row[name]) else f"{row[name]:.1f} ± {row[f'{name}_{error}']:.1f}"

    return Column(name, heading, meaning, write)


def facts(findings: Findings) -> list[tuple[str, str]]:
    """What was computed, as pairs of a term and its value."""
    job, results = findings.job, findings.results
    macros, several_k = results.macro_names, len(job.overlap_k) > 1
    equal = "; means in which every class counts the same" if job.measures.weights else ""
    return [
        ("Samples", f"{len(findings.samples):,} of {len(results.label_names):,} classes, from {job.data.source}"),
        ("Macro classes", f"{len(macros)}: {', '.join(macros)}" if macros else "none"),
        *_taxonomy(findings),
        *_perturbation(job),
        ("Models", ", ".join(f"{m} ({len(findings.of(m))} layers)" for m in findings.models)),
        *_trainings(job),
        ("Neighbors", f"{job.neighbors.k} a sample, exact, Euclidean"),
        (
            "Overlaps",
            "k = " + ", ".join(map(str, job.overlap_k)) + ("; the first is drawn" if several_k else "") + equal,
        ),
        *dimension_facts(job),
        ("Density", _density(findings)),
        ("Seed", str(job.seed)),
        ("Computed with", f"dnuc {results.store.attributes('').get('dnuc_version', '(version not recorded)')}"),
    ]


def _taxonomy(findings: Findings) -> list[tuple[str, str]]:
    tree, given = findings.results.taxonomy, findings.job.data.taxonomy
    if tree is None:
        return []
    groups = [len(set(tree.level(depth).tolist())) for depth in tree.levels]
    source = "WordNet" if given == "wordnet" else Path(str(given)).name
    return [("Taxonomy", f"{source}: levels of {', '.join(f'{count:,}' for count in groups)} groups")]


def _perturbation(job: Job) -> list[tuple[str, str]]:
    if job.data.perturb is None:
        return []
    added = f"λ ξ is added to all pixels of an image: λ = {job.data.perturb.luminance:g} (white is 1), ξ random in 0..1"
    return [("Luminance", f"{added}, another one for each image")]


def _trainings(job: Job) -> list[tuple[str, str]]:
    """How networks were trained by the job; what was done to their labels must not be overlooked."""
    told = []
    for model in job.model:
        if model.train is not None:
            labels = ", on SHUFFLED labels" if model.train.shuffle_labels else ""
            epochs = "1 epoch" if model.train.epochs == 1 else f"{model.train.epochs:,} epochs"
            told.append(f"{model.name}: {epochs}{labels}")
    return [("Training", "; ".join(told))] if told else []


def _density(findings: Findings) -> str:
    settings = findings.job.landscape
    rounded = ", rounded to an integer" if settings.integer_dimension else ""
    return (
        f"{findings.density_words}, with the intrinsic dimension of each layer{rounded}; peaks at "
        f"z = {settings.z:g}, {settings.convention} convention"
    )


def notes(findings: Findings) -> list[str]:
    """What a reader should know before trusting a number: what was left out, redone or assumed."""
    return [
        *_sample_notes(findings),
        *_dropped(findings),
        *_layer_notes(findings),
        *_published_note(findings),
        *_unreadable(findings),
    ]


def _sample_notes(findings: Findings) -> list[str]:
    skipped = findings.results.store.attributes("samples").get("skipped", [])
    if not skipped:
        return []
    shown = "; ".join(skipped[:10]) + (f"; and {len(skipped) - 10:,} more" if len(skipped) > 10 else "")
    return [f"Unreadable images that were left out: {len(skipped):,}. {shown}."]


def _dropped(findings: Findings) -> list[str]:
    gone, layers = findings.results.dropped, len(findings.layers)
    if not gone:
        return []
    return [
        f"Activations of {len(gone)} of {layers} layers were {DROPPED}, once everything was computed from them. Layers "
        "that activations.keep in the job names stay."
    ]


def _layer_notes(findings: Findings) -> list[str]:
    found = []
    layers = findings.layers
    redone = layers["redone"].sum()
    if redone:
        found.append(
            f"{redone:,.0f} of {len(layers) * len(findings.samples):,} neighbor lists could not be certified by the "
            "fast filter and were redone in higher precision; all lists are exact."
        )
    for model, rows in layers[layers["duplicates"] > 0].groupby("model", sort=False):
        each = ", ".join(f"{row['layer']} {row['duplicates']:,.0f}" for _, row in rows.iterrows())
        found.append(f"{model}: samples with another sample at distance 0, by layer: {each}.")
    for _, row in layers.iterrows():
        measured = findings.attributes("measures", row["model"], row["layer"])
        if measured.get("dimension_note"):
            found.append(f"{_place(row)} has no intrinsic dimension. {measured['dimension_note']}.")
        found += dimension_notes(findings, row["model"], row["layer"])
        landscape = findings.attributes("landscape", row["model"], row["layer"])
        if landscape.get("note"):
            found.append(f"{_place(row)} has no landscape. {landscape['note']}.")
        if landscape.get("density_note"):
            found.append(f"{_place(row)}, density: {landscape['density_note']}.")
        tree = stored_tree(findings.results.store, row["model"], row["layer"])
        if tree is not None and tree.assumed.any():
            found.append(
                f"{_place(row)}: {np.count_nonzero(tree.assumed):,} of {len(tree.linkage):,} joints of the tree are "
                f"between peaks that do not touch; their height is assumed (fill {tree.fill:.4g})."
            )
        if landscape.get("n_peaks", 0) > 1 and tree is None:
            found.append(f"{_place(row)} has no tree: {landscape['n_peaks']:,} peaks are too many for one.")
    return found + similarity_notes(findings)


def _place(row: pd.Series) -> str:
    return f"{row['model']}, {row['layer']}"


def _published_note(findings: Findings) -> list[str]:
    wanted = findings.job.report.published
    if wanted is None or any(findings.published(m) is not None for m in findings.models):
        return []
    return [f"Published values of {wanted} were asked for, but no model of this run has that architecture or name."]


def _unreadable(findings: Findings) -> list[str]:
    if not findings.unreadable:
        return []
    return [f"Images of hubs that could not be read for this page: {', '.join(findings.unreadable)}."]
