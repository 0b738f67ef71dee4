"""Checkpoint files: several shapes of them are read, none can run code, and misfits say what does not fit."""

import os
import pickle

import pytest
import torch
import torchvision

from dnuc.activations import build_network, read_checkpoint
from dnuc.errors import LayerError
from dnuc.job import Model


def build(path, architecture="squeezenet1_1", **settings):
    model = Model(name="m", architecture=architecture, weights=str(path), image_size=64, **settings)
    return build_network(model, seed=0, n_classes=10, image_shape=(64, 64, 3))


@pytest.fixture(scope="module")
def source():
    return torchvision.models.squeezenet1_1(num_classes=5)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state, "optimizer": {"lr": 0.1}},
        lambda state: {f"module.{k}": v for k, v in state.items()},
    ],
    ids=["plain", "state_dict", "model", "parallel"],
)
def test_what_a_checkpoint_may_look_like(source, tmp_path, wrap):
    path = tmp_path / "weights.pth"
    torch.save(wrap(source.state_dict()), path)
    module = build(path).module  # the number of classes is the checkpoint's
    for name, value in source.state_dict().items():
        assert torch.equal(module.state_dict()[name], value)


def test_own_networks_keep_the_classes_they_were_trained_on(tmp_path):
    made = Model(name="m", architecture="residual", weights="random")
    source = build_network(made, seed=0, n_classes=4, image_shape=(8, 8, 1)).module
    torch.save(source.state_dict(), tmp_path / "four.pt")
    model = Model(name="m", architecture="residual", weights=str(tmp_path / "four.pt"))
    assert build_network(model, seed=0, n_classes=10, image_shape=(8, 8, 1)).module.fc.out_features == 4


def test_old_densenet_names_and_counters(tmp_path):
    source = torchvision.models.densenet121(num_classes=2)
    old = {k.replace(".norm1", ".norm.1").replace(".conv2", ".conv.2"): v for k, v in source.state_dict().items()}
    old = {k: v for k, v in old.items() if not k.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth")
    module = build(tmp_path / "old.pth", "densenet121").module
    name = "features.denseblock1.denselayer1.conv2.weight"
    assert torch.equal(module.state_dict()[name], source.state_dict()[name])


def test_weights_of_another_network(source, tmp_path):
    state = source.state_dict()
    torch.save({k: v for k, v in state.items() if k != "features.0.bias"}, tmp_path / "less.pt")
    with pytest.raises(LayerError, match=r"less.pt' do not fit SqueezeNet \(52 tensors\): 1 missing: features.0.bias"):
        build(tmp_path / "less.pt")
    torch.save({**state, "extra": torch.ones(1)}, tmp_path / "more.pt")
    with pytest.raises(LayerError, match="1 not in the network: extra"):
        build(tmp_path / "more.pt")
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(
        LayerError, match=r"2 of another shape: classifier.1.weight is \(5, 512, 1, 1\), needs \(7, 512"
    ):
        build(tmp_path / "other.pt", options={"num_classes": 7})
    with pytest.raises(LayerError, match=r"missing: conv1.weight, .*not in the network: features"):
        build(tmp_path / "other.pt", "resnet18")


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    trap = str(tmp_path / "executed")
    torch.save({"state_dict": Malicious(trap)}, tmp_path / "zip.pt")
    with open(tmp_path / "plain.pt", "wb") as file:
        pickle.dump(Malicious(trap), file, protocol=2)
    for name in ("zip.pt", "plain.pt"):
        with pytest.raises(LayerError, match=rf"{name}' refused: .*can run code when it is opened"):
            build(tmp_path / name)
    assert not os.path.exists(trap)


def test_a_whole_pickled_module_is_refused(source, tmp_path):
    torch.save(source, tmp_path / "module.pt")
    with pytest.raises(LayerError, match=r"Save it again with torch.save\(module.state_dict\(\), path\)"):
        read_checkpoint(tmp_path / "module.pt")


def test_files_that_hold_no_weights(tmp_path):
    with pytest.raises(LayerError, match=r"missing.pt': no such file"):
        build(tmp_path / "missing.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(LayerError, match=r"no tensors by name in it \(found list\)"):
        build(tmp_path / "list.pt")
    for name, content in {"empty.pt": b"", "text.pt": b"hello", "cut.pt": b"PK\x03\x04 and no more"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(LayerError, match=f"{name}' refused"):
            read_checkpoint(tmp_path / name)
