"""What tiles cost adds up to what their search costs; what a layer records of it; how a prediction is made of it."""

import numpy as np
import pytest

from dnuc.job import NeighborSearch
from dnuc.neighbors import calibration as module
from dnuc.neighbors.blocks import CHUNK, Blocks
from dnuc.neighbors.calibration import Calibration, Timed, calibrate, fit
from dnuc.neighbors.stage import LayerSearch, run_neighbors
from dnuc.neighbors.tiers import TIERS
from dnuc.neighbors.work import Work, search_work, tile_work
from dnuc.store import RunStore, stage_group
from tests import synthetic
from tests.conftest import quiet_cluster

KNOWN = Calibration({"float32": 1e11, "int8": 9e11}, 5e-9, 1e-5, 4e-9)


@pytest.mark.parametrize("features", [1, 30, CHUNK, CHUNK + 1])
@pytest.mark.parametrize("rows", [1, 7, 20, 100, 500])
def test_tiles_add_up_to_their_search(rows, features):
    blocks = Blocks(100, rows)
    whole = sum((tile_work(blocks, i, j, features) for i, j in blocks.pairs()), Work())
    assert whole == search_work(blocks, features)
    assert whole.flop == 100.0 * 100 * features


def test_a_tile_reads_both_blocks_once_if_it_can_keep_them_or_twice():
    blocks = Blocks(30, 20)
    assert tile_work(blocks, 0, 1, CHUNK).values == 30 * CHUNK
    assert tile_work(blocks, 0, 1, CHUNK + 1).values == 2 * 30 * (CHUNK + 1)
    assert tile_work(blocks, 1, 1, 5).values == 10 * 5


def test_a_layer_records_what_its_search_cost(tmp_path):
    store = RunStore.create(tmp_path / "run")
    activations, group = (stage_group("net", "fc", stage) for stage in ("activations", "neighbors"))
    store.declare(activations, "activation", (100, 30), (16, 30))
    store.write(activations, "activation", slice(None), synthetic.normal(100, 30).astype(np.float32))
    settings = NeighborSearch(k=6, block=32, precision="float64")
    run_neighbors(store, [LayerSearch("net", "fc", "d")], settings, quiet_cluster(store.path))
    found = store.attributes(group)
    expected = {"k": 6, "redone": 0, "flop": 100.0 * 100 * 30, "precision": "float64", "tier": "float64"}
    assert found | expected == found


SEARCHES = [(2048, 64, "float32"), (4096, 64, "int8"), (2048, 2048, "int8"), (600, 20_000, "float32")]


def test_a_fit_recovers_what_was_known():
    measured = []
    for n, features, tier in SEARCHES:
        work = search_work(Blocks(n, n // 2), features)
        measured.append(Timed(work, tier, KNOWN.seconds(work, tier)))
    found = fit(measured, KNOWN.flop_per_second)
    for rate in ("pair_seconds", "row_seconds", "value_seconds"):
        assert getattr(found, rate) == pytest.approx(getattr(KNOWN, rate), rel=1e-6)


def test_nothing_takes_negative_time():
    """Measured faster than its products alone should be: the rest is free, not a gain."""
    measured = [Timed(search_work(Blocks(n, n), d), tier, 1e-6) for n, d, tier in SEARCHES]
    found = fit(measured, KNOWN.flop_per_second)
    assert (found.pair_seconds, found.row_seconds, found.value_seconds) == (0, 0, 0)


def test_seconds_grow_with_the_work_and_add_up():
    blocks = Blocks(10_000, 2000)
    tiles = [KNOWN.seconds(tile_work(blocks, i, j, 500), "int8") for i, j in blocks.pairs()]
    assert sum(tiles) == pytest.approx(KNOWN.seconds(search_work(blocks, 500), "int8"))
    for n, features in ((4000, 100), (8000, 10_000)):
        seconds = KNOWN.search_seconds(Blocks(n, 2000), features, "float32")
        assert seconds < KNOWN.search_seconds(Blocks(n + 1, 2000), features, "float32")
        assert seconds < KNOWN.search_seconds(Blocks(n, 2000), features + 1, "float32")
        assert seconds < KNOWN.search_seconds(Blocks(n, 1000), features, "float32")  # more blocks are read more often
    assert KNOWN.search_seconds(blocks, 500, "float32", threads=4) * 4 == KNOWN.search_seconds(blocks, 500, "float32")


@pytest.mark.parametrize("precision", ["auto", "float64"])
def test_a_machine_is_measured(monkeypatch, precision):
    monkeypatch.setattr(module, "SEARCHES", ((60, 8), (120, 8), (60, 40)))
    found = calibrate(100, precision, threads=2)
    assert set(found.flop_per_second) <= set(TIERS)
    assert found.search_seconds(Blocks(100, 50), 10, "float64" if precision == "float64" else "float32") > 0
