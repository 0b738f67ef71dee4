"""What a run found, for reading: the table of layers, the samples, and every stored array by its name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from dnuc.errors import LayerError, StoreError, closest
from dnuc.job import Job, read_job
from dnuc.location import Location
from dnuc.store.lacking import why_lacking, why_no_matrix
from dnuc.store.networks import networks_table
from dnuc.store.run import RunStore, dropped_words, stage_group
from dnuc.store.taxonomy import stored_taxonomy
from dnuc.taxonomy import Taxonomy

# scalar results that become columns of the layer table, by the stage that records them
_COLUMNS = {
    "activations": ("seconds",),
    "neighbors": ("seconds", "redone"),
    "measures": (
        "intrinsic_dimension",
        "intrinsic_dimension_error",
        "dimension_scale",
        "duplicates",
        "hub_coverage",
        "neighborhood_entropy",
        "neighborhood_entropy_error",
        "shuffled_entropy",
        "shuffled_entropy_error",
    ),
    "dimension": ("dimension_gride", "dimension_gride_error"),
    "classes": ("class_dimension", "class_dimension_std"),
    "spectrum": ("pca_dimension",),
    "landscape": (
        "n_peaks",
        "core_share",
        "ari_class",
        "ami_class",
        "purity_class",
        "ari_macro",
        "ami_macro",
        "purity_macro",
        "taxonomy_correlation",
        "taxonomy_p_value",
    ),
}
_PLACE = ("module", "depth", "relative_depth", "features")
_LAYER_STAGES = (
    "activations", "neighbors", "measures", "dimension", "decimation", "classes", "spectrum", "surrogate", "landscape",
)  # fmt: skip
_PROFILE = {
    "method": "str", "rank": "int64", "blocks": "int64", "samples": "float64",
    "scale": "float64", "value": "float64", "error": "float64", "dropped": "int64",
}  # fmt: skip
# the matrices that compare layers, by the group of models/<model>/similarity that holds them
SIMILARITIES = {
    "information_imbalance": "imbalance",
    "linear_cka": "cka",
    "gaussian_cka": "cka",
    "svcca": "cca",
    "pwcca": "cca",
}
_OVERLAPS = ("label_overlap", "macro_overlap", "input_overlap", "output_overlap", "next_overlap")


class Results:
    """A finished or unfinished run, opened for reading. What is not computed yet is absent or NaN."""

    def __init__(self, path: str | Location) -> None:
        self.store = RunStore.open(path)
        self.path = self.store.path

    def __repr__(self) -> str:
        layers = self.layers
        return f"{type(self).__name__}({str(self.path)!r}: {layers['model'].nunique()} models, {len(layers)} layers)"

    @property
    def job(self) -> Job:
        """The job as it was resolved when the run started."""
        return read_job(self.path / "job.toml")

    @property
    def _resolved_job(self) -> Job | None:
        return self.job if (self.path / "job.toml").is_file() else None

    @property
    def samples(self) -> pd.DataFrame:
        """A row a sample, in the fixed order: id, label, class_name, macro, macro_name, entropy (bit), hash.

        Also luminance, what was added to all pixels of the image (white is 1), if the job perturbs images.
        """
        attributes = self.store.attributes("samples")
        columns = ["id", "label", "macro", "entropy", "hash"]
        columns += ["luminance"] if self.store.has("samples", "luminance") else []
        table = pd.DataFrame({n: self.store.read("samples", n) for n in columns})
        names = np.array([*attributes["label_names"], ""], dtype=object)
        macros = np.array([*attributes["macro_names"], ""], dtype=object)  # -1 is the last: no name
        table.insert(2, "class_name", names[table["label"]])
        table.insert(4, "macro_name", macros[table["macro"]])
        return table

    @property
    def label_names(self) -> list[str]:
        """Readable class names; a label is a position in this list."""
        return list(self.store.attributes("samples")["label_names"])

    @property
    def macro_names(self) -> list[str]:
        """Macro class names; may be empty."""
        return list(self.store.attributes("samples")["macro_names"])

    @property
    def taxonomy(self) -> Taxonomy | None:
        """What the classes are kinds of, if the job says; classes in the order of `label_names`."""
        return stored_taxonomy(self.store)

    def taxonomy_levels(self, layer: str, model: str | None = None) -> pd.DataFrame:
        """How far the peaks and their tree agree with each level of the taxonomy, see `TaxonomyAgreement.levels`.

        Empty where the job has no taxonomy.
        """
        return pd.DataFrame(self.attributes("landscape", layer, model).get("taxonomy", {}).get("levels", []))

    @property
    def models(self) -> list[str]:
        """Model names in the job's order."""
        return self.store.models()

    @property
    def layers(self) -> pd.DataFrame:
        """A row a model and layer, in order: where the layer is, its number of features D, and every measure.

        Overlaps are means over the samples at the job's first k; those at other k are in columns such as
        label_overlap_k10. Columns seconds_* tell what each stage took.
        """
        rows = []
        for model, layer in self.store.each_layer():
            row: dict[str, Any] = {"model": model, "layer": layer["name"]}
            row |= {key: layer[key] for key in _PLACE}
            for stage, columns in _COLUMNS.items():
                group = stage_group(model, layer["name"], stage)
                complete = self.store.is_complete(group)
                attributes = self.store.attributes(group) if complete else {}
                for column in columns:
                    name = f"seconds_{stage}" if column == "seconds" else column
                    row[name] = attributes.get(column, float("nan"))
                if stage == "measures":
                    row |= _overlap_columns(attributes)
            rows.append(row)
        table = pd.DataFrame(rows) if rows else pd.DataFrame(columns=["model", "layer", *_PLACE])
        numbers = [c for c in table.columns if c not in ("model", "layer", "module")]
        table[numbers] = table[numbers].apply(pd.to_numeric)
        return table

    @property
    def models_table(self) -> pd.DataFrame:
        """A row a network, in order: how it was made, how well it does, and how its intrinsic dimension goes.

        architecture and its options; weights ("trained", "random", the name of published ones, or a file); of (the
        [[model]] that a kept epoch is of); epoch and images of its training, shuffled (whether on shuffled labels);
        train_accuracy and test_accuracy (held-out images) after that epoch, test_error = 1 - test_accuracy; top1_error
        and top5_error as published for the weights, on ImageNet's validation images. All are shares, not percent. Then
        the TwoNN dimension of the input, of the layer where it peaks, of the last hidden layer (the deepest one before
        the output that the job looks at) and of the output: peak_layer, peak_dimension, peak_dimension_error,
        peak_relative_depth, ... What is not known is NaN.
        """
        return networks_table(self.store, self.layers)

    @property
    def dropped(self) -> list[tuple[str, str]]:
        """(model, layer) of activations that were dropped to stay within the job's storage budget."""
        layers = [(model, entry["name"]) for model, entry in self.store.each_layer()]
        return [found for found in layers if self.store.is_dropped(stage_group(*found, "activations"))]

    def find(self, layer: str, model: str | None = None) -> tuple[str, str]:
        """(model, layer) of a layer name; the model may be left out where only one has such a layer.

        A name may also be "model/layer". Unknown names raise LayerError with the closest ones.
        """
        if model is None and "/" in layer:
            model, layer = layer.split("/", 1)
        pairs = [(m, entry["name"]) for m, entry in self.store.each_layer()]
        found = [p for p in pairs if p[1] == layer and model in (None, p[0])]
        if not found:
            names = [p[1] for p in pairs if model in (None, p[0])] or [f"{m}/{n}" for m, n in pairs]
            of = f" of model {model!r}" if model is not None else ""
            raise LayerError(f"run {self.path} has no layer {layer!r}{of}; {closest(layer, names)}")
        if len(found) > 1:
            raise LayerError(
                f"several models have a layer {layer!r}: {', '.join(m for m, _ in found)}; name the model too"
            )
        return found[0]

    def array(self, stage: str, name: str, layer: str, model: str | None = None) -> np.ndarray:
        """One stored array of a layer, e.g. array("measures", "label_overlap", "fc"): names as in store/schema.py.

        An error where the stage is not finished (half an array is no result), or the job does not ask for it: it says
        which setting does.
        """
        found = self.find(layer, model)
        group = stage_group(*found, stage)
        if not self.store.has(group, name):
            dropped = self.store.is_dropped(group)
            why = dropped_words(group) if dropped else why_lacking(self._resolved_job, stage, name, *found)
            raise StoreError(f"layer {layer!r} of run {self.path} has no {stage}/{name}: {why}")
        if not self.store.is_complete(group):
            raise StoreError(f"{group} in {self.path} is not finished: run the job again to go on with it")
        return self.store.read(group, name)

    def attributes(self, stage: str, layer: str, model: str | None = None) -> dict[str, Any]:
        """The scalar results of a stage of a layer."""
        found = self.find(layer, model)
        if not self.store.exists(stage_group(*found, stage)):
            why = why_lacking(self._resolved_job, stage, "", *found)
            raise StoreError(f"layer {layer!r} of run {self.path} has no {stage}: {why}")
        return self.store.attributes(stage_group(*found, stage))

    def has(self, stage: str, layer: str, model: str | None = None) -> bool:
        """Whether a stage of a layer is complete."""
        return self.store.is_complete(stage_group(*self.find(layer, model), stage))

    def overlap_matrix(self, model: str) -> np.ndarray:
        """Mean overlaps of all pairs of layers of a model, (overlap_k, layers, layers), symmetric, diagonal 1."""
        self._check_model(model)
        if not self.store.is_complete(f"models/{model}/overlaps"):
            raise StoreError(f"run {self.path} has no overlaps of model {model!r} yet: run the job again to go on")
        return self.store.read(f"models/{model}/overlaps", "layer_overlap")

    def _check_model(self, model: str) -> None:
        if model not in self.models:
            raise LayerError(f"run {self.path} has no model {model!r}; {closest(model, self.models)}")

    def dimension_profile(self, layer: str, model: str | None = None) -> pd.DataFrame:
        """The intrinsic dimension of a layer at every scale at which it was measured, a row a scale.

        method: "gride" (rank: the distances of neighbors rank and 2 rank are compared), "decimation" (blocks: the
        samples are cut into so many random ones) or "surrogate" (the same with Gaussian samples that have the layer's
        mean and covariance, which are another data set); samples among which neighbors were found; scale, in units of
        the distances; value; error, the standard error (for several blocks, the standard deviation over them); dropped,
        samples left out as duplicates or ties.
        """
        n, found = len(self.store.array("samples", "label")), []
        stages = (("dimension", "gride", "rank"), *((s, s, "blocks") for s in ("decimation", "surrogate")))
        for stage, prefix, column in stages:
            group = stage_group(*self.find(layer, model), stage)
            if not self.store.is_complete(group) or not self.store.has(group, f"{prefix}_value"):
                continue
            columns = (column, "scale", "value", "error", "dropped")
            found.append(pd.DataFrame({c: self.store.read(group, f"{prefix}_{c}") for c in columns}))
            found[-1].insert(0, "method", prefix)
        if not found:
            return pd.DataFrame({c: pd.Series(dtype=t) for c, t in _PROFILE.items()})
        table = pd.concat(found, ignore_index=True)
        table = table.reindex(columns=list(_PROFILE)).fillna({"rank": 1, "blocks": 1})
        table["samples"] = n / table["blocks"]
        return table.astype(_PROFILE)

    def class_dimensions(self, layer: str, model: str | None = None) -> pd.DataFrame:
        """The intrinsic dimension of each class alone, a row a class: label, class_name, samples, value.

        value is NaN for classes with fewer than 3 distinct samples.
        """
        value = self.array("classes", "class_value", layer, model)
        labels = self.store.read("samples", "label")
        count = np.bincount(labels[labels >= 0], minlength=len(value))
        names = self.label_names[: len(value)]
        return pd.DataFrame({"label": np.arange(len(value)), "class_name": names, "samples": count, "value": value})

    def similarity(self, model: str, measure: str, width: float | None = None) -> pd.DataFrame:
        """How alike all layers of a model are by one measure, with their names: a row and a column a layer.

        Parameters
        ----------
        measure : str
            "information_imbalance" (from the row's layer to the column's), "linear_cka", "gaussian_cka", "svcca", or
            "pwcca" (weighted by the row's layer).
        width : float, optional
            Of the Gaussian, one of the job's; the smallest when absent.

        Raises
        ------
        StoreError
            If the run does not hold it.
        """
        if measure not in SIMILARITIES:
            raise StoreError(f"there is no similarity {measure!r}; {closest(measure, SIMILARITIES)}")
        group = f"models/{model}/similarity/{SIMILARITIES[measure]}"
        self._check_model(model)
        if not self.store.is_complete(group) or not self.store.has(group, measure):
            why = why_no_matrix(self._resolved_job, measure, model)
            raise StoreError(f"run {self.path} has no {measure} of model {model!r}: {why}")
        attributes, values = self.store.attributes(group), self.store.read(group, measure)
        if measure == "gaussian_cka":
            widths = attributes["widths"]
            chosen = min(widths) if width is None else width
            if chosen not in widths:
                raise StoreError(f"no Gaussian of width {width} in run {self.path}: its widths are {widths}")
            values = values[widths.index(chosen)]
        names = pd.Index(attributes["layers"], name="layer")
        return pd.DataFrame(values, index=names, columns=names.rename("other_layer"))

    def dataset(self, layer: str, model: str | None = None) -> xr.Dataset:
        """Every finished stage of a layer as one lazy xarray Dataset with named dimensions.

        Activations that were dropped to stay within the job's storage budget are not in it; the attribute
        `activations` says so then.
        """
        found = self.find(layer, model)
        groups = [stage_group(*found, stage) for stage in _LAYER_STAGES]
        dataset = self.store.dataset(*[g for g in groups if self.store.is_complete(g)])
        if dataset.attrs.pop("dropped", False):
            dataset.attrs["activations"] = dropped_words(groups[0])
        return dataset


def _overlap_columns(attributes: dict[str, Any]) -> dict[str, float]:
    """One column an overlap and k: the first k has the plain name."""
    columns: dict[str, float] = {}
    for name in _OVERLAPS:
        means = attributes.get(f"{name}_mean", [float("nan")])
        columns[name] = means[0]
        for k, mean in zip(attributes.get("overlap_k", [])[1:], means[1:], strict=False):
            columns[f"{name}_k{k}"] = mean
    return columns
