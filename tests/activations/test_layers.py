"""Layers by name, keyword and glob; one name for one tensor; errors that help."""

import pytest
import torch
from torch import nn

from dnuc.activations import Network, build_network, list_layers, select_layers
from dnuc.errors import LayerError
from dnuc.job import Model


def outline(architecture, **settings):
    model = Model(name="m", architecture=architecture, weights="random", **settings)
    return build_network(model, seed=0, n_classes=10, image_shape=(64, 64, 3), outline=True)


def wrapped(module, *shape):
    return Network(module.eval(), torch.from_numpy, shape)


@pytest.fixture(scope="module")
def resnet():
    return outline("resnet18")


def names(network, *wanted):
    return [layer.name for layer in select_layers(network, wanted)]


def test_globs_match_one_part_of_a_path(resnet):
    assert names(resnet, "layer3.*") == ["layer3.0", "layer3.1"]
    assert names(resnet, "layer?.0.conv[12]")[:3] == ["layer1.0.conv1", "layer1.0.conv2", "layer2.0.conv1"]
    assert names(resnet, "layer4", "maxpool") == ["maxpool", "layer4"]


def test_a_module_that_runs_twice_has_two_layers(resnet):
    assert names(resnet, "layer1.0.relu") == ["layer1.0.relu:0", "layer1.0.relu:1"]
    assert names(resnet, "layer1.0.relu:1") == ["layer1.0.relu:1"]
    depths = [x.depth for x in select_layers(resnet, ("layer1.0.relu",))]
    assert depths == [2, 3]


def test_one_tensor_is_selected_once_under_the_first_name_written(resnet):
    assert names(resnet, "layer1", "layer1.1", "layer1.1.relu:1") == ["layer1"]
    assert names(resnet, "layer1.1", "layer1") == ["layer1.1"]
    assert names(resnet, "fc", "output", "checkpoints")[-1] == "fc"
    layer = select_layers(resnet, ("output",))[0]
    assert (layer.name, layer.aliases) == ("fc", ("output",))
    assert {"layer4", "layer4.1"} <= {*select_layers(resnet, ("layer4.1.relu:1",))[0].aliases}


def test_flattening_and_dropout_make_no_layer_of_their_own():
    net = wrapped(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Dropout(), nn.Linear(72, 4)), 3, 8, 8)
    assert names(net, "*") == ["input", "0", "3"]


def test_all_layers_in_execution_order(resnet):
    listed = list_layers(resnet)
    assert [x.name for x in listed[:4]] == ["input", "conv1", "bn1", "relu"]
    assert listed[-1].name == "output"
    assert len({x.name for x in listed}) == len(listed)
    assert select_layers(resnet, ("fc", "input", "layer2"))[1].name == "layer2"


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        ("resnet18", ["layer1.0", "layer1.1", "layer2.0", "layer2.1", "layer3.0", "layer3.1", "layer4.0", "layer4.1"]),
        ("densenet121", [f"features.denseblock{i}" for i in (1, 2, 3, 4)]),
        ("googlenet", [f"inception{i}" for i in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")]),
        ("residual", [f"stage{s}.{b}" for s in (1, 2, 3) for b in (0, 1, 2)]),
        ("vit_b_32", [f"encoder.layers.encoder_layer_{i}" for i in range(12)]),
    ],
)
def test_blocks(architecture, expected):
    assert names(outline(architecture), "blocks") == expected


def test_blocks_where_there_are_none():
    with pytest.raises(LayerError, match=r"'blocks': ConvolutionalNetwork has no such layer; dnuc knows none"):
        select_layers(outline("convolutional"), ("blocks",))


@pytest.mark.parametrize(("wrong", "hint"), [("layer5", "'layer"), ("avgpol", "'avgpool'"), ("blokcs", "'blocks'")])
def test_unknown_names_list_the_closest(resnet, wrong, hint):
    with pytest.raises(LayerError, match=rf"layer '{wrong}': ResNet has no such layer; closest: .*{hint}"):
        select_layers(resnet, ("input", wrong))


class Reserved(nn.Module):
    def __init__(self):
        super().__init__()
        self.input = nn.Linear(4, 3)
        self.output = nn.Linear(3, 2)

    def forward(self, x):
        return self.output(self.input(x)).softmax(1)


def test_modules_called_like_a_keyword():
    net = wrapped(Reserved(), 4)
    assert names(net, "input", "output") == ["input", "output"]
    assert names(net, "input:0", "output:0") == ["input:0", "output:0"]
    assert [x.depth for x in select_layers(net, ("input", "input:0", "output:0", "output"))] == [0, 1, 2, 2]


def test_names_are_safe_for_a_file_system():
    inner = nn.ModuleDict({"a/b": nn.Linear(4, 4)})
    net = nn.Sequential()
    net.add_module("odd name", inner["a/b"])
    assert names(wrapped(net, 4), "odd name") == ["odd_name"]


def test_outputs_that_are_not_one_row_a_sample_are_left_out():
    class Sorting(nn.Module):
        def forward(self, x):
            return x.argsort(1)

    class Folding(nn.Module):
        def forward(self, x):
            return x.reshape(-1, 2)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.sorting, self.folding, self.fc = Sorting(), Folding(), nn.Linear(4, 2)

        def forward(self, x):
            return self.fc(self.folding(x).reshape(-1, 4) + self.sorting(x))

    assert [x.name for x in list_layers(wrapped(Net(), 4))] == ["input", "fc@input", "fc", "output"]


def test_an_input_that_the_network_cannot_take():
    with pytest.raises(LayerError, match=r"Linear cannot process an input of shape \(5,\)"):
        list_layers(wrapped(nn.Linear(4, 2), 5))
    with pytest.raises(LayerError, match="one row a sample"):
        list_layers(wrapped(nn.Flatten(0), 5))
