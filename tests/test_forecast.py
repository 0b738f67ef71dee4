"""The forecast follows the plan's amounts; the pace is measured of everything that a job asks for."""

from dataclasses import replace

import pytest

from dnuc import pace
from dnuc.cluster import Local
from dnuc.forecast import forecast, question_of
from dnuc.neighbors.calibration import Calibration
from dnuc.pace import Pace, measure, measure_pace
from dnuc.plan import plan_job
from tests.conftest import arrays_job, digits_job, folder_job
from tests.test_plan import without

EVERYTHING = {
    "dimension": {"decimation": [2], "per_class": True, "pca": True, "surrogate": ["late"]},
    "similarity": {"imbalance": True, "cka": ["linear", "gaussian"], "svcca": True, "samples": 30},
}
SEARCH = Calibration(dict.fromkeys(("float32", "int8", "bfloat16"), 1e9), 1e-9, 1e-6, 1e-9)
ONE = Local(workers=1, memory="3GiB")


def invented(*models):
    """A second for everything."""
    names = ["start", "image", "inspect", "byte", "spectrum", "gram", "kernel", "product", "count"]
    names += [f"{what} {model}" for what in ("prepare", "forward") for model in models]
    lists = ("measures", "overlap", "landscape", "gride")
    return Pace(SEARCH, dict.fromkeys([*names, *lists, *(f"{name} 0" for name in lists)], 1.0))


def seconds(job, found, on=ONE):
    return {s.name: s.seconds for s in forecast(plan_job(job, on), job, found)}


def shrink(monkeypatch):
    """Pieces so small that they take no time."""
    for name, value in {"IMAGES": 4, "LISTED": 1000, "WRITTEN": (8, 64), "SPECTRUM": (16, 32), "GRAM": 16, "TILE": 16,
                        "COUNTED": (600, 8)}.items():  # fmt: skip
        monkeypatch.setattr(pace, name, value)
    monkeypatch.setattr(pace, "calibrate", lambda *_: SEARCH)


@pytest.fixture
def small(monkeypatch):
    """What is measured takes no time."""
    shrink(monkeypatch)


def test_everything_that_a_job_of_arrays_asks_for_is_measured_and_foretold(small, finished, tmp_path):
    job = arrays_job(finished[0], **EVERYTHING)
    plan = plan_job(job, ONE)
    found = measure(question_of(plan, job))
    assert all(value >= 0 for value in found.values())
    stages = forecast(plan, job, Pace(SEARCH, found | {"start": 1.0}))
    names = ["start", "activations", "neighbors", "measures", "overlaps", "landscape", "dimension", "decimation"]
    assert [s.name for s in stages] == [*names, "classes", "spectrum", "surrogate", "imbalance", "cka", "scores"]
    assert [s.name for s in stages if s.at_most] == ["decimation", "classes", "surrogate"]


@pytest.mark.parametrize("kind", ["digits", "folder", "not here"])
def test_images_are_measured_where_they_are_or_as_photographs(small, tmp_path, kind):
    job = folder_job(tmp_path) if kind == "folder" else digits_job(tmp_path)
    if kind == "not here":
        job = without(job, path=tmp_path / "imagenet", samples=1000)
    plan = plan_job(job, ONE)
    assert len(plan.examples) == {"digits": 64, "folder": 12, "not here": 0}[kind]
    found = measure(question_of(plan, job))
    assert all(found[name] > 0 for name in ("image", "inspect", "prepare net", "forward net", "byte"))
    assert {s.name for s in forecast(plan, job, Pace(SEARCH, found | {"start": 1.0}))} >= {"samples", "activations"}


@pytest.mark.cluster
def test_processes_measure_side_by_side(small, finished):
    job = arrays_job(finished[0])
    found = measure_pace(question_of(plan_job(job, ONE), job), 1)
    assert found.seconds["start"] > 0
    assert {"measures", "overlap", "landscape", "gride", "byte"} <= set(found.seconds)


def test_more_samples_more_threads_and_more_passes(tmp_path):
    def job(n, **activations):
        tables = {"activations": {"batch_size": 32, **activations}}
        return without(digits_job(tmp_path, **tables), path=tmp_path / "imagenet", samples=n)

    pace = invented("net")
    one = seconds(job(1000), pace)
    assert one["samples"] == pytest.approx(2 * 1000)
    assert seconds(job(2000), pace)["samples"] == 2 * one["samples"]
    assert seconds(job(1000), pace, replace_workers(2))["samples"] == one["samples"] / 2
    # 3 layers, a task each, in turn; with 2 threads one of them works alone in the end
    assert one["measures"] == 3 * (1 + 1000)
    assert seconds(job(1000), pace, replace_workers(2))["measures"] == 2 * (1 + 1000)
    assert one["overlaps"] == 6 * (1 + 1000)
    shares = plan_job(job(1000), ONE).budget.shares.values()
    budget = max(s.bytes for s in shares)
    plan = plan_job(job(1000, storage_budget=budget), ONE)
    assert plan.passes == {"net": 2}
    assert plan.peak <= budget < plan.bytes
    assert seconds(job(1000, storage_budget=budget), pace)["activations"] > one["activations"] + 1000


def replace_workers(workers):
    return ONE.model_copy(update={"workers": workers})


def test_lists_grow_with_samples_from_what_a_layer_takes_at_least():
    found = Pace(SEARCH, {"measures": 2.0, "measures 0": 5.0})
    assert found.lists("measures", 10) == 25
    assert replace(found, seconds={"measures": 0.0, "measures 0": 5.0}).lists("measures", 10**6) == 5
