"""The landscape of a job with a taxonomy: what is stored, and what a change of the taxonomy computes anew."""

import json

import numpy as np
import pytest

import dnuc.landscape.stage as stage
from dnuc import open_run, taxonomy_agreement
from dnuc.landscape.stage import _taxonomy
from dnuc.pipeline import run_job
from dnuc.taxonomy import Taxonomy
from tests.conftest import arrays_job, assert_same_results, write_arrays

TABLE = "0,even\n2,even\n1,odd\n"


@pytest.fixture
def job(tmp_path):
    """Three classes, of which 0 and 2 are of one kind."""
    write_arrays(tmp_path)
    (tmp_path / "kinds.csv").write_text(TABLE)
    return arrays_job(tmp_path, data={"source": "arrays", "labels": "labels.npy", "taxonomy": "kinds.csv"})


@pytest.mark.usefixtures("here")
def test_what_is_stored_is_what_the_functions_give(tmp_path, job):
    run = open_run(run_job(job, out=tmp_path / "run", quiet=True))
    assert run.taxonomy.name == ("all", "even", "0", "odd", "1", "2")
    for layer in ("early", "middle", "late"):
        labels, classes = run.landscape(layer).labels, run.samples["label"].to_numpy()
        found = taxonomy_agreement(run.tree(layer), labels, classes, run.taxonomy, seed=job.seed)
        attributes = run.attributes("landscape", layer)
        assert run.taxonomy_levels(layer).to_dict("records") == found.levels.to_dict("records")
        assert run.array("landscape", "branch_ari", layer).shape == (attributes["n_peaks"], 2)
        for level, branches in enumerate(found.branches):
            for name in ("ari", "ami", "purity"):
                stored = run.array("landscape", f"branch_{name}", layer)[:, level]
                np.testing.assert_array_equal(stored, getattr(branches, name))
        np.testing.assert_array_equal(run.array("landscape", "class_peak", layer), found.class_peak)
        np.testing.assert_array_equal(run.array("landscape", "class_peak_share", layer), found.class_share)
        row = run.layers.set_index("layer").loc[layer]
        expected = found.distances["wu_palmer"]
        np.testing.assert_equal(row["taxonomy_correlation"], expected.correlation)
        np.testing.assert_equal(row["taxonomy_p_value"], expected.p_value)
        assert row["purity_class"] == pytest.approx(found.levels["purity"].iloc[-1])
    assert json.dumps(attributes, allow_nan=False)


@pytest.mark.usefixtures("here")
def test_another_taxonomy_computes_landscapes_anew_and_nothing_else(tmp_path, job):
    plain = run_job(arrays_job(tmp_path), out=tmp_path / "plain", quiet=True)
    first = run_job(job, out=tmp_path / "run", quiet=True)
    digests = {
        stage: open_run(first).attributes(stage, "late")["digest"] for stage in ("neighbors", "measures", "landscape")
    }
    (tmp_path / "kinds.csv").write_text("0,even\n2,odd\n1,odd\n")
    second = open_run(run_job(job, out=tmp_path / "run", quiet=True))
    same = {stage: second.attributes(stage, "late")["digest"] == digests[stage] for stage in digests}
    assert same == {"neighbors": True, "measures": True, "landscape": False}
    np.testing.assert_array_equal(second.landscape("late").labels, open_run(plain).landscape("late").labels)
    assert open_run(plain).taxonomy is None
    assert open_run(plain).taxonomy_levels("late").empty
    assert "taxonomy" not in open_run(plain).attributes("landscape", "late")
    (tmp_path / "kinds.csv").write_text(TABLE)
    run_job(job, out=tmp_path / "run", quiet=True)
    assert_same_results(run_job(job, out=tmp_path / "again", quiet=True), tmp_path / "run")


@pytest.mark.usefixtures("here")
def test_too_many_peaks_for_a_tree_are_compared_all_the_same(tmp_path, job, monkeypatch):
    whole = open_run(run_job(job, out=tmp_path / "whole", quiet=True))
    monkeypatch.setattr(stage, "LARGEST_TREE", 0)
    run = open_run(run_job(job, out=tmp_path / "run", quiet=True))
    found, expected = run.taxonomy_levels("late"), whole.taxonomy_levels("late")
    assert found.columns.tolist() == ["depth", "n_groups", "ari", "ami", "purity"]
    np.testing.assert_allclose(found, expected[found.columns], rtol=1e-12)
    assert np.isnan(run.layers["taxonomy_correlation"]).all()


def test_a_class_without_readable_images_has_no_place_in_the_tree():
    tree = stage.Tree(np.array([[0.0, 1.0, 1.0, 2.0]]), np.zeros(1, bool), 2.0, 0.0, np.zeros(2))
    kinds = Taxonomy.of_parents({"a": "x", "b": "x", "c": "y"}, "abc")
    values, arrays = _taxonomy(np.array([0, 1, 1]), np.array([0, 2, 2]), kinds, tree, 0)
    assert arrays["class_peak"].tolist() == [0, -1, 1]
    np.testing.assert_array_equal(arrays["class_peak_share"], [1, np.nan, 1])
    assert [row["n_groups"] for row in values["taxonomy"]["levels"]] == [2]
    assert values["taxonomy_correlation"] is None  # one pair of classes has no rank correlation
