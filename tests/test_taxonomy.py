"""The tree above the classes: chains, levels and distances, against plain loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnuc.errors import DataError, DnucError
from dnuc.taxonomy import MEASURES, Taxonomy
from tests import reference

ANIMALS = {
    "tench": "fish",
    "goldfish": "fish",
    "fish": "animal",
    "dog": "mammal",
    "mammal": "animal",
    "animal": "entity",
    "cup": "thing",
    "thing": "entity",
}
CLASSES = ["tench", "goldfish", "dog", "cup"]


@st.composite
def trees(draw):
    """A random tree as parents, and some of its nodes, inner ones too, as classes."""
    n = draw(st.integers(1, 25))
    parent = [-1] + [draw(st.integers(0, node - 1)) for node in range(1, n)]
    classes = draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=12, unique=True))
    return parent, classes


def build(parent, classes):
    """The same tree as Taxonomy, and as parents by name."""
    names = {str(node): str(above) for node, above in enumerate(parent) if above >= 0}
    keys = tuple(map(str, range(len(parent))))
    return Taxonomy(np.array(parent), keys, keys, np.array(classes)), names


def test_hand_made_tree():
    tree = Taxonomy.of_parents(ANIMALS, CLASSES)
    assert [[tree.key[n] for n in tree.path(c)] for c in (0, 2, 3)] == [
        ["entity", "animal", "fish", "tench"],
        ["entity", "animal", "mammal", "dog"],
        ["entity", "thing", "cup"],
    ]
    assert tree.levels == (1, 2, 3)
    assert [[tree.key[n] for n in tree.level(d)] for d in tree.levels] == [
        ["animal", "animal", "animal", "thing"],
        ["fish", "fish", "mammal", "cup"],
        ["tench", "goldfish", "dog", "cup"],
    ]
    assert tree.distances("path").tolist() == [[0, 2, 4, 5], [2, 0, 4, 5], [4, 4, 0, 5], [5, 5, 5, 0]]
    assert tree.distances("wu_palmer")[0].tolist() == pytest.approx([0, 1 - 6 / 8, 1 - 4 / 8, 1 - 2 / 7])
    assert [tree.key[tree.lowest_common(0, c)] for c in range(4)] == ["tench", "fish", "animal", "entity"]
    assert repr(tree) == "Taxonomy(4 classes, 9 nodes, 3 levels of 2 .. 4 groups)"


@given(tree=trees(), measure=st.sampled_from(MEASURES))
def test_distances_equal_the_plain_loop(tree, measure):
    parent, classes = tree
    taxonomy, names = build(parent, classes)
    found = taxonomy.distances(measure)
    expected = [[reference.taxonomy_distance(names, str(a), str(b), measure) for b in classes] for a in classes]
    np.testing.assert_allclose(found, expected, rtol=1e-14, atol=1e-14)
    np.testing.assert_array_equal(found, found.T)
    assert not found.diagonal().any()
    assert (found[~np.eye(len(classes), dtype=bool)] > 0).all()
    if measure == "path":  # a tree's path lengths are a metric
        assert (found[:, :, None] <= found[:, None, :] + found[None, :, :].transpose(0, 2, 1)).all()


@given(tree=trees())
def test_each_level_divides_the_one_above(tree):
    parent, classes = tree
    taxonomy, names = build(parent, classes)
    above = np.zeros(len(classes), dtype=int)
    groups = 1
    for depth in range(taxonomy.chains.shape[1]):
        level = taxonomy.level(depth)
        assert [taxonomy.key[n] for n in level] == reference.taxonomy_level(names, list(map(str, classes)), depth)
        assert len(set(zip(level, above, strict=True))) == len(set(level))  # each group lies in one group above
        assert (depth in taxonomy.levels) == (len(set(level)) > groups)
        above, groups = level, len(set(level))
    assert groups == len(classes)


@given(tree=trees())
def test_lowest_common_node_lies_on_both_paths_and_below_all_that_do(tree):
    taxonomy, _ = build(*tree)
    for a in range(taxonomy.n_classes):
        for b in range(taxonomy.n_classes):
            both = set(taxonomy.path(a)) & set(taxonomy.path(b))
            assert taxonomy.lowest_common(a, b) == max(both, key=lambda node: taxonomy.depth[node])


@given(tree=trees(), wanted=st.sets(st.integers(0, 24)))
def test_below_takes_the_lowest_of_several(tree, wanted):
    taxonomy, _ = build(*tree)
    nodes = [node for node in wanted if node < len(taxonomy.parent)]
    for number, position in enumerate(taxonomy.below(nodes)):
        on_path = [node for node in taxonomy.path(number) if node in nodes]
        assert (nodes[position] if position >= 0 else None) == (on_path[-1] if on_path else None)


def test_several_roots_are_joined():
    tree = Taxonomy.of_parents({"a": "x", "b": "y"}, ["a", "b"], {"a": "Apple"})
    assert (tree.key, tree.name) == (("all", "x", "a", "y", "b"), ("all", "x", "Apple", "y", "b"))
    with pytest.raises(DataError, match="several roots, and 'all', which would join them"):
        Taxonomy.of_parents({"a": "x", "b": "all"}, ["a", "b"])


def test_some_of_the_classes():
    tree = Taxonomy.of_parents(ANIMALS, CLASSES)
    some = tree.take(np.array([3, 0]))
    assert [some.key[node] for node in some.leaf] == ["cup", "tench"]
    np.testing.assert_array_equal(some.distances(), tree.distances()[np.ix_([3, 0], [3, 0])])


def test_what_is_above_no_class_is_left_out():
    assert Taxonomy.of_parents(ANIMALS, ["cup"]).key == ("entity", "thing", "cup")
    assert Taxonomy.of_parents(ANIMALS, ["cup"]).levels == ()


def test_nodes_are_found_by_key_or_name():
    tree = Taxonomy.of_chains([["r", "n1"], ["r", "n2"], ["r", "n3"]], {"n1": "crane", "n2": "crane", "n3": "cup"})
    assert [tree.find(given) for given in ("r", "n2", "cup")] == [0, 2, 3]
    with pytest.raises(DataError, match="'crane' is the name of 2 nodes; write 'n1' or 'n2' instead"):
        tree.find("crane")
    with pytest.raises(DataError, match="nothing above the classes is called 'cups'; closest: 'cup'"):
        tree.find("cups")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Taxonomy.of_parents(ANIMALS, ["cats"]), "class 'cats' has no place in it"),
        (lambda: Taxonomy.of_parents({"a": "b", "b": "c", "c": "a"}, ["a"]), "leads back to its start: a < b < c < a"),
        (lambda: Taxonomy(np.array([-1, -1]), ("a", "b"), ("a", "b"), np.array([0])), "node 0 must be the only root"),
        (lambda: Taxonomy(np.array([-1, 2, 0]), tuple("abc"), tuple("abc"), np.array([0])), "come after its parent"),
        (lambda: Taxonomy(np.array([-1, 0]), ("a", "a"), ("a", "b"), np.array([0])), r"2 keys \(1 distinct\)"),
        (lambda: Taxonomy(np.array([-1]), ("a",), ("a",), np.array([1])), r"the node 1 or 1 of 0 \.\. 0"),
        (lambda: Taxonomy(np.array([-1]), ("a",), ("a",), np.array([], int)), "there must be a class"),
        (lambda: Taxonomy.of_parents(ANIMALS, CLASSES).level(4), r"no depth 4; the classes lie 0 \.\. 3 deep"),
    ],
)
def test_what_is_no_tree_is_refused(build, message):
    with pytest.raises(DataError, match=message):
        build()


def test_unknown_measure():
    with pytest.raises(DnucError, match="measure 'wupalmer'; closest: 'wu_palmer'"):
        Taxonomy.of_parents(ANIMALS, CLASSES).distances("wupalmer")
