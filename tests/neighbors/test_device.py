"""Tiles on an accelerator: the code that runs on a GPU, here on the CPU. Bounds, lists and certificate are the same."""

import numpy as np
import pytest
import torch

from dnuc.errors import DataError, ResourceError
from dnuc.neighbors import device as module
from dnuc.neighbors.blocks import device_bytes
from dnuc.neighbors.crew import crew
from dnuc.neighbors.device import DeviceNeighbors
from dnuc.neighbors.rows import Rows
from dnuc.neighbors.search import nearest_neighbors
from dnuc.neighbors.tiers import BFLOAT16, FLOAT32, FLOAT64
from tests import synthetic
from tests.neighbors.hard import ADVERSARIAL

K = 7


def search(left, right, tier, k=K):
    """What two blocks find in each other on the "device", and the rows that were redone."""
    unknown = [np.full(block.count, np.inf) for block in (left, right)]
    with crew(1) as workers:
        found = DeviceNeighbors(left, right, (unknown[0], unknown[1]), k, workers, "cpu")
        found.run(tier)
    return found


def assert_found(found, x, rows, cols, k=K):
    """The neighbors of some rows among some columns are those of plain float64, and distances agree to 1e-12."""
    wide = x.astype(np.float64)
    for place, row in enumerate(range(rows.start, rows.stop)):
        candidates = np.array([c for c in range(cols.start, cols.stop) if c != row])
        distance = np.sqrt(((wide[candidates] - wide[row]) ** 2).sum(axis=1))
        order = np.lexsort((candidates, distance))[:k]
        np.testing.assert_allclose(found.distance[place][: len(order)], distance[order], rtol=1e-12)


@pytest.mark.parametrize("tier", [BFLOAT16, FLOAT32, FLOAT64], ids=lambda tier: tier.name)
@pytest.mark.parametrize("name", ADVERSARIAL)
def test_the_neighbors_are_those_of_the_cpu(name, tier):
    x = ADVERSARIAL[name]()
    n = len(x)
    k = min(K, n - 1)
    block = Rows(x, 0, n)
    found = search(block, block, tier, k).best[0]
    expected = nearest_neighbors(x, k, precision="float64")
    np.testing.assert_array_equal(found.index, expected.index)
    np.testing.assert_allclose(found.distance, expected.distance, rtol=1e-12)


@pytest.mark.parametrize("tier", [BFLOAT16, FLOAT32], ids=lambda tier: tier.name)
def test_two_blocks_find_neighbors_in_each_other(tier):
    x = synthetic.heavy_tailed(90, 40)
    work = search(Rows(x, 0, 30), Rows(x, 30, 90), tier)
    assert_found(work.best[0], x, slice(0, 30), slice(30, 90))
    assert_found(work.best[1], x, slice(30, 90), slice(0, 30))


def test_many_chunks_strips_and_slices_change_nothing(monkeypatch):
    x = synthetic.clustered(70, 3000).astype(np.float32)
    expected = nearest_neighbors(x, K)
    monkeypatch.setattr(module, "CHUNK", 512)
    monkeypatch.setattr(module, "AT_ONCE", 500)
    monkeypatch.setattr(module, "GATHERED", 5000)
    block = Rows(x, 0, 70)
    found = search(block, block, BFLOAT16).best[0]
    np.testing.assert_array_equal(found.index, expected.index)
    np.testing.assert_allclose(found.distance, expected.distance, rtol=1e-12)


def test_rows_that_bfloat16_cannot_decide_are_redone():
    rng = np.random.default_rng(0)
    x = (np.repeat(rng.standard_normal((3, 64)), 100, axis=0) + 1e-4 * rng.standard_normal((300, 64))).astype("f4")
    block = Rows(x, 0, 300)
    work = search(block, block, BFLOAT16, 3)
    assert work.redone > 0
    np.testing.assert_array_equal(work.best[0].index, nearest_neighbors(x, 3).index)


@pytest.mark.parametrize("n", [1, 7, 8, 9, 50])
def test_half_of_the_products_of_a_block_with_itself_are_mirrored(n):
    full = torch.randn(n, 20)
    whole = full @ full.T
    half = torch.zeros(n, n)
    for part in module._strips(n):
        half[part, part.start :] = full[part] @ full[part.start :].T
    module._mirror(half)
    torch.testing.assert_close(half, whole)


def test_bad_rows_are_named():
    x = synthetic.normal(30, 4)
    x[[7, 9]] = np.nan
    block = Rows(x, 0, 30)
    with pytest.raises(DataError, match=r"2 samples \(positions 7, 9"):
        search(block, block, BFLOAT16)


def test_without_a_gpu_it_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ResourceError, match=r"device = 'cuda': torch .* finds no GPU here"):
        nearest_neighbors(synthetic.normal(30, 4), 3, device="cuda")


def test_memory_of_a_device_grows_with_rows_not_with_many_features():
    assert device_bytes(1000, 100) < device_bytes(2000, 100) < device_bytes(2000, 8192)
    assert device_bytes(2000, 10**5) == device_bytes(2000, 10**6)
