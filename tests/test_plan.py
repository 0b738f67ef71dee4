"""The plan says before what a run then stores, and computes nothing itself."""

import math

import numpy as np
import pytest

from dnuc.cluster import Local
from dnuc.errors import DataError, DnucError, ResourceError
from dnuc.job import Job, read_job
from dnuc.neighbors.calibration import Calibration
from dnuc.pipeline import run_job
from dnuc.plan import plan_job, search_seconds
from dnuc.store import RunStore, stage_group
from tests.conftest import ROOT, N, arrays_job, digits_job

HERE = Local(workers=1, memory="3GiB")  # a task may use 1 GiB, as with the fixture `here`


def everything_below(path):
    return {f: f.stat().st_mtime_ns for f in path.rglob("*")}


def assert_as_planned(job, run):
    """Every number of the plan that a run can confirm."""
    plan, store = plan_job(job, HERE), RunStore.open(run)
    assert [(m, entry["name"]) for m, entry in store.each_layer()] == [(x.model, x.layer) for x in plan.layers]
    assert [entry["depth"] for _, entry in store.each_layer()] == [x.depth for x in plan.layers]
    blocks = {}
    for layer in plan.layers:
        activations = stage_group(layer.model, layer.layer, "activations")
        assert store.array(activations, "activation").shape == (plan.samples, layer.features)
        on_disk = sum(f.stat().st_size for f in (run / activations / "activation").rglob("*") if f.is_file())
        assert layer.bytes == pytest.approx(on_disk, rel=0.05, abs=5000)  # a tiny array's checksums and metadata
        blocks[layer.model] = len(store.array(activations, "block_done"))
        tiles = store.array(stage_group(layer.model, layer.layer, "neighbors"), "tile_redone")
        assert layer.tiles == len(tiles)
    assert plan.tasks == sum(layer.tiles for layer in plan.layers) + sum(blocks.values())
    assert plan.flop == sum(plan.samples**2 * layer.features for layer in plan.layers)
    assert plan.note == ""


def test_the_plan_of_arrays_is_what_is_stored(finished):
    base, run = finished
    assert_as_planned(arrays_job(base), run)


@pytest.mark.parametrize(
    "tables",
    [
        {"activations": {"batch_size": 32}, "neighbors": {"k": 8}},
        {"activations": {"block": 64, "batch_size": 32, "dtype": "float16"}, "neighbors": {"k": 8, "block": 100}},
    ],
)
def test_the_plan_of_a_network_is_what_is_stored(here, tmp_path, tables):
    job = digits_job(tmp_path, **tables)
    assert_as_planned(job, run_job(job, out=tmp_path / "run", quiet=True))


def test_more_threads_take_less_time_and_more_features_more(finished):
    job = arrays_job(finished[0])
    measured = Calibration({"float32": 1e9, "int8": 1e9, "bfloat16": 1e9}, 1e-9, 1e-6, 1e-9)
    plans = [plan_job(job, Local(workers=n, memory="3GiB")) for n in (1, 2)]
    one, two = (search_seconds(plan, job.neighbors, measured) for plan in plans)
    assert [plan.threads for plan in plans] == [1, 2]
    assert np.array(one) / 2 == pytest.approx(two)
    features = [layer.features for layer in plans[0].layers]
    assert sorted(features) == [f for _, f in sorted(zip(one, features, strict=True))]


def test_a_plan_writes_and_computes_nothing(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = everything_below(finished[0])
    plan_job(arrays_job(finished[0]))
    plan_job(digits_job(tmp_path))
    assert everything_below(finished[0]) == before
    assert list(tmp_path.iterdir()) == []


def without(job, **data):
    """The job with data that are not on this machine."""
    return Job.model_validate(job.model_dump(exclude_none=True) | {"data": {"source": "image_folder", **data}})


def test_a_plan_without_the_data_counts_what_the_job_says(tmp_path):
    job = without(digits_job(tmp_path), path=tmp_path / "imagenet", classes=20, images_per_class=50)
    plan = plan_job(job, HERE)
    assert plan.samples == 1000
    assert plan.note.startswith("as the job says; the data cannot be listed here: data.path = ")
    assert plan.layers[0].features == 256 * 256 * 3


def test_a_plan_without_the_data_takes_the_number_of_samples(tmp_path):
    job = without(digits_job(tmp_path), path=tmp_path / "imagenet", samples=1_281_167)
    assert plan_job(job, HERE).samples == 1_281_167


def test_a_plan_without_any_number_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"imagenet': no such directory"):
        plan_job(without(digits_job(tmp_path), path=tmp_path / "imagenet"), HERE)


def test_what_a_run_would_refuse_a_plan_refuses(finished):
    with pytest.raises(DnucError, match=rf"k = {N} neighbors asked for among N = {N} samples"):
        plan_job(arrays_job(finished[0], neighbors={"k": N}), HERE)


def test_a_block_too_large_for_a_task_is_refused(tmp_path):
    job = without(digits_job(tmp_path, activations={"batch_size": 512}), path=tmp_path / "none", samples=100_000)
    expected = (
        r"one block of 512 samples needs \d+ MiB .* a task may use 512 MiB: .* lower activations.batch_size to \d+"
    )
    with pytest.raises(ResourceError, match=expected):
        plan_job(job, Local(workers=1, memory="2GiB"))


def test_the_paper_fits_on_one_machine():
    """ResNet152 on 90,000 images (Doimo et al. 2020): layers, their size, and tasks that a scheduler can hold."""
    job = read_job(ROOT / "jobs" / "imagenet300_resnet152.toml")
    plan = plan_job(job, Local(workers=8, memory="8GiB"))
    assert plan.samples == 90_000
    assert {"input", "layer3", "layer3.20", "layer4", "avgpool", "fc"} <= {x.layer for x in plan.layers}
    widest = max(plan.layers, key=lambda layer: layer.features)
    assert widest.features == 802_816
    assert widest.bytes == pytest.approx(90_000 * 802_816 * 4, rel=0.01)
    assert widest.tile_memory <= plan.memory
    assert max(layer.tiles for layer in plan.layers) <= 4100
    assert plan.bytes < 2**40
    assert math.isclose(plan.flop, sum(90_000**2 * layer.features for layer in plan.layers))
