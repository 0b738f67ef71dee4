"""Data whose answer is known, or whose shape is where methods go wrong. Every generator is a function of its seed."""

from __future__ import annotations

import numpy as np


def normal(n, features, seed=0):
    """Standard normal samples: nothing special."""
    return np.random.default_rng(seed).standard_normal((n, features))


def clustered(n, features, clusters=5, spread=0.05, seed=0):
    """Samples close to a few centers, which are taken in turn: sample i belongs to cluster i % clusters."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((clusters, features))[np.arange(n) % clusters] + spread * normal(n, features, seed + 1)


def hierarchical(n, features, branches=(10, 10, 10), shrink=0.25, seed=0):
    """Clusters in clusters in clusters: every sample is a normal step from each of its ancestors, ever shorter steps.

    At each level the branches are taken at random, some more often than others, so that peaks have all heights.
    """
    rng = np.random.default_rng(seed)
    x, step, node = np.zeros((n, features)), 1.0, np.zeros(n, dtype=np.int64)
    for count in branches:
        weight = rng.dirichlet(np.full(count, 2.0))
        node = node * count + rng.choice(count, n, p=weight)
        x += step * rng.standard_normal((int(node.max()) + 1, features))[node]
        step *= shrink
    return x + step * rng.standard_normal((n, features))


def lattice(n, features, values=3, seed=0):
    """Small integers: nearly all distances are tied."""
    return np.random.default_rng(seed).integers(0, values, (n, features)).astype(np.float32)


def duplicated(n, features, copies=3, seed=0):
    """Every sample `copies` times, the copies far apart in the order."""
    return np.tile(normal(-(-n // copies), features, seed), (copies, 1))[:n]


def near_duplicates(n, features, relative=1e-7, seed=0):
    """Pairs of samples that differ in the last digits of float32."""
    x = np.repeat(normal(-(-n // 2), features, seed), 2, axis=0)[:n]
    return x * (1 + relative * normal(n, features, seed + 1))


def heavy_tailed(n, features, seed=0):
    """Like activations after a ReLU: not negative, half of them 0, a few a thousand times larger than the rest."""
    rng = np.random.default_rng(seed)
    return (np.maximum(rng.standard_normal((n, features)), 0) * np.exp(2 * rng.standard_normal((n, features)))).astype(
        np.float32
    )


def offset(n, features, by=1e4, seed=0):
    """Normal samples far from the origin, where products of vectors cancel."""
    return (normal(n, features, seed) + by).astype(np.float32)


def one_large_feature(n, features, factor=1e6, seed=0):
    """Normal samples with one feature that dwarfs the others."""
    x = normal(n, features, seed)
    x[:, features // 2] *= factor
    return x


def manifold(n, dimension, embedding=50, seed=0):
    """A flat piece of a linear subspace in general position: normal samples of `dimension` turned into `embedding`."""
    return normal(n, dimension, seed) @ rotation(embedding, seed + 1)[:dimension]


def rotation(features, seed=0):
    """A random orthogonal matrix, (features, features)."""
    return np.linalg.qr(normal(features, features, seed))[0]


def uniform(n, features, seed=0):
    """Samples of a cube: no peak is real."""
    return np.random.default_rng(seed).uniform(size=(n, features))


def hierarchy(n, features, groups=3, classes=4, seed=0):
    """Clusters within clusters: `groups` far apart, in each `classes` that overlap a little, taken in turn."""
    rng = np.random.default_rng(seed)
    top = 4 * rng.standard_normal((groups, 1, features))
    centers = (top + 1.2 * rng.standard_normal((groups, classes, features))).reshape(-1, features)
    return centers[np.arange(n) % len(centers)] + 0.5 * rng.standard_normal((n, features))


def curved(n, dimension, embedding=50, seed=0):
    """A curved manifold of known dimension: waves of random direction, so no linear subspace holds it."""
    rng = np.random.default_rng(seed)
    waves, phase = rng.standard_normal((dimension, embedding)), rng.uniform(0, 2 * np.pi, embedding)
    return np.sin(rng.uniform(-1, 1, (n, dimension)) @ waves + phase)


def torus(n, dimension, embedding=50, seed=0):
    """A curved manifold without an edge: angles, uniform, as points of `dimension` circles turned into `embedding`."""
    angle = np.random.default_rng(seed).uniform(0, 2 * np.pi, (n, dimension))
    return np.concatenate([np.cos(angle), np.sin(angle)], axis=1) @ rotation(embedding, seed + 1)[: 2 * dimension]


def bent(n, dimension, embedding=50, seed=0):
    """A curved sheet: normal samples beside half of their squares, so that every direction bends."""
    z = normal(n, dimension, seed)
    return np.concatenate([z, z**2 / 2], axis=1) @ rotation(embedding, seed + 1)[: 2 * dimension]
