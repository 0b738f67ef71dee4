"""The tables as files hold what the run stores."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dnuc.report.published import published_beside, published_table
from tests.report.synthetic_run import CLASSES, MACROS


def test_the_table_of_layers_is_complete(run, page):
    for table in (
        pd.read_csv(page.parent / "tables/layers.csv"),
        pd.read_parquet(page.parent / "tables/layers.parquet"),
    ):
        pd.testing.assert_frame_equal(table, run.layers, check_dtype=False)


def test_samples_peaks_and_saddles_of_a_layer(run, page):
    place = page.parent / "tables/residual/avgpool"
    samples, peaks, saddles = (pd.read_parquet(place / f"{t}.parquet") for t in ("samples", "peaks", "saddles"))
    assert list(samples.columns) == ["sample", "id", "class", "log_density", "error", "peak", "core"]
    assert list(samples["id"]) == list(run.samples["id"])
    assert np.array_equal(samples["log_density"], run.array("landscape", "log_density", "avgpool"))
    assert list(saddles.columns) == ["peak_a", "peak_b", "log_density", "error", "sample"]
    assert len(peaks) == 12
    for _, peak in peaks.iterrows():
        inside = samples[samples["peak"] == peak["peak"]]
        assert peak["size"] == len(inside)
        assert peak["core_size"] == inside["core"].sum()
        assert (
            peak["class_share"]
            == (inside["class"] == peak["class"]).mean()
            == inside["class"].value_counts(normalize=True).max()
        )
        assert peak["center_id"] == samples["id"][peak["center"]]
        assert peak["class"] in CLASSES
        assert peak["macro"] in MACROS


def test_csv_and_parquet_agree(page):
    for name in ("samples", "peaks", "saddles"):
        place = page.parent / "tables/residual/fc" / name
        csv, parquet = pd.read_csv(f"{place}.csv"), pd.read_parquet(f"{place}.parquet")
        pd.testing.assert_frame_equal(csv, parquet, check_dtype=False)


def test_layers_without_landscape_have_no_tables(page):
    assert not (page.parent / "tables/residual/stem").exists()


def test_published_values_stand_beside_layers_of_their_depth(run):
    table = published_table()
    assert table["depth"].tolist() == [0, 1, 10, 34, 97, 142, 145, 148, 151, 152, 153]
    layers = pd.DataFrame({"depth": [0, 2, 142, 151, 151]})
    beside = published_beside(run.job, "residual", layers, fraction=0.9)
    assert beside["ari_macro"].round(5).tolist()[:3:2] == [-0.00116, 0.22187]
    assert beside["intrinsic_dimension"].fillna(-1).tolist() == [48, -1, 118, -1, 42]
    assert published_beside(run.job, "residual", layers, fraction=0.99)["intrinsic_dimension"][2] == 95
    assert published_beside(run.job, "another", layers, fraction=0.9) is None


def test_the_table_of_networks_is_written(run, page):
    table = pd.read_parquet(page.parent / "tables/models.parquet")
    pd.testing.assert_frame_equal(table, run.models_table, check_dtype=False)
