"""A tree of concepts above the classes: what kind each class is of, and how far apart two classes are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np

from dnuc.errors import DataError, DnucError, closest

Measure = Literal["path", "wu_palmer"]
MEASURES: tuple[Measure, ...] = get_args(Measure)


@dataclass(frozen=True, eq=False, repr=False)
class Taxonomy:
    """What the classes are kinds of, as a tree: tench < cyprinid < fish < animal < organism < entity.

    Attributes
    ----------
    parent : (n_nodes,) int64
        The node above each; -1 for the root, which is node 0. A node comes after its parent.
    key : tuple of str
        What identifies each node, distinct: "n00015388" in WordNet, the name in a file of one's own.
    name : tuple of str
        What each node is called; two may share a name.
    leaf : (n_classes,) int64
        The node of each class, in the order of the class codes. A class may lie above another one.

    Raises
    ------
    DataError
        If the arrays do not describe one tree, a key repeats, or a class has no node.

    Examples
    --------
    >>> tree = Taxonomy.of_parents({"cat": "animal", "dog": "animal", "cup": "thing"}, ["cat", "dog", "cup"])
    >>> tree
    Taxonomy(3 classes, 6 nodes, 2 levels of 2 .. 3 groups)
    >>> [tree.name[node] for node in tree.path(0)], tree.name[tree.lowest_common(0, 1)]
    (['all', 'animal', 'cat'], 'animal')
    >>> tree.distances()[0].tolist()
    [0.0, 2.0, 4.0]
    """

    parent: np.ndarray  # (n_nodes,)
    key: tuple[str, ...]
    name: tuple[str, ...]
    leaf: np.ndarray  # (n_classes,)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parent", np.asarray(self.parent, dtype=np.int64))
        object.__setattr__(self, "leaf", np.asarray(self.leaf, dtype=np.int64))
        n = len(self.parent)
        if not n == len(self.key) == len(self.name) or len(set(self.key)) != n or not len(self.leaf):
            raise DataError(
                f"taxonomy: {n} parents, {len(self.key)} keys ({len(set(self.key))} distinct), {len(self.name)} names "
                f"and {len(self.leaf)} classes; each node needs one of each, and there must be a class"
            )
        if self.parent[0] != -1 or (self.parent[1:] < 0).any() or (self.parent >= np.arange(n)).any():
            raise DataError("taxonomy: node 0 must be the only root, and every other node come after its parent")
        if self.leaf.min() < 0 or self.leaf.max() >= n:
            raise DataError(f"taxonomy: a class has the node {self.leaf.min()} or {self.leaf.max()} of 0 .. {n - 1}")

    @classmethod
    def of_parents(
        cls, parent_of: Mapping[str, str], classes: Sequence[str], names: Mapping[str, str] | None = None
    ) -> Taxonomy:
        """The tree above some classes, from what lies above each key; `names` where they differ from the keys.

        Nodes above no class are left out. Several roots are joined under one more, "all".

        Raises
        ------
        DataError
            If a class has no entry, or a chain of parents leads back to its start.
        """
        chains = [_chain(parent_of, key) for key in classes]
        if len({chain[0] for chain in chains}) > 1:
            chains = [("all", *chain) for chain in chains]
            if any("all" in chain[1:] for chain in chains):
                raise DataError(
                    "taxonomy: there are several roots, and 'all', which would join them, is not one of them"
                )
        return cls.of_chains(chains, names)

    @classmethod
    def of_chains(cls, chains: Sequence[Sequence[str]], names: Mapping[str, str] | None = None) -> Taxonomy:
        """The tree in which each class has one chain of keys, from the root down to the class."""
        position: dict[str, int] = {}
        parent: list[int] = []
        for chain in chains:
            above = -1
            for key in chain:
                if key not in position:
                    position[key] = len(parent)
                    parent.append(above)
                above = position[key]
        keys, names = tuple(position), names or {}
        leaf = np.array([position[chain[-1]] for chain in chains], dtype=np.int64)
        return cls(np.array(parent, dtype=np.int64), keys, tuple(names.get(key, key) for key in keys), leaf)

    def __repr__(self) -> str:
        groups = [len(np.unique(self.level(depth))) for depth in self.levels]
        told = f"{len(groups)} levels of {groups[0]} .. {groups[-1]} groups" if groups else "no levels"
        return f"Taxonomy({self.n_classes} classes, {len(self.parent)} nodes, {told})"

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.leaf)

    def take(self, classes: np.ndarray) -> Taxonomy:
        """The same tree for some of the classes, by their numbers."""
        return Taxonomy(self.parent, self.key, self.name, self.leaf[classes])

    @cached_property
    def depth(self) -> np.ndarray:
        """(n_nodes,) int64: steps from the root to each node."""
        depth = np.zeros(len(self.parent), dtype=np.int64)
        for node in range(1, len(depth)):
            depth[node] = depth[self.parent[node]] + 1
        return depth

    def path(self, number: int) -> list[int]:
        """The nodes from the root down to a class: what it is a kind of."""
        return self.chains[number, : self.depth[self.leaf[number]] + 1].tolist()

    @cached_property
    def chains(self) -> np.ndarray:
        """(n_classes, deepest + 1) int64: the node above each class at every depth; below a class, its own again."""
        depth = self.depth[self.leaf]
        chains = np.empty((self.n_classes, int(depth.max()) + 1), dtype=np.int64)
        node = self.leaf
        for d in reversed(range(chains.shape[1])):
            node = np.where(self.depth[node] > d, self.parent[node], node)
            chains[:, d] = node
        return chains

    def level(self, depth: int) -> np.ndarray:
        """(n_classes,) int64: the classes in the groups of one level, as the nodes at that depth.

        A class that lies less deep stays by itself. Each level divides the groups of the one above it.
        """
        if not 0 <= depth < self.chains.shape[1]:
            raise DataError(f"taxonomy: no depth {depth}; the classes lie 0 .. {self.chains.shape[1] - 1} deep")
        return self.chains[:, depth]

    @cached_property
    def levels(self) -> tuple[int, ...]:
        """The depths at which groups divide: without those where all classes are together or nothing has changed."""
        groups = [len(np.unique(column)) for column in self.chains.T]
        return tuple(d for d in range(1, len(groups)) if groups[d] > groups[d - 1])

    def lowest_common(self, a: int, b: int) -> int:
        """The lowest node that two classes are kinds of."""
        return int(self.chains[a, self._common_depth(np.array([a]), np.array([b]))[0]])

    def distances(self, measure: Measure = "path") -> np.ndarray:
        """How far apart the classes are in the tree.

        Parameters
        ----------
        measure : {"path", "wu_palmer"}
            "path": steps from one class up to the lowest common node and down to the other (Rada et al. 1989).
            "wu_palmer": 1 - 2 d(common) / (d(a) + d(b)), with depths d that count the root as 1 (Wu and Palmer 1994):
            a step between broad concepts counts for more than one between two breeds of dogs.

        Returns
        -------
        (n_classes, n_classes) float64
            Symmetric, 0 on the diagonal. Memory grows with the square of the number of classes: 8 MB for 1000.
        """
        if measure not in MEASURES:
            raise DnucError(f"distances: measure {measure!r}; {closest(measure, MEASURES)}")
        n, depth = self.n_classes, self.depth[self.leaf]
        found = np.empty((n, n))
        for a in range(n):
            common = self._common_depth(np.array([a]), np.arange(n))
            if measure == "path":
                found[a] = depth[a] + depth - 2 * common
            else:
                found[a] = 1 - 2 * (common + 1) / (depth[a] + depth + 2)
        return found

    def _common_depth(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Depth of the lowest common node of pairs of classes."""
        common = np.cumprod(self.chains[a] == self.chains[b], axis=1).sum(axis=1) - 1
        return np.minimum(common, np.minimum(self.depth[self.leaf[a]], self.depth[self.leaf[b]]))

    def below(self, nodes: Iterable[int]) -> np.ndarray:
        """(n_classes,) int64: which of the given nodes each class is a kind of, the lowest one; -1 for none."""
        wanted = {node: position for position, node in enumerate(nodes)}
        under = np.full(len(self.parent), -1, dtype=np.int64)
        for node, parent in enumerate(self.parent.tolist()):
            under[node] = wanted.get(node, under[parent] if parent >= 0 else -1)
        return under[self.leaf]

    def find(self, given: str) -> int:
        """The node of a key or, failing that, of a name.

        Raises
        ------
        DataError
            If there is none (the closest are listed), or several nodes have this name.
        """
        if given in self.key:
            return self.key.index(given)
        nodes = [node for node, name in enumerate(self.name) if name == given]
        if not nodes:
            known = closest(given, dict.fromkeys([*self.key, *self.name]))
            raise DataError(f"taxonomy: nothing above the classes is called {given!r}; {known}")
        if len(nodes) > 1:
            keys = " or ".join(repr(self.key[node]) for node in nodes)
            raise DataError(f"taxonomy: {given!r} is the name of {len(nodes)} nodes; write {keys} instead")
        return nodes[0]


def _chain(parent_of: Mapping[str, str], key: str) -> tuple[str, ...]:
    """From the root down to a key."""
    if key not in parent_of:
        raise DataError(f"taxonomy: class {key!r} has no place in it; {closest(key, parent_of)}")
    chain = [key]
    while chain[-1] in parent_of:
        above = parent_of[chain[-1]]
        if above in chain:
            loop = " < ".join([*chain[chain.index(above) :], above])
            raise DataError(
                f"taxonomy: a chain of parents leads back to its start: {loop}; remove one of these entries"
            )
        chain.append(above)
    return tuple(reversed(chain))
