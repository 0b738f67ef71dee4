"""Runs that several tests of the report read."""

import pytest

from tests.report.synthetic_run import make_images, make_run


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """One model, seven layers, everything there; published values beside."""
    names = ("input", "stem", "layer1", "layer2", "layer3", "avgpool", "fc")
    return make_run(
        tmp_path_factory.mktemp("one") / "run",
        names=names,
        peaks=(4, 2, 1, 3, 6, 12, 11),
        report='published = "resnet152"',
    )


@pytest.fixture(scope="session")
def two(tmp_path_factory):
    """Two models of three layers."""
    return make_run(
        tmp_path_factory.mktemp("two") / "run", models=("a", "b"), names=("input", "conv", "fc"), peaks=(3, 1, 5), n=100
    )


@pytest.fixture(scope="session")
def page(run):
    """The report of `run`."""
    from dnuc.report import write_report

    return write_report(run, make_images)
