"""Figures that compare layers: the stored matrices, readable for any number of layers and widths."""

import numpy as np
import pandas as pd
import pytest

from dnuc.report import draw, similarity
from dnuc.report.captions import caption
from dnuc.report.correlation import pearson
from dnuc.report.findings import Findings
from dnuc.report.overview import notes
from dnuc.report.similarity import Matrix, shown_matrices, stored_matrices
from dnuc.report.style import paper_style
from tests.report.synthetic_run import make_run
from tests.report.test_figures import readable, sixty_layers


def maps(figure):
    """The matrix of each map by its title."""
    return {a.get_title(): a.get_images()[0].get_array() for a in figure.axes if a.get_images() and a.get_title()}


def test_every_measure_has_a_map(run):
    found = maps(draw(run, "similarity"))
    assert list(found) == [
        "information imbalance", "linear CKA", "Gaussian CKA, width 0.1", "Gaussian CKA, width 0.4", "SVCCA", "PWCCA",
    ]  # fmt: skip
    for name, measure, width in (("linear CKA", "linear_cka", None), ("Gaussian CKA, width 0.4", "gaussian_cka", 0.4)):
        np.testing.assert_array_equal(found[name], run.similarity("residual", measure, width))
    assert np.ma.getmaskarray(found["PWCCA"]).any(axis=1).tolist() == [False, True] + [False] * 5  # has no values


def test_only_what_is_there_is_shown(tmp_path):
    results = make_run(tmp_path / "run", names=("input", "conv", "fc"), peaks=(1, 1, 1), n=30, stages=("measures",))
    store, group = results.store, "models/residual/similarity/cka"
    store.begin(group, "s")
    store.save(group, {"linear_cka": np.eye(3)})
    store.finish(group, layers=["input", "conv", "fc"], notes=[], widths=[])
    figure = draw(results, "similarity")
    assert list(maps(figure)) == ["linear CKA"]
    assert readable(figure)
    assert readable(draw(results, "similarity_output"))
    words = caption("similarity", Findings(results), "residual").text
    assert words.startswith("CKA: centered kernel alignment; the width")
    assert "SVCCA" not in words


def test_of_many_widths_the_narrowest_and_the_widest_are_shown(run, monkeypatch):
    frame = pd.DataFrame(np.eye(7))
    widths = [0.05, 0.1, 0.2, 0.4, 0.8]
    many = [Matrix("linear_cka", None, frame), *(Matrix("gaussian_cka", w, frame) for w in widths)]
    many.append(Matrix("svcca", None, frame))
    for module in (similarity, __import__("dnuc.report.similarity_words", fromlist=["x"])):
        monkeypatch.setattr(module, "stored_matrices", lambda *_: many)
    findings = Findings(run)
    assert [m.width for m in shown_matrices(findings, "residual")] == [None, 0.05, 0.8, None]
    assert caption("similarity", findings, "residual").text.endswith("Not shown: width 0.1, 0.2, 0.4.")
    assert readable(draw(run, "similarity_output"))


def test_sixty_layers_can_be_read(run, monkeypatch):
    findings, frame = sixty_layers(run), pd.DataFrame(np.full((60, 60), 0.5))
    found = [Matrix(m.measure, m.width, frame) for m in stored_matrices(findings, "residual")]
    monkeypatch.setattr(similarity, "stored_matrices", lambda *_: found)
    with paper_style():
        assert readable(similarity.similarity_matrices(findings, "residual"))
        assert readable(similarity.similarity_to_output(findings, "residual"))


def test_profiles_to_the_output_show_the_stored_numbers(run):
    profiles, scatter = draw(run, "similarity_output").axes
    lines = {line.get_label().split(" (r =")[0]: line for line in profiles.get_lines()}
    assert list(lines) == ["overlap χ", "linear CKA", "Gaussian CKA, width 0.1", "Gaussian CKA, width 0.4"]
    np.testing.assert_array_equal(lines["overlap χ"].get_ydata(), run.layers["output_overlap"])
    linear = run.similarity("residual", "linear_cka").iloc[:, -1]
    np.testing.assert_array_equal(lines["linear CKA"].get_ydata(), linear)
    # the output with itself says nothing
    np.testing.assert_array_equal(scatter.get_lines()[0].get_ydata(), linear[:-1])
    r = np.corrcoef(run.layers["output_overlap"][:-1], linear[:-1])[0, 1]
    assert lines["linear CKA"].get_label() == f"linear CKA (r = {r:.2f})"


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        ([0, 1, 2], [0, 2, 4], 1),
        ([0, 1, 2, np.nan], [4, 2, 0, 9], -1),
        ([0, 1, np.nan], [0, 1, 2], np.nan),
        ([0, 1, 2], [1, 1, 1], np.nan),
    ],
)
def test_correlation_needs_three_layers_that_differ(x, y, expected):
    assert pearson(np.array(x, float), np.array(y, float)) == pytest.approx(expected, nan_ok=True)


def test_settings_are_in_the_words(run):
    text = caption("similarity", Findings(run), "residual").text
    for part in ("nearest neighbor in the row's", "99% of the variance", "fraction of the median distance", "Morcos"):
        assert part in text
    assert "Pearson" in caption("similarity_output", Findings(run), "residual").text


def test_the_table_holds_every_pair(run, page):
    table = pd.read_csv(page.parent / "tables/similarities.csv")
    assert list(table) == ["model", "measure", "width", "layer", "other_layer", "value"]
    assert len(table) == 6 * 7 * 7
    chosen = table[(table["measure"] == "gaussian_cka") & (table["width"] == 0.4) & (table["layer"] == "stem")]
    expected = run.similarity("residual", "gaussian_cka", 0.4).loc["stem"]
    np.testing.assert_allclose(chosen.set_index("other_layer")["value"], expected)
    assert table.loc[table["measure"] == "svcca", "width"].isna().all()
    assert 'href="tables/similarities.csv"' in page.read_text(encoding="utf-8")


def test_layers_that_could_not_be_compared_are_told(tmp_path):
    results = make_run(tmp_path / "run", names=("input", "fc"), peaks=(1, 2), n=30)
    results.store.describe("models/residual/similarity/cka", notes=["residual/fc: all 30 samples are equal"])
    assert "Not compared with other layers: residual/fc: all 30 samples are equal." in notes(Findings(results))
