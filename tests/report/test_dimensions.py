"""Figures of the intrinsic dimension over several networks: trained and not, good and bad, epoch by epoch."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer

from dnuc.errors import DnucError
from dnuc.report import draw
from dnuc.report.captions import caption
from dnuc.report.dimensions import correlation, measured_errors, trainings, untrained_pairs
from dnuc.report.findings import Findings
from tests.report.synthetic_run import make_run, trained_networks
from tests.report.test_figures import SEVERAL, readable

NAMES = ("input", "hidden", "fc")


def make(path, networks):
    return make_run(
        path, models=tuple(networks), names=NAMES, peaks=(1, 1, 1), n=20, stages=("measures",), notes=False,
        networks=networks,
    )  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Three trainings with their epochs kept, one of them on shuffled labels, and a network with random weights."""
    networks = trained_networks(wide=(0.5, 0.8), narrow=(0.4, 0.6, 0.7), shuffled=(0.1, 0.1))
    for model, entry in networks.items():
        entry["network"]["shuffled"] = entry["network"]["of"] == "shuffled"
        if entry["network"]["of"] == "narrow":
            entry["network"]["options"] = {"width": 2}
        if model.startswith("shuffled"):
            entry["network"]["options"] = {"width": 4}
    random = {"origin": "network", "architecture": "residual", "options": {"width": 2}, "weights": "random"}
    networks["random"] = {"network": random | {"of": "random", "epoch": None, "shuffled": False, "published": None}}
    return make(tmp_path_factory.mktemp("networks") / "run", networks)


def curves(axes):
    """Label, x, y of everything with error bars."""
    found = [c for c in axes.containers if isinstance(c, ErrorbarContainer)]
    return {c.get_label(): tuple(np.asarray(v, float) for v in c.lines[0].get_data()) for c in found}


@pytest.mark.parametrize("name", sorted(SEVERAL))
def test_figures_of_several_networks_can_be_read(results, name):
    assert readable(draw(results, name))
    words = caption(name, Findings(results), None)
    assert words.title
    assert words.text


# --- trained and untrained --------------------------------------------------------------------------------------


def test_a_network_is_compared_with_what_it_began_as(results):
    """Shuffled labels are another story, and have another figure."""
    assert untrained_pairs(Findings(results)) == [("wide", "wide@0"), ("narrow", "narrow@0")]
    drawn = curves(draw(results, "dimension_untrained").axes[0])
    assert list(drawn) == ["wide", "wide@0", "narrow", "narrow@0"]
    layers = results.layers.set_index("model")
    for model, (x, y) in drawn.items():
        assert np.array_equal(x, layers.loc[model, "relative_depth"])
        assert np.array_equal(y, layers.loc[model, "intrinsic_dimension"])


def test_random_weights_count_where_no_epoch_0_is_kept(tmp_path):
    networks = trained_networks(a=(0.5,))
    del networks["a@0"]
    same = networks["a"]["network"] | {"weights": "random", "of": "r", "origin": "network"}
    networks["r"] = {"network": same}
    networks["other"] = {"network": same | {"of": "other", "options": {"width": 99}}}
    assert untrained_pairs(Findings(make(tmp_path / "run", networks))) == [("a", "r")]


# --- dimension and error ----------------------------------------------------------------------------------------


def test_each_training_is_a_point_at_its_end(results):
    axes = draw(results, "dimension_error").axes[0]
    points = curves(axes)
    table = results.models_table.set_index("model")
    assert list(points) == ["wide", "narrow"]
    for model, (x, y) in points.items():
        assert x[0] == pytest.approx(100 * table.loc[model, "test_error"])
        assert y[0] == table.loc[model, "last_hidden_dimension"]
    assert axes.get_title(loc="left") == ""  # two points always lie on a line


def test_pearsons_r_is_that_of_numpy(tmp_path):
    networks = trained_networks(**{f"n{i}": (0.5 + 0.01 * i * i,) for i in range(9)})
    results = make(tmp_path / "run", {m: e for m, e in networks.items() if "@" not in m})
    for i in range(9):
        results.store.describe(
            f"models/n{i}/hidden/measures", intrinsic_dimension=20.0 - i, intrinsic_dimension_error=0.5
        )
    table, column = measured_errors(Findings(results))
    expected = np.corrcoef([0.5 - 0.01 * i * i for i in range(9)], [20.0 - i for i in range(9)])[0, 1]
    assert correlation(table, column) == pytest.approx(expected)
    figure = draw(results, "dimension_error")
    assert readable(figure)
    assert figure.axes[0].get_title(loc="left") == f"Pearson r = {expected:.2f}"
    assert f"r = {expected:.3f} over 9 networks" in caption("dimension_error", Findings(results), None).text


def test_published_errors_are_taken_where_nothing_was_held_out(tmp_path):
    networks = {
        name: {"network": {"origin": "network", "weights": "DEFAULT", "of": name, "published": {"top5_error": error}}}
        for name, error in (("alexnet", 0.209), ("vgg16", 0.096), ("resnet18", 0.109))
    }
    results = make(tmp_path / "run", networks)
    table, column = measured_errors(Findings(results))
    assert (column, list(table["model"])) == ("top5_error", ["alexnet", "vgg16", "resnet18"])
    axes = draw(results, "dimension_error").axes[0]
    assert axes.get_xlabel() == "published top-5 error (%)"
    assert correlation(table, column) == pytest.approx(
        np.corrcoef([0.209, 0.096, 0.109], table["last_hidden_dimension"])[0, 1]
    )


def test_no_correlation_of_equal_or_few_networks():
    def networks(x, y):
        return pd.DataFrame({"test_error": x, "last_hidden_dimension": y})

    assert correlation(networks([0.1, 0.2, 0.3], [1.0, 2.0, 4.0]), "test_error") == pytest.approx(0.98198, abs=1e-5)
    for x, y in (([0.1, 0.2], [1, 2]), ([0.1] * 3, [1, 2, 3]), ([0.1, 0.2, 0.3], [5, 5, 5])):
        assert np.isnan(correlation(networks(x, y), "test_error"))


# --- during training --------------------------------------------------------------------------------------------


def test_the_epochs_of_a_training_in_order(results):
    assert trainings(Findings(results)) == ["wide", "narrow", "shuffled"]
    figure = draw(results, "dimension_training")
    panels = [axes for axes in figure.findobj(Axes) if axes.get_title(loc="left")]
    assert [axes.get_title(loc="left") for axes in panels] == ["wide", "narrow", "shuffled"]
    assert list(curves(panels[1])) == ["0", "1", "2", "3"]
    table = results.models_table
    accuracy = table[table["of"] == "narrow"]["test_accuracy"].tolist()
    lines = [line.get_ydata() for axes in figure.findobj(Axes) for line in axes.get_lines()]
    assert any(len(y) == 4 and np.allclose(y, 100 * np.array(accuracy)) for y in lines)


def test_more_trainings_than_a_page_holds_are_told(tmp_path):
    results = make(tmp_path / "run", trained_networks(a=(0.5,), b=(0.5,), c=(0.5,), d=(0.5,)))
    assert readable(draw(results, "dimension_training"))
    assert "1 more trainings are not drawn" in caption("dimension_training", Findings(results), None).text


def test_one_network_has_none_of_these(tmp_path):
    results = make(tmp_path / "run", {"a": {}})
    for name, needs in (
        ("dimension_untrained", "the same one with random weights"),
        ("dimension_error", "at least two networks whose error is known"),
        ("dimension_training", "a training of which epochs are kept"),
    ):
        with pytest.raises(DnucError, match=needs):
            draw(results, name)
