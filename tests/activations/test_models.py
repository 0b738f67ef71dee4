"""Networks by name, weights and preprocessing; every wrong name or file is refused with the way out."""

import urllib.error

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn
from torchvision.models import ResNet18_Weights, WeightsEnum

from dnuc.activations import build_network, channel_statistics, extract, select_layers
from dnuc.activations.preprocess import Standardize
from dnuc.errors import DataError, JobError, LayerError
from dnuc.job import Model, Train

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


def build(architecture="resnet18", weights="random", shape=(40, 50, 3), seed=0, n_classes=10, **settings):
    arguments = {k: settings.pop(k) for k in ("state", "normalization", "outline") if k in settings}
    model = Model(name="m", architecture=architecture, weights=weights, **settings)
    return build_network(model, seed=seed, n_classes=n_classes, image_shape=shape, **arguments)


def same(a, b):
    ours, theirs = a.module.state_dict(), b.module.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


@pytest.mark.parametrize("architecture", ["squeezenet1_1", "residual", "convolutional", f"{__name__}:toy"])
def test_random_weights_depend_on_the_seed_alone(architecture):
    torch.manual_seed(123)
    state = torch.get_rng_state()
    first = build(architecture, seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(456)
    assert same(first, build(architecture, seed=5))
    assert not same(first, build(architecture, seed=6))


def test_the_seed_of_the_model_comes_first():
    models = [Model(name="m", architecture="residual", weights="random", seed=s) for s in (3, None)]
    a = build_network(models[0], seed=8, n_classes=10, image_shape=(8, 8, 1))
    b = build_network(models[1], seed=3, n_classes=10, image_shape=(8, 8, 1))
    assert same(a, b)


def test_evaluation_mode_without_gradients():
    module = build("residual", shape=(8, 8, 1)).module
    assert not any(m.training for m in module.modules())
    assert not any(p.requires_grad for p in module.parameters())


def test_published_preprocessing():
    network = build()
    expected = ResNet18_Weights.DEFAULT.transforms()(Image.fromarray(IMAGE))
    assert network.input_shape == (3, 224, 224)
    assert torch.equal(network.transform(IMAGE), expected)
    smaller = build(image_size=56)
    assert smaller.input_shape == (3, 56, 56)
    reference = ResNet18_Weights.DEFAULT.transforms(crop_size=56, resize_size=64)(Image.fromarray(IMAGE))
    assert torch.equal(smaller.transform(IMAGE), reference)


def test_gray_images_get_three_channels():
    network = build(image_size=32, shape=(28, 28, 1))
    x = network.preprocess([IMAGE[:28, :28, :1]])
    assert x.shape == (1, 3, 32, 32)
    with pytest.raises(DataError, match=r"\(40, 50, 4\).*cannot be preprocessed"):
        build(shape=(40, 50, 4))


def test_standardized_preprocessing_of_own_networks():
    images = np.stack([IMAGE[:16, :16], IMAGE[20:36, 20:36]])
    mean, std = channel_statistics(images)
    np.testing.assert_allclose(mean, (images / 255).mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, (images / 255).std((0, 1, 2)), rtol=1e-12)
    network = build("residual", shape=(16, 16, 3), normalization=(mean, std))
    x = network.preprocess(images)
    np.testing.assert_allclose(x.mean((0, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(x.std((0, 2, 3), correction=0), 1, atol=1e-6)
    for size in (None, 9):
        transform = Standardize(mean, std, size)
        assert torch.equal(transform.batch(images), torch.stack([transform(i) for i in images]))
    assert build("residual", shape=(40, 50, 3), image_size=20).input_shape == (3, 20, 20)
    assert channel_statistics(np.full((2, 3, 3, 1), 51, np.uint8)) == ((0.2,), (1.0,))


def test_the_normalization_of_a_checkpoint_comes_first():
    state = build("residual", shape=(8, 8, 1)).module.state_dict()
    saved = {"model": state, "normalization": {"mean": [0.25], "std": [0.5]}}
    network = build("residual", shape=(8, 8, 1), state=saved, normalization=((0.9,), (0.9,)))
    assert network.transform == Standardize((0.25,), (0.5,))


def test_unknown_architecture_and_weights_list_the_closest():
    with pytest.raises(LayerError, match=r"architecture 'resnet153' is unknown; closest: .*'resnet152'"):
        build("resnet153")
    with pytest.raises(LayerError, match="'residual'"):
        build("residal")
    with pytest.raises(LayerError, match="unknown"):  # a detection network is no classifier
        build("fasterrcnn_resnet50_fpn")
    with pytest.raises(LayerError, match=r"weights 'IMAGENET1K_V3' of 'resnet50' are unknown; closest: 'IMAGENET1K_V"):
        build("resnet50", "IMAGENET1K_V3")
    with pytest.raises(LayerError, match=r"weights 'DEFAULT' of 'residual' do not exist; give a \[model.train\]"):
        build("residual", "DEFAULT")


def test_options():
    assert build(options={"num_classes": 7}).module.fc.out_features == 7
    assert build("residual", options={"width": 4, "blocks": 4}).module.fc.in_features == 16
    with pytest.raises(JobError, match=r"options \{'widht': 3\} do not suit 'resnet18': .*widht"):
        build(options={"widht": 3})
    with pytest.raises(JobError, match=r"options.widht: network 'residual' has no such option; closest: 'width'"):
        build("residual", options={"widht": 3})
    with pytest.raises(JobError, match=r"options.hidden = 0: network 'convolutional' needs a whole number"):
        build("convolutional", options={"hidden": 0})


def test_auxiliary_heads_do_not_disturb():
    network = build("inception_v3", image_size=96, outline=True)
    assert not any("aux" in name.lower() for name, _ in network.module.named_modules())
    with_heads = torchvision.models.googlenet(num_classes=3, aux_logits=True, init_weights=False)
    loaded = build("googlenet", image_size=64, state=with_heads.state_dict())
    x = torch.zeros(2, 3, 64, 64)
    values = extract(loaded, select_layers(loaded, ("output",)), x, batch_size=2)
    assert values["fc"].shape == (2, 3)


def test_a_trained_model_has_as_many_outputs_as_classes():
    model = Model(name="m", architecture="resnet18", train=Train(), image_size=32)
    assert build_network(model, seed=0, n_classes=6, image_shape=(28, 28, 1)).module.fc.out_features == 6
    model = Model(name="m", architecture="convolutional", train=Train())
    assert build_network(model, seed=0, n_classes=6, image_shape=(28, 28, 1)).module.fc2.out_features == 6


def test_published_weights_are_read_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    enum = torchvision.models.get_model_weights("squeezenet1_1").DEFAULT
    cached = tmp_path / "hub" / "checkpoints" / enum.url.rsplit("/", 1)[-1]
    cached.parent.mkdir(parents=True)
    source = torchvision.models.squeezenet1_1()
    torch.save(source.state_dict(), cached)
    network = build("squeezenet1_1", "DEFAULT")
    assert torch.equal(network.module.features[0].weight, source.features[0].weight)
    cached.write_bytes(b"half a file")
    with pytest.raises(LayerError, match=r"squeezenet1_1-.*\.pth is there, but damaged: remove it"):
        build("squeezenet1_1", "IMAGENET1K_V1")


def test_published_weights_that_cannot_be_had(tmp_path, monkeypatch):
    def no_network(*args, **kwargs):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(WeightsEnum, "get_state_dict", no_network)
    with pytest.raises(LayerError, match=r"no route to host.*checkpoints.resnet18-\w+\.pth is not there.*TORCH_HOME"):
        build("resnet18", "DEFAULT")
    outline = build("resnet18", "DEFAULT", outline=True)  # shapes need no weights
    assert select_layers(outline, ("output",))[0].features == 1000


def toy(classes=3):
    """A network as a user would write it."""
    return nn.Sequential(nn.Flatten(), nn.Linear(40 * 50 * 3, classes))


def toy_with_transform():
    return nn.Linear(50, 2), lambda image: torch.from_numpy(image[0, :, 0] / 255).float()


def not_a_network():
    return "network"


def failing():
    raise OSError("disk on fire")


def test_a_network_of_ones_own():
    network = build(f"{__name__}:toy", options={"classes": 4}, normalization=((0.5,) * 3, (2.0,) * 3))
    assert network.module[1].out_features == 4
    torch.testing.assert_close(network.transform(IMAGE), torch.from_numpy(IMAGE / 510 - 0.25).float().permute(2, 0, 1))
    network = build(f"{__name__}:toy_with_transform", "DEFAULT")
    assert network.input_shape == (50,)
    x = network.preprocess([IMAGE, IMAGE])
    assert extract(network, select_layers(network, ("output",)), x, batch_size=2)["output"].shape == (2, 2)


@pytest.mark.parametrize(
    ("architecture", "weights", "error", "message"),
    [
        ("no_such_package.nets:make", "DEFAULT", JobError, "cannot import 'no_such_package.nets'.*PYTHONPATH"),
        (f"{__name__}:toi", "DEFAULT", JobError, "no callable 'toi'; closest: 'toy'"),
        (f"{__name__}:not_a_network", "DEFAULT", JobError, "returned str; it must return a torch.nn.Module"),
        (f"{__name__}:failing", "random", JobError, "failed: OSError: disk on fire"),
        (f"{__name__}:toy", "IMAGENET1K_V1", LayerError, "use 'DEFAULT' for what it returns"),
    ],
)
def test_a_network_of_ones_own_that_does_not_work(architecture, weights, error, message):
    with pytest.raises(error, match=message):
        build(architecture, weights)


def test_arrays_are_no_network():
    model = Model(name="m", arrays={"a": "a.npy"})
    with pytest.raises(JobError, match="'arrays', not a network"):
        build_network(model, seed=0, n_classes=2, image_shape=(8, 8, 1))


def test_outlines_have_the_layers_of_the_network():
    for architecture in ("regnet_y_400mf", "residual"):
        real = build(architecture, image_size=32)
        shapes = build(architecture, image_size=32, outline=True)
        wanted = ("input", "checkpoints", "blocks", "output")
        assert select_layers(shapes, wanted) == select_layers(real, wanted)
