"""The landscape of the probability density: how high each sample lies, the peaks, their saddles, the tree."""

from dnuc.landscape.adaptive import kstar, kstar_density, pak_density
from dnuc.landscape.agreement import Agreement, agreement
from dnuc.landscape.density import Density, knn_density
from dnuc.landscape.peaks import Landscape, density_peaks
from dnuc.landscape.tree import Tree, dendrogram, peak_tree

__all__ = [
    "Agreement",
    "Density",
    "Landscape",
    "Tree",
    "agreement",
    "dendrogram",
    "density_peaks",
    "knn_density",
    "kstar",
    "kstar_density",
    "pak_density",
    "peak_tree",
]
