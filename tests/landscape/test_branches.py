"""What is done with a tree: cutting it, counting classes in its branches, writing it as Newick; and anchors."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster

from dnuc.errors import DnucError
from dnuc.landscape import anchors, branches, composition, cut_tree, density_peaks, knn_density, peak_tree, to_newick
from dnuc.landscape.tree import METHODS
from tests import synthetic
from tests.landscape.test_adaptive import neighbors_of
from tests.landscape.test_tree import landscape_of, landscapes

THREE = landscape_of([10, 9, 8], {(0, 1): 9, (0, 2): 8, (1, 2): 6})  # WPGMA: 0 and 1 meet at 9, all at 7
ONE = landscape_of([3.0], {})


def members_of(tree):
    """The peaks of every branch, from the linkage."""
    members = [{peak} for peak in range(tree.n_peaks)]
    for x, y in tree.children:
        members.append(members[x] | members[y])
    return members


def groups_of(branch):
    return {frozenset(np.flatnonzero(branch == b)) for b in np.unique(branch)}


# --- cutting ----------------------------------------------------------------------------------------------------


@given(landscape=landscapes(), method=st.sampled_from(METHODS), height=st.floats(0, 12))
def test_a_cut_at_a_height_is_scipys(landscape, method, height):
    tree = peak_tree(landscape, method)
    branch = cut_tree(tree, height=height)
    assert groups_of(branch) == groups_of(fcluster(tree.linkage, height, "distance"))
    assert list(dict.fromkeys(branch.tolist())) == list(range(branch.max() + 1))  # numbered as they come


@given(landscape=landscapes(), method=st.sampled_from(METHODS))
def test_a_cut_into_a_number_of_branches_undoes_the_last_merges(landscape, method):
    tree = peak_tree(landscape, method)
    members = members_of(tree)
    for n in range(1, tree.n_peaks + 1):
        branch = cut_tree(tree, n=n)
        np.testing.assert_array_equal(np.unique(branch), np.arange(n))
        assert groups_of(branch) <= set(map(frozenset, members))
    np.testing.assert_array_equal(cut_tree(tree, n=tree.n_peaks), np.arange(tree.n_peaks))


def test_one_peak_is_one_branch_however_it_is_cut():
    tree = peak_tree(ONE)
    for cut in ({"n": 1}, {"height": 0.0}, {"height": 100.0}):
        np.testing.assert_array_equal(cut_tree(tree, **cut), [0])


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        ({}, "either a height or a number"),
        ({"n": 1, "height": 1.0}, "either a height or a number"),
        ({"n": 0}, "n = 0 branches; a tree of 3 peaks has 1 .. 3"),
        ({"n": 4}, "n = 4 branches"),
        ({"n": 1.5}, "n = 1.5 branches"),
        ({"height": -1.0}, "height = -1.0"),
        ({"height": float("nan")}, "height = nan"),
    ],
)
def test_impossible_cuts_are_refused(cut, message):
    with pytest.raises(DnucError, match=message):
        cut_tree(peak_tree(THREE), **cut)


# --- branches and their composition -----------------------------------------------------------------------------


@given(landscape=landscapes(), method=st.sampled_from(METHODS))
def test_branches_are_what_the_linkage_says(landscape, method):
    tree = peak_tree(landscape, method)
    table, members = branches(tree), members_of(tree)
    assert table.index.tolist() == list(range(2 * tree.n_peaks - 1))
    assert table["n_peaks"].tolist() == list(map(len, members))
    np.testing.assert_array_equal(table["log_density"], tree.log_density)
    np.testing.assert_array_equal(table["assumed"][tree.n_peaks :], tree.assumed)
    for branch, parent in table["parent"].items():
        assert (parent == -1) if branch == len(table) - 1 else members[branch] < members[parent]


@given(landscape=landscapes(), seed=st.integers(0, 1000))
def test_composition_equals_counting(landscape, seed):
    rng = np.random.default_rng(seed)
    labels, classes = rng.integers(0, landscape.n_peaks, 50), rng.integers(-1, 4, 50)
    tree, names = peak_tree(landscape), ["ant", "bee", "cat", "dog"]
    table = composition(labels, classes, names, tree=tree)
    for branch, members in enumerate(members_of(tree)):
        inside = [c for peak, c in zip(labels, classes, strict=True) if peak in members and c >= 0]
        assert table.loc[branch].to_dict() == {name: inside.count(i) for i, name in enumerate(names)}


def test_composition_of_a_cut():
    tree = peak_tree(THREE)
    labels, classes = np.array([0, 0, 1, 2]), np.array([1, 0, 1, -1])
    table = composition(cut_tree(tree, n=2)[labels], classes)
    assert table.to_dict("list") == {0: [1, 0], 1: [2, 0]}  # no sample of branch 1 has a class


def test_composition_of_one_peak():
    table = composition(np.zeros(5, int), [0, 1, 1, 1, -1], ["a", "b"], tree=peak_tree(ONE))
    assert table.to_dict("list") == {"a": [1], "b": [3]}
    assert branches(peak_tree(ONE)).to_dict("list") == {
        "parent": [-1],
        "log_density": [3.0],
        "assumed": [False],
        "n_peaks": [1],
    }


@pytest.mark.parametrize(
    ("labels", "classes", "names", "message"),
    [
        ([0, 1], [0], None, r"labels are int64 \(2,\) and classes int64 \(1,\)"),
        ([0.0, 1.0], [0, 1], None, r"labels are float64"),
        ([0, 1], ["cat", "dog"], None, r"both must be \(N,\) integers"),
        ([0, 1], [0, 2], ["cat", "dog"], "classes run from 0 to 2; 0 .. 1 are known: give a name for each class"),
        ([-1, 0], [0, 1], None, "labels run from -1 to 0"),
        ([0, 3], [0, 1], None, "labels run from 0 to 3; 0 .. 2 are known: give the peak of every sample"),
    ],
)
def test_unusable_labels_are_refused(labels, classes, names, message):
    with pytest.raises(DnucError, match=message):
        composition(np.array(labels), np.array(classes), names, tree=peak_tree(THREE))


# --- Newick -----------------------------------------------------------------------------------------------------


def parse(text):
    """(name, length, children) of a Newick text, by a plain recursive reader of the format."""
    tokens = re.findall(r"'(?:[^']|'')*'|[(),:;]|[^(),:;']+", text)
    position = 0

    def take():
        nonlocal position
        position += 1
        return tokens[position - 1]

    def node():
        children = []
        if tokens[position] == "(":
            take()
            children.append(node())
            while tokens[position] == ",":
                take()
                children.append(node())
            assert take() == ")"
        name = "" if tokens[position] in "(),:;" else take()
        if name.startswith("'"):
            name = name[1:-1].replace("''", "'")
        length = None
        if tokens[position] == ":":
            take()
            length = float(take())
        return name, length, children

    root = node()
    assert tokens[position:] == [";"]
    return root


@given(landscape=landscapes(), method=st.sampled_from(METHODS), data=st.data())
def test_newick_reads_back_as_the_tree(landscape, method, data):
    tree = peak_tree(landscape, method)
    names = data.draw(
        st.lists(st.text("ab_ '(),:;[]", min_size=1), min_size=tree.n_peaks, max_size=tree.n_peaks, unique=True)
    )
    members = set(map(frozenset, members_of(tree)))
    seen, depth = set(), {}

    def walk(node, below_root):
        name, length, children = node
        below_root += length or 0.0
        inside = frozenset.union(*(walk(c, below_root) for c in children)) if children else {names.index(name)}
        if not children:
            depth[names.index(name)] = below_root
        seen.add(frozenset(inside))
        return frozenset(inside)

    walk(parse(to_newick(tree, names)), 0.0)
    assert seen == members
    for peak, fall in depth.items():
        assert fall == pytest.approx(tree.peak_log_density[peak] - tree.log_density[-1], rel=1e-8, abs=1e-8)


def test_newick_of_hand_made_trees():
    assert to_newick(peak_tree(THREE)) == "(2:1,(0:1,1:0):2);"
    assert to_newick(peak_tree(ONE)) == "0;"
    assert to_newick(peak_tree(ONE), ["T-shirt/top"]) == "'T-shirt/top';"
    assert to_newick(peak_tree(ONE), ["boot"]) == "boot;"
    assert to_newick(peak_tree(ONE), ["o'clock\n9"]) == "'o''clock 9';"
    assert to_newick(peak_tree(ONE), [""]) == "'';"


def test_newick_of_a_deep_tree():
    """A chain of peaks that merge one by one: deeper than Python can recurse."""
    n = 3000
    chain = landscape_of(np.linspace(9, 8, n), {(i, i + 1): 7 - 1e-3 * i for i in range(n - 1)})
    text = to_newick(peak_tree(chain, "single"))
    assert text.count("(") == text.count(")") == n - 1


def test_newick_wants_a_name_for_each_peak():
    with pytest.raises(DnucError, match="2 names for 3 peaks"):
        to_newick(peak_tree(THREE), ["a", "b"])


# --- anchors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("convention", ["dadapy", "paper"])
def test_anchors_are_the_border_samples_with_saddles_marked(convention):
    neighbors = neighbors_of(synthetic.clustered(400, 2, clusters=4, spread=0.3, seed=1), 15)
    density = knn_density(neighbors, 2, 15)
    landscape = density_peaks(neighbors, density, 0.5, convention=convention)
    table = anchors(landscape, density)
    assert landscape.n_peaks > 1
    assert sorted(table["sample"]) == np.flatnonzero(landscape.border >= 0).tolist()
    np.testing.assert_array_equal(table["peak_a"], landscape.labels[table["sample"]])
    np.testing.assert_array_equal(table["log_density"], density.log_density[table["sample"]])
    assert (table["peak_a"] != table["peak_b"]).all()
    saddles = table[table["kind"] == "saddle"]
    ends = np.sort(saddles[["peak_a", "peak_b"]], axis=1)
    found = set(zip(*ends.T, saddles["sample"], strict=True))
    expected = landscape.saddles[["peak_a", "peak_b", "sample"]]
    assert found == set(expected.itertuples(index=False, name=None))
    assert table["kind"].tolist() == ["saddle"] * len(saddles) + ["border"] * (len(table) - len(saddles))
    for _, rows in table.groupby("kind"):
        assert rows["log_density"].is_monotonic_decreasing
    touching = set(zip(expected["peak_a"], expected["peak_b"], strict=True))
    assert {tuple(pair) for pair in np.sort(table[["peak_a", "peak_b"]], axis=1)} == touching


def test_one_peak_has_no_anchors():
    neighbors = neighbors_of(synthetic.normal(100, 2), 15)
    density = knn_density(neighbors, 2, 15)
    landscape = density_peaks(neighbors, density, 3.0)
    assert landscape.n_peaks == 1
    table = anchors(landscape, density)
    assert isinstance(table, pd.DataFrame)
    assert table.empty
    assert list(table) == ["sample", "kind", "peak_a", "peak_b", "log_density"]


def test_anchors_of_another_density_are_refused():
    neighbors = neighbors_of(synthetic.normal(20, 2), 5)
    density = knn_density(neighbors, 2, 5)
    with pytest.raises(DnucError, match="a landscape of 3 samples and a density of 20"):
        anchors(THREE, density)
