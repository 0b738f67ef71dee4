"""The tree: hand-made cases, valid linkages, and honest marks where peaks do not touch."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import is_valid_linkage, linkage
from scipy.spatial.distance import squareform

from dnuc.errors import DnucError, ResourceError
from dnuc.landscape import Landscape, dendrogram, peak_tree
from dnuc.landscape.tree import MAX_PEAKS, METHODS
from tests import reference


def landscape_of(peaks, saddles):
    """A Landscape with peaks of the given log densities and {(a, b): log density} of saddles."""
    pairs = sorted(saddles)
    table = pd.DataFrame(
        {
            "peak_a": np.array([a for a, _ in pairs], dtype=np.int64),
            "peak_b": np.array([b for _, b in pairs], dtype=np.int64),
            "log_density": np.array([saddles[pair] for pair in pairs], dtype=np.float64),
            "error": np.full(len(pairs), 0.1),
            "sample": np.arange(len(pairs)),
        }
    )
    n = len(peaks)
    inside = np.full(n, -1)
    return Landscape(np.arange(n), np.arange(n), np.asarray(peaks, dtype=float), np.ones(n, dtype=bool), table, inside)


@st.composite
def landscapes(draw):
    """2 to 12 peaks of which some pairs touch."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, share = draw(st.integers(2, 12)), draw(st.floats(0, 1))
    pairs = [(a, b) for a in range(n) for b in range(a + 1, n) if rng.random() < share]
    return landscape_of(np.sort(rng.uniform(5, 9, n))[::-1], {pair: rng.uniform(0, 5) for pair in pairs})


def test_landscape_and_tree_print_as_one_line():
    landscape = landscape_of([10, 9, 8, 7], {(0, 1): 6, (2, 3): 4})
    assert repr(landscape) == "Landscape(N=4, n_peaks=4, saddles=2, core=100%)"
    assert repr(peak_tree(landscape)) == "Tree(n_peaks=4, assumed=1 of 3 merges, fill=7, summit=10)"


def test_single_linkage_merges_across_the_highest_saddle():
    """Saddles 0-1 at 6, 2-3 at 4, 1-2 at 3, 0-3 at 1 under a summit of 10: merges at 4, 6 and 7."""
    landscape = landscape_of([10, 9, 8, 7], {(0, 1): 6, (2, 3): 4, (1, 2): 3, (0, 3): 1})
    tree = peak_tree(landscape, "single")
    np.testing.assert_allclose(tree.linkage, [[0, 1, 4, 2], [2, 3, 6, 2], [4, 5, 7, 4]])
    assert not tree.assumed.any()
    assert tree.summit == 10


def test_wpgma_averages_the_two_branches():
    landscape = landscape_of([10, 9, 8], {(0, 1): 9, (0, 2): 8, (1, 2): 6})
    np.testing.assert_allclose(dendrogram(landscape), [[0, 1, 1, 2], [2, 3, (2 + 4) / 2, 3]])


def test_pairs_that_do_not_touch_are_marked_and_can_be_chosen():
    """0-1 and 1-2 touch, 0-2 do not: the last merge of WPGMA contains the fill, that of single linkage does not."""
    landscape = landscape_of([10, 9, 8], {(0, 1): 7, (1, 2): 5})
    tree = peak_tree(landscape)
    assert tree.fill == 10 - 5 + 1
    np.testing.assert_allclose(tree.linkage[:, 2], [3, (5 + 6) / 2])
    np.testing.assert_array_equal(tree.assumed, [False, True])
    np.testing.assert_allclose(peak_tree(landscape, fill=9).linkage[:, 2], [3, (5 + 9) / 2])
    np.testing.assert_array_equal(peak_tree(landscape, "single").assumed, [False, False])


def test_peaks_without_any_saddle_meet_below_all_of_them():
    tree = peak_tree(landscape_of([10, 7, 8.5], {}), "average")
    np.testing.assert_allclose(tree.linkage[:, 2], [4, 4])
    assert tree.assumed.all()


def test_one_peak_is_an_empty_tree():
    tree = peak_tree(landscape_of([3.0], {}))
    assert tree.linkage.shape == (0, 4)
    assert tree.assumed.shape == (0,)
    assert dendrogram(landscape_of([3.0], {})).dtype == np.float64
    assert repr(tree) == "Tree(n_peaks=1, assumed=0 of 0 merges, fill=1, summit=3)"
    np.testing.assert_array_equal(tree.log_density, [3.0])
    assert tree.children.shape == (0, 2)


@given(landscape=landscapes(), method=st.sampled_from(METHODS))
def test_linkage_is_valid_and_marks_are_right(landscape, method):
    tree = peak_tree(landscape, method)
    assert is_valid_linkage(tree.linkage)
    touching = set(zip(landscape.saddles["peak_a"], landscape.saddles["peak_b"], strict=True))
    members = [{peak} for peak in range(landscape.n_peaks)]
    for (x, y), assumed in zip(tree.linkage[:, :2].astype(int), tree.assumed, strict=True):
        across = [(min(a, b), max(a, b)) in touching for a in members[x] for b in members[y]]
        assert assumed == (not any(across) if method == "single" else not all(across))
        members.append(members[x] | members[y])


@given(seed=st.integers(0, 10_000), n=st.integers(2, 9), method=st.sampled_from(METHODS))
def test_trees_equal_plain_loops(seed, n, method):
    """Where all peaks touch, so that no two distances are tied."""
    saddle = np.random.default_rng(seed).uniform(0, 5, (n, n))
    saddle = np.triu(saddle, 1) + np.triu(saddle, 1).T
    landscape = landscape_of(np.linspace(9, 8, n), {(a, b): saddle[a, b] for a in range(n) for b in range(a + 1, n)})
    tree = peak_tree(landscape, method)
    members = [frozenset([peak]) for peak in range(n)]
    for (x, y), height, (one, other, expected) in zip(
        tree.children, tree.linkage[:, 2], reference.linkage(9 - saddle, method), strict=True
    ):
        assert {members[x], members[y]} == {one, other}
        assert height == pytest.approx(expected, rel=1e-12)
        members.append(one | other)


@given(landscape=landscapes(), method=st.sampled_from(METHODS))
def test_trees_are_scipys(landscape, method):
    """With the fill for pairs that do not touch."""
    n, table = landscape.n_peaks, landscape.saddles
    tree = peak_tree(landscape, method)
    distance = np.full((n, n), tree.fill)
    distance[table["peak_a"], table["peak_b"]] = distance[table["peak_b"], table["peak_a"]] = (
        tree.summit - table["log_density"]
    )
    np.fill_diagonal(distance, 0)
    np.testing.assert_array_equal(tree.linkage, linkage(squareform(distance), method))


def test_a_tree_knows_the_log_density_of_every_branch():
    tree = peak_tree(landscape_of([10, 9, 8], {(0, 1): 9, (0, 2): 8, (1, 2): 6}))
    np.testing.assert_allclose(tree.log_density, [10, 9, 8, 9, 7])
    np.testing.assert_array_equal(tree.children, [[0, 1], [2, 3]])
    assert tree.n_peaks == 3


@given(landscape=landscapes())
def test_measured_heights_of_single_linkage_do_not_depend_on_the_fill(landscape):
    low, high = peak_tree(landscape, "single"), peak_tree(landscape, "single", fill=1000.0)
    measured = ~low.assumed
    np.testing.assert_array_equal(low.linkage[measured, 2], high.linkage[measured, 2])
    np.testing.assert_array_equal(low.linkage[~measured, 2], np.full(np.sum(~measured), low.fill))


def test_thousands_of_peaks():
    n = 2000
    saddles = {(i, j): 5.0 - 1e-4 * i - 1e-5 * (j - i) for i in range(n) for j in range(i + 1, min(i + 5, n))}
    tree = peak_tree(landscape_of(np.linspace(9, 8, n), saddles))
    assert tree.linkage.shape == (n - 1, 4)
    assert is_valid_linkage(tree.linkage)


def test_unknown_method_is_refused():
    with pytest.raises(DnucError, match="method 'weigthed'; closest: 'weighted'"):
        dendrogram(landscape_of([3.0, 2.0], {(0, 1): 1.0}), "weigthed")


@pytest.mark.parametrize("fill", [2.0, float("nan"), float("inf")])
def test_fill_that_is_not_the_largest_distance_is_refused(fill):
    with pytest.raises(DnucError, match=r"larger than the largest distance of touching peaks, 2\.0"):
        peak_tree(landscape_of([3.0, 2.0], {(0, 1): 1.0}), fill=fill)


def test_too_many_peaks_are_refused_with_bytes():
    with pytest.raises(ResourceError, match=r"20001 peaks need 3\.2 GB"):
        dendrogram(landscape_of(np.zeros(MAX_PEAKS + 1), {}))
