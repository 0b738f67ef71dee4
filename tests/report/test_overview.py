"""What the page says of how the data and the networks were made."""

from __future__ import annotations

import numpy as np
import pytest

from dnuc.report.findings import Findings
from dnuc.report.networks import network_columns
from dnuc.report.overview import facts
from tests.report.synthetic_run import make_images, make_run

JOB = """
name = "a"
[data]
source = "digits"
perturb = {luminance = 100.0}
[[model]]
name = "m"
architecture = "residual"
train = {epochs = 4, shuffle_labels = true}
[[model]]
name = "n"
architecture = "residual"
train = {epochs = 1}
"""


@pytest.fixture
def results(tmp_path):
    return make_run(tmp_path / "run", names=("input", "fc"), peaks=(1, 2), n=30, stages=("measures",))


def test_what_was_done_to_images_and_labels_is_said(results):
    assert not {"Luminance", "Training"} & {term for term, _ in facts(Findings(results))}
    (results.path / "job.toml").write_text(JOB, encoding="utf-8")
    told = dict(facts(Findings(results)))
    assert "λ = 100 (white is 1)" in told["Luminance"]
    assert told["Training"] == "m: 4 epochs, on SHUFFLED labels; n: 1 epoch"


def test_perturbed_images_are_shown_from_their_darkest_pixel(results):
    plain = make_images("sample-00003")
    shown = Findings(results, lambda sample_id: make_images(sample_id) + np.float32(2000.4)).image(3)
    assert shown.dtype == np.uint8
    assert np.array_equal(shown, plain[:, :, 0] - plain.min())


def test_the_table_of_networks_tells_only_what_is_known(results):
    columns = network_columns(results.models_table)
    row = results.models_table.iloc[0]
    told = {column.name: column.write(row) for column in columns}
    assert told == {
        "model": "residual",
        "input_dimension": "12.0",
        "peak_dimension": "12.0 ± 0.4",
        "peak_layer": "input",
        "peak_relative_depth": "0.00",
        "last_hidden_layer": "input",
        "last_hidden_dimension": "12.0 ± 0.4",
    }


def test_shuffled_labels_are_shouted(results):
    results.store.describe("models/residual", network={"weights": "trained", "shuffled": True, "epoch": 3})
    row = results.models_table.iloc[0]
    told = {column.name: column.write(row) for column in network_columns(results.models_table)}
    assert (told["weights"], told["epoch"]) == ("trained on SHUFFLED labels", "3")
