"""How far a run is, from its store alone."""

import numpy as np
import pytest

from dnuc.errors import DataError
from dnuc.pipeline import run_job
from dnuc.store import RunStore, mark_finished, survey_run
from tests.conftest import arrays_job, digits_job, write_arrays


def counts(store):
    return {s.name: (s.whole.done, s.whole.total, *((s.pieces.done, s.pieces.total) if s.pieces else ())) for s in
            survey_run(store).stages}  # fmt: skip


def test_a_run_that_has_not_begun(tmp_path):
    store = RunStore.create(tmp_path)
    found = survey_run(store)
    assert (found.job, found.complete, found.changed) == (None, False, False)
    assert counts(store)["samples"] == (0, 1)
    assert counts(store)["neighbors"] == (0, 0)


def test_layers_blocks_and_tiles_are_counted_as_they_come(here, tmp_path):
    write_arrays(tmp_path)
    x = np.load(tmp_path / "late.npy")
    x[100] = np.nan  # in the second of four blocks
    np.save(tmp_path / "late.npy", x)
    with pytest.raises(DataError, match="NaN"):
        run_job(arrays_job(tmp_path), out=tmp_path / "run", quiet=True)
    store = RunStore.open(tmp_path / "run")
    found = counts(store)
    assert found["samples"] == (1, 1, 240, 240)
    # one pass for all layers: the second block was written for those before the one with the wrong value
    assert found["activations"] == (0, 3, 1 + 2 + 2, 12)
    assert found["neighbors"] == (0, 3)
    assert not survey_run(store).complete


def test_a_network_is_trained_once_something_is_extracted_from_it(here, tmp_path):
    model = {"name": "net", "architecture": "residual", "options": {"width": 2, "blocks": 1}, "layers": ["output"]}
    job = digits_job(tmp_path, model=[model | {"train": {"epochs": 1}}])
    store = RunStore.open(run_job(job, out=tmp_path / "run", quiet=True))
    assert counts(store)["training"] == (1, 1)
    assert survey_run(store).complete
    store.drop("models/net/fc/activations")
    assert counts(store)["training"] == (0, 1)


def test_a_run_is_complete_only_for_its_job(here, tmp_path):
    job = arrays_job(tmp_path)
    store = RunStore.open(run_job(job, out=tmp_path / "run", quiet=True))
    assert survey_run(store).complete
    mark_finished(store, None)
    assert (survey_run(store).complete, survey_run(store).changed) == (False, False)
    mark_finished(store, arrays_job(tmp_path, landscape={"z": 3.0}))
    assert (survey_run(store).complete, survey_run(store).changed) == (False, True)
    store.drop("samples")
    assert counts(store)["samples"] == (0, 1)


def test_what_cannot_be_read_is_not_counted(here, tmp_path):
    store = RunStore.open(run_job(arrays_job(tmp_path), out=tmp_path / "run", quiet=True))
    (store.path / "models/net/late/neighbors/tile_redone/zarr.json").write_text("{")
    assert counts(store)["neighbors"] == (2, 3, 6, 6)
