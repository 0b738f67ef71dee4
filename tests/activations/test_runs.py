"""What activations depend on: whatever changes them changes their digest, and nothing else does."""

import pytest
from torchvision.models import ResNet50_Weights

from dnuc.activations import published
from dnuc.activations.runs import network_digest, runs_in
from tests.conftest import digits_job


def network(base, **settings):
    """The job and its run of a ResNet50 on the digits."""
    job = digits_job(base, model=[{"name": "net", "architecture": "resnet50", **settings}])
    return job, runs_in(job)[-1]


def of(base, **settings):
    job, run = network(base, **settings)
    return network_digest(run, job, "samples")


@pytest.fixture
def older_torchvision(monkeypatch):
    """The torchvision of before, in which the default weights of ResNet50 were other ones."""

    class Older(dict):
        DEFAULT = ResNet50_Weights.IMAGENET1K_V1
        __members__ = ResNet50_Weights.__members__

    older = Older(Older.__members__)
    return lambda: monkeypatch.setattr(published, "get_model_weights", lambda name: older)


def test_default_weights_are_those_that_it_names_today(tmp_path):
    assert of(tmp_path, weights="DEFAULT") == of(tmp_path, weights="IMAGENET1K_V2")
    assert of(tmp_path, weights="DEFAULT") != of(tmp_path, weights="IMAGENET1K_V1")


@pytest.mark.parametrize("weights", ["DEFAULT", "random"])  # random weights take the default preprocessing
def test_another_default_is_another_network(tmp_path, older_torchvision, weights):
    before = of(tmp_path, weights=weights)
    older_torchvision()
    assert of(tmp_path, weights=weights) != before


def test_another_default_is_another_training(tmp_path, older_torchvision):
    _, before = network(tmp_path, train={"epochs": 1})
    older_torchvision()
    assert network(tmp_path, train={"epochs": 1})[1].weights != before.weights


def test_weights_that_are_named_do_not_depend_on_the_default(tmp_path, older_torchvision):
    before = of(tmp_path, weights="IMAGENET1K_V2")
    older_torchvision()
    assert of(tmp_path, weights="IMAGENET1K_V2") == before
