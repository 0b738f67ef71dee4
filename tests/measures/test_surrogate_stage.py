"""Gaussian surrogates as part of [dimension]: of the layers that the job names, and of nothing else."""

import numpy as np
import pytest

import dnuc
from dnuc.errors import LayerError, ResourceError
from dnuc.measures.dimension_plan import check_surrogate
from dnuc.pipeline import run_job
from dnuc.plan import plan_job
from dnuc.store import RunStore, survey_run
from tests.conftest import arrays_job
from tests.test_pipeline import changed, written


@pytest.fixture
def job(here, finished):
    return lambda *layers, **settings: arrays_job(finished[0], dimension={"surrogate": list(layers), **settings})


def test_what_is_stored_is_decimation_of_the_surrogate(job, finished, tmp_path):
    run = dnuc.open_run(run_job(job("middle", decimation=[1, 3]), out=tmp_path / "run", quiet=True))
    x = np.load(finished[0] / "middle.npy")
    expected = dnuc.decimation(dnuc.gaussian_surrogate(x, seed=0), (1, 3), seed=0)
    profile = run.dimension_profile("middle").query("method == 'surrogate'")
    assert profile["blocks"].tolist() == [1, 3]
    for column in ("value", "error", "scale", "dropped"):
        assert profile[column].tolist() == [getattr(found, column) for found in expected]
    assert not run.has("surrogate", "early")
    assert "surrogate_value" in run.dataset("middle")
    stages = {s.name: str(s.whole) for s in survey_run(run.store).stages}
    assert stages["surrogate"] == "1 of 1 layers"
    assert survey_run(run.store).complete


def test_one_layer_more_computes_just_that(job, tmp_path):
    path = run_job(job("middle"), out=tmp_path / "run", quiet=True)
    before = written(path)
    run_job(job("middle", "net/late"), out=path, quiet=True)
    assert changed(path, before) == {"late/surrogate"}
    assert {s.name: str(s.whole) for s in survey_run(RunStore.open(path)).stages}["surrogate"] == "2 of 2 layers"
    before = written(path)
    run_job(job("middle", "net/late", decimation=[1, 2]), out=path, quiet=True)
    expected = {f"{layer}/decimation" for layer in ("early", "middle", "late")}
    assert changed(path, before) == expected | {"middle/surrogate", "late/surrogate"}


def test_refusals_before_anything_is_computed(job):
    with pytest.raises(LayerError, match=r"dimension.surrogate: no layer is called 'lat'; closest: 'late'"):
        plan_job(job("lat"))
    assert plan_job(job("net/late")).samples == 240
    settings = job("late").dimension
    check_surrogate(settings, 1000, 10**6, 2**20, "net", "early")
    with pytest.raises(ResourceError, match=r"Gaussian samples like those of net/late .1000 samples, 1000000 features"):
        check_surrogate(settings, 1000, 10**6, 2**30, "net", "late")
