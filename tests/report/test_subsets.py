"""Figures of [dimension]: what they draw is what the run holds, and a run that did not ask has none."""

from __future__ import annotations

import numpy as np
import pytest

from dnuc.errors import DnucError
from dnuc.report import draw
from dnuc.report.captions import caption
from dnuc.report.dimension_words import dimension_facts
from dnuc.report.figures import FIGURES, drawables
from dnuc.report.findings import Findings
from dnuc.report.page import not_drawn
from tests.report.synthetic_run import make_run, trained_networks
from tests.report.test_dimensions import curves
from tests.report.test_figures import ASKED, readable

NAMES = ("input", "hidden", "fc")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two trained networks and what they began as, with everything that [dimension] offers."""
    networks = trained_networks(a=(0.5,), b=(0.6,))
    return make_run(
        tmp_path_factory.mktemp("pair") / "run", models=tuple(networks), names=NAMES, peaks=(1, 1, 1), n=20,
        stages=("measures", "dimension"), notes=False, networks=networks,
    )  # fmt: skip


@pytest.mark.parametrize("kind", sorted(ASKED))
def test_figures_of_several_networks_can_be_read(pair, kind):
    one_model = FIGURES[kind].one_model is not None
    assert readable(draw(pair, f"{kind}_a" if one_model else kind))
    assert caption(kind, Findings(pair), "a" if one_model else None).text


def test_subsets_are_drawn_by_their_size(run):
    drawn = draw(run, "dimension_subsets").axes[0].containers
    profile = run.dimension_profile("input").query("method == 'decimation'").sort_values("samples")
    x, y = drawn[0].lines[0].get_xdata(), drawn[0].lines[0].get_ydata()
    assert x.tolist() == profile["samples"].tolist() == [37.5, 75, 150, 300, 600]
    assert y.tolist() == profile["value"].tolist()
    assert len(drawn) == 6  # of seven layers


def test_spectra_are_of_the_last_hidden_layers(run):
    (line,) = draw(run, "spectra").axes[0].get_lines()
    assert np.array_equal(line.get_ydata(), run.array("spectrum", "variance_ratio", "avgpool"))
    assert line.get_xdata()[0] == 1


def test_a_gaussian_beside_the_data(run):
    drawn = curves(draw(run, "dimension_gaussian").axes[0])
    assert list(drawn) == ["residual, avgpool", "its Gaussian"]
    assert np.allclose(drawn["its Gaussian"][1], 5 * drawn["residual, avgpool"][1])


def test_principal_components_of_trained_and_untrained_networks(pair):
    left, right = draw(pair, "dimension_untrained").axes
    layers = pair.layers.set_index("model")
    assert list(curves(left)) == ["a", "a@0", "b", "b@0"]
    assert [line.get_ydata().tolist() for line in right.get_lines()] == [
        layers.loc[model, "pca_dimension"].tolist() for model in ("a", "a@0", "b", "b@0")
    ]


def test_a_run_that_did_not_ask_has_none_and_says_so_once(tmp_path):
    plain = make_run(
        tmp_path / "run", models=("a", "b"), names=("input", "fc"), peaks=(1, 1), n=20, stages=("measures",)
    )
    for kind in ASKED:
        with pytest.raises(DnucError, match=r"needs .*\[dimension\]"):
            draw(plain, f"{kind}_a" if FIGURES[kind].one_model else kind)
    told = [name for name, _ in not_drawn([], list(drawables(Findings(plain)).values()))]
    assert told == list(FIGURES)


def test_the_facts_name_the_layers_with_a_surrogate(run):
    job = run.job.model_copy(update={"dimension": run.job.dimension.model_copy(update={"surrogate": ("fc", "a/b")})})
    assert dict(dimension_facts(job))["Gaussian surrogates"] == "of fc, a/b: samples with the same mean and covariance"
    assert "Gaussian surrogates" not in dict(dimension_facts(run.job))
