"""One tile: the error bound that decides what is discarded, and the memory it is promised to need."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from dnuc.neighbors import tile
from dnuc.neighbors.blocks import PANEL
from dnuc.neighbors.rows import Rows
from dnuc.neighbors.search import nearest_neighbors
from tests import reference, synthetic


def two_sides(n, features):
    """Half of the samples near +0.1, half near -0.1: shifting helps nobody, and every product rounds the same way."""
    side = np.where(np.arange(n) % 2, 0.1, -0.1)[:, None]
    return side * (1 + 1e-6 * synthetic.normal(n, features))


HARD = {
    "large norms, all positive": (lambda: np.abs(synthetic.normal(40, 3000)) + 100, np.float32),
    "norms from 1e-3 to 1e3": (lambda: synthetic.normal(40, 500) * np.logspace(-3, 3, 40)[:, None], np.float32),
    "near-duplicates": (lambda: synthetic.near_duplicates(40, 2000), np.float32),
    "near-duplicates, as float64": (lambda: synthetic.near_duplicates(40, 2000), np.float64),
    "one large feature": (lambda: synthetic.one_large_feature(40, 300), np.float32),
    "one full panel": (lambda: two_sides(40, PANEL), np.float32),
    "ten panels": (lambda: two_sides(40, 20_000), np.float32),
    "ten panels, as float64": (lambda: two_sides(40, 20_000), np.float64),
    "always the same rounding": (
        lambda: np.full((40, 8192), 1 + 2.0**-24) + 2.0**-23 * synthetic.lattice(40, 8192),
        np.float32,
    ),
    "products that underflow": (lambda: 1e-21 * synthetic.normal(40, 100), np.float32),
    "numbers that underflow": (lambda: 1e-44 * synthetic.normal(40, 100), np.float64),
    "equal samples": (lambda: np.full((40, 100), 1 / 3), np.float32),
    "one feature": (lambda: 1 + 1e-6 * synthetic.normal(40, 1), np.float32),
}
TIERS = [tile.FLOAT32, tile.FLOAT64]


def bound_and_distances(x, tier):
    """Products, squared norms, the bound, and the true distances of all pairs (in extended precision)."""
    rows = Rows(x, 0, len(x))
    product, norm, _ = tile._products(rows, rows, tier, "cpu")
    bound = tile._Bound(tier, min(PANEL, x.shape[1]), x.shape[1])
    wide = x.astype(np.longdouble)
    distance = np.array([np.sqrt(((wide - row) ** 2).sum(axis=1)) for row in wide])
    return product, norm, bound, distance


def selected(product, norm, norm_right, radius, bound):
    """How many pairs of each row are kept for the row's own sake: the columns look for nobody."""
    root, slope, _, weight = tile._thresholds(norm_right, np.zeros(len(norm_right)), bound)
    nobody = np.full(len(norm_right), -np.inf)
    counts = np.zeros(len(norm), dtype=np.int64)
    left = tile._thresholds(norm, radius, bound)
    tile._count_pairs(np.ascontiguousarray(product), *left, root, slope, nobody, weight, False, counts)
    return counts


def missed(product, norm, bound, distance):
    """Pairs (x, y) that are discarded although y lies at just the radius within which x looks for neighbors."""
    count = 0
    for target in range(len(norm)):
        radius = np.nextafter(distance[:, target].astype(np.float64), np.inf)
        one = slice(target, target + 1)
        count += np.count_nonzero(selected(product[:, one], norm, norm[one], radius, bound) == 0)
    return count


@pytest.mark.parametrize("tier", TIERS, ids=lambda tier: tier.name)
@pytest.mark.parametrize("name", HARD)
def test_no_pair_within_the_radius_is_discarded(name, tier):
    build, dtype = HARD[name]
    assert missed(*bound_and_distances(build().astype(dtype), tier)) == 0


@pytest.mark.parametrize("name", ["one full panel", "near-duplicates", "norms from 1e-3 to 1e3"])
def test_a_bound_that_is_too_small_is_seen(name):
    """So that the test above proves something: with a thousandth of the rounding error, neighbors are lost."""
    build, dtype = HARD[name]
    product, norm, bound, distance = bound_and_distances(build().astype(dtype), tile.FLOAT32)
    hopeful = replace(bound, tier=replace(tile.FLOAT32, roundoff=2.0**-24 / 1000), length=1)
    assert missed(product, norm, hopeful, distance) > 0


@pytest.mark.parametrize("tier", TIERS, ids=lambda tier: tier.name)
@pytest.mark.parametrize("name", HARD)
def test_first_radii_are_never_too_small(name, tier):
    """A row that knows no neighbors starts from upper bounds: k samples of the tile must lie within."""
    build, dtype = HARD[name]
    product, norm, bound, distance = bound_and_distances(build().astype(dtype), tier)
    np.fill_diagonal(product, -np.inf)
    np.fill_diagonal(distance, np.inf)
    nearest = np.sort(distance, axis=1)
    for k in (1, 5, len(norm) - 1):
        radius = tile._shrink(np.full(len(norm), np.inf), product, norm, norm, k, bound)
        assert (radius >= nearest[:, k - 1]).all()


def test_known_radii_are_kept():
    product, norm, bound, _ = bound_and_distances(synthetic.normal(30, 5), tile.FLOAT32)
    radius = np.where(np.arange(30) % 2, 1.5, np.inf)
    shrunk = tile._shrink(radius, product, norm, norm, 3, bound)
    assert (shrunk[1::2] == 1.5).all()
    assert np.isfinite(shrunk).all()
    assert np.isinf(radius[::2]).all()  # the caller's are not touched
    assert tile._shrink(radius, product, norm, norm, 30, bound) is radius  # 29 others are too few for 30 neighbors


def test_the_filter_discards_most_pairs():
    """A filter that keeps every pair would pass all tests of exactness, and take forever."""
    x = synthetic.clustered(400, 200).astype(np.float32)
    product, norm, bound, _ = bound_and_distances(x, tile.FLOAT32)
    radius = nearest_neighbors(x, 5).distance[:, -1]
    kept = selected(product, norm, norm, radius, bound)
    assert kept.min() >= 6  # 5 neighbors and the sample itself
    assert kept.mean() < 7


def test_batches_hold_all_rows_and_few_pairs(monkeypatch):
    monkeypatch.setattr(tile, "PAIRS_AT_ONCE", 10)
    counts = np.array([0, 3, 7, 1, 25, 0, 0, 10, 4, 0])
    parts = list(tile._batches(counts))
    assert [(p.start, p.stop) for p in parts] == [(0, 3), (3, 4), (4, 5), (5, 8), (8, 10)]
    assert list(tile._batches(np.zeros(4, np.int64))) == []


def test_pairs_in_many_batches_change_nothing(monkeypatch):
    """All distances tied: every pair is refined, and no more than a few are held at once."""
    monkeypatch.setattr(tile, "PAIRS_AT_ONCE", 50)
    x = synthetic.lattice(60, 3, values=2)
    found = nearest_neighbors(x, 6)
    index, _ = reference.nearest_neighbors(x, 6)
    np.testing.assert_array_equal(found.index, index)


@pytest.fixture
def low_precision():
    """The process allows bfloat16 in products of float32, as some training scripts do."""
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision("highest")


def test_a_process_that_allows_low_precision_changes_nothing(low_precision):
    x = synthetic.clustered(600, 512, clusters=3, spread=0.01).astype(np.float32)
    with torch.autocast("cpu"):
        found = nearest_neighbors(x, 5)
    np.testing.assert_array_equal(found.index, nearest_neighbors(x, 5, precision="float64").index)


MEASURE = """
import sys, tempfile, numpy as np, psutil
from dnuc.neighbors.blocks import tile_bytes
from dnuc.neighbors.rows import Rows
from dnuc.neighbors.tile import tile
from dnuc.store import RunStore

def stored(store, n, features, block=500):
    group = f"models/m/{n}/activations"
    store.declare(group, "activation", (n, features), (block, 8192))
    for first in range(0, n, block):
        values = np.random.default_rng(first).standard_normal((block, features), dtype=np.float32)
        store.write(group, "activation", (slice(first, first + block), slice(None)), values)
    return store.array(group, "activation")

def search(x):
    half = len(x) // 2
    radius = np.full(half, np.inf)
    tile(Rows(x, 0, half), Rows(x, half, 2 * half), radius, radius, 30)

def peak():
    return 1024 * int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))

rows, features = map(int, sys.argv[1:])
with tempfile.TemporaryDirectory() as directory:
    store = RunStore.create(directory + "/run")
    search(stored(store, 500, 9000))
    x = stored(store, 2 * rows, features)
    before = psutil.Process().memory_info().rss
    open("/proc/self/clear_refs", "w").write("5")  # forget the peak until here
    search(x)
    print(peak() - before, tile_bytes(rows, features))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_a_tile_needs_the_memory_it_is_planned_with():
    command = [sys.executable, "-c", MEASURE, "1500", "17000"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    measured, planned = map(json.loads, ran.stdout.split())
    # a busy machine may finish reading before it computes, and then never holds what the plan allows for
    assert 0.5 * planned < measured < 1.25 * planned
