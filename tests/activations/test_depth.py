"""Depths in the papers' count, and which layers are checkpoints, for published architectures and odd ones."""

import pytest
import torch
from torch import nn

from dnuc.activations import Network, build_network, list_layers, select_layers
from dnuc.job import Model, Train

CHECKPOINTS = {
    # Doimo et al. 2020, Sec. 3.1: 10, 34, 142, 151, 152, 153 are the layers of Fig. 2a.
    "resnet152": {"input": 0, "maxpool": 1, "layer1": 10, "layer2": 34, "layer3": 142, "layer4": 151, "avgpool": 152}
    | {"fc": 153},
    "resnet18": {
        "input": 0,
        "maxpool": 1,
        "layer1": 5,
        "layer2": 9,
        "layer3": 13,
        "layer4": 17,
        "avgpool": 18,
        "fc": 19,
    },
    "vgg16": {"input": 0, "features.4": 2, "features.9": 4, "features.16": 7, "features.23": 10, "features.30": 13}
    | {"classifier.1": 14, "classifier.4": 15, "classifier.6": 16},
    "alexnet": {"input": 0, "features.2": 1, "features.5": 2, "features.12": 5, "classifier.2": 6, "classifier.5": 7}
    | {"classifier.6": 8},
    "densenet121": {"input": 0, "features.pool0": 1, "features.transition1": 14, "features.transition2": 39}
    | {"features.transition3": 88, "features.norm5": 120, "avgpool": 121, "classifier": 122},
    "googlenet": {"input": 0, "maxpool1": 1, "maxpool2": 3, "maxpool3": 7, "maxpool4": 17, "avgpool": 22, "fc": 23},
    # No family of its own: the layers that at least halve the image.
    "mobilenet_v2": {"input": 0, "features.0": 1, "features.2": 6, "features.4": 12, "features.7": 21}
    | {"features.14": 42, "avgpool": 53, "classifier.1": 54},
    "swin_t": {
        "input": 0,
        "features.0": 1,
        "features.2": 10,
        "features.4": 19,
        "features.6": 44,
        "avgpool": 53,
        "head": 54,
    },
}


def outline(architecture, image_shape=(224, 224, 3), **settings):
    model = Model(name="m", architecture=architecture, **({"weights": "random"} | settings))
    return build_network(model, seed=0, n_classes=10, image_shape=image_shape, outline=True)


def wrapped(module, *shape):
    return Network(module.eval(), torch.from_numpy, shape)


@pytest.mark.parametrize("architecture", CHECKPOINTS)
def test_checkpoints_and_their_depths(architecture):
    layers = select_layers(outline(architecture), ("input", "checkpoints", "output"))
    assert {layer.name: layer.depth for layer in layers} == CHECKPOINTS[architecture]
    assert [layer.depth for layer in layers] == sorted(layer.depth for layer in layers)


def test_relative_depth_and_size():
    layers = {x.name: x for x in select_layers(outline("resnet152"), ("input", "checkpoints"))}
    assert layers["layer3"].relative_depth == 142 / 153
    assert (layers["input"].relative_depth, layers["fc"].relative_depth) == (0, 1)
    assert (layers["input"].features, layers["maxpool"].features) == (150528, 200704)
    assert layers["layer1"].shape == (256, 56, 56)
    assert layers["layer1"].features == 802816


def test_depth_does_not_depend_on_the_image_size():
    small = select_layers(outline("resnet18", (32, 32, 3), image_size=32), ("checkpoints",))
    assert [x.depth for x in small] == [1, 5, 9, 13, 17, 18, 19]
    assert small[4].shape == (512, 1, 1)


def test_own_networks():
    layers = select_layers(outline("residual", (28, 28, 1)), ("input", "checkpoints", "output"))
    assert {x.name: x.depth for x in layers} == {"input": 0, "stage1": 7, "stage2": 13, "stage3": 19} | {
        "avgpool": 20,
        "fc": 21,
    }
    assert [x.features for x in layers] == [784, 16 * 784, 32 * 196, 64 * 49, 64, 10]
    layers = select_layers(outline("convolutional", (28, 28, 1)), ("input", "checkpoints", "output"))
    assert {x.name: x.depth for x in layers} == {"input": 0, "pool1": 1, "pool2": 2, "relu3": 3, "fc2": 4}
    assert layers[2].features == 1600


@pytest.mark.parametrize("side", [8, 9, 16, 18, 28, 64])
@pytest.mark.parametrize("architecture", ["residual", "convolutional"])
def test_own_networks_leave_two_pixels(architecture, side):
    network = outline(architecture, (side, side, 3), weights=None, train=Train())
    images = [x.shape for x in list_layers(network) if len(x.shape) == 3 and "avgpool" not in (x.name, *x.aliases)]
    assert min(min(shape[1:]) for shape in images) >= 2
    assert network.module(torch.zeros(3, 3, side, side, device="meta")).shape == (3, 10)


def test_attention_counts_one():
    network = outline("vit_b_16")
    layers = select_layers(network, ("input", "conv_proj", "checkpoints", "output"))
    # Each of the 12 blocks has attention and two linear layers.
    assert [x.depth for x in layers] == [0, 1, *range(4, 38, 3), 37, 38]
    assert layers[-2].name == "heads.head@input"


class Odd(nn.Module):
    """Everything that a count of modules would get wrong."""

    def __init__(self):
        super().__init__()
        self.long = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(2, 2, 1))
        self.short = nn.Conv2d(2, 2, 1)
        self.weight = nn.Parameter(torch.ones(4, 3))
        self.last = nn.Linear(3, 5)

    def forward(self, x):
        halves = torch.chunk(torch.cat([self.short(x), self.long(x)], 1), 2, dim=1)  # depth 2
        y = torch.cat(halves, 1).mean((2, 3))  # 3
        y = torch.relu_(y @ self.weight)  # 4
        return {"logits": self.last(y), "other": y}  # 5


def test_longest_path_through_functions_lists_and_parameters():
    network = wrapped(Odd(), 2, 8, 8)
    depths = {x.name: x.depth for x in list_layers(network)}
    assert depths["short"] == 1
    assert depths["long"] == 2
    assert depths["last@input"] == 4
    assert depths["last"] == depths["output"] == 5
    assert select_layers(network, ("output",))[0].name == "last"


class Opaque(torch.autograd.Function):
    """An operation that torch's function mode does not see."""

    @staticmethod
    def forward(ctx, x):
        return x * 2


class Doubling(nn.Module):
    def forward(self, x):
        return Opaque.apply(x)


def test_an_operation_that_hides_its_input_keeps_the_depth():
    network = wrapped(nn.Sequential(nn.Linear(4, 4), Doubling(), nn.Linear(4, 2)), 4)
    assert [x.depth for x in select_layers(network, ("input", "0", "1", "2"))] == [0, 1, 1, 2]


def test_a_network_without_images_has_its_linear_layers_as_checkpoints():
    network = wrapped(nn.Sequential(nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 7), nn.Tanh(), nn.Linear(7, 2)), 9)
    layers = select_layers(network, ("input", "checkpoints", "output"))
    assert [(x.name, x.depth, x.features) for x in layers] == [("input", 0, 9), ("1", 1, 8), ("3", 2, 7), ("4", 3, 2)]
