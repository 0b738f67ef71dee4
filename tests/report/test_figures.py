"""Every figure, on runs of every shape: it is drawn, and its words can be read."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.collections import LineCollection, PatchCollection

from dnuc.errors import DnucError, LayerError
from dnuc.report import FIGURES, draw
from dnuc.report.captions import caption
from dnuc.report.figures import drawables
from dnuc.report.findings import Findings
from dnuc.report.overview import notes
from dnuc.report.style import new_figure, paper_style
from tests.report.overlaps import colliding, cut_off
from tests.report.synthetic_run import CLASSES, make_images, make_run

PER_MODEL = [kind for kind, entry in FIGURES.items() if entry.one_model]
OVERALL = [kind for kind, entry in FIGURES.items() if entry.all_models]
SEVERAL = {"fig2c", "dimension_untrained", "dimension_error", "dimension_training"}  # need several networks


ASKED = {"dimension_subsets", "dimension_classes", "spectra", "dimension_gaussian"}  # need what a job asks for
SCALES = {"dimension_scale", "dimension_compared", *ASKED}  # need more than the measures


def readable(figure):
    """Nothing overlaps and nothing is cut off."""
    assert colliding(figure) == []
    assert cut_off(figure) == []
    return True


def test_the_check_of_words_sees_what_is_wrong():
    figure = new_figure(3, 2)
    figure.text(0.5, 0.5, "one word")
    figure.text(0.52, 0.51, "upon another")
    figure.text(0.95, 0.1, "beyond the edge")
    assert colliding(figure) == [("one word", "upon another")]
    assert cut_off(figure) == ["beyond the edge"]


@pytest.mark.parametrize("name", [kind for kind in FIGURES if kind not in SEVERAL])
def test_figures_of_one_model_can_be_read(run, name):
    figure = draw(run, name, make_images)
    assert figure.get_figwidth() <= 7.0
    assert readable(figure)


@pytest.mark.parametrize(
    "name", ["fig2a_b", "fig2c", *(kind for kind in OVERALL if kind not in SEVERAL | {"dimension_gaussian"})]
)
def test_figures_of_two_models(two, name):
    assert readable(draw(two, name))


def test_several_models_have_a_figure_each(two, run):
    names = list(drawables(Findings(two)))
    assert sorted(names) == sorted([*OVERALL, *(f"{kind}_{model}" for kind in PER_MODEL for model in "ab")])
    assert list(drawables(Findings(run))) == list(FIGURES)


def test_unknown_names_list_the_closest(run, two):
    with pytest.raises(DnucError, match="no figure 'fig2'; closest: 'fig2"):
        draw(run, "fig2")
    with pytest.raises(DnucError, match=r"closest: 'fig4a_[ab]', 'fig4a_[ab]'"):
        draw(two, "fig4a")


def test_what_a_run_lacks_is_named(run):
    with pytest.raises(DnucError, match="'fig2c' needs the measures of at least two models"):
        draw(run, "fig2c")


def test_an_unknown_layer_in_the_job_is_refused(tmp_path):
    results = make_run(tmp_path / "run", names=("input", "fc"), peaks=(2, 2), n=40, report='tree_layer = "fx"')
    with pytest.raises(LayerError, match=r"no layer 'fx'.*'fc'"):
        draw(results, "fig4c")


def test_the_job_chooses_layers(tmp_path):
    report = 'histogram_layers = ["fc", "a/conv"]\npeak_layers = ["b/conv"]\ntree_layer = "conv"'
    results = make_run(
        tmp_path / "run",
        models=("a", "b"),
        names=("input", "conv", "fc"),
        peaks=(3, 2, 5),
        n=60,
        report=report,
        notes=False,
    )
    titles = [axes.get_title() for axes in draw(results, "fig2b_a").axes if axes.get_visible()]
    assert titles == ["fc (2)", "conv (1)"]
    assert [axes.get_title() for axes in draw(results, "fig2b_b").axes if axes.get_visible()] == ["fc (2)"]
    assert draw(results, "fig4a_b").axes[0].get_title() == "conv (1): 2 peaks"
    assert draw(results, "fig4c_a").axes[0].get_title(loc="left") == "conv (1)"
    with pytest.raises(DnucError, match="fig4a_a"):
        draw(results, "fig4a_a")


def test_profiles_show_the_table(run):
    lines = {line.get_label(): line for line in draw(run, "fig2a").axes[0].get_lines()}
    assert np.array_equal(lines["with the classes"].get_ydata(), run.layers["label_overlap"])
    assert np.array_equal(lines["with the output"].get_ydata(), run.layers["output_overlap"])
    assert "published values" in lines


def test_one_layer_one_peak_without_anything_else(tmp_path):
    results = make_run(
        tmp_path / "run",
        names=("arrays",),
        peaks=(1,),
        n=40,
        macros=(),
        entropy=False,
        stages=("measures", "landscape"),
    )
    with paper_style():
        drawn = {name: d.draw() for name, d in drawables(Findings(results)).items()}
        compared = {"overlap_matrix", "similarity", "similarity_output"}
        missing = {"fig4c", "taxonomy", *compared, *SCALES, *SEVERAL}
        assert {name for name, figure in drawn.items() if figure is None} == missing
        assert len(drawn["fig3"].axes) == 1
        assert all(readable(figure) for figure in drawn.values() if figure)


def test_a_run_without_landscape_is_drawn_as_far_as_it_is(tmp_path):
    results = make_run(tmp_path / "run", names=("input", "fc"), peaks=(2, 2), n=40, stages=("measures",))
    drawn = {name for name, d in drawables(Findings(results)).items() if d.draw()}
    assert drawn == {"fig2a", "fig2b", "dimension", "fig3"}


def sixty_layers(run):
    """Findings of a run of sixty layers with long names."""
    names = [f"transformer.encoder.block.{i}.output" for i in range(60)]
    findings = Findings(run)
    findings.layers = run.layers.iloc[[2] * 60].assign(layer=names, depth=range(60)).reset_index(drop=True)
    return findings


def test_sixty_layers_with_long_names(run, monkeypatch):
    findings = sixty_layers(run)
    monkeypatch.setattr(run, "overlap_matrix", lambda model: np.full((1, 60, 60), 0.5))
    figures = drawables(findings)
    for name in ("fig2a", "fig3", "overlap_matrix"):
        with paper_style():
            assert readable(figures[name].draw())
    labels = [label.get_text() for label in figures["fig2a"].draw().axes[0].get_xticklabels()]
    assert labels[0].endswith("0.output (0)")
    assert labels[-1].endswith("59.output (59)")
    assert 20 < len(labels) < 60


LONG = [f"a {w} ${i} of a kind whose name is very long, No. {i}" for i, w in enumerate(["dog", "cat", "bird"] * 20)]


@pytest.mark.parametrize("n_peaks", [60, 300])
def test_trees_of_any_size(tmp_path, n_peaks):
    results = make_run(
        tmp_path / "run",
        names=("input", "fc"),
        peaks=(1, n_peaks),
        n=1200,
        classes=LONG,
        macros=("animals of the house and the garden", "wild animals"),
        macro_of_class=[i % 3 - 1 for i in range(60)],
        notes=False,
    )
    figure = draw(results, "fig4c")
    assert readable(figure)
    assert figure.get_figheight() < 9.6
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(labels) == (n_peaks if n_peaks <= 60 else 0)
    assert readable(draw(results, "fig4a"))


def test_of_thousands_of_peaks_the_largest_are_leaves(tmp_path):
    results = make_run(
        tmp_path / "run", names=("input", "fc"), peaks=(1, 3000), n=9000, classes=LONG, macros=(), notes=False
    )
    figure = draw(results, "fig4c")
    assert readable(figure)
    assert figure.get_figheight() < 9.6
    assert figure.axes[0].get_title(loc="left") == "fc (1): the 80 largest of 3,000 peaks"
    peaks = Findings(results).peaks("residual", "fc")
    sizes = [int(label.get_text().split()[-1]) for label in figure.axes[0].get_yticklabels()]
    assert sorted(sizes) == np.sort(peaks.size)[-80:].tolist()
    share = np.sort(peaks.size)[-80:].sum() / 9000
    assert (
        f"Of 3,000 peaks the 80 largest are drawn, which hold {share:.1%} of the samples"
        in caption("fig4c", Findings(results), "residual").text
    )
    discs = draw(results, "fig4a")
    assert readable(discs)
    assert discs.axes[1].get_title() == "fc (1): 3,000 peaks, 300 drawn"


def test_the_tree_is_of_the_last_layer_that_has_one(tmp_path):
    results = make_run(tmp_path / "run", names=("input", "conv", "fc"), peaks=(2, 3, 4), n=60, notes=False)
    results.store.describe("models/residual/fc/landscape", tree=None)
    assert draw(results, "fig4c").axes[0].get_title(loc="left") == "conv (1)"
    assert "residual, fc has no tree: 4 peaks are too many for one." in notes(Findings(results))


def test_leaves_reach_the_density_of_their_peaks_and_join_at_saddles(tmp_path):
    results = make_run(tmp_path / "run", names=("fc",), peaks=(2,), n=60, notes=False)
    figure = draw(results, "fig4c")
    assert readable(figure)
    axes = figure.axes[0]
    top = results.array("landscape", "peak_log_density", "fc")
    saddle = results.array("landscape", "saddle_log_density", "fc")
    segments = np.concatenate(
        [s for c in axes.collections if isinstance(c, LineCollection) for s in c.get_segments() if len(s) == 3]
    )
    x = np.unique(segments[:, 0].round(9))
    assert np.allclose(x, np.sort([*top, *saddle]))


def test_discs_are_as_large_as_their_peaks(run):
    axes = next(a for a in draw(run, "fig4a").axes if a.get_title().endswith(": 1 peak"))
    (discs,) = (c for c in axes.collections if isinstance(c, PatchCollection))
    assert len(discs.get_paths()) == 4  # one peak: a slice for each macro class
    low, high = discs.get_datalim(axes.transData).get_points()
    assert np.allclose(high - low, 2 / np.sqrt(np.pi), rtol=1e-3)  # all samples together have the area 1


def test_many_classes_without_macro_classes_are_colored_by_purity(tmp_path):
    results = make_run(tmp_path / "run", names=("fc",), peaks=(30,), n=300, classes=LONG, macros=(), notes=False)
    figure = draw(results, "fig4a")
    assert figure.axes[-1].get_xlabel() == "share of the most frequent class in the peak"
    assert readable(figure)


def test_few_classes_without_macro_classes_are_slices(tmp_path):
    results = make_run(tmp_path / "run", names=("fc",), peaks=(12,), n=200, macros=(), notes=False)
    labels = [text.get_text() for text in draw(results, "fig4a").legends[0].get_texts()]
    assert labels == list(CLASSES)


def test_cuts_of_the_tree_beside_the_taxonomy(run):
    left, right = draw(run, "taxonomy").axes
    levels, ari = run.taxonomy_levels("fc"), run.array("landscape", "branch_ari", "fc")
    lines = [line for line in left.get_lines() if line.get_label().endswith("groups")]
    assert (
        [line.get_label() for line in lines] == [f"{n} groups" for n in levels["n_groups"]] == ["4 groups", "10 groups"]
    )
    for number, line in enumerate(lines):
        assert np.array_equal(line.get_ydata(), ari[:, number])
    assert np.array_equal(right.get_lines()[0].get_ydata(), run.layers["taxonomy_correlation"], equal_nan=True)


@pytest.mark.parametrize("n_peaks", [1, 2, 300])
def test_taxonomies_beside_trees_of_any_size(tmp_path, n_peaks):
    results = make_run(
        tmp_path / "run",
        names=[f"transformer.encoder.block.{i}.output" for i in range(15)],
        peaks=[1] * 14 + [n_peaks],
        n=600,
        notes=False,
    )
    assert readable(draw(results, "taxonomy"))


def test_unreadable_images_leave_a_gap(run):
    def images(sample_id):
        raise DnucError(f"{sample_id} is gone")

    findings = Findings(run, images)
    figure = drawables(findings)["fig3"].draw()
    assert sum(text.get_text() == "no\nimage" for axes in figure.findobj(mpl.axes.Axes) for text in axes.texts) == 20
    assert findings.unreadable


def test_drawing_leaves_no_trace_in_matplotlib(run):
    before = dict(mpl.rcParams)
    draw(run, "dimension")
    assert dict(mpl.rcParams) == before


# --- dimensions ---------------------------------------------------------------------------------------------------


def lines_of(axes):
    """Error bars by their label: x, y, and the half lengths of the bars (None where there are none)."""
    found = {}
    for container in axes.containers:
        line, _, bars = container.lines
        lengths = [np.ptp(s[:, 1]) / 2 if len(s) else np.nan for s in bars[0].get_segments()] if bars else None
        found[container.get_label()] = (line.get_xdata(), line.get_ydata(), lengths)
    return found


def test_profiles_over_the_scale_have_their_errors(run):
    figure = draw(run, "dimension_scale")
    [axes] = [axes for axes in figure.axes if axes.get_title() == "fc (6)"]
    assert axes.get_xscale() == "log"
    profile = run.dimension_profile("fc")
    drawn = lines_of(axes)
    assert len(drawn) == 2
    for method, (x, y, error) in zip(("gride", "decimation"), drawn.values(), strict=True):
        rows = profile[profile["method"] == method]
        np.testing.assert_array_equal(x, rows["scale"])
        np.testing.assert_array_equal(y, rows["value"])
        np.testing.assert_allclose(error, rows["error"])
        assert axes.get_ylim()[0] == 0
        assert axes.get_ylim()[1] > (rows["value"] + rows["error"]).max()


@pytest.mark.parametrize("factor", [1e-7, 1, 3e5])
@pytest.mark.parametrize("spread", [1.0001, 1.3, 20, 1e5])
def test_scales_of_any_size_have_readable_ticks(tmp_path, factor, spread):
    results = make_run(tmp_path / "run", names=("input", "conv", "pool", "fc"), peaks=(1, 1, 1, 1), n=30, notes=False)
    for layer in ("input", "conv", "pool", "fc"):
        group = f"models/residual/{layer}/dimension"
        results.store.save(group, {"gride_scale": factor * spread ** np.linspace(0, 1, 4)})
        results.store.drop(f"models/residual/{layer}/decimation")
    figure = draw(results, "dimension_scale")
    assert readable(figure)
    assert all(1 <= len(axes.get_xticks()) <= 6 for axes in figure.axes)


def test_dimensions_are_compared_as_they_are_in_the_table(run):
    drawn = lines_of(draw(run, "dimension_compared").axes[0])
    layers = run.layers
    columns = ["intrinsic_dimension", "dimension_gride", "class_dimension", "pca_dimension"]
    assert list(drawn) == ["TwoNN", "Gride, largest rank", "TwoNN of each class, mean ± spread", "PC-ID"]
    for column, (x, y, _) in zip(columns, drawn.values(), strict=True):
        np.testing.assert_array_equal(x, layers["relative_depth"])
        np.testing.assert_array_equal(y.astype(float), layers[column])
    np.testing.assert_allclose(drawn["Gride, largest rank"][2], layers["dimension_gride_error"])
    np.testing.assert_allclose(drawn["TwoNN of each class, mean ± spread"][2], layers["class_dimension_std"])
    assert drawn["PC-ID"][2] is None


def test_without_asking_for_more_gride_is_compared(tmp_path):
    results = make_run(tmp_path / "run", names=("input", "fc"), peaks=(2, 2), n=40, notes=False)
    for layer in ("input", "fc"):
        for stage in ("decimation", "classes", "spectrum"):
            results.store.drop(f"models/residual/{layer}/{stage}")
    figure = draw(results, "dimension_compared")
    assert list(lines_of(figure.axes[0])) == ["TwoNN", "Gride, largest rank"]
    assert figure.axes[0].get_yscale() == "linear"
    assert readable(figure)
    assert readable(draw(results, "dimension_scale"))
