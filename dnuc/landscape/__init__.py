"""The landscape of the probability density: how high each sample lies, the peaks, their saddles, the tree."""

from dnuc.landscape.adaptive import kstar, kstar_density, pak_density
from dnuc.landscape.agreement import Agreement, BranchAgreement, agreement, branch_agreement
from dnuc.landscape.anchors import anchors
from dnuc.landscape.branches import branches, composition, cut_tree
from dnuc.landscape.density import Density, knn_density
from dnuc.landscape.hierarchy import TaxonomyAgreement, taxonomy_agreement, tree_distances
from dnuc.landscape.mantel import Mantel, mantel
from dnuc.landscape.newick import to_newick
from dnuc.landscape.peaks import Landscape, density_peaks
from dnuc.landscape.tree import Tree, dendrogram, peak_tree

__all__ = [
    "Agreement",
    "BranchAgreement",
    "Density",
    "Landscape",
    "Mantel",
    "TaxonomyAgreement",
    "Tree",
    "agreement",
    "anchors",
    "branch_agreement",
    "branches",
    "composition",
    "cut_tree",
    "dendrogram",
    "density_peaks",
    "knn_density",
    "kstar",
    "kstar_density",
    "mantel",
    "pak_density",
    "peak_tree",
    "taxonomy_agreement",
    "to_newick",
    "tree_distances",
]
