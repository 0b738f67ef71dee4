"""How a trained network builds its concepts: exact neighbors, intrinsic dimension and density peaks of every layer.

The public names, in the order the data takes. They are imported when first used, so that `import dnuc` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dnuc._version import __version__

if TYPE_CHECKING:
    from dnuc.data.wordnet import wordnet_taxonomy
    from dnuc.drawing import draw_peak_map, draw_tree
    from dnuc.estimators import DensityPeaks, TwoNN
    from dnuc.landscape import (
        Agreement,
        BranchAgreement,
        Density,
        Landscape,
        Mantel,
        TaxonomyAgreement,
        Tree,
        agreement,
        anchors,
        branch_agreement,
        branches,
        composition,
        cut_tree,
        dendrogram,
        density_peaks,
        knn_density,
        kstar,
        kstar_density,
        mantel,
        pak_density,
        peak_tree,
        taxonomy_agreement,
        to_newick,
        tree_distances,
    )
    from dnuc.measures.cca import pwcca, svcca
    from dnuc.measures.cka import cka
    from dnuc.measures.classes import class_dimension
    from dnuc.measures.decimation import decimation
    from dnuc.measures.dimension import Dimension, two_nn
    from dnuc.measures.entropy import NeighborhoodEntropy, neighborhood_entropy
    from dnuc.measures.gride import gride
    from dnuc.measures.hubs import Hubs, hubness, top_hubs
    from dnuc.measures.imbalance import conditional_ranks, information_imbalance
    from dnuc.measures.overlap import Overlap, data_overlap, label_overlap
    from dnuc.measures.parts import MeanDimension
    from dnuc.measures.pca import pca_dimension, pca_spectrum
    from dnuc.measures.surrogate import gaussian_surrogate
    from dnuc.neighbors.lists import Neighbors
    from dnuc.neighbors.search import nearest_neighbors
    from dnuc.neighbors.within import count_within, pair_distances
    from dnuc.notebook import Run, open_run, run
    from dnuc.taxonomy import Taxonomy

_HOME = {
    "nearest_neighbors": "dnuc.neighbors.search",
    "count_within": "dnuc.neighbors.within",
    "pair_distances": "dnuc.neighbors.within",
    "Neighbors": "dnuc.neighbors.lists",
    "two_nn": "dnuc.measures.dimension",
    "gride": "dnuc.measures.gride",
    "decimation": "dnuc.measures.decimation",
    "class_dimension": "dnuc.measures.classes",
    "pca_dimension": "dnuc.measures.pca",
    "pca_spectrum": "dnuc.measures.pca",
    "gaussian_surrogate": "dnuc.measures.surrogate",
    "Dimension": "dnuc.measures.dimension",
    "MeanDimension": "dnuc.measures.parts",
    "data_overlap": "dnuc.measures.overlap",
    "label_overlap": "dnuc.measures.overlap",
    "Overlap": "dnuc.measures.overlap",
    "information_imbalance": "dnuc.measures.imbalance",
    "conditional_ranks": "dnuc.measures.imbalance",
    "cka": "dnuc.measures.cka",
    "svcca": "dnuc.measures.cca",
    "pwcca": "dnuc.measures.cca",
    "hubness": "dnuc.measures.hubs",
    "top_hubs": "dnuc.measures.hubs",
    "Hubs": "dnuc.measures.hubs",
    "neighborhood_entropy": "dnuc.measures.entropy",
    "NeighborhoodEntropy": "dnuc.measures.entropy",
    "knn_density": "dnuc.landscape",
    "kstar": "dnuc.landscape",
    "kstar_density": "dnuc.landscape",
    "pak_density": "dnuc.landscape",
    "Density": "dnuc.landscape",
    "density_peaks": "dnuc.landscape",
    "Landscape": "dnuc.landscape",
    "dendrogram": "dnuc.landscape",
    "peak_tree": "dnuc.landscape",
    "Tree": "dnuc.landscape",
    "cut_tree": "dnuc.landscape",
    "branches": "dnuc.landscape",
    "composition": "dnuc.landscape",
    "to_newick": "dnuc.landscape",
    "anchors": "dnuc.landscape",
    "agreement": "dnuc.landscape",
    "Agreement": "dnuc.landscape",
    "BranchAgreement": "dnuc.landscape",
    "branch_agreement": "dnuc.landscape",
    "TaxonomyAgreement": "dnuc.landscape",
    "taxonomy_agreement": "dnuc.landscape",
    "tree_distances": "dnuc.landscape",
    "Mantel": "dnuc.landscape",
    "mantel": "dnuc.landscape",
    "Taxonomy": "dnuc.taxonomy",
    "wordnet_taxonomy": "dnuc.data.wordnet",
    "DensityPeaks": "dnuc.estimators",
    "TwoNN": "dnuc.estimators",
    "draw_tree": "dnuc.drawing",
    "draw_peak_map": "dnuc.drawing",
    "run": "dnuc.notebook",
    "open_run": "dnuc.notebook",
    "Run": "dnuc.notebook",
}

__all__ = [
    "Agreement",
    "BranchAgreement",
    "Density",
    "DensityPeaks",
    "Dimension",
    "Hubs",
    "Landscape",
    "Mantel",
    "MeanDimension",
    "NeighborhoodEntropy",
    "Neighbors",
    "Overlap",
    "Run",
    "Taxonomy",
    "TaxonomyAgreement",
    "Tree",
    "TwoNN",
    "__version__",
    "agreement",
    "anchors",
    "branch_agreement",
    "branches",
    "cka",
    "class_dimension",
    "composition",
    "conditional_ranks",
    "count_within",
    "cut_tree",
    "data_overlap",
    "decimation",
    "dendrogram",
    "density_peaks",
    "draw_peak_map",
    "draw_tree",
    "gaussian_surrogate",
    "gride",
    "hubness",
    "information_imbalance",
    "knn_density",
    "kstar",
    "kstar_density",
    "label_overlap",
    "mantel",
    "nearest_neighbors",
    "neighborhood_entropy",
    "open_run",
    "pair_distances",
    "pak_density",
    "pca_dimension",
    "pca_spectrum",
    "peak_tree",
    "pwcca",
    "run",
    "svcca",
    "taxonomy_agreement",
    "to_newick",
    "top_hubs",
    "tree_distances",
    "two_nn",
    "wordnet_taxonomy",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'dnuc' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
