"""Every stored array, declared once: name, dimensions, type, units and meaning.

The same names appear in code, in the store, in tables, in figures and in the documentation. A run is one Zarr
group; below it each *stage* of each layer has a group of its own, so that a stage can be dropped and made anew
without touching another::

    samples                                    the manifest
    models/<model>/<layer>/activations         one row a sample
    models/<model>/<layer>/neighbors           the waist
    models/<model>/<layer>/measures            overlaps, hubs, entropy
    models/<model>/<layer>/dimension           intrinsic dimension at growing ranks of the neighbors
    models/<model>/<layer>/decimation          intrinsic dimension of random blocks of the samples
    models/<model>/<layer>/classes             intrinsic dimension of each class
    models/<model>/<layer>/spectrum            variance along the principal components
    models/<model>/<layer>/surrogate           intrinsic dimension of Gaussian samples with the same covariance
    models/<model>/<layer>/landscape           density, peaks, saddles
    models/<model>/<layer>/moments             mean activation, for the comparison of layers
    models/<model>/<layer>/compared            activations of the samples that are compared, while others are dropped
    models/<model>/<layer>/scores              samples along principal directions, while layers are compared
    models/<model>/overlaps                    all pairs of layers
    models/<model>/similarity/imbalance        the same: information imbalance
    models/<model>/similarity/cka              centered kernel alignment
    models/<model>/similarity/cca              canonical correlations
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Variable:
    """One stored array."""

    name: str
    dims: tuple[str, ...]
    dtype: str
    meaning: str
    units: str = ""
    fill: float | int | bool | str | None = None  # what a chunk that was never written reads as
    compress: bool = True

    @property
    def fill_value(self) -> float | int | bool | str:
        """NaN for measured values, so that a lost chunk is seen and not taken for zeros."""
        if self.fill is not None:
            return self.fill
        kind = np.dtype(self.dtype).kind if self.dtype != "str" else "T"
        empty: dict[str, float | int | bool | str] = {"f": float("nan"), "i": -1, "u": 0, "b": False, "T": ""}
        return empty[kind]


def _group(*variables: Variable) -> dict[str, Variable]:
    return {v.name: v for v in variables}


SAMPLES = _group(
    Variable("id", ("sample",), "str", "identity of the sample in its data source"),
    Variable("label", ("sample",), "int64", "class, a position in the attribute label_names"),
    Variable("macro", ("sample",), "int64", "macro class, a position in macro_names; -1 where it has none"),
    Variable("entropy", ("sample",), "float64", "Shannon entropy of the pixel values, mean over channels", "bit"),
    Variable("hash", ("sample",), "str", "content hash of the decoded image; empty without images"),
    Variable("luminance", ("sample",), "float64", "added to all pixels of the image, if images are perturbed; white=1"),
    Variable("taxon_parent", ("taxon",), "int64", "concept above each concept of the taxonomy; -1 for the root"),
    Variable("taxon_key", ("taxon",), "str", "what identifies the concept: n00015388 in WordNet"),
    Variable("taxon_name", ("taxon",), "str", "what the concept is called"),
    Variable("class_taxon", ("class",), "int64", "concept that each class is"),
)

ACTIVATIONS = _group(
    Variable("activation", ("sample", "feature"), "float32", "raw layer output, flattened", compress=False),
    Variable("block_done", ("block",), "uint8", "1 once the block's samples are stored", fill=0, compress=False),
)

NEIGHBORS = _group(
    Variable("neighbor_index", ("sample", "neighbor"), "int64", "nearest samples by (distance, index)"),
    Variable("neighbor_distance", ("sample", "neighbor"), "float64", "their Euclidean distances", fill=float("inf")),
    Variable("last_merge", ("one", "journal"), "int64", "rows, lists and distances of the merge under way", fill=-1),
    Variable("tile_redone", ("tile",), "int64", "rows a higher tier redid in the tile; -1 until it is merged", fill=-1),
)

MEASURES = _group(
    Variable("label_overlap", ("overlap_k", "sample"), "float64", "share of the k neighbors with the sample's class"),
    Variable("macro_overlap", ("overlap_k", "sample"), "float64", "the same for macro classes; NaN where it has none"),
    Variable("input_overlap", ("overlap_k", "sample"), "float64", "share of neighbors common with the first layer"),
    Variable("output_overlap", ("overlap_k", "sample"), "float64", "share of neighbors common with the last layer"),
    Variable("next_overlap", ("overlap_k", "sample"), "float64", "share of neighbors common with the next layer"),
    Variable("occurrence", ("sample",), "int64", "in how many neighborhoods the sample lies"),
    Variable("neighborhood_entropy", ("sample",), "float64", "mean image entropy over the neighbors", "bit"),
)

DIMENSION = _group(
    Variable("gride_rank", ("rank",), "int64", "n: the distances of neighbors n and 2n are compared"),
    Variable("gride_value", ("rank",), "float64", "intrinsic dimension (Gride); NaN where there is none"),
    Variable("gride_error", ("rank",), "float64", "its standard error, from the Fisher information"),
    Variable("gride_scale", ("rank",), "float64", "mean of the distances of neighbors n and 2n"),
    Variable("gride_dropped", ("rank",), "int64", "samples left out: duplicates and ties"),
)

DECIMATION = _group(
    Variable("decimation_blocks", ("level",), "int64", "disjoint random blocks that the samples are cut into"),
    Variable("decimation_value", ("level",), "float64", "mean intrinsic dimension (TwoNN) of the blocks"),
    Variable("decimation_error", ("level",), "float64", "standard deviation over the blocks; of one block its error"),
    Variable("decimation_scale", ("level",), "float64", "mean second distance in the blocks"),
    Variable("decimation_dropped", ("level",), "int64", "samples left out, for they are duplicates in their block"),
    Variable("block_value", ("block_of_level",), "float64", "dimension of each block, level by level; NaN if left out"),
)

CLASSES = _group(
    Variable("class_value", ("class",), "float64", "intrinsic dimension (TwoNN) of the class alone; NaN if left out"),
)

SPECTRUM = _group(
    Variable("variance_ratio", ("component",), "float64", "share of the variance along each principal component"),
)

SURROGATE = _group(
    Variable("surrogate_blocks", ("surrogate_level",), "int64", "disjoint random blocks of the Gaussian samples"),
    Variable("surrogate_value", ("surrogate_level",), "float64", "mean intrinsic dimension (TwoNN) of the blocks"),
    Variable("surrogate_error", ("surrogate_level",), "float64", "standard deviation over them; of one its error"),
    Variable("surrogate_scale", ("surrogate_level",), "float64", "mean second distance in the blocks"),
    Variable("surrogate_dropped", ("surrogate_level",), "int64", "Gaussian samples left out"),
)

LANDSCAPE = _group(
    Variable("log_density", ("sample",), "float64", "natural logarithm of the probability density"),
    Variable("log_density_error", ("sample",), "float64", "its standard error"),
    Variable("density_k", ("sample",), "int64", "neighbors that it rests on: the job's k, or the sample's own k*"),
    Variable("peak", ("sample",), "int64", "density peak that the sample belongs to"),
    Variable("core", ("sample",), "bool", "True above the highest saddle of its peak (not halo)"),
    Variable("border", ("sample",), "int64", "peak that a border sample faces; -1 inside"),
    Variable("peak_center", ("peaks",), "int64", "sample at the top of the peak"),
    Variable("peak_log_density", ("peaks",), "float64", "log density at the top"),
    Variable("saddle_peak_a", ("saddle",), "int64", "first of the two peaks that touch"),
    Variable("saddle_peak_b", ("saddle",), "int64", "second of the two peaks that touch"),
    Variable("saddle_log_density", ("saddle",), "float64", "log density at the saddle"),
    Variable("saddle_error", ("saddle",), "float64", "its standard error"),
    Variable("saddle_sample", ("saddle",), "int64", "sample that is the saddle point"),
    Variable("tree_linkage", ("merge", "linkage_column"), "float64", "tree of the peaks, as SciPy's linkage matrix"),
    Variable("tree_assumed", ("merge",), "bool", "True where the height rests on peaks that do not touch"),
    Variable("tree_newick", ("text",), "str", "the tree in the Newick format"),
    Variable("branch_ari", ("branches", "level"), "float64", "tree cut into 1, 2, ... branches: ARI with each level"),
    Variable("branch_ami", ("branches", "level"), "float64", "the same, adjusted mutual information"),
    Variable("branch_purity", ("branches", "level"), "float64", "the same, share in the main group of their branch"),
    Variable("class_peak", ("class",), "int64", "peak that holds most of the class's samples; -1 where it has none"),
    Variable("class_peak_share", ("class",), "float64", "share of the class's samples that it holds"),
)

OVERLAPS = _group(
    Variable("layer_overlap", ("overlap_k", "layer", "other_layer"), "float64", "mean overlap of all pairs of layers"),
)

PAIR = ("layer", "other_layer")

MOMENTS = _group(
    Variable("feature_mean", ("feature",), "float64", "mean activation of the samples that are compared"),
)

COMPARED = _group(
    Variable("compared_activation", ("compared_sample", "feature"), "float32", "of `activation`", compress=False),
)

SCORES = _group(
    Variable("score", ("compared_sample", "direction"), "float64", "samples along principal directions, orthonormal"),
)

IMBALANCE = _group(
    Variable("information_imbalance", PAIR, "float64", "from the layer to the other layer"),
    Variable("column_done", ("other_layer",), "uint8", "1 once the imbalances to the other layer are stored", fill=0),
)

CKA = _group(
    Variable("linear_cka", PAIR, "float64", "centered kernel alignment with linear kernels"),
    Variable("gaussian_cka", ("width", *PAIR), "float64", "the same with Gaussians of the job's widths"),
    Variable("tile_products", ("tile", "kernel", *PAIR), "float64", "sums over the pairs of samples of a tile"),
    Variable(
        "tile_sums", ("tile", "kernel", "layer", "side", "row"), "float64", "rows, columns and diagonal of a tile"
    ),
    Variable("tile_done", ("tile",), "uint8", "1 once a tile's sums are stored", fill=0),
)

CCA = _group(
    Variable("svcca", PAIR, "float64", "mean canonical correlation"),
    Variable("pwcca", PAIR, "float64", "canonical correlations weighted by the layer that comes first"),
    Variable("row_done", ("layer",), "uint8", "1 once the layer's correlations with all are stored", fill=0),
)

STAGES: dict[str, dict[str, Variable]] = {
    "samples": SAMPLES,
    "activations": ACTIVATIONS,
    "neighbors": NEIGHBORS,
    "measures": MEASURES,
    "dimension": DIMENSION,
    "decimation": DECIMATION,
    "classes": CLASSES,
    "spectrum": SPECTRUM,
    "surrogate": SURROGATE,
    "landscape": LANDSCAPE,
    "overlaps": OVERLAPS,
    "moments": MOMENTS,
    "compared": COMPARED,
    "scores": SCORES,
    "imbalance": IMBALANCE,
    "cka": CKA,
    "cca": CCA,
}
