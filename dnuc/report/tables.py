"""Tables of a run as files: all layers in one, and the landscape of each layer, from its samples to its tree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from dnuc.report.branches import branch_table, composition_table
from dnuc.report.findings import Findings
from dnuc.report.peaks import Peaks
from dnuc.report.similarity import similarity_table
from dnuc.store import stage_group


def write_tables(findings: Findings, directory: Path) -> list[tuple[str, str, list[str]]]:
    """Write every table as CSV and as Parquet; returns (model, layer, files) of the layers with tables of their own.

    layers: a row a model and layer with every measure (`Results.layers`). models: a row a network
    (`Results.models_table`). dimensions: a row a layer and scale (`Results.dimension_profile`). classes: a row a layer
    and class (`Results.class_dimensions`), and similarities: a row a measure and pair of layers (`Results.similarity`),
    where they were asked for. taxonomy, where the classes have one: a row a model, layer and level of it
    (`Results.taxonomy_levels`). For each layer with a landscape, in
    <model>/<layer>: samples (sample, id, class, log_density, error, k, peak, core), peaks (peak, center, center_id,
    log_density, size, core_size, class, class_share, macro), saddles (peak_a, peak_b, log_density, error,
    sample), anchors (sample, id, kind, peak_a, peak_b, log_density). Where its tree is stored: branches and composition
    (see `branch_table`, `composition_table`), and the tree in the Newick format, tree.nwk. Log densities are natural
    logarithms. Samples and peaks are numbered from 0, as in the store.
    """
    directory.mkdir(parents=True, exist_ok=True)
    _write(findings.layers, directory / "layers")
    _write(findings.networks, directory / "models")
    for name, table in dimension_tables(findings).items():
        _write(table, directory / name)
    similarities = similarity_table(findings)
    if len(similarities):
        _write(similarities, directory / "similarities")
    levels = taxonomy_table(findings)
    if len(levels):
        _write(levels, directory / "taxonomy")
    written = []
    for model in findings.models:
        for layer in findings.with_stage("landscape", model):
            place = directory / model / layer
            place.mkdir(parents=True, exist_ok=True)
            peaks = findings.peaks(model, layer)
            tables = {
                "samples": sample_table(findings, model, layer),
                "peaks": peak_table(findings, peaks),
                "saddles": peaks.saddles,
                "anchors": anchor_table(findings, model, layer, peaks),
            }
            files = [f"{name}.csv" for name in tables]
            tree = peaks.tree
            if tree is not None:
                tables |= {
                    "branches": branch_table(findings, peaks, tree),
                    "composition": composition_table(findings, peaks, tree),
                }
                files = [*(f"{name}.csv" for name in tables), "tree.nwk"]
                (place / "tree.nwk").write_text(tree.newick + "\n", encoding="utf-8")
            for name, table in tables.items():
                _write(table, place / name)
            written.append((model, layer, files))
    return written


def dimension_tables(findings: Findings) -> dict[str, pd.DataFrame]:
    """The tables dimensions and classes of `write_tables`, as far as the run holds what they show."""
    results, found = findings.results, {}
    for name, stage, table in (
        ("dimensions", "dimension", results.dimension_profile),
        ("classes", "classes", results.class_dimensions),
    ):
        places = [(model, layer) for model in findings.models for layer in findings.with_stage(stage, model)]
        parts = [table(layer, model).assign(model=model, layer=layer) for model, layer in places]
        if parts:
            together = pd.concat(parts, ignore_index=True)
            found[name] = together[["model", "layer", *(c for c in together if c not in ("model", "layer"))]]
    return found


def taxonomy_table(findings: Findings) -> pd.DataFrame:
    """A row a model, layer and level of the taxonomy; empty without one."""
    parts = []
    for model in findings.models:
        for layer in findings.with_stage("landscape", model):
            levels = findings.results.taxonomy_levels(layer, model)
            if len(levels):
                parts.append(levels.assign(model=model, layer=layer)[["model", "layer", *levels.columns]])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def sample_table(findings: Findings, model: str, layer: str) -> pd.DataFrame:
    """A row a sample: which peak it belongs to, how dense it lies, and whether it is in the peak's core."""
    group = stage_group(model, layer, "landscape")
    samples, read = findings.samples, findings.results.store.read
    return pd.DataFrame(
        {
            "sample": np.arange(len(samples)),
            "id": samples["id"],
            "class": samples["class_name"],
            "log_density": read(group, "log_density"),
            "error": read(group, "log_density_error"),
            "k": read(group, "density_k"),
            "peak": read(group, "peak"),
            "core": read(group, "core"),
        }
    )


def anchor_table(findings: Findings, model: str, layer: str, peaks: Peaks) -> pd.DataFrame:
    """Candidates for the anchors of a triplet loss: samples on the border of their peak, the saddles first.

    A row a border sample: peak_a is its own peak, peak_b the one that it faces.
    """
    group, read = stage_group(model, layer, "landscape"), findings.results.store.read
    border = read(group, "border")
    sample = np.flatnonzero(border >= 0)
    table = pd.DataFrame(
        {
            "sample": sample,
            "id": findings.samples["id"].to_numpy()[sample],
            "kind": np.where(np.isin(sample, peaks.saddles["sample"]), "saddle", "border"),
            "peak_a": read(group, "peak")[sample],
            "peak_b": border[sample],
            "log_density": read(group, "log_density")[sample],
        }
    )
    return table.sort_values(["kind", "log_density"], ascending=False, kind="stable", ignore_index=True)


def peak_table(findings: Findings, peaks: Peaks) -> pd.DataFrame:
    """A row a peak: its top, its size, and the class and macro class that most of its samples have.

    macro is empty where most samples have no macro class.
    """
    label, share = peaks.majority
    macro_names = np.array([*findings.results.macro_names, ""], dtype=object)
    return pd.DataFrame(
        {
            "peak": np.arange(len(peaks)),
            "center": peaks.center,
            "center_id": findings.samples["id"].to_numpy()[peaks.center],
            "log_density": peaks.log_density,
            "size": peaks.size,
            "core_size": peaks.core_size,
            "class": np.array(findings.results.label_names, dtype=object)[label],
            "class_share": share,
            "macro": macro_names[peaks.macro_count.argmax(axis=1)],
        }
    )


def _write(table: pd.DataFrame, path: Path) -> None:
    """Write path.csv and path.parquet."""
    table.to_parquet(f"{path}.parquet", index=False)
    table.to_csv(f"{path}.csv", index=False)
