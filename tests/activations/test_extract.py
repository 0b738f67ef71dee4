"""Activations equal a plain forward pass, and no sample depends on the others."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from dnuc.activations import Network, build_network, check_finite, extract, list_layers, select_layers, to_storage
from dnuc.errors import DataError, LayerError
from dnuc.job import Model


def wrapped(module, *shape):
    return Network(module.eval().requires_grad_(False), torch.from_numpy, shape)


def built(architecture, size=32, **settings):
    model = Model(name="m", architecture=architecture, weights="random", image_size=size, **settings)
    network = build_network(model, seed=1, n_classes=10, image_shape=(size, size, 3))
    random = torch.Generator().manual_seed(2)
    for module in network.module.modules():
        if isinstance(module, nn.BatchNorm2d):
            # As after training: a fresh norm passes everything on nearly unchanged.
            module.running_mean.normal_(0, 0.1, generator=random)
            module.running_var.uniform_(0.5, 1.5, generator=random)
    return network


def images(n, *shape):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def resnet():
    return built("resnet18")


def step_by_step(net, x):
    """ResNet18 without hooks and in place of nothing: every intermediate is a tensor of its own."""
    found = {"input": x}
    x = found["bn1"] = net.bn1(net.conv1(x))
    x = found["maxpool"] = net.maxpool(x.clamp(min=0))
    for stage in range(1, 5):
        for i, block in enumerate(getattr(net, f"layer{stage}")):
            y = found[f"layer{stage}.{i}.bn1"] = block.bn1(block.conv1(x))
            y = found[f"layer{stage}.{i}.bn2"] = block.bn2(block.conv2(y.clamp(min=0)))
            shortcut = x if block.downsample is None else block.downsample(x)
            x = found[f"layer{stage}.{i}"] = (y + shortcut).clamp(min=0)
        found[f"layer{stage}"] = x
    x = found["avgpool"] = x.mean((2, 3))
    found["fc"] = net.fc(x)
    return found


def test_equals_the_network_computed_step_by_step(resnet):
    x = images(8, 3, 32, 32)
    wanted = ("input", "bn1", "layer?.?.bn?", "layer?.?", "checkpoints", "output")
    values = extract(resnet, select_layers(resnet, wanted), x, batch_size=8)
    with torch.inference_mode():
        expected = step_by_step(resnet.module, x)
    assert {"input", "bn1", "layer4.1.bn2", "layer3.1", "avgpool", "fc"} <= set(values)
    for name, found in values.items():
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected[name].flatten(1), rtol=0, atol=1e-6, err_msg=name)


def test_a_relu_in_place_does_not_overwrite_what_was_kept():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True))
    network = wrapped(net, 3, 8, 8)
    x = images(4, 3, 8, 8)
    values = extract(network, select_layers(network, ("0", "1")), x, batch_size=4)
    raw = net[0](x).flatten(1).numpy()
    assert raw.min() < 0
    np.testing.assert_array_equal(values["0"], raw)
    np.testing.assert_array_equal(values["1"], raw.clip(min=0))


class Repeated(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 6)
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(self.fc(self.relu(self.fc(x))))


def test_a_module_that_runs_twice():
    network = wrapped(Repeated(), 6)
    x = images(5, 6)
    values = extract(network, select_layers(network, ("relu", "fc:1")), x, batch_size=5)
    relu, fc = network.module.relu, network.module.fc
    once = relu(fc(x))
    np.testing.assert_array_equal(values["relu:0"], once)
    np.testing.assert_array_equal(values["fc:1"], fc(once))
    np.testing.assert_array_equal(values["relu:1"], relu(fc(once)))


def test_values_between_modules():
    network = built("densenet121")
    x = images(2, 3, 32, 32)
    values = extract(network, select_layers(network, ("features.norm5", "avgpool", "output")), x, batch_size=2)
    with torch.inference_mode():
        raw = network.module.features(x)
        pooled = raw.clamp(min=0).mean((2, 3))
        np.testing.assert_array_equal(values["features.norm5"], raw.flatten(1))  # DenseNet's own ReLU works in place
        np.testing.assert_allclose(values["avgpool"], pooled, rtol=1e-6)
        np.testing.assert_allclose(values["classifier"], network.module(x), atol=1e-6)


@pytest.mark.parametrize("architecture", ["resnet18", "densenet121", "convolutional"])
def test_a_sample_does_not_depend_on_the_samples_around_it(architecture):
    network = built(architecture)
    layers = select_layers(network, ("input", "checkpoints", "output"))
    x = images(21, 3, 32, 32)
    whole = extract(network, layers, x, batch_size=16)
    parts = {
        "last of a block": slice(16, 21), "one": slice(3, 4), "another offset": slice(5, 19), "backwards": None
    }  # fmt: skip
    for label, part in parts.items():
        chosen = np.arange(21)[::-1].copy() if part is None else np.arange(21)[part]
        values = extract(network, layers, x[chosen], batch_size=16)
        for name in whole:
            np.testing.assert_array_equal(values[name], whole[name][chosen], err_msg=f"{name}, {label}")


def test_a_sample_does_not_depend_on_the_layout_of_the_images(resnet):
    layers = select_layers(resnet, ("checkpoints",))
    x = images(4, 3, 32, 32)
    first = extract(resnet, layers, x, batch_size=4)
    second = extract(resnet, layers, x.to(memory_format=torch.channels_last), batch_size=4)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_a_sample_does_not_depend_on_the_threads_of_the_process(resnet):
    layers = select_layers(resnet, ("checkpoints",))
    x = images(16, 3, 32, 32)
    before = torch.get_num_threads()
    first = extract(resnet, layers, x, batch_size=16)
    try:
        torch.set_num_threads(2)
        second = extract(resnet, layers, x, batch_size=16)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_settings_of_the_process_do_not_matter_and_are_restored():
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    network = wrapped(nn.Sequential(layer, nn.Flatten(), nn.Linear(160, 200)), 5, 32)
    x = images(4, 5, 32)
    wanted = select_layers(network, ("0", "output"))
    plain = extract(network, wanted, x, batch_size=4)
    torch.set_float32_matmul_precision("medium")  # bfloat16 products on a CPU that has them
    try:
        with_settings = extract(network, wanted[1:], x, batch_size=4)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert torch.backends.mha.get_fastpath_enabled()
    np.testing.assert_array_equal(with_settings["2"], plain["2"])
    assert [x.depth for x in wanted] == [3, 4]


def test_threads_of_a_process_take_turns(resnet):
    layers = select_layers(resnet, ("maxpool", "fc"))
    x = images(12, 3, 32, 32)
    alone = extract(resnet, layers, x, batch_size=4)
    with ThreadPoolExecutor(3) as pool:
        parts = list(pool.map(lambda i: extract(resnet, layers, x[i : i + 4], batch_size=4), range(0, 12, 4)))
    for name in alone:
        np.testing.assert_array_equal(np.concatenate([p[name] for p in parts]), alone[name])


class Failing(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)
        self.fails = False

    def forward(self, x):
        x = self.fc(x)
        if self.fails:
            raise RuntimeError("broken")
        return x


def test_hooks_are_gone_afterwards_even_after_an_error():
    network = wrapped(Failing(), 3)
    layers = list_layers(network)
    x = images(2, 3)
    extract(network, layers, x)
    network.module.fails = True
    with pytest.raises(RuntimeError, match="broken"):
        extract(network, layers, x)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.module.modules())


def test_images_and_layers_of_another_network(resnet):
    layers = select_layers(resnet, ("fc",))
    with pytest.raises(DataError, match=r"images of shape \(2, 3, 31, 31\): needs .* = \(2, 3, 32, 32\)"):
        extract(resnet, layers, images(2, 3, 31, 31))
    other = wrapped(nn.Sequential(nn.Linear(3, 2)), 3)
    with pytest.raises(LayerError, match="module 'fc' is not in Sequential"):
        extract(other, layers, images(2, 3))
    twice = wrapped(Repeated(), 6)
    third = replace(select_layers(twice, ("relu:1",))[0], name="relu:2", call=2)
    with pytest.raises(LayerError, match="'relu:2' did not run"):
        extract(twice, [third], images(2, 6))


def test_values_that_are_not_finite_name_layer_and_samples():
    values = np.zeros((8, 3), dtype=np.float32)
    check_finite(values, "fc", [f"s{i}" for i in range(8)])
    values[[0, 2, 3, 4, 5, 7], 1] = [np.nan, np.inf, -np.inf, np.nan, np.nan, np.nan]
    with pytest.raises(DataError, match=r"layer 'fc': .* 6 of 8 samples: s0, s2, s3, s4, s5, \.\.\. \(6 in all\)"):
        check_finite(values, "fc", [f"s{i}" for i in range(8)])
    with pytest.raises(DataError, match="layer 'conv1'"):
        to_storage(values, "float32", "conv1", [f"s{i}" for i in range(8)])


def test_float16_is_refused_where_it_overflows():
    ids = ["a", "b"]
    fits = np.array([[65504, -65519], [1, 2]], dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stored = to_storage(fits, "float16", "fc", ids)
        assert stored.dtype == np.float16
        assert stored.tolist() == [[65504, -65504], [1, 2]]
        with pytest.raises(DataError, match=r"'fc': values up to 70000 .* float16, .* 65504; samples b\. .*float32"):
            to_storage(np.array([[1], [-70000]], dtype=np.float32), "float16", "fc", ids)
    assert to_storage(fits, "float32", "fc", ids) is fits
