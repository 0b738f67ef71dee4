"""The tables as files hold what the run stores."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dnuc.report import branches as branch_tables
from dnuc.report.branches import composition_table
from dnuc.report.findings import Findings
from dnuc.report.published import published_beside, published_table
from dnuc.store import stored_tree
from tests.report.synthetic_run import CLASSES, MACROS


def test_the_table_of_layers_is_complete(run, page):
    for table in (
        pd.read_csv(page.parent / "tables/layers.csv"),
        pd.read_parquet(page.parent / "tables/layers.parquet"),
    ):
        pd.testing.assert_frame_equal(table, run.layers, check_dtype=False)


def test_every_scale_and_every_class_is_in_a_table(run, page):
    scales = pd.read_csv(page.parent / "tables/dimensions.csv")
    assert len(scales) == 7 * (4 + 5) + 5  # four ranks and five numbers of blocks; avgpool has a surrogate too
    found = scales[scales["layer"] == "fc"].drop(columns=["model", "layer"]).reset_index(drop=True)
    pd.testing.assert_frame_equal(found, run.dimension_profile("fc"), check_dtype=False)
    classes = pd.read_parquet(page.parent / "tables/classes.parquet")
    assert list(classes) == ["model", "layer", "label", "class_name", "samples", "value"]
    assert classes["class_name"].tolist() == list(CLASSES) * 7
    assert classes["samples"].tolist() == [60] * 70
    assert classes["value"].isna().sum() == 1  # left out


def test_samples_peaks_and_saddles_of_a_layer(run, page):
    place = page.parent / "tables/residual/avgpool"
    samples, peaks, saddles = (pd.read_parquet(place / f"{t}.parquet") for t in ("samples", "peaks", "saddles"))
    assert list(samples.columns) == ["sample", "id", "class", "log_density", "error", "k", "peak", "core"]
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


def test_every_level_of_the_taxonomy_has_a_row(run, page):
    table = pd.read_csv(page.parent / "tables/taxonomy.csv")
    assert (table.groupby("layer", sort=False).size() == 2).all()
    fc = table[table["layer"] == "fc"].drop(columns=["model", "layer"]).reset_index(drop=True)
    pd.testing.assert_frame_equal(fc, run.taxonomy_levels("fc"), check_dtype=False)
    assert fc["n_groups"].tolist() == [4, 10]
    assert 'href="tables/taxonomy.csv"' in page.read_text(encoding="utf-8")


def test_csv_and_parquet_agree(page):
    for name in ("samples", "peaks", "saddles", "anchors", "branches", "composition"):
        place = page.parent / "tables/residual/fc" / name
        csv, parquet = pd.read_csv(f"{place}.csv"), pd.read_parquet(f"{place}.parquet")
        pd.testing.assert_frame_equal(csv, parquet, check_dtype=False)


def test_anchors_are_the_border_samples(run, page):
    anchors = pd.read_parquet(page.parent / "tables/residual/fc/anchors.parquet")
    border, peak = (run.array("landscape", name, "fc") for name in ("border", "peak"))
    assert list(anchors.columns) == ["sample", "id", "kind", "peak_a", "peak_b", "log_density"]
    assert sorted(anchors["sample"]) == np.flatnonzero(border >= 0).tolist()
    assert (anchors["peak_a"] == peak[anchors["sample"]]).all()
    assert (anchors["peak_b"] == border[anchors["sample"]]).all()
    assert (anchors["id"] == run.samples["id"].to_numpy()[anchors["sample"]]).all()
    saddles = set(run.array("landscape", "saddle_sample", "fc"))
    assert set(anchors["sample"][anchors["kind"] == "saddle"]) == saddles & set(anchors["sample"])
    assert anchors["kind"].is_monotonic_decreasing  # saddles first


def test_branches_hold_what_their_peaks_hold(run, page):
    place = page.parent / "tables/residual/layer3"
    branches, composition, samples = (
        pd.read_parquet(place / f"{t}.parquet") for t in ("branches", "composition", "samples")
    )
    n = 6  # peaks of the layer
    assert len(branches) == 2 * n - 1
    assert branches["parent"].iloc[-1] == -1
    inside = {b: {b} if b < n else set() for b in branches["branch"]}
    for branch, parent in zip(branches["branch"][:-1], branches["parent"][:-1], strict=True):
        inside[parent] |= inside[branch]
    macro = run.samples["macro_name"].to_numpy()
    for branch, row in branches.set_index("branch").iterrows():
        chosen = samples["peak"].isin(inside[branch])
        assert (row["n_peaks"], row["size"]) == (len(inside[branch]), chosen.sum())
        for kind, names in (("class", samples["class"][chosen]), ("macro", pd.Series(macro[chosen]))):
            counts = names.value_counts()
            part = composition[(composition["branch"] == branch) & (composition["kind"] == kind)]
            assert dict(zip(part["name"], part["samples"], strict=True)) == counts.to_dict()
            assert part["share"].sum() == pytest.approx(1)
            assert row[f"{kind}_share"] == pytest.approx(counts.max() / chosen.sum())
            assert counts[row[kind]] == counts.max()
    tree = stored_tree(run.store, "residual", "layer3")
    np.testing.assert_allclose(branches["log_density"][n:], tree.summit - tree.linkage[:, 2])
    assert branches["assumed"][n:].tolist() == tree.assumed.tolist()
    assert (place / "tree.nwk").read_text() == tree.newick + "\n"


def test_what_too_many_branches_hold_is_told_of_the_peaks_alone(run, monkeypatch):
    peaks = Findings(run).peaks("residual", "layer3")
    whole = composition_table(Findings(run), peaks, peaks.tree)
    monkeypatch.setattr(branch_tables, "MOST_ROWS", 5)
    found = composition_table(Findings(run), peaks, peaks.tree)
    expected = whole[whole["branch"] < len(peaks)]
    pd.testing.assert_frame_equal(found.reset_index(drop=True), expected.reset_index(drop=True))
    assert whole["branch"].max() == 2 * len(peaks) - 2


def test_one_peak_is_a_tree_of_one_leaf(run, page):
    place = page.parent / "tables/residual/layer1"
    branches = pd.read_parquet(place / "branches.parquet")
    assert branches[["parent", "n_peaks", "size"]].to_numpy().tolist() == [[-1, 1, len(run.samples)]]
    assert pd.read_parquet(place / "anchors.parquet").empty
    assert (place / "tree.nwk").read_text() == "'0 a';\n"


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
