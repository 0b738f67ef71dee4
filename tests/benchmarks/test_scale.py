"""The benchmark at the size of ImageNet, on little data: its neighbors are right, and its page can be written."""

import json
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from dnuc import open_run, pipeline, wordnet_taxonomy
from tests import reference
from tests.benchmarks import resident, scale
from tests.benchmarks.resident import OUTSIDE, Watched, current_stage, watch
from tests.benchmarks.scale_data import CLASSES, IMAGENET, LAYERS, centers, labels, lists, samples, wnids
from tests.benchmarks.test_benchmarks import app
from tests.conftest import compute_here

N = 2000


def test_classes_have_the_sizes_of_imagenet():
    size = np.bincount(labels(IMAGENET))
    assert (size.sum(), len(size), size.max()) == (IMAGENET, CLASSES, 1300)
    assert np.count_nonzero(size == 1300) == 895
    assert np.bincount(labels(N)).min() >= 1


@pytest.mark.wordnet
def test_classes_that_wordnet_calls_alike_lie_close():
    taxonomy = wordnet_taxonomy(wnids())
    place = centers(taxonomy)
    apart = np.linalg.norm(place[:, None] - place, axis=2)
    assert reference.spearman(apart[:60, :60], taxonomy.distances("wu_palmer")[:60, :60]) > 0.5
    label = labels(N)
    for layer in LAYERS:
        x = samples(layer, label, taxonomy)
        assert (x.dtype, x.shape, len(np.unique(x, axis=0))) == (np.float32, (N, 4), N)


@pytest.mark.parametrize("rows", [7, 1000])
def test_lists_are_those_of_all_distances(rows):
    x = np.random.default_rng(0).standard_normal((150, 3)).astype(np.float32)
    parts = list(lists(x, 9, rows))
    index, distance = reference.nearest_neighbors(x.astype(np.float64), 9)
    np.testing.assert_array_equal(np.concatenate([i for _, i, _ in parts]), index)
    np.testing.assert_allclose(np.concatenate([d for _, _, d in parts]), distance, rtol=1e-12)


def test_equal_samples_are_refused():
    with pytest.raises(AssertionError, match="two samples are equal"):
        list(lists(np.ones((20, 3), np.float32), 4))


@pytest.mark.wordnet
def test_what_follows_the_neighbors_is_computed_without_a_search(tmp_path, monkeypatch):
    compute_here(monkeypatch)
    monkeypatch.setattr(scale, "connect", pipeline.connect)
    monkeypatch.setattr(scale, "K", 12)
    monkeypatch.setattr(scale, "DENSITY_K", 8)
    seconds = scale.prepare_once(tmp_path, N)
    monkeypatch.setattr("dnuc.neighbors.stage.run_searches", None)  # nobody may search
    run = open_run(pipeline.run_job(tmp_path / "job.toml", out=tmp_path / "run", quiet=True))
    assert run.layers["n_peaks"].gt(1).all()
    assert run.layers["label_overlap"].is_monotonic_increasing
    watched = Watched(
        100.0,
        150.0,
        {"measures": 3 * 10**9, OUTSIDE: 10**9},
        {"measures": 2 * 10**9},
        [{"name": "measures", "seconds": 60.0}],
    )
    text = scale.page(watched, tmp_path / "run", seconds, "Others were at work.")
    assert "Written by `make bench-scale`. Others were at work. 2,000 samples" in text
    assert "| measures | 60 | 3.00 GB | 2.00 GB |" in text
    assert f"| {OUTSIDE} | 40 | 1.00 GB | 0.00 GB |" in text
    assert "**1.7 minutes in all (2.5 of processor time), and at most 3.00 GB of memory**" in text
    assert max(len(line) for line in text.splitlines() if line[:1] not in "|*") <= 130
    assert scale.prepare_once(tmp_path, N) == seconds
    assert not list((tmp_path / "run").glob("models/*/*/measures"))


def test_a_process_is_watched_with_all_that_it_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(resident, "EVERY", 0.01)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "progress.json").write_text(json.dumps({"stages": [{"name": "landscape", "state": "running"}]}))
    child = "import time; x = bytearray(40_000_000); time.sleep(0.5)"
    code = f"import subprocess, sys; x = bytearray(60_000_000); subprocess.run([sys.executable, '-c', {child!r}])"
    found = watch([sys.executable, "-c", code], tmp_path / "run")
    assert list(found.resident) == ["landscape"]
    assert found.peak > 100e6
    assert 60e6 < found.largest["landscape"] < found.peak
    assert found.cpu > 0
    with pytest.raises(subprocess.CalledProcessError):
        watch([sys.executable, "-c", "raise SystemExit(3)"], tmp_path / "run")


def test_the_stage_is_that_of_the_file(tmp_path):
    assert current_stage(tmp_path) == OUTSIDE
    (tmp_path / "progress.json").write_text(json.dumps({"stages": [{"name": "measures", "state": "done"}]}))
    assert current_stage(tmp_path) == OUTSIDE


def test_the_command_line(tmp_path, monkeypatch):
    monkeypatch.setattr(scale, "prepare_once", lambda directory, n: 60.0 + n)
    monkeypatch.setattr(scale, "measure", lambda directory: Watched(1.0))
    monkeypatch.setattr(scale, "page", lambda watched, run, seconds, note: f"{seconds} {note}")
    out = tmp_path / "page.md"
    ran = CliRunner().invoke(app(scale.main), ["--quick", "--out", str(out), "--note", "Quiet."])
    assert ran.exit_code == 0, ran.output
    assert out.read_text() == "20060.0 Quiet."
